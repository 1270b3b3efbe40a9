"""Event store in one SQLite file (WAL mode, one writer thread); an accepted event is on disk."""

import collections
import contextlib
import dataclasses
import json
import queue
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from leanrec.data.vocabulary import Id
from leanrec.errors import DataError, SourceError
from leanrec.events.event_store import ClosableEventStore
from leanrec.events.lock import FileLock
from leanrec.events.records import (
    AppendResult,
    DataOrigin,
    ForgottenUser,
    RetentionPolicy,
    ServedList,
    StorageLimits,
    StoredRules,
)
from leanrec.events.rows import build_list_row, change_reasons, to_stored_id
from leanrec.events.seals import digest_user, seal_row
from leanrec.events.sqlite_reader import (
    SQLiteEventReader,
    find_last_seq,
    make_source_error,
)
from leanrec.events.sqlite_statements import append_batches, delete_old_lists, insert_lists, open_database
from leanrec.events.storage_guard import StorageGuard
from leanrec.events.user_events import UserEvent, to_milliseconds

__all__ = ["SQLiteEventStore"]

_BATCH_SIZE = 512
_MAX_TRANSACTION_EVENTS = 20_000  # about 0.2 s; later jobs wait for the next transaction
_WAIT_SECONDS = 10  # for a write; a disk that hangs must not hold the threads of a server
_LOOK_EVERY = 1.0  # seconds between two looks at the disk, if nothing is written
_LOOK_WRITING_EVERY = 0.05  # and if something is
_WRITE_LISTS_EVERY = 0.02  # seconds; a transaction with many lists costs little more than one with one
_DELETE_EVERY = 1000  # served lists between two deletions of old ones
_CHECKPOINT_MILLISECONDS = 2000  # to wait for the readers of the old rows of a forgotten user
_FORGOTTEN_SECONDS = 60  # in which lists that were made before their user was forgotten may still arrive

_WriteFunction = Callable[[sqlite3.Connection], Any]


@dataclasses.dataclass(frozen=True)
class _WriteJob:
    """What the writer does, and the future of its result: a function, or a batch of events, which are written together.

    ``adds`` tells whether it needs space on the disk.
    """

    write: _WriteFunction | None
    done: "Future[Any]"
    events: Sequence[UserEvent] = ()
    adds: bool = True


