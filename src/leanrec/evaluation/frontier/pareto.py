"""Which of many are worth a look: those that nothing else beats in cost and quality together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["front"]


def front(cost: Sequence[float], quality: Sequence[float]) -> NDArray[np.bool_]:
    """(n,) whether each is Pareto-optimal: lower cost is better, higher quality is better.

    Twins (equal in both) are optimal together. A value that is not a number is never optimal. Time O(n log
    n).
    """
    costs = np.asarray(cost, dtype=np.float64)
    gains = np.asarray(quality, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(costs) & ~np.isnan(gains))
    order = known[np.lexsort((-gains[known], costs[known]))]
    optimal = np.zeros(len(costs), dtype=np.bool_)
    best, at = -np.inf, np.nan
    for row in order:
        # Sorted by cost, and by quality within a cost: only a gain over all the cheaper ones counts.
        if gains[row] > best or (gains[row] == best and costs[row] == at):
            optimal[row] = True
            best, at = gains[row], costs[row]
    return optimal
