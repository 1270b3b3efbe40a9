"""Replay of a log for another version of a model: what it would have shown at each drawn place (Li and others 2011)."""

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np

from leanrec.data.time_kind import TimeKind
from leanrec.data.vocabulary import Id
from leanrec.errors import DataError, UnknownIdError
from leanrec.events.event_reader import EventReader
from leanrec.events.records import ServedList
from leanrec.events.user_events import UserEvent, to_events
from leanrec.online.experiments.off_policy import LoggedDecisions, Method, PolicyValue, estimate_value
from leanrec.online.experiments.report import read_events
from leanrec.online.experiments.reward_model import predict_rewards
from leanrec.pipeline.lists.rules import ListRules
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.replay import replay_hidden, replay_items
from leanrec.types import Int32Array

__all__ = ["ReplayedPolicy", "replay_policy"]

_METHODS: tuple[Method, ...] = ("snips", "ips", "dr")


@dataclasses.dataclass(frozen=True, eq=False)
class ReplayedPolicy:
    """A log beside the lists of another version.

    Attributes:
        decisions: one for each drawn place of a list. The reward is 1 if a positive event names the list and the item, else 0;
            it is predicted by `predict_rewards`, for doubly robust estimates.
        n_lists: number of lists they come from.
        skipped: reason → number of lists that were left out.
        items: external ids of the items that were shown or would be.
        places: (n,) place of each decision in its list, from 0 on.
        shown: (n,) position in ``items`` of the item that was shown.
        wanted: (n,) position in ``items`` of the item that the version would show there, −1 where its list is shorter.
    """

    decisions: LoggedDecisions
    n_lists: int
    skipped: Mapping[str, int]
    items: tuple[Id, ...]
    places: Int32Array
    shown: Int32Array
    wanted: Int32Array

    def estimate_values(self, level: float = 0.95) -> tuple[PolicyValue, ...]:
        """What the version would have earned, by SNIPS, IPS and the doubly robust estimate; see `estimate_value`.

        Raises DataError if the log has no support for the version.
        """
        return tuple(estimate_value(self.decisions, method, level=level) for method in _METHODS)


@dataclasses.dataclass(frozen=True)
class _DrawnPlace:
    """A drawn place of a list: its user, the item that was shown, and the one that the version would show, if any."""

    user: str
    place: int
    shown: Id
    wanted: Id | None
    propensity: float
    is_rewarded: bool


def replay_policy(
    log: EventReader,
    pipeline: Pipeline,
    *,
    since: float = -math.inf,
    until: float = math.inf,
    event_type: str | None = None,
) -> ReplayedPolicy:
    """Ask a version for the lists of a log, each with the events that there were before it, and compare what is shown.

    The version is asked for lists of the same users and lengths, with all items that are not hidden now and that the user has
    not seen, and by the rules of lists that the log has now; other conditions of the requests are not in the log. Lists up to the last event that the version was fitted on are
    left out, because it knows what happened then. The events of the log are recorded in ``pipeline``.

    Cost: one list of the model for each drawn list of the log.

    Args:
        log: the event log of a server that explores.
        pipeline: the version, as it was fitted.
        since: time of the first list, in seconds since 1970.
        until: time before which lists count.
        event_type: count only positive events of this type as a reward.

    Raises DataError if the log belongs to other data, or has no drawn list that can be used.
    """
    log.check_origin(pipeline.data_origin)
    replay_items(pipeline, *log.items())
    replay_hidden(pipeline, log)
    if stored := log.list_rules().rules:
        pipeline.use_rules(ListRules.from_json(stored))
    rewarded = {
        (event.request, event.rank)
        for event in read_events(log)
        if event.request is not None and event.weight > 0 and event_type in {None, event.event_type}
    }
    skipped = collections.Counter[str]()
    drawn: list[_DrawnPlace] = []
    n_lists, events = 0, _EventQueue(read_events(log))
    data = pipeline.fitted_data
    is_clock = data.time_kind == TimeKind.TIMESTAMP and len(data.events) > 0
    fitted_until = float(data.events.time.max()) if is_clock else -math.inf
    for served in log.served_lists():
        reason = _find_reason(served, since, until, fitted_until)
        if reason is None:
            pipeline.record_events(to_events(events.take_until(served.time)), replayed=True)
            try:
                drawn += _compare_places(served, pipeline, rewarded)
                n_lists += 1
            except UnknownIdError:
                reason = "the version does not know the user"
        if reason is not None:
            skipped[reason] += 1
    if not drawn:
        reasons = "; ".join(f"{count} cannot, because {reason}" for reason, count in skipped.items())
        raise DataError(
            f"The log must have drawn lists that can be used ({reasons or 'it has no lists'}). Serve with exploration, such as "
            "explore=0.05, and choose a version that was fitted before."
        )
    return _build_replayed(drawn, n_lists, dict(skipped))


def _compare_places(
    served: ServedList, pipeline: Pipeline, rewarded: set[tuple[str, int | None]]
) -> Iterator[_DrawnPlace]:
    """What was shown at each drawn place of a list beside what the version would show."""
    target = pipeline.recommend(served.user, n=len(served.items), reasons=False).items
    wanted = [item.id for item in target] + [None] * (len(served.items) - len(target))
    for place, (item, other, propensity) in enumerate(
        zip(served.items, wanted, served.propensities or (), strict=True)
    ):
        if propensity is not None:
            is_rewarded = (served.request, place) in rewarded
            shown = pipeline.external_item_id(item)
            yield _DrawnPlace(str(served.user), place, shown, other, propensity, is_rewarded)


def _build_replayed(drawn: list[_DrawnPlace], n_lists: int, skipped: Mapping[str, int]) -> ReplayedPolicy:
    codes: dict[Id | None, int] = {None: -1}
    shown, wanted = (
        np.array([codes.setdefault(each, len(codes) - 1) for each in column], np.int32)
        for column in ([each.shown for each in drawn], [each.wanted for each in drawn])
    )
    rewards = np.array([each.is_rewarded for each in drawn], np.float64)
    users, places = np.array([each.user for each in drawn]), np.array([each.place for each in drawn], np.int32)
    predicted, target_predicted = predict_rewards(rewards, users, places, shown, wanted)
    decisions = LoggedDecisions(
        rewards,
        np.array([each.propensity for each in drawn]),
        (shown == wanted).astype(np.float64),
        users,
        predicted,
        target_predicted,
    )
    items = tuple(each for each in codes if each is not None)
    return ReplayedPolicy(decisions, n_lists, skipped, items, places, shown, wanted)


def _find_reason(served: ServedList, since: float, until: float, fitted_until: float) -> str | None:
    """Why a list cannot be used, or None."""
    if served.propensities is None:
        return "nothing was drawn"
    if served.user is None:
        return "it was made for no user"
    if not since <= served.time < until:
        return "it is of another time"
    return "the version was fitted on later events" if served.time <= fitted_until else None


class _EventQueue:
    """Events that are taken in the order of arrival, up to a time."""

    def __init__(self, events: Iterator[UserEvent]) -> None:
        self._events = events
        self._next = next(events, None)

    def take_until(self, time: float) -> list[UserEvent]:
        """The next events that happened before a time."""
        taken = []
        while self._next is not None and self._next.time < time:
            taken.append(self._next)
            self._next = next(self._events, None)
        return taken
