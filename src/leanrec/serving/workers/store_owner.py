"""Owner of the event log: the one process that writes it, and the stream of all events to the workers."""

import asyncio
import contextlib
import functools
import itertools
import socket
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import psutil

from leanrec.errors import LeanrecError, SourceError
from leanrec.events.event_store import ClosableEventStore
from leanrec.events.records import AppendResult
from leanrec.events.user_events import UserEvent
from leanrec.serving.workers import messages
from leanrec.serving.workers.messages import encode_message, read_message, refuse
from leanrec.serving.workers.shared_metrics import keep_counts, merge_samples

__all__ = ["StoreOwner", "WorkerClient"]

_WAIT_SECONDS = 10.0
_STATUS_SECONDS = 0.25
_EVENTS_OF_A_FRAME = 5000
_MAX_UNREAD = 64 * 2**20  # bytes that wait for a worker, about 300,000 events

_Result = TypeVar("_Result")


class WorkerClient:
    """The connection of a worker.

    Attributes:
        number: unique number of the connection.
        joined: the first message of the worker.
        waiting: frames that must be sent after the events of the log; None = they are sent at once.
    """

    def __init__(self, number: int, joined: messages.JoinStream, writer: asyncio.StreamWriter) -> None:
        self.number, self.joined, self._writer = number, joined, writer
        self.waiting: list[bytes] | None = []
        self._n_unread = 0

    def send(self, frame: bytes) -> None:
        """Send a frame in the order of the stream. A worker that does not read is disconnected."""
        if self.waiting is None:
            self._write(frame)
            return
        self._n_unread += len(frame)
        if self._n_unread > _MAX_UNREAD:
            self._writer.transport.abort()
        else:
            self.waiting.append(frame)

    async def send_now(self, message: messages.Message) -> None:
        """Send a message before those that wait. Raises TimeoutError if the worker does not read."""
        self._write(encode_message(message))
        await asyncio.wait_for(self._writer.drain(), _WAIT_SECONDS)

    def start_stream(self) -> None:
        """Send what waits, and from now on everything at once."""
        waiting, self.waiting = self.waiting or [], None
        for frame in waiting:
            self._write(frame)

    def _write(self, frame: bytes) -> None:
        self._writer.write(frame)
        if self._writer.transport.get_write_buffer_size() > _MAX_UNREAD:
            self._writer.transport.abort()


