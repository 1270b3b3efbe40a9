"""Live pipeline: the version that answers requests, replaced by another one without a dropped or mixed answer."""

import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

from leanrec.data.table import Table
from leanrec.data.vocabulary import Id
from leanrec.errors import LeanrecError
from leanrec.events.event_store import EventStore
from leanrec.events.records import ForgottenUser
from leanrec.events.user_events import UserEvent, to_events
from leanrec.online.version_store import VersionStore
from leanrec.pipeline.log_snapshot import save_snapshot
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.replay import ReplayResult, bind_log, replay_hidden
from leanrec.pipeline.responses import AddItemsResult, RecordResult

__all__ = ["LivePipeline", "LiveVersion", "VersionFollower"]


@dataclasses.dataclass(frozen=True, eq=False)
class LiveVersion:
    """What answers a request. A request that keeps it to its end sees one version.

    Attributes:
        pipeline: the pipeline.
        n_replayed: the first events of the log, which the pipeline has from the start.
    """

    pipeline: Pipeline
    n_replayed: int


class LivePipeline:
    """The current version of a pipeline over an event store, and what changes it.

    Events and new items go to the store first and then to the version that is current, each event exactly once, also
    while another version takes over. Thread-safe.

    Attributes:
        replayed: result of the replay into the first version.
        current: the version that answers requests.
        snapshot_seq: sequence number of the last event in the snapshot of the log, 0 if there is none.
    """

    def __init__(
        self, pipeline: Pipeline, log: EventStore, *, rebind: bool = False, replayed: ReplayResult | None = None
    ) -> None:
        """Take the first version; the events and items of the store are replayed into it.

        Args:
            pipeline: the pipeline.
            log: the event store, which the caller closes.
            rebind: accept a store that is bound to other data, because its ids mean the same users and items.
            replayed: what was replayed into the pipeline already; None = nothing.

        Raises SourceError if the store is bound to other data and ``rebind`` is False.
        """
        self._log, self._rebind = log, rebind
        self._recording = threading.Lock()
        self._adding_items = threading.Lock()
        self._hiding = threading.Lock()
        self._forgetting = threading.Lock()
        # Ids whose events up to a sequence number were deleted from the store while they were on their way here.
        self._forgotten: dict[str, int] = {}
        self.replayed = bind_log(pipeline, log, rebind=rebind) if replayed is None else replayed
        self.current = LiveVersion(pipeline, self.replayed.last_seq)
        self._last_seq = self.replayed.last_seq  # of what is recorded
        self._state, self.snapshot_seq = self.replayed.state, self.replayed.snapshot_seq
        self._has_rejected = bool(
            self.replayed.rejected or self.replayed.rejected_before
        )  # events of items that may be added later

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline of the current version."""
        return self.current.pipeline

    @property
    def last_seq(self) -> int:
        """Sequence number of the last event that is recorded."""
        return self._last_seq

    def save_snapshot(self) -> None:
        """Write the state of the histories beside the event store; see ``leanrec.pipeline.log_snapshot``.

        Forgetting a user and changing the version wait for it. Raises ArtifactError and SourceError.
        """
        with self._forgetting:
            if self._state is not None:
                last = self._log.last_seq
                self._state = save_snapshot(self.pipeline, self._log, self._state)
                self.snapshot_seq = last

    def record(self, user_events: Sequence[UserEvent], last_seq: int) -> RecordResult:
        """Record events that are in the store. Those that the current version has replayed are not recorded again.

        Args:
            user_events: events that follow each other in the store.
            last_seq: sequence number of the last of them.
        """
        with self._recording:
            current, first = self.current, last_seq - len(user_events) + 1
            kept = list(range(max(0, current.n_replayed + 1 - first), len(user_events)))
            if self._forgotten:
                kept = [at for at in kept if first + at > self._forgotten.get(str(user_events[at].user), 0)]
                self._forgotten = {user: last for user, last in self._forgotten.items() if last > last_seq}
            new = user_events if len(kept) == len(user_events) else [user_events[at] for at in kept]
            recorded = current.pipeline.record_events(to_events(new)) if new else RecordResult(0)
            self._last_seq = max(self._last_seq, last_seq)
            self._has_rejected |= bool(recorded.rejected)
        if len(new) == len(user_events):
            return recorded
        rejected = tuple(dataclasses.replace(each, position=kept[each.position]) for each in recorded.rejected)
        return RecordResult(recorded.applied + len(user_events) - len(new), rejected)

    def add_items(self, ids: list[Id], table: Table, *, persist: Callable[[], None]) -> AddItemsResult:
        """Add new items to the store and the current version; see ``Pipeline.add_items``.

        Events that arrived before their item are then recorded, as they are after a restart. Cost of that: O(E), if an event
        was rejected since the start.
        """
        with self._adding_items:
            result = self.pipeline.add_items(ids, table, persist=persist)
            if result.added:
                self._record_early_events(ids)
            return result

    def _record_early_events(self, items: Sequence[Id]) -> None:
        """Record the events of the store on items that have just been added, in their place among those of their users."""
        with self._recording:  # whoever saw the pipeline without the items is done
            last = self._last_seq
            if not self._has_rejected:
                return
        early = self._log.user_events_of(items, until=last)  # others record events meanwhile
        if early:
            users = {str(each.user) for each in early}
            with self._recording:
                late = self._log.user_events(after=last, until=self._last_seq)
                early += [each for each in late if str(each.user) in users]
                self.pipeline.record_events(to_events(early), replace=True)

    def set_hidden(self, items: Sequence[Id], *, hidden: bool) -> None:
        """Hide items in the store and the current version, or show them again; see ``Pipeline.hide_items``.

        At the return it is on disk, and lists that are asked for from now on obey it. Raises UnknownIdError.
        """
        persist = functools.partial(self._log.set_hidden, items, hidden=hidden)
        with self._hiding:
            change = self.pipeline.hide_items if hidden else self.pipeline.show_items
            change(items, persist=persist)

    def forget_user(self, user: Id) -> ForgottenUser:
        """Forget a user in the store and in the current version; see the methods of both.

        Events that arrive after the answer are those of a new user. Waits for a change of the version that is under way.
        """
        with self._forgetting:
            forgotten = self._log.forget_user(user)
            self._apply_forgotten(user, forgotten)
        return forgotten

    def _apply_forgotten(self, user: Id, forgotten: ForgottenUser) -> None:
        """Forget a user in the current version who is forgotten in the store."""
        with self._recording:
            self.pipeline.forget_user(user)
            if forgotten.last_seq > self._last_seq:
                self._forgotten[str(user)] = forgotten.last_seq
            elif forgotten.last_seq < self._last_seq:  # events after it were recorded, and are forgotten here too
                late = self._log.user_events(after=forgotten.last_seq, until=self._last_seq)
                self.pipeline.record_events(to_events([each for each in late if str(each.user) == str(user)]))

    def replace(self, pipeline: Pipeline) -> ReplayResult:
        """Serve another version from the next request on; requests that have begun end with the version they began with.

        The log is replayed while the old version still answers. Only the events that arrive meanwhile are replayed in the
        moment of the change, in which no other event is recorded. Raises SourceError, and changes nothing, if the version
        was fitted on other data than those of the log.
        """
        with self._forgetting:
            return self._replace(pipeline)

    def _replace(self, pipeline: Pipeline) -> ReplayResult:
        replayed = bind_log(pipeline, self._log, rebind=self._rebind)
        pipeline.warm_up()
        with self._adding_items, self._hiding:
            replay_hidden(pipeline, self._log)
            n_added = _add_new_items(pipeline, self._log)
            replayed = dataclasses.replace(replayed, n_items=replayed.n_items + n_added)
            with self._recording:
                last = self._log.last_seq
                late = pipeline.record_events(self._log.events(after=replayed.last_seq, until=last))
                if n_added and (replayed.rejected or replayed.rejected_before):
                    early = self._log.user_events_of(self._log.items()[0].tolist(), until=last)
                    pipeline.record_events(to_events(early), replace=True)
                self._has_rejected = bool(replayed.rejected or replayed.rejected_before or late.rejected)
                self.current = LiveVersion(pipeline, last)
                self._last_seq = max(self._last_seq, last)
        self._state, self.snapshot_seq = replayed.state, replayed.snapshot_seq
        rejected = (*replayed.rejected, *late.rejected)
        return dataclasses.replace(replayed, applied=replayed.applied + late.applied, rejected=rejected, last_seq=last)


def _add_new_items(pipeline: Pipeline, log: EventStore) -> int:
    """Add the items of the log that arrived since the replay, and return their number."""
    ids, table = log.items()
    try:
        return pipeline.add_items(ids, table).added if len(ids) > 0 else 0
    except LeanrecError:  # an item that the version cannot have was reported by the replay
        return 0


class VersionFollower:
    """A thread that serves the current version of a store as soon as it is promoted.

    A version that cannot be served is reported once, and the old one goes on.
    """

    def __init__(
        self, live: LivePipeline, store: VersionStore, report: Callable[[str], None], interval: float = 0.25
    ) -> None:
        """Start to follow.

        Args:
            live: what serves.
            store: the store of versions.
            report: called with a sentence about each change, and about each version that cannot be served.
            interval: seconds between two looks at the store.
        """
        self._live, self._store, self._report, self._interval = live, store, report, interval
        self._fence = 0  # the first look is at the version that is current by then
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="leanrec-versions", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop following, after a change that is under way."""
        self._stopping.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stopping.wait(self._interval):
            try:
                promotions = self._store.promotions()
            except LeanrecError as error:
                self._report(str(error))
                self._stopping.wait(10)
                continue
            if promotions and promotions[-1].fence != self._fence:
                self._fence = promotions[-1].fence
                self._serve(promotions[-1].version)

    def _serve(self, version: str) -> None:
        """Load a version and let it take over, unless it serves already."""
        if version == self._live.pipeline.version:
            return
        start = time.monotonic()
        try:
            self._live.replace(Pipeline.load(self._store.find(version).path))
        except LeanrecError as error:
            self._report(f"Version {version} cannot be served, so {self._live.pipeline.version} goes on: {error}")
        else:
            self._report(f"Version {version} is served, {time.monotonic() - start:.1f} s after it was promoted.")
