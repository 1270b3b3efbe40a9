"""Owner of an event log that other servers write too: what they write is in the stream to the workers as well."""

import asyncio
import collections
import contextlib
import functools
import logging
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from leanrec.errors import LeanrecError
from leanrec.events.event_store import ClosableEventStore
from leanrec.events.shared_store import LogHead, SharedEventStore, split_runs
from leanrec.events.user_events import UserEvent
from leanrec.serving.monitoring.server_log import log_event
from leanrec.serving.workers import messages
from leanrec.serving.workers.messages import encode_message
from leanrec.serving.workers.store_owner import StoreOwner, WorkerClient

if TYPE_CHECKING:
    from concurrent.futures import Future

    from leanrec.events.records import AppendResult

__all__ = ["SharedStoreOwner", "make_owner"]

_EVENTS_OF_A_READ = 5000
_PAUSE = 1.0  # seconds after a failure
_LOOK_SECONDS = 0.02
_WAIT_SECONDS = 10.0


def make_owner(log: ClosableEventStore) -> StoreOwner:
    """The owner of an event log, which other servers may write too if it is a shared one."""
    return SharedStoreOwner(log) if isinstance(log, SharedEventStore) else StoreOwner(log)


class SharedStoreOwner(StoreOwner):
    """Writes what its workers send to a shared event log, and sends what all servers have stored to its workers.

    The stream is in the order of the log. A batch of a worker whose events follow events of other servers waits until these
    are read and sent.
    """

    def __init__(self, log: SharedEventStore) -> None:
        """Take the log, which the caller closes after ``run``."""
        super().__init__(log)
        self._shared = log
        self._head = self._told = log.read_head()  # of what is sent, and of what is stored as far as it is known
        self._published = self._head.last_seq
        self._n_writing = 0  # batches that are on their way to the log
        self._stored: collections.deque[tuple[WorkerClient, int, float, Future[AppendResult]]] = collections.deque()
        self._wake = asyncio.Event()

    def _list_work(self) -> list[Coroutine[Any, Any, None]]:
        self._shared.watch(functools.partial(self._call, self._notice))
        return [*super()._list_work(), self._follow()]

    def _notice(self, head: LogHead) -> None:
        self._told = LogHead(*map(max, self._told, head))
        self._wake.set()

    async def _follow(self) -> None:
        """Send what other servers have written, and the batches that wait for it."""
        is_failing = False
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._take_stored()
                is_failing = False
            except (LeanrecError, TimeoutError) as error:
                if not is_failing:
                    message = "What other servers have written was not read. It is tried again every second."
                    log_event("error", message, level=logging.WARNING, error=error)
                is_failing = True
                await asyncio.sleep(_PAUSE)
                self._wake.set()

    async def _take_stored(self) -> None:
        if self._told.revision > self._head.revision or self._told.n_forgotten > self._head.n_forgotten:
            await self._loop.run_in_executor(self._changes, self._take_changes)
        while self._stored:
            appended = self._stored[0][-1].result()
            await self._catch_up(appended.last_seq - len(appended.new))
            super()._publish_events(*self._stored.popleft())
        if not self._n_writing:  # else a batch, which comes later in the log, wakes this up
            await self._catch_up(self._told.last_seq)

    async def _catch_up(self, until: int) -> None:
        """Send the events of the log up to a number."""
        while self._published < until:
            stop = min(self._published + _EVENTS_OF_A_READ, until)
            read = functools.partial(self._shared.numbered_events, after=self._published, until=stop)
            for run in split_runs(await self._read(read)):
                self._send_events(run[-1][0], [event for _, event in run])
            self._send_events(stop, [])

    def _send_events(self, last: int, events: list[UserEvent]) -> None:
        """Send events up to a number, before the first of which numbers of forgotten users may be missing."""
        if last > self._published:
            self._send_all(encode_message(messages.Appended(self._published, last, events)))
            self._published = last

    def _take_changes(self) -> None:
        """Send the changes of other servers, in the thread of all changes, so that no older state overwrites a newer one."""
        before, head = self._head, self._shared.read_head()
        changes: list[messages.Change] = [
            messages.ForgetUser(None, each) for each in self._shared.forgotten_users(after=before.n_forgotten)
        ]
        if head.revision > before.revision:
            items, changed = (
                self._shared.changed_items(before.revision),
                self._shared.changed_visibility(before.revision),
            )
            changes += [messages.AddItems(items)] if items else []
            for hidden in (True, False):
                some = [item for item, is_hidden in changed if is_hidden == hidden]
                changes += [messages.HideItems(some, hidden)] if some else []
            stored = self._shared.list_rules()
            changes += [messages.ReplaceRules(stored.rules, stored.revision)] if stored.revision else []
        self._head = head
        for change in changes:
            self._call(self._send_all, encode_message(messages.Changed(change)))

    def _write_change(self, change: messages.Change) -> messages.Change:
        """Write a change, and note that it is sent unless others were written before it."""
        written = super()._write_change(change)
        with contextlib.suppress(LeanrecError):  # it is sent twice then, which changes nothing
            head, before = self._shared.read_head(), self._head
            if isinstance(written, messages.ForgetUser):
                is_next = written.forgotten is not None and head.n_forgotten == before.n_forgotten + 1
                self._head = before._replace(n_forgotten=head.n_forgotten) if is_next else before
            elif head.revision == before.revision + 1:
                self._head = before._replace(revision=head.revision)
        return written

    async def _join(self, client: WorkerClient) -> None:
        """Send a worker all that it lacks, after what it has read of the log already is sent to the others."""
        if client.joined.after > self._published:
            self._notice(await self._read(self._shared.read_head))
            async with asyncio.timeout(_WAIT_SECONDS):
                while self._published < min(client.joined.after, self._told.last_seq):  # noqa: ASYNC110 - others wait too
                    await asyncio.sleep(_LOOK_SECONDS)
        await super()._join(client)

    def _submit(self, events: Sequence[UserEvent]) -> "Future[AppendResult]":
        done = super()._submit(events)
        self._n_writing += 1
        return done

    def _publish_events(self, client: WorkerClient, number: int, arrived: float, done: "Future[AppendResult]") -> None:
        """Send a batch that is on disk to all workers, or let it wait for the events before it."""
        self._n_writing -= 1
        self._wake.set()
        appended = None if done.exception() is not None else done.result()
        if appended is not None and (self._stored or appended.last_seq - len(appended.new) > self._published):
            self._stored.append((client, number, arrived, done))
        else:
            super()._publish_events(client, number, arrived, done)
