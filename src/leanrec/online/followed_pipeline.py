"""Followed pipeline: a live pipeline that takes over what other processes have written to its log."""

from collections.abc import Mapping, Sequence
from typing import Any

from leanrec.data.vocabulary import Id, id_array
from leanrec.errors import LeanrecError
from leanrec.events.event_reader import build_item_table
from leanrec.events.event_store import EventStore
from leanrec.events.records import ForgottenUser, StoredRules
from leanrec.events.seals import find_forgotten
from leanrec.online.live_pipeline import LivePipeline
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.replay import ReplayResult, replay_items
from leanrec.pipeline.responses import AddItemsResult

__all__ = ["FollowedPipeline"]


class FollowedPipeline(LivePipeline):
    """A live pipeline that is told of changes which are in the log already. Each may be told more than once.

    Attributes:
        n_forgotten: number of the last user of the log who is forgotten here.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        log: EventStore,
        *,
        rebind: bool = False,
        replayed: ReplayResult | None = None,
        n_forgotten: int = 0,
    ) -> None:
        """Take the first version, as `LivePipeline` does.

        Args:
            pipeline: the pipeline.
            log: the event store, which the caller closes.
            rebind: accept a store that is bound to other data, because its ids mean the same users and items.
            replayed: what was replayed into the pipeline already; None = nothing.
            n_forgotten: number of the last user of the log who was forgotten before.
        """
        super().__init__(pipeline, log, rebind=rebind, replayed=replayed)
        self.n_forgotten = n_forgotten

    def take_items(self, contents: Mapping[Id, Mapping[str, Any]]) -> AddItemsResult:
        """Add items that are in the log. Raises LeanrecError if some cannot be added; the others are."""
        ids, table = list(contents), build_item_table(list(contents.values()))
        try:
            return LivePipeline.add_items(self, ids, table, persist=lambda: None)
        except LeanrecError:
            with self._adding_items:
                if sum(replay_items(each.pipeline, id_array(ids), table)[0] for each in self.versions):
                    self._record_early_events(ids)
            raise

    def take_hidden(self, items: Sequence[Id], *, hidden: bool) -> None:
        """Hide items that are hidden in the log, or show them again. Unknown ones are left out."""
        with self._hiding:
            for each in self.versions:
                act = each.pipeline.hide_items if hidden else each.pipeline.show_items
                act(items, replayed=True)

    def take_rules(self, stored: StoredRules) -> StoredRules:
        """Make lists by rules that are in the log, unless newer ones hold."""
        with self._hiding:
            self._take_rules(stored)
        return stored

    def take_forgotten(self, user: Id | None, forgotten: ForgottenUser) -> ForgottenUser:
        """Forget a user who is forgotten in the log; without an id it is found by its hash, O(U)."""
        users = [] if user is None else [user]
        for version in self.versions if user is None else ():
            known = id_array([each for each, _ in version.pipeline.find_users("", version.pipeline.n_users)])
            users += known[find_forgotten(known, self._log.id, [forgotten])].tolist()
        for each in {str(each): each for each in users}.values():
            self._apply_forgotten(each, forgotten)
        self.n_forgotten = max(self.n_forgotten, forgotten.number)
        self.snapshot_seq = 0  # also that of a user who is unknown here is gone
        return forgotten
