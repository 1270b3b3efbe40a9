"""Event store in PostgreSQL: group commit in one thread, numbers in the order of commits, and a watch for other servers."""

import asyncio
import collections
import contextlib
import dataclasses
import functools
import json
import math
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from leanrec.data.vocabulary import Id
from leanrec.errors import SourceError
from leanrec.events.event_store import MAX_WAITING_LISTS
from leanrec.events.locations import hide_password
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
from leanrec.events.shared_store import LogHead, SharedEventStore
from leanrec.events.user_events import UserEvent
from leanrec.integrations.postgres import statements
from leanrec.integrations.postgres.connection import (
    ConnectionLimits,
    LoopThread,
    concerns_data,
    connect,
    translate_error,
)
from leanrec.integrations.postgres.reader import PostgresEventReader, build_user_event, drop_numbers
from leanrec.integrations.postgres.schema import create_tables

__all__ = ["PostgresEventStore"]

_Result = TypeVar("_Result")
_MAX_TRANSACTION_EVENTS = 20_000
_DELETE_EVERY = 1000  # served lists between two deletions of old ones
_WRITE_LISTS_EVERY = 0.02  # seconds
_POLL_EVERY = 1.0  # seconds between two looks where no notification comes
_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between two attempts to connect; the last is repeated
_FORGOTTEN_SECONDS = 60  # in which lists that were made before their user was forgotten may still arrive


@dataclasses.dataclass(frozen=True, eq=False)
class _Write:
    """What a transaction does besides others, and the future of its result: a function, or events."""

    write: Callable[[Any], Awaitable[Any]] | None
    done: "Future[Any]"
    events: Sequence[UserEvent] = ()


class _ServerState:
    """Whether the server answers. Free space is its operator's to watch, and not known here."""

    free_bytes = wal_bytes = math.nan

    def __init__(self) -> None:
        self.problems: dict[str, SourceError] = {}  # by connection

    def find_problem(self) -> SourceError | None:
        """Why nothing can be written; None if it can."""
        return next(iter(self.problems.values()), None)


