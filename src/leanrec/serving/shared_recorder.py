"""Shared recorder: writes events to a log that other servers write too, and applies those of all in its order."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

from leanrec.errors import LeanrecError
from leanrec.events.event_store import EventStore
from leanrec.events.records import AppendResult
from leanrec.events.shared_store import LogHead, SharedEventStore, split_runs
from leanrec.events.user_events import UserEvent
from leanrec.online.followed_pipeline import FollowedPipeline
from leanrec.online.live_pipeline import LivePipeline
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import RecordResult
from leanrec.serving.event_requests import EventRecorder
from leanrec.serving.monitoring.server_log import log_event
from leanrec.serving.prometheus import ServingMetrics

__all__ = ["SharedPipeline", "SharedRecorder", "follow_log"]

_PAUSE = 1.0  # seconds after a failure


class SharedPipeline(FollowedPipeline):
    """A live pipeline over a log that other servers write too.

    Attributes:
        shared: the log.
        head: how far the changes of items and users in the log are applied.
    """

    def __init__(self, pipeline: Pipeline, log: SharedEventStore, *, rebind: bool = False) -> None:
        """Take the first version; the events and items of the store are replayed into it, as by `LivePipeline`."""
        self.shared, self.head = log, log.read_head()
        super().__init__(pipeline, log, rebind=rebind, n_forgotten=self.head.n_forgotten)

    def take_changes(self, head: LogHead) -> None:
        """Apply the changes of items and users up to a head of the log. Raises SourceError if it cannot be read."""
        if head.n_forgotten > self.head.n_forgotten:
            for each in self.shared.forgotten_users(after=self.head.n_forgotten):
                self.take_forgotten(None, each)
        if head.revision > self.head.revision:
            contents = dict(self.shared.changed_items(self.head.revision))
            changed = self.shared.changed_visibility(self.head.revision)
            try:
                if contents:
                    self.take_items(contents)
            except LeanrecError as error:
                log_event("replay", f"New items of another server were skipped: {error}", level=logging.WARNING)
            self.take_hidden([item for item, hidden in changed if hidden], hidden=True)
            self.take_hidden([item for item, hidden in changed if not hidden], hidden=False)
            self.take_rules(self.shared.list_rules())
            if self.rules_problem is not None:
                log_event("rules", self.rules_problem, level=logging.WARNING)
        self.head = head


def follow_log(pipeline: Pipeline, log: EventStore, *, rebind: bool = False) -> LivePipeline:
    """The live pipeline of a server over its log, which it may share with others."""
    if isinstance(log, SharedEventStore):
        return SharedPipeline(pipeline, log, rebind=rebind)
    return LivePipeline(pipeline, log, rebind=rebind)


class SharedRecorder(EventRecorder):
    """Writes events to a shared log, and applies those of all servers in its order.

    A write applies what others have written before it first. What they write at other times is applied when the log tells of
    it, while ``following``.
    """

    def __init__(
        self, live: SharedPipeline, log: SharedEventStore, metrics: ServingMetrics, extra_event_types: Sequence[str]
    ) -> None:
        super().__init__(live, log, metrics, extra_event_types)
        self._shared, self._shared_live = log, live
        self._n_writing = 0
        self._told: LogHead | None = None
        self._wake = asyncio.Event()

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """A context in which what other servers write is applied."""
        loop = asyncio.get_running_loop()

        def tell(head: LogHead) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._notice, head)

        self._shared.watch(tell)
        following = asyncio.ensure_future(self._follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    def _notice(self, head: LogHead) -> None:
        self._told = head
        self._wake.set()

    async def _follow(self) -> None:
        is_failing = False
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._take(self._told or self._shared_live.head)
                is_failing = False
            except Exception as error:  # noqa: BLE001 - else nothing of other servers would be applied any more
                if not is_failing:
                    message = "What other servers have written was not applied. It is tried again every second."
                    log_event("error", message, level=logging.WARNING, error=error)
                is_failing = True
                await asyncio.sleep(_PAUSE)
                self._wake.set()

    async def _take(self, head: LogHead) -> None:
        """Apply changes and events up to a head of the log."""
        if head[1:] != self._shared_live.head[1:]:
            await asyncio.to_thread(self._shared_live.take_changes, head)
        if self.as_of < head.last_seq and not self._n_writing:  # else a write does so, and wakes this up
            async with self._applying:
                await self._catch_up(head.last_seq)

    async def _write(self, user_events: Sequence[UserEvent]) -> tuple[AppendResult, RecordResult]:
        self._n_writing += 1
        try:
            appended = await asyncio.wrap_future(self.log.submit(user_events))
            async with self._applying:
                await self._catch_up(appended.last_seq - len(appended.new))
                if appended.new and self.as_of >= appended.last_seq:
                    return appended, RecordResult(len(appended.new))
                return appended, await self.apply_events(appended)
        finally:
            self._n_writing -= 1
            self._wake.set()

    async def _catch_up(self, until: int) -> None:
        """Apply the events of the log up to a number, those of other servers and of this one."""
        if self.as_of >= until:
            return
        numbered = await asyncio.to_thread(self._shared.numbered_events, after=self.as_of, until=until)
        for run in split_runs(numbered):
            await self.apply_events(AppendResult(tuple(event for _, event in run), 0, run[-1][0]))
        self.as_of = max(self.as_of, until)