class StoreOwner:
    """Writes what the workers send to the event log, and sends every stored event and item to all of them.

    A batch is answered after it is on disk, by its events in the stream, which are in the order of their sequence numbers. A
    worker that joins gets the events of the log after the last one that it has. Each wait has a time limit.
    """

    def __init__(self, log: ClosableEventStore) -> None:
        """Take the log, which the caller closes after ``run``."""
        self.log = log
        self._published = log.last_seq
        self._clients: dict[int, WorkerClient] = {}
        self._numbers = itertools.count(1)
        self._talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._samples: dict[int, list[messages.Sample]] = {}  # of each process that lives
        self._ended: list[messages.Sample] = []  # of processes that have ended
        self._changes = ThreadPoolExecutor(1, "leanrec-items")  # one after the other, so that all see the same order
        self._reads = ThreadPoolExecutor(2, "leanrec-join")

    async def run(self, listener: socket.socket, stopping: asyncio.Event) -> None:
        """Serve workers on a listening Unix socket until ``stopping``, and then until they have left."""
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_unix_server(self._talk, sock=listener)
        working = [asyncio.ensure_future(each) for each in self._list_work()]
        try:
            await stopping.wait()
            server.close()
            await self._wait_for_talks()
        finally:
            server.close()
            for each in working:
                each.cancel()
            for writer in self._talks.values():
                writer.transport.abort()
            await self._wait_for_talks()
            # While the loop still runs, because the last writes tell it that they are done.
            await self._loop.run_in_executor(None, self.log.close)
            self._changes.shutdown()
            self._reads.shutdown()

    def _list_work(self) -> list[Coroutine[Any, Any, None]]:
        """What goes on while workers are served."""
        return [self._send_status()]

    async def _wait_for_talks(self) -> None:
        if self._talks:
            await asyncio.wait(self._talks, timeout=_WAIT_SECONDS)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Do what a worker asks for until it leaves. One that sends no message of ours ends its connection only."""
        task, number = asyncio.current_task(), next(self._numbers)
        assert task is not None  # noqa: S101 - a server calls this in a task
        self._talks[task] = writer
        try:
            with contextlib.suppress(OSError, TimeoutError, LeanrecError):
                joined = await asyncio.wait_for(read_message(reader), _WAIT_SECONDS)
                if isinstance(joined, messages.JoinStream):
                    client = WorkerClient(number, joined, writer)
                    await self._join(client)
                    while (message := await read_message(reader)) is not None:
                        self._handle(client, message)
                elif isinstance(joined, messages.BindLog):
                    writer.write(encode_message(await self._bind(joined)))
                    await asyncio.wait_for(writer.drain(), _WAIT_SECONDS)
        finally:
            self._clients.pop(number, None)
            del self._talks[task]
            writer.close()

    async def _join(self, client: WorkerClient) -> None:
        """Send a worker all that it lacks, and then what has arrived meanwhile."""
        joined, until = client.joined, self._published
        if joined.after > until:
            raise SourceError(f"A worker must have events of this log. It has {joined.after}, the log {until}.")
        self._clients[client.number] = client
        for change in await self._read(functools.partial(self._list_changes, joined.forgotten)):
            await client.send_now(messages.Changed(change))
        for start in range(joined.after, until, _EVENTS_OF_A_FRAME):
            stop = min(start + _EVENTS_OF_A_FRAME, until)
            events = await self._read(functools.partial(self.log.user_events, after=start, until=stop))
            await client.send_now(messages.Appended(start, stop, events))
        await client.send_now(messages.Welcome(client.number))
        client.start_stream()

    def _list_changes(self, n_forgotten: int) -> list[messages.Change]:
        """The users who were forgotten later, and all changes of items, of which each worker may have some."""
        users = [messages.ForgetUser(None, each) for each in self.log.forgotten_users(after=n_forgotten)]
        hidden, shown = list(self.log.hidden_items()), list(self.log.shown_items())
        changes = (
            messages.AddItems(self.log.item_contents()),
            messages.HideItems(hidden, hidden=True),
            messages.HideItems(shown, hidden=False),
        )
        stored = self.log.list_rules()
        rules = [messages.ReplaceRules(stored.rules, stored.revision)] if stored.revision else []
        return [*users, *(change for change in changes if change.items), *rules]

    async def _read(self, function: Callable[[], _Result]) -> _Result:
        """Read the log in a thread. Raises TimeoutError if the disk does not answer."""
        return await asyncio.wait_for(self._loop.run_in_executor(self._reads, function), _WAIT_SECONDS)

    def _handle(self, client: WorkerClient, message: messages.Message) -> None:
        """Begin what a worker asks for."""
        match message:
            case messages.AppendEvents(number, events, arrived):
                try:
                    done = self._submit(events)
                except LeanrecError as error:
                    client.send(encode_message(refuse(number, error)))
                    return
                # The store tells of its writes in the order of the log, and the loop keeps that order.
                done.add_done_callback(lambda done: self._call(self._publish_events, client, number, arrived, done))
            case messages.AppendLists(lists):
                for each in lists:
                    self.log.append_served(each)
            case messages.ChangeLog():
                changing = self._changes.submit(self._write_change, message.change)
                changing.add_done_callback(lambda done: self._call(self._publish_change, client, message, done))
            case messages.PushSamples(samples):
                self._samples[client.joined.process] = samples
            case messages.CollectSamples(number, samples):
                self._samples[client.joined.process] = samples
                parts = [self._ended, self._measure_log(), *self._samples.values()]
                client.send(encode_message(messages.CollectedSamples(number, merge_samples(parts))))
            case _:
                raise SourceError(f"A worker must send requests. Got {type(message).__name__}.")

    def _submit(self, events: Sequence[UserEvent]) -> "Future[AppendResult]":
        return self.log.submit(events)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function in the loop, from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it all connections
            self._loop.call_soon_threadsafe(function, *args)

    def _publish_events(self, client: WorkerClient, number: int, arrived: float, done: Future[AppendResult]) -> None:
        """Send a batch that is on disk to all workers."""
        if (error := done.exception()) is not None:
            client.send(encode_message(refuse(number, error)))
            return
        appended = done.result()
        last, new = appended.last_seq, list(appended.new)
        frame = encode_message(
            messages.Appended(last - len(new), last, new, appended.duplicates, client.number, number, arrived)
        )
        if not new:  # nothing for the others
            client.send(frame)
            return
        self._published = last
        self._send_all(frame)

    def _write_change(self, change: messages.Change) -> messages.Change:
        """Write a change to the log, and return it as the workers get it."""
        match change:
            case messages.AddItems(contents):
                self.log.add_items(dict(contents))
            case messages.HideItems(items, hidden, by_stock):
                changed = self.log.set_hidden(items, hidden=hidden, by_stock=by_stock)
                return messages.HideItems(list(changed), hidden)
            case messages.ForgetUser(user) if user is not None:
                return messages.ForgetUser(user, self.log.forget_user(user))
            case messages.ReplaceRules(rules, revision):
                stored = self.log.replace_list_rules(rules, revision)
                return messages.ReplaceRules(stored.rules, stored.revision)
        return change

    def _publish_change(self, client: WorkerClient, message: messages.ChangeLog, done: Future[messages.Change]) -> None:
        if (error := done.exception()) is not None:
            client.send(encode_message(refuse(message.number, error)))
        else:
            self._send_all(encode_message(messages.Changed(done.result(), client.number, message.number)))

    async def _bind(self, message: messages.BindLog) -> messages.Bound | messages.Refused:
        """Bind the log to a data set, after the changes that wait."""
        binding = self._loop.run_in_executor(
            self._changes, functools.partial(self.log.bind, message.origin, rebind=message.rebind)
        )
        try:
            await asyncio.wait_for(asyncio.shield(binding), _WAIT_SECONDS)
        except (LeanrecError, TimeoutError) as error:
            return refuse(0, error)
        return messages.Bound()

    def _send_all(self, frame: bytes) -> None:
        for client in self._clients.values():
            client.send(frame)

    async def _send_status(self) -> None:
        """Tell all workers how the log does, and keep the counts of processes that have ended."""
        while True:
            connected = {client.joined.process for client in self._clients.values()}
            for process in [each for each in self._samples if each not in connected and not psutil.pid_exists(each)]:
                # So that no sum ever falls.
                self._ended = merge_samples([self._ended, keep_counts(self._samples.pop(process))])
            problem = self.log.guard.find_problem()
            self._send_all(
                encode_message(
                    messages.LogStatus(self.log.waiting_seconds(), None if problem is None else str(problem))
                )
            )
            await asyncio.sleep(_STATUS_SECONDS)

    def _measure_log(self) -> list[messages.Sample]:
        gauges = {
            "leanrec_log_free_bytes": self.log.guard.free_bytes,
            "leanrec_log_wal_bytes": self.log.guard.wal_bytes,
        }
        lost = ("leanrec_lists_lost", "leanrec_lists_lost_total", (), self.log.n_lost)
        return [lost, *((name, name, (), value) for name, value in gauges.items())]
