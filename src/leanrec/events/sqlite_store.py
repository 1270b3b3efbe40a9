"""Event store in one SQLite file (WAL mode, one writer thread); an accepted event is on disk."""

import collections
import contextlib
import dataclasses
import json
import math
import queue
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import numpy as np

from leanrec.data.vocabulary import Id
from leanrec.errors import BusyError, DataError, SourceError
from leanrec.events.lock import FileLock
from leanrec.events.records import AppendResult, DataOrigin, RetentionPolicy, ServedList
from leanrec.events.sqlite_reader import (
    APPLICATION_ID,
    FORMAT_VERSION,
    SQLiteEventReader,
    check_format,
    make_source_error,
    seal_row,
)
from leanrec.events.user_events import UserEvent

__all__ = ["SQLiteEventStore"]

_BATCH_SIZE = 512
_QUEUE_SIZE = 10_000
_MAX_WAITING_LISTS = 20_000  # more are not kept: a disk that hangs must not fill the memory
_WAIT_SECONDS = 10  # for a write; a disk that hangs must not hold the threads of a server
_WRITE_LISTS_EVERY = 0.02  # seconds; a transaction with many lists costs little more than one with one
_DELETE_EVERY = 1000  # served lists between two deletions of old ones
_DAY = 86_400

# Columns of external ids have no type, so that 12 stays a number and "12" stays text.
_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT_VERSION};
CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, user NOT NULL, item NOT NULL, event_type TEXT NOT NULL,
    time INTEGER NOT NULL, weight REAL NOT NULL, rating REAL, request TEXT, rank INTEGER, checksum INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS served (
    request TEXT PRIMARY KEY, time INTEGER NOT NULL, user, fallback TEXT,
    items TEXT NOT NULL, scores TEXT NOT NULL, checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS served_by_time ON served (time);
CREATE TABLE IF NOT EXISTS item (
    seq INTEGER PRIMARY KEY, id NOT NULL UNIQUE, content TEXT NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS origin (
    seq INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, description TEXT NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS log (id TEXT NOT NULL, checksum INTEGER NOT NULL);
"""
_INSERT_EVENT = """
INSERT INTO event (id, user, item, event_type, time, weight, rating, request, rank, checksum)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""
_FIND_RANK = """
SELECT position.key FROM served, json_each(served.items) AS position WHERE served.request = ? AND position.value = ?
"""

_WriteFunction = Callable[[sqlite3.Connection], Any]


@dataclasses.dataclass(frozen=True)
class _WriteJob:
    write: _WriteFunction
    done: "Future[Any]"


class SQLiteEventStore(SQLiteEventReader):
    """User events, served lists and new items in one SQLite file.

    One thread does all writes and puts what is waiting into one transaction. ``append`` returns after that
    transaction is on disk (``synchronous=FULL``: it survives kill -9 and loss of power). Serving a list does not wait
    for the disk, but the list is written before any later event that refers to it.

    Thread-safe. A file lock keeps a second server out; other processes can read the file with ``SQLiteEventReader``.
    """

    def __init__(self, path: str | Path, retention: RetentionPolicy = RetentionPolicy()) -> None:
        """Open the file or create it.

        Raises SourceError if it is something else, cannot be written, or is in use by another server.
        """
        self.path, self.retention = Path(path), retention
        self.n_lost = 0
        self._n_served = 0
        self._writing_since: float | None = None
        self._served: collections.deque[ServedList] = collections.deque()
        self._file: tuple[int, int] | None = None  # device and inode of the open file
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path)
        except (OSError, ValueError) as error:
            raise error if isinstance(error, SourceError) else make_source_error(self.path, error) from error
        self._jobs: queue.Queue[_WriteJob | None] = queue.Queue(_QUEUE_SIZE)
        self._closing = threading.Lock()
        self._is_open = True
        ready: Future[None] = Future()
        self._writer = threading.Thread(target=self._run_writer, args=(ready,), name="leanrec-log", daemon=True)
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
            if self._is_open:
                self._is_open = False
                self._jobs.put(None)
        self._writer.join()
        self._lock.close()

    def bind(self, origin: DataOrigin, *, rebind: bool = False) -> None:
        """Bind the store to a data set; see ``check_origin``. An empty store drops its earlier bindings.

        Args:
            origin: the data set of the model that is served.
            rebind: accept a store that is bound to other data, because its ids mean the same users and items.

        Raises SourceError if the store is bound to other data and ``rebind`` is False.
        """
        if not rebind:
            self.check_origin(origin)
        is_empty = self._is_empty()

        def write(connection: sqlite3.Connection) -> None:
            if is_empty:
                connection.execute("DELETE FROM origin")
            row = (origin.fingerprint, origin.description)
            insert = """
                INSERT INTO origin (fingerprint, description, checksum) VALUES (?, ?, ?)
                ON CONFLICT (fingerprint) DO NOTHING
            """
            connection.execute(insert, (*row, seal_row(*row)))

        self._wait(self._submit(write))

    def append(self, user_events: Sequence[UserEvent]) -> AppendResult:
        """Write events, except those whose id is there already. Returns when they are on disk."""

        def write(connection: sqlite3.Connection) -> AppendResult:
            new = [each for each in user_events if _insert_event(connection, each)]
            return AppendResult(tuple(new), len(user_events) - len(new))

        result: AppendResult = self._wait(self._submit(write))
        return result

    def add_items(self, contents: Mapping[Id, Mapping[str, Any]]) -> None:
        """Write the content of items, for a later restart of the server. Returns when they are on disk.

        The content of an item that is there already is replaced.
        """
        rows = [(_to_id(item), json.dumps(content)) for item, content in contents.items()]
        insert = """
            INSERT INTO item (id, content, checksum) VALUES (?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET content = excluded.content, checksum = excluded.checksum
        """

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(insert, [(*row, seal_row(*row)) for row in rows])

        self._wait(self._submit(write))

    def append_served(self, served: ServedList) -> None:
        """Write a served list, and delete old ones from time to time.

        Returns at once; a list that cannot be written is counted in ``n_lost``.
        """
        if not self.retention.max_lists:
            return
        if not self._is_open:
            raise SourceError(f"The event log {self.path} is closed. Open it again to write.")
        if len(self._served) >= _MAX_WAITING_LISTS:
            self.n_lost += 1
            return
        self._served.append(served)

    def flush(self) -> None:
        """Return when all writes submitted so far are on disk."""
        self._wait(self._submit(lambda _: None))

    def _submit(self, write: _WriteFunction) -> "Future[Any]":
        job = _WriteJob(write, Future())
        with self._closing:
            if not self._is_open:
                raise SourceError(f"The event log {self.path} is closed. Open it again to write.")
            try:
                self._jobs.put_nowait(job)
            except queue.Full:
                raise BusyError(
                    f"At most {_QUEUE_SIZE:,} writes may wait for the event log {self.path}. Nothing of this one was "
                    "stored: send it again after a second."
                ) from None
        return job.done

    def _wait(self, done: "Future[Any]") -> Any:
        """The result of a write. Raises SourceError if the disk does not answer in time."""
        try:
            return done.result(_WAIT_SECONDS)
        except TimeoutError:
            raise SourceError(
                f"The event log {self.path} did not confirm a write within {_WAIT_SECONDS} s: the disk does not answer. "
                "It may still be stored: send it again with the same ids."
            ) from None

    def waiting_seconds(self) -> float:
        """For how long the writer has worked on the same transaction; 0 if it waits for work."""
        since = self._writing_since
        return 0.0 if since is None else time.monotonic() - since

    @contextlib.contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        self.flush()
        with super()._connect() as connection:
            yield connection

    def _run_writer(self, ready: "Future[None]") -> None:
        try:
            connection = _open_database(self.path)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that opens the store, which waits for it
            ready.set_exception(_translate_error(self.path, error))
            return
        status = self.path.stat()
        self._file = (status.st_dev, status.st_ino)
        ready.set_result(None)
        with contextlib.closing(connection):
            while True:
                try:
                    waiting = [self._jobs.get(timeout=_WRITE_LISTS_EVERY), *_take_waiting(self._jobs)]
                except queue.Empty:
                    waiting = []
                # Lists that were served before a job was submitted are written before it.
                jobs = [*self._take_served(), *(job for job in waiting if job is not None)]
                if jobs:
                    self._writing_since = time.monotonic()
                    self._write_jobs(jobs, connection)
                    self._writing_since = None
                if waiting and waiting[-1] is None:
                    return

    def _take_served(self) -> "list[_WriteJob]":
        """A job that writes the lists that wait; none if there are none."""
        rows = []
        for _ in range(len(self._served)):
            try:
                each = self._served.popleft()
                user = None if each.user is None else _to_id(each.user)
                items, scores = json.dumps(each.items), json.dumps(each.scores)
                row = (str(each.request), int(each.time), user, each.fallback, items, scores)
                rows.append((*row, seal_row(*row)))
            except (TypeError, ValueError, OverflowError):  # an id that is no valid text
                self.n_lost += 1
        if not rows:
            return []
        before = self._n_served
        self._n_served += len(rows)
        step = min(_DELETE_EVERY, self.retention.max_lists)

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO served VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            if not before or before // step < self._n_served // step:
                _delete_old_lists(connection, self.retention)

        def count_lost(done: "Future[Any]") -> None:
            self.n_lost += len(rows) * (done.exception() is not None)

        job = _WriteJob(write, Future())
        job.done.add_done_callback(count_lost)
        return [job]

    def _check_file(self) -> None:
        """Raise unless the path still names the file that is open: writes to a removed file would succeed and be lost."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            raise SourceError(
                f"The event log {self.path} was removed while it is in use, so nothing can be stored. Put the file back, or "
                "start the server again."
            ) from None
        if self._file is not None and (status.st_dev, status.st_ino) != self._file:
            raise SourceError(
                f"The event log {self.path} was replaced by another file while it is in use, so nothing can be stored. "
                "Start the server again."
            )

    def _write_jobs(self, jobs: list[_WriteJob], connection: sqlite3.Connection) -> None:
        """Run all jobs in one transaction; if that fails, each in its own, so that a bad one fails alone."""
        try:
            self._check_file()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                results = [job.write(connection) for job in jobs]
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits for the job
            if len(jobs) > 1:
                for job in jobs:
                    self._write_jobs([job], connection)
                return
            jobs[0].done.set_exception(_translate_error(self.path, error))
            return
        for job, result in zip(jobs, results, strict=True):
            job.done.set_result(result)


def _take_waiting(jobs: "queue.Queue[_WriteJob | None]") -> "Iterator[_WriteJob | None]":
    """The jobs that wait right now, up to a batch. None, the signal to stop, comes last."""
    for _ in range(_BATCH_SIZE):
        try:
            job = jobs.get_nowait()
        except queue.Empty:
            return
        yield job
        if job is None:
            return


def _insert_event(connection: sqlite3.Connection, event: UserEvent) -> bool:
    """Write an event unless its id is there, with the rank of its item in the list that it answers. Whether it is new."""
    user, item, rank = _to_id(event.user), _to_id(event.item), event.rank
    if rank is None and event.request is not None:
        rank = (connection.execute(_FIND_RANK, (event.request, item)).fetchone() or (None,))[0]
    # In the types of the columns, since the checksum is of what will be read.
    rating = None if event.rating is None or math.isnan(event.rating) else float(event.rating)
    text, time, weight = str(event.event_type), int(event.time), float(event.weight)
    row = (str(event.id), user, item, text, time, weight, rating, event.request, None if rank is None else int(rank))
    return connection.execute(_INSERT_EVENT, (*row, seal_row(*row))).rowcount > 0


def _to_id(value: Id) -> Id:
    """An external id as SQLite keeps it."""
    return int(value) if isinstance(value, int | np.integer) else str(value)


def _open_database(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        check_format(path, connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        identifier = uuid.uuid4().hex
        insert = "INSERT INTO log SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM log)"
        connection.execute(insert, (identifier, seal_row(identifier)))
    except BaseException:
        connection.close()
        raise
    return connection


def _delete_old_lists(connection: sqlite3.Connection, retention: RetentionPolicy) -> None:
    """Delete served lists that are too old or too many. O(S + K log S) for K of S lists."""
    cutoff = "DELETE FROM served WHERE time < (SELECT max(time) FROM served) - ?"
    connection.execute(cutoff, (retention.max_days * _DAY,))
    surplus = connection.execute("SELECT count(*) FROM served").fetchone()[0] - retention.max_lists
    if surplus > 0:
        oldest = "DELETE FROM served WHERE request IN (SELECT request FROM served ORDER BY time LIMIT ?)"
        connection.execute(oldest, (surplus,))


def _translate_error(path: Path, error: BaseException) -> BaseException:
    if isinstance(error, sqlite3.DatabaseError | OSError):
        return make_source_error(path, error)
    if isinstance(error, OverflowError | UnicodeError):
        return DataError(f"An event must hold numbers of at most 64 bits and valid text. Got: {error}.")
    return error
