"""The event log of a worker: it writes through the owner of the log, and follows the stream of all events."""

import asyncio
import collections
import contextlib
import itertools
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, Protocol, TypeVar

from leanrec.data.vocabulary import Id
from leanrec.errors import BusyError, DataError, LeanrecError, SourceError
from leanrec.events.event_reader import EventReader
from leanrec.events.event_store import EventStore
from leanrec.events.records import AppendResult, DataOrigin, ForgottenUser, ServedList, StoredRules
from leanrec.events.user_events import UserEvent
from leanrec.pipeline.responses import AddItemsResult, RecordResult
from leanrec.serving.workers import messages
from leanrec.serving.workers.messages import decode_message, encode_message, make_error, read_message
from leanrec.serving.workers.reader_proxy import ReaderProxy

__all__ = ["ChangeResult", "RemoteEventStore", "StreamTarget", "bind_remotely"]

_WAIT_SECONDS = 10.0
_SILENT_SECONDS = 5.0  # the owner sends its status four times a second
_PAUSES = (0.02, 0.05, 0.1, 0.25, 0.5)  # seconds between two attempts to reach the owner
_WRITE_LISTS_EVERY = 0.02
_MAX_WAITING_LISTS = 20_000
_MAX_UNSENT = 32 * 2**20  # bytes

_Result = TypeVar("_Result")
_Stored = tuple[AppendResult, RecordResult]
ChangeResult = (
    AddItemsResult | tuple[Id, ...] | ForgottenUser | StoredRules
)  # of items, of hidden ones, of a user, of rules


class StreamTarget(Protocol):
    """What the stream of events and items changes.

    Attributes:
        as_of: sequence number of the last event that is applied.
    """

    as_of: int

    @property
    def n_forgotten(self) -> int:
        """Number of the last user who is forgotten."""

    async def apply_events(self, appended: AppendResult) -> RecordResult:
        """Apply the next events of the log."""

    async def apply_change(self, change: messages.Change) -> ChangeResult:
        """Apply a change of items or users. Raises LeanrecError if it cannot be applied."""

    def note_freshness(self, seconds: float) -> None:
        """Note how many seconds after their arrival events of any worker are applied."""


class _OwnerStatus:
    """What the owner has told about the log."""

    def __init__(self, name: str) -> None:
        self.free_bytes = self.wal_bytes = 0  # the owner has them in its own metrics
        self._name = name
        self._status, self._time = messages.LogStatus(0.0, None), time.monotonic()
        self.is_connected = False

    def update(self, status: messages.LogStatus) -> None:
        """Take what the owner tells."""
        self._status, self._time = status, time.monotonic()

    def waiting_seconds(self) -> float:
        """For how long the writer has worked on the same transaction, or the owner has said nothing."""
        silent = time.monotonic() - self._time
        return self._status.waiting + silent if self._status.waiting > 1 or silent > 1 else self._status.waiting

    def find_problem(self) -> SourceError | None:
        """Why events and items cannot be written; None if they can."""
        if not self.is_connected:
            return SourceError(
                f"The process that writes the event log {self._name} must answer. It does not; if it has ended, it is started "
                "again. Nothing of this write was stored: send it again with the same ids."
            )
        return None if self._status.problem is None else SourceError(self._status.problem)


