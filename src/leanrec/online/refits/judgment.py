"""Judgment of a refit: whether it is better than the served version for people in general."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.evaluation.bootstrap import PerQueryMetrics, bootstrap_means, weighted_mean
from leanrec.types import CSR

__all__ = ["Judgment", "judge_refit"]

_MIN_KNOWN = 30  # users of the fit, for a verdict about them
_Float64Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Judgment:
    """A refit compared with the served version on the same users.

    Attributes:
        metric: the compared metric, such as "ndcg@10".
        served: its mean over users for the served version.
        refit: the same for the refit.
        difference: mean of the differences, positive where the refit is better.
        low: lower end of the bootstrap interval over users.
        high: upper end.
        low_by_item: lower end of the interval over items: what is left if other items had been in demand.
        known_high: upper end of the interval over the users of the fit of the served version; None for fewer than 30 of them.
        level: of the intervals.
        n_users: number of users.
        n_items: number of items that they took.
    """

    metric: str
    served: float
    refit: float
    difference: float
    low: float
    high: float
    low_by_item: float
    known_high: float | None
    level: float
    n_users: int
    n_items: int

    @property
    def doubt(self) -> str | None:
        """Why the refit is not clearly better, or None if it is."""
        if not self.low > 0:
            return "the interval of the difference is not above 0"
        if not self.low_by_item > 0:
            return "it is better for a few items alone, as where one item is pushed"
        if self.known_high is not None and self.known_high < 0:
            return "it is worse for the users whom the served version was fitted on"
        return None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and text."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        interval = f"{self.level:.0%} interval {self.low:+.4f} to {self.high:+.4f}"
        return (
            f"{self.metric} {self.refit:.4f} against {self.served:.4f}, difference {self.difference:+.4f} ({interval}) for "
            f"{self.n_users:,} users and {self.n_items:,} items"
        )


def judge_refit(
    served: PerQueryMetrics,
    refit: PerQueryMetrics,
    ground_truth: CSR,
    is_known: NDArray[np.bool_],
    metric: str = "ndcg@10",
    level: float = 0.95,
) -> Judgment:
    """Compare a refit with the served version by paired bootstrap intervals, over users and over items.

    A user counts once, whatever the number of events. The interval over items draws items with all who took them, so up to
    three items that many invented users take, and that the refit has learned to push, leave it open.

    Args:
        served: evaluation of the served version on B queries.
        refit: evaluation of the refit on the same queries.
        ground_truth: (B, N) what the users took.
        is_known: (B,) the users whom the served version was fitted on.
        metric: a name in ``per_query``.
        level: of the intervals.
    """
    mine, its = served.values(metric), refit.values(metric)
    rows = np.flatnonzero(np.isfinite(mine) & np.isfinite(its))
    difference = its[rows] - mine[rows]
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(bootstrap_means(difference[:, None], seed=served.seed), tails)
    of_known = difference[is_known[rows]]
    known_high = None
    if len(of_known) >= _MIN_KNOWN:
        known_high = float(np.quantile(bootstrap_means(of_known[:, None], seed=served.seed), tails[1]))
    by_item, weights = _average_by_item(difference, ground_truth[rows])
    drawn = bootstrap_means(by_item[:, None], weights, seed=served.seed)
    return Judgment(
        metric=metric,
        served=weighted_mean(mine[rows], None),
        refit=weighted_mean(its[rows], None),
        difference=float(difference.mean()),
        low=float(low),
        high=float(high),
        low_by_item=float(np.nanquantile(drawn, tails[0])),
        known_high=known_high,
        level=level,
        n_users=len(rows),
        n_items=len(by_item),
    )


def _average_by_item(difference: _Float64Array, ground_truth: CSR) -> tuple[_Float64Array, _Float64Array]:
    """(M,) the mean difference of the users of each item that was taken, and (M,) the number of these users.

    Each user is divided equally among the items that he or she took.
    """
    counts = np.diff(ground_truth.indptr)
    share = np.repeat(1 / np.maximum(counts, 1), counts)
    items, position = np.unique(ground_truth.indices, return_inverse=True)
    weights: _Float64Array = np.bincount(position, share, len(items)).astype(np.float64)
    return np.bincount(position, share * np.repeat(difference, counts), len(items)) / weights, weights
