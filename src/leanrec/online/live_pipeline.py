"""Live pipeline: the versions that answer requests, replaced by others without a dropped or mixed answer."""

import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from leanrec.data.table import Table
from leanrec.data.vocabulary import Id, id_array
from leanrec.errors import ConflictError, SettingError
from leanrec.events.event_store import EventStore
from leanrec.events.records import ForgottenUser, StoredRules
from leanrec.events.user_events import UserEvent, to_events
from leanrec.online.trials.guards import TrialGuards
from leanrec.online.trials.live_trial import CANDIDATE, LiveTrial
from leanrec.online.versions import VersionTrial
from leanrec.pacing import pause
from leanrec.pipeline.lists.rules import ListRules
from leanrec.pipeline.log_snapshot import save_snapshot
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.replay import ReplayResult, bind_log, replay_hidden, replay_items
from leanrec.pipeline.responses import AddItemsResult, Recommendations, RecordResult

if TYPE_CHECKING:
    from leanrec.online.version_store import VersionStore

__all__ = ["LivePipeline", "LiveVersion"]

_MAX_CATCH_UPS = 5


@dataclasses.dataclass(frozen=True, eq=False)
class LiveVersion:
    """What answers a request. A request that keeps it to its end sees one version.

    Attributes:
        pipeline: the pipeline.
        n_replayed: the first events of the log, which the pipeline has from the start.
    """

    pipeline: Pipeline
    n_replayed: int


