"""Pareto optimality in cost and quality."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_pareto_optimal"]


def is_pareto_optimal(cost: Sequence[float], quality: Sequence[float]) -> NDArray[np.bool_]:
    """(n,) whether each point is Pareto-optimal: lower cost is better, higher quality is better.

    Points that are equal in both are optimal together. NaN is never optimal. Time O(n log n).
    """
    costs = np.asarray(cost, dtype=np.float64)
    qualities = np.asarray(quality, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(costs) & ~np.isnan(qualities))
    order = known[np.lexsort((-qualities[known], costs[known]))]
    optimal = np.zeros(len(costs), dtype=np.bool_)
    best, cost_of_best = -np.inf, np.nan
    for row in order:
        # Sorted by cost, then by quality, descending: a point must be better than all the cheaper ones.
        if qualities[row] > best or (qualities[row] == best and costs[row] == cost_of_best):
            optimal[row] = True
            best, cost_of_best = qualities[row], costs[row]
    return optimal
