"""The event log of a server: SQLite in WAL mode, one writer; accepted means on disk."""

import contextlib
import dataclasses
import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, Self

from leanrec.data.vocabulary import Id
from leanrec.errors import DataError, SourceError
from leanrec.events.lock import Lock
from leanrec.events.reader import (
    APPLICATION,
    VERSION,
    LogReader,
    Origin,
    ServedList,
    check_ours,
    unusable,
)
from leanrec.events.user_events import Reaction
from leanrec.settings import check_at_least, check_positive

__all__ = ["Accepted", "EventLog", "Keep"]

_BATCH = 512
_WAITING = 10_000  # lists that may wait for the disk before asking for a list waits too
_SWEEP = 1000  # lists that are noted between two looks for old ones
_DAY = 86_400

# Columns of own ids have no type, so that 12 stays a number and "12" stays text.
_SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, user NOT NULL, item NOT NULL, kind TEXT NOT NULL,
    time INTEGER NOT NULL, weight REAL NOT NULL, value REAL, request TEXT, rank INTEGER
);
CREATE TABLE IF NOT EXISTS served (
    request TEXT PRIMARY KEY, time INTEGER NOT NULL, user, fallback TEXT,
    items TEXT NOT NULL, scores TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS served_by_time ON served (time);
CREATE TABLE IF NOT EXISTS item (seq INTEGER PRIMARY KEY, id NOT NULL UNIQUE, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS origin (seq INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, about TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS log (id TEXT NOT NULL);
INSERT INTO log SELECT lower(hex(randomblob(16))) WHERE NOT EXISTS (SELECT 1 FROM log);
"""  # noqa: S608 - of our own numbers
_ADD_EVENT = """
INSERT INTO event (id, user, item, kind, time, weight, value, request, rank)
VALUES (:id, :user, :item, :kind, :time, :weight, :value, :request, coalesce(:rank,
    (SELECT place.key FROM served, json_each(served.items) AS place
     WHERE served.request = :request AND place.value = :item)))
ON CONFLICT (id) DO NOTHING
"""


class Accepted(NamedTuple):
    """What became of a batch: the reactions that are new, and how many the log already had."""

    new: tuple[Reaction, ...]
    duplicates: int


@dataclasses.dataclass(frozen=True)
class Keep:
    """How long served lists are kept. Reactions are kept for good, with the rank that they were given.

    Attributes:
        lists: most lists; the oldest go first. A list of ten takes about 400 bytes.
        days: a list goes when the newest is so much newer.
    """

    lists: int = 1_000_000
    days: float = 90.0

    def __post_init__(self) -> None:
        check_at_least("lists", self.lists, 0)
        check_positive("days", self.days)


class EventLog(LogReader):
    """Reactions and served lists in one SQLite file.

    All writes go through one thread, which puts whatever is waiting into one transaction. ``append`` returns
    after that transaction is on disk (``synchronous=FULL``: it survives kill -9 and loss of power). Served
    lists do not make anybody wait, but they are written before a later reaction to them.

    Safe to use from many threads. One server has one log: a lock beside the file keeps a second one out. Others
    may read it meanwhile, with a ``LogReader``.
    """

    def __init__(self, path: str | Path, keep: Keep = Keep()) -> None:
        """Open or create the file.

        Raises SourceError if it is something else, cannot be written, or is in use by another server.
        """
        self.path, self.keep = Path(path), keep
        self.lost = 0
        self._noted = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(self.path)
        except (OSError, ValueError) as error:
            raise error if isinstance(error, SourceError) else unusable(self.path, error) from error
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_WAITING)
        self._closing = threading.Lock()
        self._open = True
        ready: Future[None] = Future()
        self._writer = threading.Thread(target=self._work, args=(ready,), name="leanrec-log", daemon=True)
        self._writer.start()
        try:
            ready.result()
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is waiting and close the file. Calling it again does nothing."""
        with self._closing:
            if self._open:
                self._open = False
                self._jobs.put(None)
        self._writer.join()
        self._lock.close()

    def belongs_to(self, origin: Origin, *, adopt: bool = False) -> None:
        """Note the data that this log is kept for; ``check_origin`` must find nothing against it, or ``adopt`` it.

        An empty log forgets whom it belonged to: what comes now is of this data alone.
        """
        if not adopt:
            self.check_origin(origin)
        empty = self._empty()

        def write(connection: sqlite3.Connection) -> None:
            if empty:
                connection.execute("DELETE FROM origin")
            add = "INSERT INTO origin (fingerprint, about) VALUES (?, ?) ON CONFLICT (fingerprint) DO NOTHING"
            connection.execute(add, (origin.fingerprint, origin.about))

        self._submit(write).result()

    def append(self, reactions: Sequence[Reaction]) -> Accepted:
        """Write reactions; those whose id the log has are left out. Returns when they are on disk."""

        def write(connection: sqlite3.Connection) -> Accepted:
            new = [each for each in reactions if connection.execute(_ADD_EVENT, vars(each)).rowcount]
            return Accepted(tuple(new), len(reactions) - len(new))

        accepted: Accepted = self._submit(write).result()
        return accepted

    def add_items(self, contents: Mapping[Id, Mapping[str, Any]]) -> None:
        """Write the content of new items, for a server that starts again. Returns when they are on disk."""
        rows = [(own, json.dumps(content)) for own, content in contents.items()]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT INTO item (id, content) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", rows)

        self._submit(write).result()

    def served(self, shown: ServedList) -> None:
        """Note a list that was served, and let old ones go.

        Returns at once; what cannot be written is counted in ``lost``.
        """
        if not self.keep.lists:
            return
        row = (
            shown.request,
            shown.time,
            shown.user,
            shown.fallback,
            json.dumps(shown.items),
            json.dumps(shown.scores),
        )

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO served VALUES (?, ?, ?, ?, ?, ?)", row)
            if self._noted % min(_SWEEP, self.keep.lists) == 0:
                _sweep(connection, self.keep)
            self._noted += 1

        self._submit(write).add_done_callback(self._count_lost)

    def flush(self) -> None:
        """Return when everything noted so far is on disk."""
        self._submit(lambda _: None).result()

    def _submit(self, write: "_Write") -> "Future[Any]":
        job = _Job(write, Future())
        with self._closing:
            if not self._open:
                raise SourceError(f"The event log {self.path} is closed. Open it again to write.")
            self._jobs.put(job)
        return job.done

    def _count_lost(self, done: "Future[Any]") -> None:
        self.lost += done.exception() is not None

    @contextlib.contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        self.flush()
        with super()._reader() as connection:
            yield connection

    def _work(self, ready: "Future[None]") -> None:
        try:
            connection = _open(self.path)
        except BaseException as error:  # noqa: BLE001 - whoever opens the log gets it, or would wait for ever
            ready.set_exception(_readable(self.path, error))
            return
        ready.set_result(None)
        with contextlib.closing(connection):
            while (job := self._jobs.get()) is not None:
                jobs = [job, *_waiting(self._jobs)]
                last = jobs[-1] is None
                self._write([each for each in jobs if each is not None], connection)
                if last:
                    return

    def _write(self, jobs: "list[_Job]", connection: sqlite3.Connection) -> None:
        """All jobs in one transaction; if that fails, each in its own: a bad one harms only itself."""
        try:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                results = [job.write(connection) for job in jobs]
        except Exception as error:  # noqa: BLE001 - whoever waits for the job gets it
            if len(jobs) > 1:
                for job in jobs:
                    self._write([job], connection)
                return
            jobs[0].done.set_exception(_readable(self.path, error))
            return
        for job, result in zip(jobs, results, strict=True):
            job.done.set_result(result)


_Write = Callable[[sqlite3.Connection], Any]


@dataclasses.dataclass(frozen=True)
class _Job:
    write: _Write
    done: "Future[Any]"


def _waiting(jobs: "queue.Queue[_Job | None]") -> "Iterator[_Job | None]":
    """What waits right now, up to a batch; a None, the sign to stop, comes last."""
    for _ in range(_BATCH):
        try:
            job = jobs.get_nowait()
        except queue.Empty:
            return
        yield job
        if job is None:
            return


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        check_ours(path, connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    except BaseException:
        connection.close()
        raise
    return connection


def _sweep(connection: sqlite3.Connection, keep: Keep) -> None:
    """Let served lists go that are too old or too many. O(S + K log S) for K of S lists."""
    connection.execute("DELETE FROM served WHERE time < (SELECT max(time) FROM served) - ?", (keep.days * _DAY,))
    more = connection.execute("SELECT count(*) FROM served").fetchone()[0] - keep.lists
    if more > 0:
        oldest = "DELETE FROM served WHERE request IN (SELECT request FROM served ORDER BY time LIMIT ?)"
        connection.execute(oldest, (more,))


def _readable(path: Path, error: BaseException) -> BaseException:
    if isinstance(error, sqlite3.DatabaseError | OSError):
        return unusable(path, error)
    if isinstance(error, OverflowError | UnicodeError):
        return DataError(f"An event must hold numbers of at most 64 bits and valid text. Got: {error}.")
    return error
