"""What the stream of a worker changes: its pipeline, and its recorder of events."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from leanrec.data.table import Table
from leanrec.data.vocabulary import Id
from leanrec.events.records import AppendResult, ForgottenUser, StoredRules
from leanrec.events.user_events import UserEvent
from leanrec.online.followed_pipeline import FollowedPipeline
from leanrec.pipeline.lists.rules import ListRules
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.replay import ReplayResult
from leanrec.pipeline.responses import AddItemsResult, RecordResult
from leanrec.serving.event_requests import EventRecorder
from leanrec.serving.monitoring.server_log import log_event
from leanrec.serving.prometheus import ServingMetrics
from leanrec.serving.workers.messages import Change, ForgetUser, HideItems, ReplaceRules
from leanrec.serving.workers.remote_store import ChangeResult, RemoteEventStore

__all__ = ["StreamRecorder", "StreamedPipeline"]


class _CheckedError(Exception):
    """Ends a check before anything is changed."""


class StreamedPipeline(FollowedPipeline):
    """The pipeline of a worker, which only the stream changes.

    A change is checked, goes to the log, and comes back to all workers in the same order.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        log: RemoteEventStore,
        replayed: ReplayResult,
        *,
        n_forgotten: int = 0,
    ) -> None:
        """Take a pipeline into which the log was replayed before the workers were started.

        Args:
            pipeline: the pipeline.
            log: the log of this worker.
            replayed: what was replayed.
            n_forgotten: number of the last user of the log who was forgotten then.
        """
        super().__init__(pipeline, log, replayed=replayed, n_forgotten=n_forgotten)
        self._remote = log

    def add_items(self, ids: list[Id], table: Table, *, persist: Callable[[], Any]) -> AddItemsResult:
        """Add new items to the log and all workers; see ``Pipeline.add_items``."""
        _check_only(lambda stop: self.pipeline.add_items(ids, table, persist=stop))
        result: AddItemsResult = persist()
        return result

    def set_hidden(self, items: Sequence[Id], *, hidden: bool, by_stock: bool = False) -> None:
        """Hide items in the log and all workers, or show them again. Raises UnknownIdError."""
        change = self.pipeline.hide_items if hidden else self.pipeline.show_items
        _check_only(lambda stop: change(items, persist=stop))
        self._remote.set_hidden(items, hidden=hidden, by_stock=by_stock)

    def replace_rules(self, rules: ListRules, revision: int) -> StoredRules:
        """Make all lists by these rules in the log and all workers. Raises as `LivePipeline.replace_rules` does."""
        self._check_rules(rules)
        return self._remote.replace_list_rules(rules.to_json(), revision)

    def forget_user(self, user: Id) -> ForgottenUser:
        """Forget a user in the log and all workers."""
        return self._remote.forget_user(user)

    def apply_change(self, change: Change) -> ChangeResult:
        """Apply a change that is in the log. Raises LeanrecError if some of it cannot be applied; the rest is."""
        if isinstance(change, ForgetUser):
            assert change.forgotten is not None  # noqa: S101 - what comes back is in the log
            return self.take_forgotten(change.user, change.forgotten)
        if isinstance(change, HideItems):
            self.take_hidden(change.items, hidden=change.hidden)
            return tuple(change.items)
        if isinstance(change, ReplaceRules):
            stored = self.take_rules(StoredRules(change.revision, change.rules))
            if self.rules_problem is not None:
                log_event("rules", self.rules_problem, level=logging.WARNING)
            return stored
        return self.take_items(dict(change.items))


def _check_only(change: Callable[[Callable[[], None]], object]) -> None:
    """Begin a change up to the moment in which it would be written. Raises what is wrong with it."""

    def stop() -> None:
        raise _CheckedError

    try:
        change(stop)
    except _CheckedError:
        return


class StreamRecorder(EventRecorder):
    """Writes events through the owner of the log; applies those of all workers as they come back in the stream."""

    def __init__(
        self,
        live: StreamedPipeline,
        log: RemoteEventStore,
        metrics: ServingMetrics,
        extra_event_types: Sequence[str],
    ) -> None:
        super().__init__(live, log, metrics, extra_event_types)
        self._streamed, self._remote = live, log

    async def _write(self, user_events: Sequence[UserEvent]) -> tuple[AppendResult, RecordResult]:
        return await self._remote.submit(user_events)

    def _note_stored(self, seconds: float) -> None:
        """Do nothing, because every worker notes all events as they come back in the stream."""

    async def apply_events(self, appended: AppendResult) -> RecordResult:
        """Apply the next events of the log. A defect is reported, and the stream goes on."""
        try:
            return await super().apply_events(appended)
        except Exception as error:  # noqa: BLE001 - else the same events would come again for ever
            self.as_of = max(self.as_of, appended.last_seq)
            message = f"Events up to {appended.last_seq} were not applied."
            log_event("error", message, level=logging.ERROR, error=error)
            return RecordResult(0)

    @property
    def n_forgotten(self) -> int:
        """Number of the last user who is forgotten."""
        return self._streamed.n_forgotten

    async def apply_change(self, change: Change) -> ChangeResult:
        """Apply a change of items or users, in a thread because a model may take long to take over new ones."""
        return await asyncio.to_thread(self._streamed.apply_change, change)