class RemoteEventStore(ReaderProxy, EventStore):
    """The event log in a worker.

    Reads the log itself. What it writes goes to the owner of the log; what all workers have written comes back as one
    stream, in the order of the log, and only this stream changes the state of the worker. While the owner is away nothing
    can be written. Then the connection is made again, and the stream goes on after the last event that was applied.

    ``append_served``, ``add_items``, ``bind`` and ``collect_samples`` may be called in any thread but that of the event
    loop; the rest of the writing belongs to the loop.

    Attributes:
        n_lost: served lists that this worker could not hand over.
        guard: whether the log can be written.
    """

    def __init__(self, reader: EventReader, address: Path, *, keeps_lists: bool = True) -> None:
        """Prepare; ``start`` connects.

        Args:
            reader: reads the log.
            address: the Unix socket of the owner.
            keeps_lists: False: served lists are not logged.
        """
        super().__init__(reader)
        self._address, self._keeps_lists = address, keeps_lists
        self.n_lost = 0
        self.guard: _OwnerStatus = _OwnerStatus(self.name)
        self._client = 0
        self._numbers = itertools.count(1)
        self._pending: dict[int, tuple[asyncio.Future[Any], Sequence[UserEvent]]] = {}
        self._lists: collections.deque[ServedList] = collections.deque()
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(
        self,
        target: StreamTarget,
        list_samples: Callable[[], list[messages.Sample]] = list,
        wait: float | None = _WAIT_SECONDS,
    ) -> None:
        """Connect, and return when ``target`` has all events of the log, or after ``wait`` seconds without the owner.

        Args:
            target: what the stream changes.
            list_samples: the metrics of this worker, which are sent to the owner once a second.
            wait: seconds; None: as long as it takes.
        """
        self._loop, self._target, self._list_samples = asyncio.get_running_loop(), target, list_samples
        self._joined = asyncio.Event()
        self._tasks = [asyncio.ensure_future(self._follow()), asyncio.ensure_future(self._send_regularly())]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._joined.wait(), wait)

    async def stop(self) -> None:
        """Hand over the served lists that wait and the last metrics, and disconnect."""
        self._send_lists()
        if self._writer is not None:
            self._writer.write(encode_message(messages.PushSamples(self._list_samples())))
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(self._writer.drain(), _WAIT_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def submit(self, user_events: Sequence[UserEvent]) -> "asyncio.Future[_Stored]":
        """Write events. The future is done when they are on disk and all events up to the last of them are applied."""
        self._send_lists()  # those that an event of the batch may name
        return self._ask(lambda number: messages.AppendEvents(number, list(user_events), time.monotonic()), user_events)

    async def wait_async(self, done: "asyncio.Future[_Result]") -> "_Result":
        """The result of a write, which is not cancelled. Raises SourceError if it takes too long."""
        if not (await asyncio.wait((done,), timeout=_WAIT_SECONDS))[0]:
            raise self._make_timeout_error()
        return done.result()

    def append_served(self, served: ServedList) -> None:
        """Write a served list. Returns at once; lists that cannot be handed over are counted in ``n_lost``."""
        if self._keeps_lists:
            if len(self._lists) >= _MAX_WAITING_LISTS:
                self.n_lost += 1
            else:
                self._lists.append(served)

    def add_items(self, contents: Mapping[Id, Mapping[str, Any]]) -> AddItemsResult:
        """Write the content of items. Returns when they are on disk and this worker has them."""
        items = [(item, dict(content)) for item, content in contents.items()]
        result: AddItemsResult = self._ask_and_wait(lambda number: messages.ChangeLog(number, messages.AddItems(items)))
        return result

    def set_hidden(self, items: Sequence[Id], *, hidden: bool, by_stock: bool = False) -> tuple[Id, ...]:
        """Write that items are hidden, or shown again. Returns when it is on disk and this worker obeys it."""
        change = messages.HideItems(list(items), hidden, by_stock)
        changed: tuple[Id, ...] = self._ask_and_wait(lambda number: messages.ChangeLog(number, change))
        return changed

    def replace_list_rules(self, rules: str, revision: int) -> StoredRules:
        """Write rules of lists in the place of those with a revision. Returns when they are on disk and this worker obeys them."""
        stored: StoredRules = self._ask_and_wait(
            lambda number: messages.ChangeLog(number, messages.ReplaceRules(rules, revision))
        )
        return stored

    def forget_user(self, user: Id) -> ForgottenUser:
        """Forget a user. Returns when the id is in no file of the log and this worker has forgotten it."""
        forgotten: ForgottenUser = self._ask_and_wait(
            lambda number: messages.ChangeLog(number, messages.ForgetUser(user))
        )
        return forgotten

    def bind(self, origin: DataOrigin, *, rebind: bool = False) -> None:
        """Bind the log to a data set; see ``EventStore.bind``."""
        bind_remotely(self._address, origin, rebind=rebind)

    def collect_samples(self, samples: list[messages.Sample]) -> list[messages.Sample]:
        """The metrics of all processes, with these of this one. Raises SourceError while the owner is away."""
        collected: list[messages.Sample] = self._ask_and_wait(lambda number: messages.CollectSamples(number, samples))
        return collected

    def waiting_seconds(self) -> float:
        """For how long the writer of the log has worked on the same transaction."""
        return self.guard.waiting_seconds()

    def _ask_and_wait(self, build: Callable[[int], messages.Message]) -> Any:
        async def ask() -> Any:
            return await self.wait_async(self._ask(build))

        asking = ask()
        try:
            return asyncio.run_coroutine_threadsafe(asking, self._loop).result(2 * _WAIT_SECONDS)
        except (TimeoutError, CancelledError):
            raise self._make_timeout_error() from None
        except RuntimeError:  # the loop has ended, and with it this worker
            asking.close()
            raise self._make_timeout_error() from None

    def _ask(
        self, build: Callable[[int], messages.Message], user_events: Sequence[UserEvent] = ()
    ) -> "asyncio.Future[Any]":
        """Send a request. Raises SourceError if the owner is away, and BusyError if too much waits for it."""
        if self._writer is None:
            problem = self.guard.find_problem()
            raise problem if problem is not None else self._make_timeout_error()
        if self._writer.transport.get_write_buffer_size() > _MAX_UNSENT:
            raise BusyError(
                f"At most {_MAX_UNSENT} bytes may wait for the owner of the event log {self.name}. Nothing of this write was "
                "stored: send it again after a second."
            )
        number = next(self._numbers)
        frame = encode_message(build(number))
        done: asyncio.Future[Any] = self._loop.create_future()
        self._pending[number] = done, user_events
        done.add_done_callback(lambda _: self._pending.pop(number, None))
        self._writer.write(frame)
        return done

    def _make_timeout_error(self) -> SourceError:
        return SourceError(
            f"The owner of the event log {self.name} did not confirm a write. It may still be stored: send it again with "
            "the same ids."
        )

    async def _follow(self) -> None:
        """Follow the stream, and connect again whenever it ends."""
        pauses = iter(_PAUSES)
        while True:
            with contextlib.suppress(OSError, TimeoutError, LeanrecError):
                try:
                    opening = asyncio.open_unix_connection(str(self._address))
                    reader, writer = await asyncio.wait_for(opening, _WAIT_SECONDS)
                    try:
                        await self._follow_connection(reader, writer)
                    finally:
                        writer.close()
                finally:
                    if self.guard.is_connected:
                        pauses = iter(_PAUSES)
                    self._forget_connection()
            await asyncio.sleep(next(pauses, _PAUSES[-1]))

    async def _follow_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(encode_message(messages.JoinStream(os.getpid(), self._target.as_of, self._target.n_forgotten)))
        while True:
            wait = _SILENT_SECONDS if self.guard.is_connected else _WAIT_SECONDS
            message = await asyncio.wait_for(read_message(reader), wait)
            if message is None:
                return
            if isinstance(message, messages.Welcome):
                self._client, self._writer = message.client, writer
                self.guard.update(messages.LogStatus(0.0, None))
                self.guard.is_connected = True
                self._joined.set()
            else:
                await self._handle(message)

    async def _handle(self, message: messages.Message) -> None:
        match message:
            case messages.Appended():
                await self._apply(message)
            case messages.Changed(change, client, number):
                done, _ = self._find_request(client, number)
                try:
                    result = await self._target.apply_change(change)
                except LeanrecError as error:
                    _settle(done, error=error)
                    if isinstance(error, SourceError):  # it comes again when this worker joins again
                        raise
                else:
                    _settle(done, result)
            case messages.CollectedSamples(number, samples):
                _settle(self._find_request(self._client, number)[0], samples)
            case messages.Refused(number):
                _settle(self._find_request(self._client, number)[0], error=make_error(message))
            case messages.LogStatus():
                self.guard.update(message)
            case _:
                raise SourceError(f"The owner of a log must send answers. Got {type(message).__name__}.")

    async def _apply(self, message: messages.Appended) -> None:
        """Apply the next events of the log. Raises SourceError, which connects again, if some before them are missing."""
        done, sent = self._find_request(message.client, message.number)
        if self._target.as_of < message.after:
            raise SourceError(
                f"The events after {self._target.as_of} must come next. Got those up to {message.last_seq}."
            )
        first: dict[str, UserEvent] = {}
        for each in sent:  # the very objects, and of two with one id the first
            first.setdefault(each.id, each)
        # Numbers may be missing before the events of a message, and none behind the first.
        n_known = max(len(message.events) - max(message.last_seq - self._target.as_of, 0), 0)
        new = tuple([first.get(each.id, each) for each in message.events[n_known:]])
        appended = AppendResult(new, message.duplicates, message.last_seq)
        has_all = message.last_seq <= self._target.as_of
        recorded = RecordResult(0) if has_all else await self._target.apply_events(appended)
        if message.arrived and new:
            self._target.note_freshness(time.monotonic() - message.arrived)
        _settle(done, (appended, recorded))

    def _find_request(self, client: int, number: int) -> "tuple[asyncio.Future[Any] | None, Sequence[UserEvent]]":
        """The request that a message answers; none if it is an answer to another worker, or its client has given up."""
        return self._pending.get(number, (None, ())) if client == self._client else (None, ())

    def _forget_connection(self) -> None:
        self._client, self._writer, self.guard.is_connected = 0, None, False
        for done, _ in list(self._pending.values()):
            _settle(done, error=self._make_timeout_error())

    async def _send_regularly(self) -> None:
        """Send served lists at once, and the metrics once a second."""
        for step in itertools.count():
            await asyncio.sleep(_WRITE_LISTS_EVERY)
            self._send_lists()
            if step % 50 == 0 and self._writer is not None:
                self._writer.write(encode_message(messages.PushSamples(self._list_samples())))

    def _send_lists(self) -> None:
        if not self._lists or self._writer is None:
            return
        if self._writer.transport.get_write_buffer_size() > _MAX_UNSENT:
            return
        lists = [self._lists.popleft() for _ in range(len(self._lists))]
        try:
            self._writer.write(encode_message(messages.AppendLists(lists)))
        except DataError:  # an id of one of them is no valid text
            for each in lists:
                try:
                    self._writer.write(encode_message(messages.AppendLists([each])))
                except DataError:
                    self.n_lost += 1


def bind_remotely(address: Path, origin: DataOrigin, *, rebind: bool) -> None:
    """Bind the log to a data set through its owner, on a connection for this alone; see ``EventStore.bind``.

    Args:
        address: the Unix socket of the owner.
        origin: the data set.
        rebind: accept a log that is bound to other data.

    Raises SourceError if the log is bound to other data, or the owner does not answer in time.
    """
    end = time.monotonic() + _WAIT_SECONDS
    for pause in itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1])):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_WAIT_SECONDS)
            connection.connect(str(address))
            connection.sendall(encode_message(messages.BindLog(origin, rebind)))
            with connection.makefile("rb") as stream:
                answer = stream.read()
            if answer:
                message = decode_message(answer)
                if isinstance(message, messages.Refused):
                    raise make_error(message)
                return
        if time.monotonic() > end:
            break
        time.sleep(pause)
    raise SourceError(
        f"The process that writes the event log must answer within {_WAIT_SECONDS:g} s. It did not. Is the disk busy?"
    )


def _settle(done: "asyncio.Future[Any] | None", result: Any = None, *, error: BaseException | None = None) -> None:
    """Give a request its result, unless its client has given up."""
    if done is None or done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
        done.exception()  # its client may have given up