class PostgresEventStore(PostgresEventReader, SharedEventStore):
    """User events, served lists and new items in PostgreSQL 13 or later, for several servers at a time.

    What waits is written in one transaction on one connection. Each transaction with events locks the row that numbers them, so
    that numbers become visible in their order and without holes, whichever server wrote them. ``append`` returns after the
    commit (``synchronous_commit=on``). While the server is away, writes fail at once, served lists wait, and a new connection
    is tried after pauses of at most 2 s.

    Thread-safe.

    Attributes:
        n_lost: served lists that were not written.
        guard: whether the server answers.
    """

    def __init__(
        self,
        url: str,
        retention: RetentionPolicy = RetentionPolicy(),
        limits: StorageLimits | None = None,  # noqa: ARG002 - the disk belongs to the server
        timeouts: ConnectionLimits = ConnectionLimits(),
    ) -> None:
        """Connect, and create the tables if there are none.

        Args:
            url: ``postgresql://user@host:port/database``; a password is better in PGPASSWORD or a file .pgpass.
            retention: how long served lists are kept.
            limits: not used: the free space of the server is its operator's.
            timeouts: time-outs.

        Raises SourceError if the server cannot be reached, or has a log of another version.
        """
        self.url = self.location = url
        self.limits, self.name = timeouts, hide_password(url)
        self.retention, self.n_lost, self.guard = retention, 0, _ServerState()
        self._writes: collections.deque[_Write] = collections.deque()
        self._served: collections.deque[ServedList] = collections.deque()
        self._forgotten: dict[str, float] = {}  # digests of users, and when they were seen
        self._n_served = 0
        self._n_waiting, self._counting = 0, threading.Lock()
        self._writing_since: float | None = None
        self._is_open = True
        self._head: LogHead | None = None
        self._watchers: list[Callable[[LogHead], None]] = []
        self._thread: LoopThread | None = None
        self._ask(functools.partial(create_tables, self.name))
        self._n_forgotten = self.read_head().n_forgotten
        assert self.id  # noqa: S101 - asked for before the thread needs it
        self._thread = LoopThread("leanrec-postgres")
        self._asked, self._asking = _KeptConnection(url, timeouts, {}, "questions"), asyncio.Lock()
        self._loop = self._thread.loop
        self._wake, self._look = asyncio.Event(), asyncio.Event()
        self._tasks = [asyncio.run_coroutine_threadsafe(work(), self._loop) for work in (self._run, self._watch)]

    def close(self) -> None:
        """Write what is waiting and close the connections. Calling it again does nothing."""
        with self._counting:
            was_open, self._is_open = self._is_open, False
        if was_open:
            self._loop.call_soon_threadsafe(self._wake.set)
            self._loop.call_soon_threadsafe(self._look.set)
            with contextlib.suppress(TimeoutError):
                self._tasks[0].result(self.limits.connect + 2 * self.limits.answer)
            self.n_lost += len(self._served)
            if self._thread is not None:
                self._thread.run(self._asked.end())
                self._thread.close()

    def bind(self, origin: DataOrigin, *, rebind: bool = False) -> None:
        """Bind the store to a data set; see ``check_origin``. An empty store drops its earlier bindings.

        Raises DataError if it is bound to other data and ``rebind`` is False.
        """
        if not rebind:
            self.check_origin(origin)
        self._wait(self._submit(functools.partial(statements.bind, origin)))

    def submit(self, user_events: Sequence[UserEvent]) -> "Future[AppendResult]":
        """Give events to the writer, as ``append`` does, without waiting."""
        return self._submit(None, user_events)

    def add_items(self, contents: Mapping[Id, Mapping[str, Any]]) -> None:
        """Write the content of items. Returns when it is on disk. That of an item that is there already is replaced."""
        rows = [(to_stored_id(item), json.dumps(content)) for item, content in contents.items()]
        self._wait(self._submit(functools.partial(statements.write_items, rows)))

    def set_hidden(self, items: Sequence[Id], *, hidden: bool, by_stock: bool = False) -> tuple[Id, ...]:
        """Write that items are hidden, or that they are shown again; see `EventStore.set_hidden`."""
        change = functools.partial(change_reasons, hidden=hidden, by_stock=by_stock)
        ids = [to_stored_id(item) for item in items]
        rows = self._wait(self._submit(functools.partial(statements.write_hidden, ids, change)))
        return tuple(item for item, reasons in rows if bool(reasons) == hidden)

    def replace_list_rules(self, rules: str, revision: int) -> StoredRules:
        """Write rules of lists in the place of those with a revision. Returns when they are on disk.

        Raises ConflictError if the log has another revision; see `StoredRules.replace`.
        """
        stored: StoredRules = self._wait(self._submit(functools.partial(statements.write_rules, rules, revision)))
        return stored

    def forget_user(self, user: Id) -> ForgottenUser:
        """Delete the events and served lists of a user in one transaction; 12 and "12" are one id.

        No query finds them from then on. The pages of the server keep the old rows until VACUUM, its write-ahead log until it
        is recycled, and archives and backups for as long as their operator keeps them.

        Raises SourceError if the server does not answer.
        """
        name = str(user)
        forget = functools.partial(statements.forget, name, digest_user(self.id, user))
        forgotten: ForgottenUser = self._wait(self._submit(forget))
        return forgotten

    def flush(self) -> None:
        """Return when all writes submitted so far are on disk."""
        self._wait(self._submit(_do_nothing))

    def read_head(self) -> LogHead:
        """How far the log has been written. Raises SourceError if the server does not answer."""
        return self._ask(statements.read_head)

    def watch(self, on_change: Callable[[LogHead], None]) -> None:
        """Call a function in another thread with the head of the log, and again soon after any server has written."""
        self._watchers.append(on_change)
        self._head = None
        self._loop.call_soon_threadsafe(self._look.set)

    def numbered_events(self, *, after: int, until: int) -> list[tuple[int, UserEvent]]:
        """Events of all servers with their sequence numbers, in order, from the one behind ``after`` up to ``until``."""
        blocks = self._read_blocks("event", after=after, until=until)
        return [(row[0], build_user_event(row[1:])) for rows in blocks for row in rows]

    def changed_items(self, after: int) -> list[tuple[Id, dict[str, Any]]]:
        """Items whose content was written after a revision, in the order in which they were added first."""
        rows = drop_numbers(self._read_blocks("item", where="revision > $3", arguments=(after,)))
        return [(item, json.loads(content)) for item, content in rows]

    def changed_visibility(self, after: int) -> list[tuple[Id, bool]]:
        """Items that were hidden (True) or shown again after a revision."""
        return [
            (item, bool(hidden))
            for item, hidden in drop_numbers(self._read_blocks("hidden", where="revision > $3", arguments=(after,)))
        ]

    def _ask(self, work: Callable[[Any], Awaitable[_Result]]) -> _Result:
        """The result of some work on a connection that is kept for questions, each of which waits for the one before."""
        if self._thread is None or not self._is_open:
            return super()._ask(work)
        return self._thread.run(self._ask_kept(work))

    async def _ask_kept(self, work: Callable[[Any], Awaitable[_Result]]) -> _Result:
        async with self._asking:
            if not await self._asked.prepare():
                raise self._asked.find_problem() or self._make_timeout_error()
            try:
                return await work(self._asked.connection)
            except Exception as error:
                self._asked.survives(error)
                raise translate_error(self.name, error) from error

    @property
    def longest_wait(self) -> float:
        """For the answer to a write: a connection, and the longest statement."""
        return self.limits.connect + self.limits.answer

    def _submit(self, write: Callable[[Any], Awaitable[Any]] | None, events: Sequence[UserEvent] = ()) -> "Future[Any]":
        job = _Write(write, Future(), events)
        job.done.set_running_or_notify_cancel()  # no caller can cancel it
        with self._counting:
            self._check_open()
            problem = self.guard.find_problem()
            if problem is not None:
                raise problem
            self._check_room(len(events), len(self._writes))
            self._n_waiting += len(events)
            self._writes.append(job)
        self._loop.call_soon_threadsafe(self._wake.set)
        return job.done

    async def _run(self) -> None:
        """Write what waits, until the store is closed and nothing waits."""
        async with _KeptConnection(self.url, self.limits, self.guard.problems, "writes") as kept:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _WRITE_LISTS_EVERY)
                self._wake.clear()
                # Lists that were served before a write was submitted are written before it.
                jobs, n_events = self._take_writes()
                self._writing_since = time.monotonic() if jobs or self._served else None
                if await kept.prepare():
                    await self._write_lists(kept)
                    await self._write(kept, jobs)
                else:
                    _refuse(jobs, self.guard.find_problem() or self._make_timeout_error())
                self._writing_since = None
                with self._counting:
                    self._n_waiting -= n_events
                    if not self._is_open and not self._writes:
                        return

    def _take_writes(self) -> tuple[list[_Write], int]:
        jobs, n_events = [], 0
        while self._writes and n_events < _MAX_TRANSACTION_EVENTS:
            jobs.append(self._writes.popleft())
            n_events += len(jobs[-1].events)
        if self._writes:
            self._wake.set()
        return jobs, n_events

    async def _write_lists(self, kept: "_KeptConnection") -> None:
        """Write the lists that wait, in a transaction of their own, and delete old ones from time to time."""
        lists = [self._served.popleft() for _ in range(len(self._served))]
        if not lists:
            return
        before, self._n_served = self._n_served, self._n_served + len(lists)
        step = min(_DELETE_EVERY, self.retention.max_lists)
        try:
            await self._write_list_part(kept, lists)
            if not before or before // step < self._n_served // step:
                await statements.delete_old_lists(kept.connection, self.retention)
        except Exception as error:  # noqa: BLE001 - a list that is written again replaces itself
            kept.drop(error)
            self._served.extendleft(reversed(lists[-MAX_WAITING_LISTS:]))

    async def _write_list_part(self, kept: "_KeptConnection", lists: Sequence[ServedList]) -> None:
        """Write lists; if the server refuses one of them, that one is counted."""
        sealed: list[tuple[ServedList, tuple[Any, ...]]] = []
        try:
            async with kept.connection.transaction():
                for number, digest in await statements.share_log(kept.connection, self._n_forgotten):
                    self._n_forgotten, self._forgotten[digest] = number, time.monotonic()
                sealed = self._seal_lists(lists)
                if sealed:
                    await statements.write_lists(kept.connection, [row for _, row in sealed])
        except Exception as error:
            if not concerns_data(error):
                raise
            if len(sealed) == 1:
                self.n_lost += 1
            else:
                for each, _ in sealed:
                    await self._write_list_part(kept, [each])

    def _seal_lists(self, lists: Sequence[ServedList]) -> list[tuple[ServedList, tuple[Any, ...]]]:
        """Lists and their rows, without those that were made before their user was forgotten, or shortly after."""
        now = time.monotonic()
        self._forgotten = {key: since for key, since in self._forgotten.items() if now < since + _FORGOTTEN_SECONDS}
        sealed = []
        for each in lists:
            try:
                row = build_list_row(each)
            except (TypeError, ValueError, OverflowError):  # an id that is no valid text
                self.n_lost += 1
                continue
            if not self._forgotten or each.user is None or digest_user(self.id, each.user) not in self._forgotten:
                sealed.append((each, (*row, seal_row(*row))))
        return sealed

    async def _write(self, kept: "_KeptConnection", jobs: list[_Write]) -> None:
        """Do all writes in one transaction; if the server refuses that, each in its own, so that a bad one fails alone."""
        if not jobs:
            return
        if not kept.is_usable:
            _refuse(jobs, self.guard.find_problem() or self._make_timeout_error())
            return
        try:
            results = await _write_all(kept.connection, jobs)
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits for the write
            if kept.survives(error) and len(jobs) > 1:
                for job in jobs:
                    await self._write(kept, [job])
            else:
                _refuse(jobs, translate_error(self.name, error))
            return
        for job, result in zip(jobs, results, strict=True):
            job.done.set_result(result)

    async def _watch(self) -> None:
        """Look at the head of the log when a server tells that it has written, and once a second."""
        async with _KeptConnection(self.url, self.limits, self.guard.problems, "reads") as kept:
            kept.on_notification = self._look.set
            while self._is_open:
                if await kept.prepare():
                    self._look.clear()
                    try:
                        head = await statements.read_head(kept.connection)
                    except Exception as error:  # noqa: BLE001 - a connection that fails is made again
                        kept.drop(error)
                    else:
                        if head != self._head:
                            self._head = head
                            for each in self._watchers:
                                each(head)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._look.wait(), _POLL_EVERY if kept.is_usable else _WRITE_LISTS_EVERY)


