"""Intervals of a difference that hold at every look (Howard and others 2021; Waudby-Smith and Ramdas 2024).

An interval of a fixed sample is wrong as soon as an analyst looks twice and stops when it leaves zero: with a look after every
event nearly every experiment without a difference is called a success. The intervals here hold at all looks together, so an
experiment may be watched, stopped and continued at will.
"""

import array
import dataclasses
import math
from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from leanrec.errors import DataError
from leanrec.settings import check_between, check_positive

__all__ = ["BoundedDifference", "Difference", "RewardDifference", "find_multiplier"]

MIN_USERS = 25  # of an arm: below it a variance says nothing
_LARGEST_STAKE = 0.5  # of the money, so that no bet loses it all


class Difference(NamedTuple):
    """A difference of means, treatment − control, and its interval.

    Attributes:
        value: the estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        users: number of users of the control and of the treatment.
    """

    value: float
    low: float
    high: float
    users: tuple[int, int]

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def find_multiplier(n: float, level: float = 0.95, tightest_at: float = 10_000) -> float:
    """Half the width of the interval in standard errors, for n users: the boundary of a normal mixture (Robbins 1970).

    At ``tightest_at`` users and a level of 95 % it is 3.04, where an interval of a fixed sample has 1.96; for a tenth of the
    users it is 3.86, and for ten times as many 3.24.
    """
    alpha = 1 - level
    mixture = tightest_at / (2 * math.log(1 / alpha) + math.log1p(2 * math.log(1 / alpha)))
    return math.sqrt((1 + mixture / n) * (math.log1p(n / mixture) + 2 * math.log(1 / alpha)))


@dataclasses.dataclass
class _ArmMoments:
    """Mean and spread of the rewards of one arm and of the baselines of its users, updated in O(1) without cancellation."""

    n: int = 0
    reward: float = 0.0
    baseline: float = 0.0
    rewards_squared: float = 0.0  # sums of products of deviations from the means
    baselines_squared: float = 0.0
    products: float = 0.0

    def add_user(self, baseline: float) -> None:
        """A user without a reward so far."""
        self.n += 1
        from_mean = baseline - self.baseline
        self.baseline += from_mean / self.n
        self.baselines_squared += from_mean * (baseline - self.baseline)
        self.products += self.reward * (self.baseline - baseline)
        before, self.reward = self.reward, self.reward * (self.n - 1) / self.n
        self.rewards_squared += before * self.reward

    def replace(self, before: float, after: float, baseline: float) -> None:
        """Another reward of a user."""
        mean = self.reward
        self.reward += (after - before) / self.n
        self.rewards_squared += (after - before) * (after - self.reward + before - mean)
        self.products += (after - before) * (baseline - self.baseline)

    def variance(self, slope: float) -> float:
        """Variance of the rewards minus ``slope`` times the baselines."""
        squared = self.rewards_squared - 2 * slope * self.products + slope**2 * self.baselines_squared
        return max(squared, 0.0) / (self.n - 1)


class RewardDifference:
    """Difference between two arms in the mean reward of a user, watched while users and rewards arrive.

    The unit is the user: the rewards of a user are added, and a user without any counts as 0. The interval is asymptotic, and
    needs no bound of the rewards. The theorem is about users whose rewards are final when they are counted. Rewards that are
    added later are outside of it; simulations with a look after each of 20,000 events, with counts and with heavy-tailed
    amounts, leave zero in at most 2 % of the experiments without a difference (``benchmarks/experiments.py``).

    With a ``baseline`` of each user, such as the reward of the week before the experiment, the part of the difference that it
    explains is taken out (CUPED, Deng et al. 2013), which narrows the interval by √(1 − correlation²).

    Cost: O(1) for each user, each reward and each look. Memory: about 250 bytes for each user.

    Attributes:
        level: probability that the interval holds at all looks.
        tightest_at: number of users of both arms together at which the interval is narrowest.
        n_switched: number of times that a user came with the other arm. Such users stay in their first arm.
    """

    def __init__(self, level: float = 0.95, tightest_at: float = 10_000) -> None:
        check_between("level", level, 0.5, 1 - 1e-9)
        check_positive("tightest_at", tightest_at)
        self.level, self.tightest_at = level, tightest_at
        self.n_switched = 0
        self._users: dict[Hashable, tuple[bool, float, float]] = {}
        self._arms = (_ArmMoments(), _ArmMoments())

    @property
    def users(self) -> tuple[int, int]:
        """Number of users of the control and of the treatment."""
        return self._arms[0].n, self._arms[1].n

    @property
    def means(self) -> tuple[float, float]:
        """Mean reward of a user of the control and of the treatment."""
        return self._arms[0].reward, self._arms[1].reward

    def add_user(self, user: Hashable, is_treated: bool, baseline: float = 0.0) -> None:
        """Add a user who has seen a list. Nothing changes if the user is there already.

        Args:
            user: any key of the user; the same one is the same user.
            is_treated: whether the user has the treatment.
            baseline: a number known before the experiment that predicts the reward.
        """
        known = self._users.get(user)
        if known is not None:
            self.n_switched += known[0] != is_treated
            return
        _check_finite("baseline", baseline)
        self._users[user] = (bool(is_treated), 0.0, baseline)
        self._arms[int(is_treated)].add_user(baseline)

    def add_reward(self, user: Hashable, reward: float) -> None:
        """Add a reward, such as 1 for a click, to those of a user. Raises DataError for a user who was not added."""
        known = self._users.get(user)
        if known is None:
            raise DataError("A reward must belong to a user who was added before it. Call add_user first.")
        _check_finite("reward", reward)
        is_treated, before, baseline = known
        self._users[user] = (is_treated, before + reward, baseline)
        self._arms[is_treated].replace(before, before + reward, baseline)

    def find_interval(self) -> Difference:
        """The difference with its interval.

        It has no ends while an arm has fewer than 25 users, or while all users of an arm have the same reward, in both arms: then
        nothing is known of their variance.
        """
        control, treatment = self._arms
        value = treatment.reward - control.reward
        if min(self.users) < MIN_USERS:
            return Difference(value, -math.inf, math.inf, self.users)
        spread = control.baselines_squared + treatment.baselines_squared
        slope = (control.products + treatment.products) / spread if spread > 0 else 0.0
        value -= slope * (treatment.baseline - control.baseline)
        error = math.sqrt(control.variance(slope) / control.n + treatment.variance(slope) / treatment.n)
        if error == 0:
            return Difference(value, -math.inf, math.inf, self.users)
        half = error * find_multiplier(sum(self.users), self.level, self.tightest_at)
        return Difference(value, value - half, value + half, self.users)


