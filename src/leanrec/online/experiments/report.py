"""Report of an experiment from the event log of a server: users, sample ratio, differences, and what may be concluded.

The unit is the user, and each counts in the arm of the first list, whatever came later (intention to treat; Kohavi, Tang
and Xu 2020, chapter 20).
"""

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from leanrec.errors import DataError
from leanrec.events.event_reader import EventReader
from leanrec.events.user_events import UserEvent
from leanrec.online.experiments.sample_ratio import SampleRatioMonitor
from leanrec.online.experiments.sequential import Difference, RewardDifference
from leanrec.settings import check_positive

__all__ = ["ArmComparison", "ArmSummary", "ExperimentReport", "read_events", "report_experiment"]

Verdict = Literal["better", "worse", "undecided", "too little data", "same lists", "sample ratio mismatch"]

CONTROL = "control"
_BLOCK_SIZE = 50_000
_MAX_LOOKS = 200  # of a curve


@dataclasses.dataclass(frozen=True)
class ArmSummary:
    """What the log has of one arm.

    Attributes:
        name: the arm.
        users: number of users.
        lists: number of lists.
        rewards: number of positive events of these users after their first list.
        policies: policy → number of lists that it made, most frequent first.
    """

    name: str
    users: int
    lists: int
    rewards: int
    policies: Mapping[str, int]

    @property
    def mean_reward(self) -> float:
        """Positive events for each user."""
        return self.rewards / self.users if self.users else 0.0


@dataclasses.dataclass(frozen=True)
class ArmComparison:
    """An arm beside the control.

    Attributes:
        arm: its name.
        difference: in the positive events of a user, with an interval that holds at every look.
        verdict: "better" or "worse" if the interval excludes 0, "undecided" if not. There is no verdict with "too little data" (see `RewardDifference.find_interval`), if
            both arms have the "same lists", or with a "sample ratio mismatch".
        looks: (users of both arms, value, low, high) as the experiment went on, at most 200.
    """

    arm: str
    difference: Difference
    verdict: Verdict
    looks: tuple[tuple[int, float, float, float], ...]


@dataclasses.dataclass(frozen=True)
class ExperimentReport:
    """What may be concluded from an experiment so far.

    Attributes:
        arms: the arms, the control first.
        comparisons: every other arm beside the control.
        ratio_p_value: p-value of the sample ratio, valid at every look; at 0.001 or less there is no verdict.
        n_switched: number of lists of users with a list of another arm before.
        level: probability that all intervals hold at all looks.
        first: time of the first list, in seconds since 1970.
        last: time of the last list.
    """

    arms: tuple[ArmSummary, ...]
    comparisons: tuple[ArmComparison, ...]
    ratio_p_value: float
    n_switched: int
    level: float
    first: float
    last: float

    def to_dict(self) -> dict[str, Any]:
        """As plain dictionaries and lists, for JSON."""
        described = dataclasses.asdict(self)
        for each, arm in zip(described["arms"], self.arms, strict=True):
            each["mean_reward"] = arm.mean_reward
        for each, comparison in zip(described["comparisons"], self.comparisons, strict=True):
            each["difference"] = comparison.difference._asdict()
        return described


@dataclasses.dataclass
class _Exposures:
    """The first list of each user, and counts of lists."""

    first: dict[str, tuple[float, str]] = dataclasses.field(default_factory=dict)
    policies: dict[str, collections.Counter[str]] = dataclasses.field(default_factory=dict)
    requests: set[str] = dataclasses.field(default_factory=set)
    n_switched: int = 0
    last: float = -math.inf


def report_experiment(
    log: EventReader,
    ratio: Mapping[str, float] | None = None,
    *,
    since: float = -math.inf,
    until: float = math.inf,
    event_type: str | None = None,
    attributed: bool = False,
    adjusted: bool = False,
    level: float = 0.95,
    expected_users: float = 10_000,
) -> ExperimentReport:
    """Read an experiment from the lists of a log that have an arm. O(lists + events); memory: O(users).

    Args:
        log: the event log.
        ratio: arm → its intended share of the users, in any unit, the control first. None: equal shares of the arms in the log,
            where "control", or else the first by name, is the control.
        since: time of the first list, in seconds since 1970.
        until: time before which lists count, and events.
        event_type: count only positive events of this type.
        attributed: count only events that name a list of the experiment as their request.
        adjusted: take out what the positive events of a user before the first list explain (CUPED).
        level: probability that all intervals hold at all looks.
        expected_users: number of users of two arms at which the intervals should be narrowest. Choose it before the
            first look.

    Raises DataError if the log has not two arms, or one that is not in ``ratio``.
    """
    exposures = _read_exposures(log, since, until, keep_requests=attributed)
    shares = _find_shares(exposures, ratio)
    tally = _Tally(shares, 1 - (1 - level) / (len(shares) - 1), expected_users, len(exposures.first))
    for user, arm, baseline in _replay(log, exposures, until, event_type, attributed=attributed, adjusted=adjusted):
        if baseline is None:
            tally.add_reward(user, arm)
        else:
            tally.add_user(user, arm, baseline)
    arms = tally.summarize(exposures.policies)
    return ExperimentReport(
        arms,
        tally.compare(arms),
        tally.monitor.p_value,
        exposures.n_switched,
        level,
        min(time for time, _ in exposures.first.values()),
        exposures.last,
    )


