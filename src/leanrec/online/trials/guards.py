"""Guards of a version on trial: tests that hold at every look (Ville 1939; Waudby-Smith and Ramdas 2024, betting)."""

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from leanrec.online.experiments import RewardDifference, SampleRatioMonitor
from leanrec.settings import check_between

__all__ = ["GuardedComparison", "RateTest", "SlowdownTest", "TrialGuards", "Verdict"]

# Bets as shares of the largest one: the first finds a small excess, the last needs few observations.
_BETS = (0.02, 0.1, 0.5)
_BLOCK = 200  # lists
_MAX_UNPAIRED = 20  # of a version; older lists were made under another load
_N_TESTS = 5


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
        max_slowdown: the version may take this times as long as the current one, for a typical list and for the slowest ones.
        level: probability that no guard ends the trial of a version that keeps both limits and whose users do not act less, in all
            processes and at all looks together.
    """

    max_failures: float = 0.01
    max_slowdown: float = 1.1
    level: float = 0.95

    def __post_init__(self) -> None:
        check_between("max_failures", self.max_failures, 1e-6, 0.5)
        check_between("max_slowdown", self.max_slowdown, 1.0, 100.0)
        check_between("level", self.level, 0.5, 1 - 1e-6)


class RateTest:
    """A test that something happens at most as often as allowed, which may be looked at after every observation.

    It bets on each observation that the rate is higher. While the rate is at most the allowed one, the mean of the gains of
    three bets is a supermartingale, which exceeds 1 / alpha with probability alpha at most, however long it is watched.

    Attributes:
        alpha: probability of a false alarm.
        n: number of observations.
        n_happened: how often it happened.
        is_exceeded: whether the rate is higher.
    """

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.n = self.n_happened = 0
        self.is_exceeded = False
        self._gains = [0.0] * len(_BETS)  # logarithms

    def add(self, happened: bool, allowed: float) -> None:
        """Add an observation that may happen with a probability of at most ``allowed``. O(1)."""
        self.n += 1
        self.n_happened += happened
        for at, bet in enumerate(_BETS):
            self._gains[at] += math.log1p(bet / allowed * (1 - allowed)) if happened else math.log1p(-bet)
        self._judge()

    def get_totals(self) -> dict[str, float]:
        """What the test has seen, as numbers. Those of tests of other observations are added to them."""
        gains = {f"gain {bet:g}": gain for bet, gain in zip(_BETS, self._gains, strict=True)}
        return {"n": self.n, "n_happened": self.n_happened, **gains}

    def add_totals(self, totals: Mapping[str, float]) -> None:
        """Add what other tests have seen; a missing number is 0."""
        self.n += int(totals.get("n", 0))
        self.n_happened += int(totals.get("n_happened", 0))
        self._gains = [gain + totals.get(f"gain {bet:g}", 0.0) for bet, gain in zip(_BETS, self._gains, strict=True)]
        self._judge()

    def _judge(self) -> None:
        top = max(self._gains)
        total = top + math.log(sum(math.exp(gain - top) for gain in self._gains) / len(_BETS))
        self.is_exceeded |= total > -math.log(self.alpha)


class SlowdownTest:
    """A test whether one version takes longer than another, for a typical list and for the slowest ones.

    Each list of the version on trial is compared with one of the current version that was made about then, and is in no other
    pair: a list that happened to be quick would make all others slow. Of each 200 lists of both the slowest one is looked
    at. Of equal versions no more than half of the first are slower, and the slowest is one of the version on trial as often
    as it has lists. That holds for any distribution of the times and any changes of the load, since users are divided
    without regard to both.

    Attributes:
        typical: test of the pairs.
        slowest: test of the slowest list of each 200.
        seconds: the last seconds of the current version and of the one on trial.
    """

    def __init__(self, max_slowdown: float, alpha: float) -> None:
        self._max_slowdown = max_slowdown
        self.typical, self.slowest = RateTest(alpha), RateTest(alpha)
        self.seconds = (collections.deque[float](maxlen=_BLOCK), collections.deque[float](maxlen=_BLOCK))
        # Lists that are in no pair yet. One of both is empty.
        self._unpaired = (
            collections.deque[float](maxlen=_MAX_UNPAIRED),
            collections.deque[float](maxlen=_MAX_UNPAIRED),
        )
        self._block: list[tuple[float, bool]] = []

    def add(self, is_candidate: bool, seconds: float) -> None:
        """Add the seconds of a list. O(1) on average."""
        if self._unpaired[not is_candidate]:
            other = self._unpaired[not is_candidate].pop()
            control, candidate = (other, seconds) if is_candidate else (seconds, other)
            self.typical.add(candidate > self._max_slowdown * control, 0.5)
        else:
            self._unpaired[is_candidate].append(seconds)
        self.seconds[is_candidate].append(seconds)
        self._block.append((seconds / self._max_slowdown if is_candidate else seconds, not is_candidate))
        if len(self._block) == _BLOCK:
            share = sum(not is_control for _, is_control in self._block) / _BLOCK
            if 0 < share < 1:
                _, is_control = max(self._block)  # of two equal ones that of the current version
                self.slowest.add(not is_control, share)
            self._block.clear()

    def explain(self) -> str | None:
        """What is slower, or None."""
        if self.typical.is_exceeded:
            test = self.typical
            return (
                f"{test.n_happened} of {test.n} lists took more than {self._max_slowdown:g} times as long as one of the current "
                "version, where at most half would"
            )
        if self.slowest.is_exceeded:
            test = self.slowest
            return (
                f"the slowest of {_BLOCK} lists was one of the version on trial {test.n_happened} times of {test.n}, which is "
                "more than its share"
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
        self.failures, self._max_failures = RateTest(alpha), guards.max_failures
        self.slowdown = SlowdownTest(guards.max_slowdown, alpha)
        self.rewards = RewardDifference(level=1 - 2 * alpha)  # alpha on the side of a loss
        self.ratio = SampleRatioMonitor((0.5, 0.5))
        self.verdict: Verdict | None = None

    def add_user(self, key: int, *, is_candidate: bool) -> None:
        """Add a user who is about to get the first list."""
        self.rewards.add_user(key, is_candidate)
        self.ratio.add(int(is_candidate))
        self._judge_ratio()

    def _judge_ratio(self) -> None:
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
            self.failures.add(has_failed, self._max_failures)
        if not has_failed:
            self.slowdown.add(is_candidate, seconds)
        if is_candidate:
            self._judge_lists()

    def _judge_lists(self) -> None:
        if self.failures.is_exceeded:
            self._end("failures", f"{self.failures.n_happened} of {self.failures.n} lists could not be made")
        if (why := self.slowdown.explain()) is not None:
            self._end("latency", why)

    def add_reward(self, key: int, n: int = 1) -> None:
        """Add positive events of a user who was added."""
        self.rewards.add_reward(key, float(n))
        self._judge_rewards()

    def get_totals(self) -> dict[str, float]:
        """What the tests of the lists have seen, as numbers that are added over processes."""
        return {
            f"{name} {each}": value for name, test in self._list_tests() for each, value in test.get_totals().items()
        }

    def add_totals(self, totals: Mapping[str, float]) -> None:
        """Add what the tests of the lists have seen in other processes, or before a restart."""
        for name, test in self._list_tests():
            start = f"{name} "
            test.add_totals({key.removeprefix(start): each for key, each in totals.items() if key.startswith(start)})
        self._judge_lists()

    def _list_tests(self) -> Iterator[tuple[str, RateTest]]:
        yield "failures", self.failures
        yield "typical", self.slowdown.typical
        yield "slowest", self.slowdown.slowest

    def _judge_rewards(self) -> None:
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