class _ServedVersion(Protocol):
    """A version that follows the log: the current one, or the one on trial."""

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline."""

    @property
    def n_replayed(self) -> int:
        """The first events of the log, which the pipeline has from the start."""


class LivePipeline:
    """The current version of a pipeline over an event store, at most one version on trial, and what changes them.

    Events and new items go to the store first and then to both versions, each event exactly once, also while another version
    takes over. Thread-safe.

    Attributes:
        replayed: result of the replay into the first version.
        current: the version that answers requests.
        trial: the version on trial, which answers some of them, or None.
        guards: what ends a trial.
        store: where the versions are from; None: a pipeline without versions.
        n_processes: number of processes that serve the same versions, each of which judges a trial by its own lists.
        snapshot_seq: sequence number of the last event in the snapshot of the log, 0 if there is none.
        fixed_rules: rules of lists that were given at the start and cannot be changed; None: those of the log hold.
        rules_revision: revision of the rules of the log that hold.
        rules_problem: why the rules of the log do not hold, or None.
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

        Raises DataError if the store is bound to other data and ``rebind`` is False.
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
        self.trial: LiveTrial | None = None
        self.guards, self.n_processes = TrialGuards(), 1
        self.store: VersionStore | None = None
        self.fixed_rules: ListRules | None = None
        self.rules_revision = 0
        self.rules_problem: str | None = None
        self._take_rules(log.list_rules())
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
    def versions(self) -> tuple[_ServedVersion, ...]:
        """The current version, and the one on trial if there is one."""
        trial = self.trial
        return (self.current,) if trial is None else (self.current, trial)

    def recommend(self, user: Id | None = None, **options: Any) -> Recommendations:
        """The list of the version that is due to the user; see ``Pipeline.recommend``."""
        trial = self.trial
        if trial is None:
            return self.current.pipeline.recommend(user, **options)
        return trial.recommend(self.current.pipeline, user, options)

    def find_cached(self, user: Id, **options: Any) -> Recommendations | None:
        """The same list if it is in the cache of that version; see ``Pipeline.find_cached``."""
        trial = self.trial
        if trial is None:
            return self.current.pipeline.find_cached(user, **options)
        return trial.find_cached(self.current.pipeline, user, options)

    def find_pipeline(self, user: Id | None) -> Pipeline:
        """The pipeline whose lists a user gets."""
        trial = self.trial
        is_tried = trial is not None and trial.find_arm(user) == CANDIDATE
        return trial.pipeline if trial is not None and is_tried else self.current.pipeline

    @property
    def last_seq(self) -> int:
        """Sequence number of the last event that is recorded."""
        return self._last_seq

    def save_snapshot(self) -> None:
        """Write the state of the histories beside the event store, or into it unless another server has just done so.

        Forgetting a user and changing the version wait for it. Raises ArtifactError and SourceError.
        """
        with self._forgetting:
            if self._state is None:
                return
            table, version = self._log.snapshot_table, self.pipeline.version
            if table is not None and (of_others := table.find_last_seq(version)) > self.snapshot_seq:
                self.snapshot_seq = of_others
                return
            last, path = self._log.last_seq, self._log.snapshot_path
            self._state = save_snapshot(self.pipeline, self._log, self._state)
            if table is not None:
                self.snapshot_seq = table.find_last_seq(version)
            else:
                self.snapshot_seq = last if path is None or path.exists() else 0  # forgetting a user removes it

    def record(self, user_events: Sequence[UserEvent], last_seq: int) -> RecordResult:
        """Record events that are in the store. Those that the current version has replayed are not recorded again.

        Args:
            user_events: events that follow each other in the store.
            last_seq: sequence number of the last of them.
        """
        with self._recording:
            trial, first = self.trial, last_seq - len(user_events) + 1
            recorded, new = self._record_into(self.current, user_events, first)
            has_rejected = bool(recorded.rejected)
            if trial is not None:
                has_rejected |= bool(self._record_into(trial, user_events, first)[0].rejected)
                trial.count_events(new)
            if self._forgotten:
                self._forgotten = {user: last for user, last in self._forgotten.items() if last > last_seq}
            self._last_seq = max(self._last_seq, last_seq)
            self._has_rejected |= has_rejected
        return recorded

    def _record_into(
        self, version: _ServedVersion, user_events: Sequence[UserEvent], first: int
    ) -> tuple[RecordResult, Sequence[UserEvent]]:
        """Record events, the first of which has a number in the store, in one version. Returns also those it did not have."""
        kept = list(range(max(0, version.n_replayed + 1 - first), len(user_events)))
        if self._forgotten:
            kept = [at for at in kept if first + at > self._forgotten.get(str(user_events[at].user), 0)]
        new = user_events if len(kept) == len(user_events) else [user_events[at] for at in kept]
        recorded = version.pipeline.record_user_events(new) if new else RecordResult(0)
        if len(new) == len(user_events):
            return recorded, new
        rejected = tuple(dataclasses.replace(each, position=kept[each.position]) for each in recorded.rejected)
        return RecordResult(recorded.applied + len(user_events) - len(new), rejected), new

    def add_items(self, ids: list[Id], table: Table, *, persist: Callable[[], None]) -> AddItemsResult:
        """Add new items to the store and both versions; see ``Pipeline.add_items``. One on trial that cannot is left as it is.

        Events that arrived before their item are then recorded, as they are after a restart. Cost of that: O(E), if an event
        was rejected since the start.
        """
        with self._adding_items:
            result = self.pipeline.add_items(ids, table, persist=persist)
            n_added = result.added
            if self.trial is not None:
                n_added += replay_items(self.trial.pipeline, id_array(ids), table)[0]
            if n_added:
                self._record_early_events(ids)
            return result

    def _record_early_events(self, items: Sequence[Id]) -> None:
        """Record the events of the store on items that have just been added, in their place among those of their users."""
        with self._recording:  # all who saw the pipeline without the items are done
            last = self._last_seq
            if not self._has_rejected:
                return
        early = self._log.user_events_of(items, until=last)  # others record events meanwhile
        if early:
            users = {str(each.user) for each in early}
            with self._recording:
                for version in self.versions:
                    late = self._log.user_events(after=last, until=max(self._last_seq, version.n_replayed))
                    late = [each for each in late if str(each.user) in users]
                    version.pipeline.record_events(to_events([*early, *late]), replace=True)

    def set_hidden(self, items: Sequence[Id], *, hidden: bool, by_stock: bool = False) -> None:
        """Hide items in the store and both versions, or show them again; see ``Pipeline.hide_items``.

        At the return it is on disk, and lists that are asked for from now on obey it. ``by_stock``: because an item is out of
        stock, or back; an item that was hidden by a decision too stays so. Raises UnknownIdError.
        """
        changed: list[Id] = []

        def persist() -> list[Id]:
            changed.extend(self._log.set_hidden(items, hidden=hidden, by_stock=by_stock))
            return changed

        with self._hiding:
            change = self.pipeline.hide_items if hidden else self.pipeline.show_items
            change(items, persist=persist)
            if self.trial is not None:
                pipeline = self.trial.pipeline
                (pipeline.hide_items if hidden else pipeline.show_items)(changed, replayed=True)

    def fix_rules(self, rules: ListRules) -> None:
        """Make all lists by these rules, whatever the log has. Raises SettingError; see ``Pipeline.use_rules``."""
        self.fixed_rules, self.rules_problem = rules, None
        for each in self.versions:
            each.pipeline.use_rules(rules)

    def read_rules(self) -> tuple[ListRules, int]:
        """The rules that were given at the start, or else those of the log with their revision."""
        if self.fixed_rules is not None:
            return self.fixed_rules, 0
        stored = self._log.list_rules()
        return ListRules.from_json(stored.rules) if stored.rules else ListRules(), stored.revision

    def replace_rules(self, rules: ListRules, revision: int) -> StoredRules:
        """Make all lists for users by these rules from now on, in the place of those with a revision.

        At the return they are on disk, and hold for both versions and those that come.

        Raises SettingError for rules that do not fit a version, and ConflictError, with nothing changed, if the rules have
        another revision or are fixed.
        """
        with self._hiding:
            self._check_rules(rules)
            stored = self._log.replace_list_rules(rules.to_json(), revision)
            self._take_rules(stored)
        return stored

    def _check_rules(self, rules: ListRules) -> None:
        if self.fixed_rules is not None:
            raise ConflictError(
                "The rules of lists must not be those of a file. They were given to the server at its start, and do not change. "
                "Start it without them to keep rules in its event log."
            )
        for each in self.versions:
            each.pipeline.check_rules(rules)

    def _take_rules(self, stored: StoredRules) -> None:
        """Make lists by the rules of the log, unless newer ones hold. ``rules_problem`` says why they cannot hold."""
        if self.fixed_rules is not None or stored.revision <= self.rules_revision:
            return
        self.rules_revision, self.rules_problem = stored.revision, None
        try:
            rules = ListRules.from_json(stored.rules)
            for each in self.versions:
                each.pipeline.use_rules(rules)
        except SettingError as error:
            self.rules_problem = f"Revision {stored.revision} of the rules of lists cannot be used: {error}"

    def forget_user(self, user: Id) -> ForgottenUser:
        """Forget a user in the store and in both versions; see the methods of both classes.

        Events that arrive after the answer are those of a new user. Waits for a change of the version that is under way.
        """
        with self._forgetting:
            forgotten = self._log.forget_user(user)
            self._apply_forgotten(user, forgotten)
        return forgotten

    def _apply_forgotten(self, user: Id, forgotten: ForgottenUser) -> None:
        """Forget a user in both versions who is forgotten in the store."""
        with self._recording:
            for version in self.versions:
                version.pipeline.forget_user(user)
                last = max(self._last_seq, version.n_replayed)
                if forgotten.last_seq < last:  # events after it were recorded, and are forgotten here too
                    late = self._log.user_events(after=forgotten.last_seq, until=last)
                    version.pipeline.record_events(to_events([each for each in late if str(each.user) == str(user)]))
            self.snapshot_seq = 0  # the snapshot had the user, and is gone
            if forgotten.last_seq > self._last_seq:
                self._forgotten[str(user)] = forgotten.last_seq

    def replace(self, pipeline: Pipeline) -> ReplayResult:
        """Serve another version from the next request on; requests that have begun end with the version they began with.

        The log is replayed while the old version still answers. Only the events that arrive meanwhile are replayed in the
        moment of the change, in which no other event is recorded. A trial ends, because it was beside another version. Raises
        SourceError, and changes nothing, if the version was fitted on other data than those of the log.
        """
        with self._forgetting:
            old, trial = self.pipeline, self.trial
            replayed = self._take_over(pipeline, self._set_current)
            self._state, self.snapshot_seq = replayed.state, replayed.snapshot_seq
        if trial is not None:
            trial.close()
        old.drop_lists()  # here, and not at once in whatever thread was the last to use it
        return replayed

    def start_trial(self, pipeline: Pipeline, trial: VersionTrial) -> ReplayResult:
        """Try another version beside the current one from the next request on, as ``trial`` says.

        The log is replayed into it as by ``replace``, and raises the same. From then on both versions get all events, items,
        hidden items and forgotten users. Cost: the memory of a second version, and the time to record each event twice.
        """
        with self._forgetting:
            self.stop_trial()
            return self._take_over(pipeline, functools.partial(self._set_trial, trial))

    def stop_trial(self) -> None:
        """End the trial in this process, if there is one: all users get lists of the current version."""
        trial, self.trial = self.trial, None
        if trial is not None:
            trial.close()

    def _set_current(self, pipeline: Pipeline, last: int, *, has_rejected: bool) -> None:
        self._has_rejected = has_rejected
        self.current, self.trial = LiveVersion(pipeline, last), None
        if self.rules_problem is not None:  # they may fit this version
            self.rules_revision = 0
            self._take_rules(self._log.list_rules())
        self._last_seq = max(self._last_seq, last)

    def _set_trial(self, trial: VersionTrial, pipeline: Pipeline, last: int, *, has_rejected: bool) -> None:
        self._has_rejected |= has_rejected
        self.trial = LiveTrial(pipeline, last, trial, self.guards, self.n_processes)

    def _take_over(self, pipeline: Pipeline, install: "_Install") -> ReplayResult:
        """Replay the log into a version, and install it in a moment in which nothing is recorded."""
        if self.pipeline.learns:
            pipeline.start_learning()
        pipeline.share_lists(self.pipeline.list_store)
        if self.pipeline.rules:
            pipeline.use_rules(self.pipeline.rules)
        pause()
        replayed = bind_log(pipeline, self._log, rebind=self._rebind)
        pause()
        pipeline.warm_up()
        pause()
        replayed = self._catch_up(pipeline, replayed)
        with self._adding_items, self._hiding:
            replay_hidden(pipeline, self._log)
            if pipeline.rules != self.pipeline.rules:  # they were changed meanwhile
                pipeline.use_rules(self.pipeline.rules)
            n_added, _ = replay_items(pipeline, *self._log.items())  # those that arrived meanwhile
            replayed = dataclasses.replace(replayed, n_items=replayed.n_items + n_added)
            # No event is answered meanwhile, so that the store is only asked for those that have come since.
            with self._recording:
                last = max(self._last_seq, replayed.last_seq)
                late = self._replay_late(pipeline, replayed.last_seq, last)
                if n_added and (replayed.rejected or replayed.rejected_before):
                    early = self._log.user_events_of(self._log.items()[0].tolist(), until=last)
                    pipeline.record_events(to_events(early), replace=True)
                has_rejected = bool(replayed.rejected or replayed.rejected_before or late.rejected)
                install(pipeline, last, has_rejected=has_rejected)
        return _add_late(replayed, late, last)

    def _catch_up(self, pipeline: Pipeline, replayed: ReplayResult) -> ReplayResult:
        """Replay the events that arrived since, until there are none or only those of a moment."""
        for _ in range(_MAX_CATCH_UPS):
            last = self._last_seq
            if last <= replayed.last_seq:
                break
            replayed = _add_late(replayed, self._replay_late(pipeline, replayed.last_seq, last), last)
        return replayed

    def _replay_late(self, pipeline: Pipeline, after: int, until: int) -> RecordResult:
        if until <= after:
            return RecordResult(0)
        return pipeline.record_events(self._log.events(after=after, until=until))


def _add_late(replayed: ReplayResult, late: RecordResult, last: int) -> ReplayResult:
    """The result with events that were replayed later, up to the number ``last``."""
    rejected = (*replayed.rejected, *late.rejected)
    return dataclasses.replace(replayed, applied=replayed.applied + late.applied, rejected=rejected, last_seq=last)


class _Install(Protocol):
    """Lets a version answer that has all events of the store up to a sequence number."""

    def __call__(self, pipeline: Pipeline, last: int, *, has_rejected: bool) -> None: ...
