"""Guards of a version on trial: tests that hold at every look (Ville 1939; Waudby-Smith and Ramdas 2024, betting)."""

import collections
import dataclasses
import math
import statistics
from typing import NamedTuple

from leanrec.online.experiments import RewardDifference, SampleRatioMonitor
from leanrec.settings import check_between

__all__ = ["GuardedComparison", "RateTest", "SlowdownTest", "TrialGuards", "Verdict"]

_BETS = (
    0.02,
    0.1,
    0.5,
)  # as shares of the largest bet: the first finds a small excess, the last needs few observations
_WINDOW = 200
_ALLOWED_SLOW = 0.02  # of the lists above the largest of 200; of an equal version it is 1 in 201
_N_TESTS = 4


class Verdict(NamedTuple):
    """Why a trial is ended.

    Attributes:
        guard: "failures", "latency", "reward" or "sample ratio".
        reason: a sentence with the numbers.
    """

    guard: str
    reason: str


@dataclasses.dataclass(frozen=True)
class TrialGuards:
    """What ends a trial without a person. A guard can only end it; nothing but a person promotes a version.

    Attributes:
        max_failures: largest share of lists that the version may fail to make where the current one makes one.
        max_slowdown: the version may take this times as long as the current one, for a typical list and for the slowest 1 %.
        level: probability that no guard ends the trial of a version that keeps both limits and whose users do not act less, in all
            processes and at all looks together.
    """

    max_failures: float = 0.01
    max_slowdown: float = 1.2
    level: float = 0.95

    def __post_init__(self) -> None:
        check_between("max_failures", self.max_failures, 1e-6, 0.5)
        check_between("max_slowdown", self.max_slowdown, 1.0, 100.0)
        check_between("level", self.level, 0.5, 1 - 1e-6)


class RateTest:
    """A test that something happens at most as often as allowed, which may be looked at after every observation.

    It bets on each observation that the rate is higher. While the rate is at most ``allowed``, the mean of the gains of three
    bets is a supermartingale, which exceeds 1 / alpha with probability alpha at most, however long it is watched.

    Attributes:
        allowed: largest rate.
        alpha: probability of a false alarm.
        n: number of observations.
        n_happened: how often it happened.
    """

    def __init__(self, allowed: float, alpha: float) -> None:
        self.allowed, self.alpha = allowed, alpha
        self.n = self.n_happened = 0
        self.is_exceeded = False
        gains = [math.log1p(bet / allowed * (1 - allowed)) for bet in _BETS]
        losses = [math.log1p(-bet) for bet in _BETS]
        self._steps = tuple(zip(gains, losses, strict=True))

    def add(self, happened: bool) -> None:
        """Add an observation. O(1)."""
        self.n += 1
        if happened:  # otherwise the gains only fall
            self.n_happened += 1
            n_others = self.n - self.n_happened
            gains = [self.n_happened * gain + n_others * loss for gain, loss in self._steps]
            top = max(gains)
            total = top + math.log(sum(math.exp(gain - top) for gain in gains) / len(gains))
            self.is_exceeded |= total > -math.log(self.alpha)


class SlowdownTest:
    """A test whether one version takes longer than another, by comparison with the last 200 lists of the other.

    The comparison is with lists of the same time, so a load that slows both versions is no slowdown. It needs no assumption
    on the distribution of the times.

    Attributes:
        seconds: the last seconds of the current version and of the one on trial.
    """

    def __init__(self, max_slowdown: float, alpha: float) -> None:
        self._max_slowdown = max_slowdown
        self._typical, self._slowest = RateTest(0.5, alpha), RateTest(_ALLOWED_SLOW, alpha)
        self.seconds = (collections.deque[float](maxlen=_WINDOW), collections.deque[float](maxlen=_WINDOW))

    def add(self, is_candidate: bool, seconds: float) -> None:
        """Add the seconds of a list. O(1), and O(log 200 · 200) for the version on trial."""
        others = self.seconds[0]
        if is_candidate and len(others) == _WINDOW:
            self._typical.add(seconds > self._max_slowdown * statistics.median(others))
            self._slowest.add(seconds > self._max_slowdown * max(others))
        self.seconds[is_candidate].append(seconds)

    def explain(self) -> str | None:
        """What is slower, or None."""
        for test, what in ((self._typical, "typical one"), (self._slowest, "slowest of 200")):
            if test.is_exceeded:
                return (
                    f"{test.n_happened} of {test.n} lists took more than {self._max_slowdown:g} times as long as the {what} of the "
                    "current version"
                )
        return None


class GuardedComparison:
    """The lists and rewards of the users on both sides of a trial, and the first guard that ends it. Memory: about 300 bytes a user.

    Not thread-safe.

    Attributes:
        failures: test of the share of lists that the version on trial could not make.
        slowdown: test of the time that a list takes.
        rewards: difference in positive events for each user.
        ratio: check that half of the users are on each side, which stands before a verdict on rewards.
        verdict: why the trial is to be ended, or None.
    """

    def __init__(self, guards: TrialGuards, n_processes: int = 1) -> None:
        """Begin without users.

        Args:
            guards: the limits.
            n_processes: number of processes that judge the same version, each by its own lists.
        """
        alpha = (1 - guards.level) / _N_TESTS / n_processes
        self.failures = RateTest(guards.max_failures, alpha)
        self.slowdown = SlowdownTest(guards.max_slowdown, alpha)
        self.rewards = RewardDifference(level=1 - 2 * alpha)  # alpha on the side of a loss
        self.ratio = SampleRatioMonitor((0.5, 0.5))
        self.verdict: Verdict | None = None

    def add_user(self, key: int, *, is_candidate: bool) -> None:
        """Add a user who is about to get the first list."""
        self.rewards.add_user(key, is_candidate)
        self.ratio.add(int(is_candidate))
        if self.ratio.is_mismatch:
            control, candidate = self.ratio.counts
            self._end(
                "sample ratio",
                f"{control} users have the current version and {candidate} the one on trial, where half was expected. Users or "
                "lists were lost, so nothing can be concluded",
            )

    def add_list(self, seconds: float, *, is_candidate: bool, has_failed: bool = False) -> None:
        """Add a list that was made; ``has_failed``: by the current version, because the one on trial could not."""
        if is_candidate:
            self.failures.add(has_failed)
            if self.failures.is_exceeded:
                self._end("failures", f"{self.failures.n_happened} of {self.failures.n} lists could not be made")
        if not has_failed:
            self.slowdown.add(is_candidate, seconds)
            if is_candidate and (why := self.slowdown.explain()) is not None:
                self._end("latency", why)

    def add_reward(self, key: int) -> None:
        """Add a positive event of a user who was added."""
        self.rewards.add_reward(key, 1.0)
        found = self.rewards.find_interval()
        if found.high < 0 and not self.ratio.is_mismatch:
            control, candidate = self.rewards.means
            self._end(
                "reward",
                f"{candidate:.3g} positive events a user, where the current version has {control:.3g} (difference "
                f"{found.low:.3g} to {found.high:.3g}, {found.users[0]} and {found.users[1]} users)",
            )

    def _end(self, guard: str, reason: str) -> None:
        if self.verdict is None:
            self.verdict = Verdict(guard, reason)