class _KeptConnection:
    """A connection that is made again after it fails, with pauses between the attempts."""

    def __init__(self, url: str, limits: ConnectionLimits, problems: dict[str, SourceError], role: str) -> None:
        self._url, self._limits, self._problems, self._role = url, limits, problems, role
        self.connection: Any = None
        self.on_notification: Callable[[], None] | None = None
        self._next_try, self._n_failed = 0.0, 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def end(self) -> None:
        """Close the connection at once."""
        if self.connection is not None:
            self.connection.terminate()
            self.connection = None

    @property
    def is_usable(self) -> bool:
        """Whether there is a connection."""
        return self.connection is not None and not self.connection.is_closed()

    async def prepare(self) -> bool:
        """Connect, if there is no connection and the pause is over. Returns whether there is one."""
        if self.connection is not None and self.connection.is_closed():
            self.connection = None
        if self.connection is None and time.monotonic() >= self._next_try:
            try:
                self.connection = await connect(self._url, self._limits)
                if self.on_notification is not None:
                    await self.connection.add_listener(statements.CHANNEL, lambda *_: self._notify())
            except Exception as error:  # noqa: BLE001 - told by `find_problem`
                self.drop(error)
            else:
                self._problems.pop(self._role, None)
                self._n_failed = 0
        return self.is_usable

    def drop(self, error: BaseException) -> None:
        """Close the connection after an error, and connect again after a pause."""
        if self.connection is not None:
            self.connection.terminate()
            self.connection = None
        self._next_try = time.monotonic() + _PAUSES[min(self._n_failed, len(_PAUSES) - 1)]
        self._n_failed += 1
        name, cause = hide_password(self._url), error.__cause__ or error
        if isinstance(cause, TimeoutError | OSError):
            self._problems[self._role] = SourceError(
                f"The event log {name} does not answer: {str(cause) or 'it takes too long'}. It is tried again every 2 s; what is "
                "written meanwhile is not stored, and can be sent again with the same ids."
            )
            return
        translated = translate_error(name, error)
        self._problems[self._role] = translated if isinstance(translated, SourceError) else SourceError(str(error))

    def find_problem(self) -> SourceError | None:
        """Why there was no connection at the last attempt."""
        return self._problems.get(self._role)

    def survives(self, error: BaseException) -> bool:
        """Whether the connection can be used after an error, which was that of a value. If not, it is dropped."""
        if concerns_data(error) and self.is_usable:
            return True
        self.drop(error)
        return False

    def _notify(self) -> None:
        if self.on_notification is not None:
            self.on_notification()


async def _write_all(connection: Any, jobs: Sequence[_Write]) -> list[Any]:
    """Do all writes in one transaction, which no other server writes beside."""
    async with connection.transaction():
        head = await statements.lock_log(connection)
        results: list[Any] = [None if job.write is None else await job.write(connection) for job in jobs]
        batches = [at for at, job in enumerate(jobs) if job.write is None]
        if batches:
            appended = await statements.append(connection, [jobs[at].events for at in batches], head.last_seq)
            for at, result in zip(batches, appended, strict=True):
                results[at] = result
    return results


async def _do_nothing(_: Any) -> None:
    return None


def _refuse(jobs: Sequence[_Write], error: BaseException) -> None:
    for job in jobs:
        job.done.set_exception(error)