class BoundedDifference:
    """Difference between two arms in a mean reward from 0 to 1, with an interval that holds for every number of users.

    It assumes nothing but the bounds and a known probability of the treatment, so it suits guards that must be right with few
    users. It has the differences against which no bet wins much money (the hedged capital process of Waudby-Smith and Ramdas
    2024, theorem 3), on the weighted rewards ±(reward − mean so far) / probability, whose mean is the difference. Each user
    counts once, with a reward that is final. It is wider than that of `RewardDifference`, and narrower than an empirical
    Bernstein interval of the same rewards: by a fifth at 500 users of two equal arms, by half where one arm has a tenth.

    Cost: O(1) for each user, O(users) for each look, 1 ms for 10,000 users. Memory: 16 bytes for each user.

    Attributes:
        share: probability that a user has the treatment.
        level: probability that the interval holds at all looks.
    """

    def __init__(self, share: float = 0.5, level: float = 0.95) -> None:
        check_between("share", share, 1e-6, 1 - 1e-6)
        check_between("level", level, 0.5, 1 - 1e-9)
        self.share, self.level = share, level
        self._users = [0, 0]
        self._rewards = 0.5  # the sum, with one reward of 0.5 in front of the first
        self._scaled = array.array("d")  # weighted rewards, from 0 to 1
        self._bets = array.array("d")  # the stakes on them
        self._sum, self._squares = 0.5, 0.25  # of the weighted rewards, with one of 0.5 in front of the first

    def add(self, is_treated: bool, reward: float) -> None:
        """Add a user. Raises DataError for a reward below 0 or above 1."""
        if not 0 <= reward <= 1:
            raise DataError(f"A reward must be a number from 0 to 1. Got {reward!r}. Divide rewards by their maximum.")
        n = sum(self._users) + 1
        sign = 1 / self.share if is_treated else -1 / (1 - self.share)
        scaled = (sign * (reward - self._rewards / n) / self._range + 1) / 2
        # Both follow from the users before this one alone: a stake may not know what it is put on.
        self._bets.append(math.sqrt(2 * math.log(2 / (1 - self.level)) / (math.log1p(n) * self._squares)))
        self._scaled.append(scaled)
        self._sum += scaled
        self._squares += (scaled - self._sum / (n + 1)) ** 2
        self._rewards += reward
        self._users[int(is_treated)] += 1

    def find_interval(self) -> Difference:
        """The difference with its interval, which is −1 to 1 at the widest."""
        users = (self._users[0], self._users[1])
        if not self._scaled:
            return Difference(0.0, -1.0, 1.0, users)
        scaled, bets = np.array(self._scaled), np.array(self._bets)
        low, high = self._find_end(scaled, bets), 1 - self._find_end(1 - scaled, bets)
        value = self._range * (2 * float(scaled.mean()) - 1)
        low, high = (self._range * (2 * each - 1) for each in (low, high))
        return Difference(value, max(low, -1.0), min(high, 1.0), users)

    def _find_end(self, scaled: NDArray[np.float64], bets: NDArray[np.float64]) -> float:
        """The smallest mean of the weighted rewards that is not ruled out by the gains of bets on a larger one."""
        limit = math.log(2 / (1 - self.level))  # half of the money is put on each side

        def count_gain(mean: float) -> float:  # falls as the mean grows
            stakes = np.minimum(bets, _LARGEST_STAKE / max(mean, 1e-300))
            return float(np.log1p(stakes * (scaled - mean)).sum()) - limit

        return float(optimize.brentq(count_gain, 0.0, 1.0, xtol=1e-10)) if count_gain(0.0) > 0 else 0.0

    @property
    def _range(self) -> float:
        """Largest size of a weighted reward."""
        return 1 / min(self.share, 1 - self.share)


def _check_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise DataError(f"A {name} must be a finite number. Got {value!r}.")