class SQLiteEventStore(SQLiteEventReader, ClosableEventStore):
    """User events, served lists and new items in one SQLite file.

    One thread does all writes and puts what is waiting into one transaction. ``append`` returns after that
    transaction is on disk (``synchronous=FULL``: it survives kill -9 and loss of power). Serving a list does not wait
    for the disk, but the list is written before any later event that refers to it.

    Thread-safe. A file lock keeps a second server out; other processes can read the file with ``SQLiteEventReader``.
    """

    def __init__(
        self,
        path: str | Path,
        retention: RetentionPolicy = RetentionPolicy(),
        limits: StorageLimits | None = None,
        measure_free: Callable[[Path], int] | None = None,
    ) -> None:
        """Open the file or create it.

        Args:
            path: the file.
            retention: how long served lists are kept.
            limits: how much space is left on the disk; None = the defaults.
            measure_free: gives the free bytes of the disk of a folder; default: ask the operating system.

        Raises SourceError if it is something else, cannot be written, or is in use by another server.
        """
        self.path = self.location = Path(path)
        self.name, self.retention = str(path), retention
        self.n_lost = 0
        self._n_served = 0
        self._clock_offset = time.time() - time.monotonic()  # of the time now, whatever is done to the clock later
        self._n_waiting = 0  # events
        self._writing_since: float | None = None
        self._served: collections.deque[ServedList] = collections.deque()
        self._forgotten: dict[int, float] = {}  # hashes of ids, and when; for the writer
        self._file: tuple[int, int] | None = None  # device and inode of the open file
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path)
            self.guard = StorageGuard(self.path, limits or StorageLimits(), measure_free)
        except (OSError, ValueError) as error:
            raise error if isinstance(error, SourceError) else make_source_error(self.path, error) from error
        self._jobs: queue.SimpleQueue[_WriteJob | None] = queue.SimpleQueue()
        self._submitting = threading.Lock()
        self._last_seq: int | None = None  # for the writer; None: it is in the file
        self._is_open = True
        ready: Future[None] = Future()
        self._writer = threading.Thread(target=self._run_writer, args=(ready,), name="leanrec-log", daemon=True)
        self._writer.start()
        try:
            ready.result()
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Write what is waiting and close the file. Calling it again does nothing."""
        with self._submitting:
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

        Raises DataError if the store is bound to other data and ``rebind`` is False.
        """
        if not rebind:
            self.check_origin(origin)
        is_empty = self.is_empty

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

    def submit(self, user_events: Sequence[UserEvent]) -> "Future[AppendResult]":
        """Give events to the writer, as ``append`` does, without waiting. The future is done when they are on disk."""
        return self._submit(None, user_events)

    def add_items(self, contents: Mapping[Id, Mapping[str, Any]]) -> None:
        """Write the content of items, for a later restart of the server. Returns when they are on disk.

        The content of an item that is there already is replaced.
        """
        rows = [(to_stored_id(item), json.dumps(content)) for item, content in contents.items()]
        insert = """
            INSERT INTO item (id, content, checksum) VALUES (?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET content = excluded.content, checksum = excluded.checksum
        """

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(insert, [(*row, seal_row(*row)) for row in rows])

        self._wait(self._submit(write))

    def set_hidden(self, items: Sequence[Id], *, hidden: bool, by_stock: bool = False) -> tuple[Id, ...]:
        """Write that items are hidden, or that they are shown again; see `EventStore.set_hidden`."""
        ids = [to_stored_id(item) for item in items]
        insert = """
            INSERT INTO hidden (id, hidden, checksum) VALUES (?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET hidden = excluded.hidden, checksum = excluded.checksum
        """
        find = "SELECT id, hidden, checksum FROM hidden WHERE id IN (SELECT value FROM json_each(?))"

        def write(connection: sqlite3.Connection) -> tuple[Id, ...]:
            before: dict[Id, int] = dict(self._read(connection, find, (json.dumps(ids),)))
            rows = [(item, change_reasons(before.get(item, 0), hidden=hidden, by_stock=by_stock)) for item in ids]
            connection.executemany(insert, [(*row, seal_row(*row)) for row in rows])
            return tuple(item for item, reasons in rows if bool(reasons) == hidden)

        changed: tuple[Id, ...] = self._wait(self._submit(write))
        return changed

    def replace_list_rules(self, rules: str, revision: int) -> StoredRules:
        """Write rules of lists in the place of those with a revision. Returns when they are on disk.

        Raises ConflictError if the store has another revision; see `StoredRules.replace`.
        """

        def write(connection: sqlite3.Connection) -> StoredRules:
            changed = self._read_rules(connection).replace(rules, revision)
            connection.execute("DELETE FROM list_rules")
            connection.execute("INSERT INTO list_rules VALUES (?, ?, ?)", (*changed, seal_row(*changed)))
            return changed

        stored: StoredRules = self._wait(self._submit(write))
        return stored

    def forget_user(self, user: Id) -> ForgottenUser:
        """Delete the events and served lists of a user. At the return the id is in none of the files of the store.

        The id may come again, as that of a new user; 12 and "12" are one id. Forgetting is atomic: after a crash all is
        deleted or nothing. To forget a user again completes what a crash has interrupted. Cost: one pass over the
        events, during which other writes go on, and one over the served lists.

        Raises SourceError if the file cannot be written, or if another program has been reading it for so long that the
        write-ahead log still has the deleted rows.
        """
        is_user = "CAST(user AS TEXT) = ?"
        name = str(user)
        with self._connect() as connection:
            until = find_last_seq(connection)
            select = f"SELECT json_group_array(seq) FROM event WHERE seq <= ? AND {is_user}"  # noqa: S608
            found = connection.execute(select, (until, name)).fetchone()[0]
        digest = digest_user(self.id, user)

        def write(connection: sqlite3.Connection) -> ForgottenUser:
            deletions = (
                ("DELETE FROM event WHERE seq IN (SELECT value FROM json_each(?))", (found,)),
                (f"DELETE FROM event WHERE seq > ? AND {is_user}", (until, name)),  # noqa: S608
            )
            last = find_last_seq(connection)
            n_events = sum(connection.execute(*each).rowcount for each in deletions)
            connection.execute(f"DELETE FROM served WHERE {is_user}", (name,))  # noqa: S608
            self._forgotten[hash(name)] = time.monotonic()
            number = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM forgotten").fetchone()[0]
            before = connection.execute("SELECT n_events FROM forgotten WHERE digest = ?", (digest,)).fetchone()
            connection.execute("DELETE FROM forgotten WHERE digest = ?", (digest,))
            row = (number, digest, n_events + (0 if before is None else before[0]), last)
            connection.execute("INSERT INTO forgotten VALUES (?, ?, ?, ?, ?)", (*row, seal_row(*row)))
            return ForgottenUser(number, digest, n_events, last)

        forgotten: ForgottenUser = self._wait(self._submit(write, adds=False))
        with self._connect() as connection:
            connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_MILLISECONDS}")
            is_blocked = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        snapshot = self.snapshot_path
        for folder in (snapshot, *snapshot.parent.glob(f".{snapshot.name}-*")):  # also what a crash has left
            shutil.rmtree(folder, ignore_errors=True)
        if is_blocked:
            raise SourceError(
                f"The user was deleted from the event log {self.path}, but {self.path.name}-wal still has the old rows, because "
                "another program is reading the log. End that program, and forget the user again."
            )
        return forgotten

    def flush(self) -> None:
        """Return when all writes submitted so far are on disk."""
        self._wait(self._submit(lambda _: None, adds=False))

    def _submit(
        self, write: _WriteFunction | None, events: Sequence[UserEvent] = (), *, adds: bool = True
    ) -> "Future[Any]":
        job = _WriteJob(write, Future(), events, adds)
        job.done.set_running_or_notify_cancel()  # no caller can cancel it
        with self._submitting:
            self._check_open()
            self._check_room(len(events), self._jobs.qsize())
            self._n_waiting += len(events)
            self._jobs.put(job)
        return job.done

    @property
    def longest_wait(self) -> float:
        """Seconds after which a disk that does not answer is no longer waited for."""
        return _WAIT_SECONDS

    @contextlib.contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        self.flush()
        with super()._connect() as connection:
            yield connection

    def _run_writer(self, ready: "Future[None]") -> None:
        try:
            connection = open_database(self.path)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that opens the store, which waits for it
            ready.set_exception(_translate_error(self.path, error))
            return
        status = self.path.stat()
        self._file = (status.st_dev, status.st_ino)
        ready.set_result(None)
        looked = 0.0
        with contextlib.closing(connection):
            self.guard.prepare(connection)
            while True:
                try:
                    waiting = [self._jobs.get(timeout=_WRITE_LISTS_EVERY), *_take_waiting(self._jobs)]
                except queue.Empty:
                    waiting = []
                now, is_writing = time.monotonic(), bool(waiting or self._served)
                if is_writing:
                    self._writing_since = now
                if now >= looked + (_LOOK_WRITING_EVERY if is_writing else _LOOK_EVERY):
                    self._writing_since = looked = now
                    self.guard.look(connection)
                # Lists that were served before a job was submitted are written before it.
                jobs = [*self._take_served(), *(job for job in waiting if job is not None)]
                self._write_jobs(self._refuse_jobs(jobs), connection)
                self._writing_since = None
                if jobs:
                    with self._submitting:
                        self._n_waiting -= sum(len(job.events) for job in jobs)
                if waiting and waiting[-1] is None:
                    return

    def _refuse_jobs(self, jobs: list[_WriteJob]) -> list[_WriteJob]:
        """The jobs that may be done; the futures of the others get an error."""
        problem = self.guard.find_problem()
        for job in jobs:
            if problem is not None and job.adds:
                job.done.set_exception(problem)
        return [job for job in jobs if not job.done.done()]

    def _take_served(self) -> "list[_WriteJob]":
        """A job that writes the lists that wait; none if there are none, or if the disk has too little space for them."""
        rows = []
        if not self.guard.takes_lists:
            n_dropped = len(self._served)
            for _ in range(n_dropped):
                self._served.popleft()
            self.n_lost += n_dropped
            return []
        latest = [self._served.popleft() for _ in range(len(self._served))]
        if self._forgotten:
            latest = self._drop_forgotten(latest)
        for each in latest:
            try:
                row = build_list_row(each)
                rows.append((*row, seal_row(*row)))
            except (TypeError, ValueError, OverflowError):  # an id that is no valid text
                self.n_lost += 1
        if not rows:
            return []
        before = self._n_served
        self._n_served += len(rows)
        step = min(_DELETE_EVERY, self.retention.max_lists)

        def write(connection: sqlite3.Connection) -> None:
            insert_lists(connection, rows)
            if not before or before // step < self._n_served // step:
                now = min(time.time(), self._clock_offset + time.monotonic())
                delete_old_lists(connection, self.retention, to_milliseconds(now))

        def count_lost(done: "Future[Any]") -> None:
            self.n_lost += len(rows) * (done.exception() is not None)

        job = _WriteJob(write, Future())
        job.done.add_done_callback(count_lost)
        return [job]

    def _drop_forgotten(self, latest: list[ServedList]) -> list[ServedList]:
        """The lists without those that were made before their user was forgotten, or shortly after."""
        now = time.monotonic()
        self._forgotten = {key: since for key, since in self._forgotten.items() if now < since + _FORGOTTEN_SECONDS}
        return [each for each in latest if hash(str(each.user)) not in self._forgotten]

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
        if not jobs:
            return
        try:
            self._check_file()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                results: list[Any] = [None if job.write is None else job.write(connection) for job in jobs]
                batches = [at for at, job in enumerate(jobs) if job.write is None]
                last = find_last_seq(connection) if self._last_seq is None else self._last_seq
                appended = append_batches(connection, [jobs[at].events for at in batches], last)
                for at, result in zip(batches, appended, strict=True):
                    results[at], last = result, result.last_seq
            self._last_seq = last
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits for the job
            if len(jobs) > 1:
                for job in jobs:
                    self._write_jobs([job], connection)
                return
            jobs[0].done.set_exception(_translate_error(self.path, error))
            return
        for job, result in zip(jobs, results, strict=True):
            job.done.set_result(result)


def _take_waiting(jobs: "queue.SimpleQueue[_WriteJob | None]") -> "Iterator[_WriteJob | None]":
    """The jobs that wait right now, up to a batch. None, the signal to stop, comes last."""
    n_events = 0
    for _ in range(min(_BATCH_SIZE, jobs.qsize())):
        job = jobs.get_nowait()
        yield job
        n_events += 0 if job is None else len(job.events)
        if job is None or n_events >= _MAX_TRANSACTION_EVENTS:
            return


def _translate_error(path: Path, error: BaseException) -> BaseException:
    if isinstance(error, sqlite3.DatabaseError | OSError):
        return make_source_error(path, error)
    if isinstance(error, OverflowError | UnicodeError):
        return DataError(f"An event must hold numbers of at most 64 bits and valid text. Got: {error}.")
    return error
