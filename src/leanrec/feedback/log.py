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

import numpy as np

from leanrec.data.table import Table
from leanrec.data.vocabulary import Id, id_array
from leanrec.errors import DataError, SourceError
from leanrec.feedback.reactions import Reaction, to_events
from leanrec.types import Events, IdArray, Int64Array

__all__ = ["Accepted", "EventLog", "Reactions", "ServedList", "table_of"]

_APPLICATION = 0x6C656172  # "lear": tells our files from other SQLite files
_VERSION = 1
_BATCH = 512
_WAITING = 10_000  # lists that may wait for the disk before asking for a list waits too

# Columns of own ids have no type, so that 12 stays a number and "12" stays text.
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
CREATE TABLE event (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, user NOT NULL, item NOT NULL, kind TEXT NOT NULL,
    time INTEGER NOT NULL, weight REAL NOT NULL, value REAL, request TEXT, rank INTEGER
);
CREATE TABLE served (
    request TEXT PRIMARY KEY, time INTEGER NOT NULL, user, fallback TEXT,
    items TEXT NOT NULL, scores TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE item (seq INTEGER PRIMARY KEY, id NOT NULL UNIQUE, content TEXT NOT NULL);
"""
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
class ServedList:
    """One list as it was shown; its position in ``items`` is the rank of an item."""

    request: str
    time: int
    user: Id | None
    items: tuple[Id, ...]
    scores: tuple[float, ...]
    fallback: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Reactions:
    """What happened at each rank.

    Attributes:
        shown: (K,) lists that were long enough to show an item at this rank.
        reacted: (K,) reactions with positive weight that name the list and this rank.
    """

    shown: Int64Array
    reacted: Int64Array


class EventLog:
    """Reactions and served lists in one SQLite file.

    All writes go through one thread, which puts whatever is waiting into one transaction. ``append`` returns
    after that transaction is on disk (``synchronous=FULL``: it survives kill -9 and loss of power). Served
    lists do not make anybody wait, but they are written before a later reaction to them.

    Safe to use from many threads. One server has one log.
    """

    def __init__(self, path: str | Path) -> None:
        """Open or create the file. Raises SourceError if it is something else or cannot be written."""
        self.path = Path(path)
        self.lost = 0
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_WAITING)
        self._closing = threading.Lock()
        self._open = True
        ready: Future[None] = Future()
        self._writer = threading.Thread(target=self._work, args=(ready,), name="leanrec-log", daemon=True)
        self._writer.start()
        ready.result()

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
        """Note a list that was served. Returns at once; what cannot be written is counted in ``lost``."""
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

        self._submit(write).add_done_callback(self._count_lost)

    def flush(self) -> None:
        """Return when everything noted so far is on disk."""
        self._submit(lambda _: None).result()

    def events(self) -> Events:
        """Every reaction, in the order of arrival, in own ids, with request and rank where known. O(E)."""
        with self._reader() as connection:
            rows = connection.execute(
                "SELECT id, user, item, kind, time, weight, value, request, rank FROM event ORDER BY seq"
            )
            return to_events([Reaction(*row) for row in rows])

    def items(self) -> tuple[IdArray, Table]:
        """Ids and content of the items that were added while serving."""
        with self._reader() as connection:
            rows = connection.execute("SELECT id, content FROM item ORDER BY seq").fetchall()
        contents = [json.loads(content) for _, content in rows]
        return id_array([own for own, _ in rows]), table_of(contents)

    def lists(self) -> Iterator[ServedList]:
        """Every list that was served, oldest first."""
        with self._reader() as connection:
            for row in connection.execute(
                "SELECT request, time, user, items, scores, fallback FROM served ORDER BY time"
            ):
                request, time, user, items, scores, fallback = row
                yield ServedList(request, time, user, tuple(json.loads(items)), tuple(json.loads(scores)), fallback)

    def reactions(self) -> Reactions:
        """How often each rank was shown and answered: the raw numbers of position bias and click-through."""
        with self._reader() as connection:
            lengths = connection.execute("SELECT json_array_length(items) FROM served").fetchall()
            ranks = connection.execute(
                "SELECT rank FROM event JOIN served USING (request) WHERE rank >= 0 AND weight > 0"
            ).fetchall()
        longest = max((length for (length,) in lengths), default=0)
        ends = np.bincount([length for (length,) in lengths], minlength=longest + 1)
        shown = np.cumsum(ends[::-1])[::-1][1:]
        inside = [rank for (rank,) in ranks if rank < longest]
        return Reactions(shown.astype(np.int64), np.bincount(inside, minlength=longest).astype(np.int64))

    def __len__(self) -> int:
        with self._reader() as connection:
            return int(connection.execute("SELECT count(*) FROM event").fetchone()[0])

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
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            yield connection

    def _work(self, ready: "Future[None]") -> None:
        try:
            connection = _open(self.path)
        except (SourceError, sqlite3.Error, OSError) as error:
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
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        empty = _is_empty(path, connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if empty:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    except BaseException:
        connection.close()
        raise
    return connection


def _is_empty(path: Path, connection: sqlite3.Connection) -> bool:
    """Whether the file is new. Raises SourceError if it is not ours."""
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return True
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != _APPLICATION:
        raise SourceError(f"{path} is a file of another program. Choose another path for the event log.")
    if version != _VERSION:
        raise SourceError(f"{path} must be an event log of version {_VERSION}. It has version {version}.")
    return False


def _readable(path: Path, error: BaseException) -> BaseException:
    if isinstance(error, sqlite3.DatabaseError | OSError):
        return SourceError(f"The event log {path} cannot be used: {error}. Check the path, its rights and the disk.")
    if isinstance(error, OverflowError | UnicodeError):
        return DataError(f"An event must hold numbers of at most 64 bits and valid text. Got: {error}.")
    return error


def table_of(contents: Sequence[Mapping[str, Any]]) -> Table:
    """Rows of content as a table: a column that holds only numbers is one of numbers, the others are text."""
    names = dict.fromkeys(name for content in contents for name in content)
    return Table({name: _column([content.get(name) for content in contents]) for name in names})


def _column(cells: Sequence[Any]) -> np.ndarray:
    if all(cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool)) for cell in cells):
        return np.array([np.nan if cell is None else float(cell) for cell in cells])
    return np.array(["" if cell is None else str(cell) for cell in cells], np.dtypes.StringDType())