class _Tally:
    """Counts of users and rewards of all arms, and the differences to the control."""

    def __init__(self, shares: Mapping[str, float], level: float, expected_users: float, n_users: int) -> None:
        self.arms = list(shares)
        self.monitor = SampleRatioMonitor(tuple(shares.values()))
        self.rewards = collections.Counter[str]()
        self.differences = {arm: RewardDifference(level, expected_users) for arm in self.arms[1:]}
        self.looks: dict[str, list[tuple[int, float, float, float]]] = {arm: [] for arm in self.differences}
        self._n_between = max(1, n_users // _MAX_LOOKS)

    def add_user(self, user: str, arm: str, baseline: float) -> None:
        position = self.arms.index(arm)
        self.monitor.add(position)
        for other in self._find_involved(arm):
            difference = self.differences[other]
            difference.add_user(user, position > 0, baseline)
            if sum(difference.users) % self._n_between == 0:
                self.looks[other].append(_look(difference))

    def add_reward(self, user: str, arm: str) -> None:
        self.rewards[arm] += 1
        for other in self._find_involved(arm):
            self.differences[other].add_reward(user, 1.0)

    def summarize(self, policies: Mapping[str, collections.Counter[str]]) -> tuple[ArmSummary, ...]:
        counts = [policies.get(arm, collections.Counter()) for arm in self.arms]
        return tuple(
            ArmSummary(arm, users, count.total(), self.rewards[arm], dict(count.most_common()))
            for arm, users, count in zip(self.arms, self.monitor.counts, counts, strict=True)
        )

    def compare(self, arms: tuple[ArmSummary, ...]) -> tuple[ArmComparison, ...]:
        control, *others = arms
        found = [self.differences[arm.name].find_interval() for arm in others]
        return tuple(
            ArmComparison(
                arm.name,
                difference,
                _judge(control, arm, difference, is_mismatch=self.monitor.is_mismatch),
                (*self.looks[arm.name], _look(self.differences[arm.name])),
            )
            for arm, difference in zip(others, found, strict=True)
        )

    def _find_involved(self, arm: str) -> list[str]:
        """The arms whose difference to the control a user of this arm changes."""
        return self.arms[1:] if arm == self.arms[0] else [arm]


def read_events(log: EventReader) -> Iterator[UserEvent]:
    """The events of a log in the order of arrival. Memory: 50,000 events."""
    for after in range(0, log.last_seq, _BLOCK_SIZE):
        yield from log.user_events(after=after, until=after + _BLOCK_SIZE)


def _read_exposures(log: EventReader, since: float, until: float, *, keep_requests: bool) -> _Exposures:
    found = _Exposures()
    for served in log.served_lists():
        if served.arm is None or served.user is None or not since <= served.time < until:
            continue
        time, arm = found.first.setdefault(str(served.user), (served.time, served.arm))
        if served.time < time:  # lists of several processes may be written out of order
            found.first[str(served.user)] = (served.time, arm)
        found.n_switched += arm != served.arm
        found.policies.setdefault(served.arm, collections.Counter())[served.policy] += 1
        found.last = max(found.last, served.time)
        if keep_requests:
            found.requests.add(served.request)
    return found


def _find_shares(exposures: _Exposures, ratio: Mapping[str, float] | None) -> dict[str, float]:
    """Intended share of each arm, the control first."""
    arms = sorted(exposures.policies, key=lambda arm: (arm != CONTROL, arm))
    if not arms:
        raise DataError("The log must have lists of an experiment. None of its lists has an arm.")
    if ratio is None:
        ratio = dict.fromkeys(arms, 1.0)
    if len(ratio) < 2:
        raise DataError(f"An experiment must have two arms. The log has only lists of {arms[0]!r}.")
    unknown = [arm for arm in arms if arm not in ratio]
    if unknown:
        raise DataError(f"ratio must have every arm of the log. It lacks {', '.join(map(repr, unknown))}.")
    for share in ratio.values():
        check_positive("ratio", share)
    total = math.fsum(ratio.values())
    return {arm: share / total for arm, share in ratio.items()}


def _replay(
    log: EventReader,
    exposures: _Exposures,
    until: float,
    event_type: str | None,
    *,
    attributed: bool,
    adjusted: bool,
) -> Iterator[tuple[str, str, float | None]]:
    """In the order of time: (user, arm, positive events before) for a user who comes, and (user, arm, None) for an event."""

    def read_rewards() -> Iterator[UserEvent]:
        for event in read_events(log):
            if event.weight > 0 and event.time < until and event_type in {None, event.event_type}:
                yield event

    waiting = collections.deque(sorted((time, user, arm) for user, (time, arm) in exposures.first.items()))
    before = collections.Counter[str]()
    if adjusted:
        before.update(
            str(event.user)
            for event in read_rewards()
            if event.time < exposures.first.get(str(event.user), (-math.inf,))[0]
        )
    for event in read_rewards():
        while waiting and waiting[0][0] <= event.time:
            _, user, arm = waiting.popleft()
            yield user, arm, before[user]
        time, arm = exposures.first.get(str(event.user), (math.inf, ""))
        if time <= event.time and (not attributed or event.request in exposures.requests):
            yield str(event.user), arm, None
    for _, user, arm in waiting:
        yield user, arm, before[user]


def _look(difference: RewardDifference) -> tuple[int, float, float, float]:
    found = difference.find_interval()
    return sum(found.users), found.value, found.low, found.high


def _judge(control: ArmSummary, treatment: ArmSummary, found: Difference, *, is_mismatch: bool) -> Verdict:
    if is_mismatch:
        return "sample ratio mismatch"
    if not math.isfinite(found.low):
        return "too little data"
    if next(iter(control.policies)) == next(iter(treatment.policies)):
        return "same lists"
    if not found.excludes_zero:
        return "undecided"
    return "better" if found.low > 0 else "worse"
