"""Bootstrap confidence intervals of means over queries."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from leanrec.errors import SettingError
from leanrec.settings import check_between

__all__ = ["ConfidenceInterval", "PerQueryMetrics", "bootstrap_means", "weighted_mean"]

Float64Array = NDArray[np.float64]
N_RESAMPLES = 1000
# Numbers of a table of resamples that is in memory at a time: 32 MB.
_CELLS = 2**22
# Rows that are drawn one by one. More of them are drawn in groups.
_MOST_ROWS = 50_000


class ConfidenceInterval(NamedTuple):
    """A mean and the ends of its confidence interval."""

    mean: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, eq=False)
class PerQueryMetrics:
    """One value for each query and metric, with means and intervals over the queries.

    Attributes:
        per_query: name → (B,) float64; NaN where the query has no value.
        fingerprint: of the evaluation set.
        seed: of the bootstrap. The same seed and evaluation set give the same resamples, so those of two models are
            paired.
        weights: (B,) weight of each query; None = equal weights.
    """

    per_query: Mapping[str, Float64Array]
    fingerprint: str
    seed: int = 0
    weights: Float64Array | None = None

    def values(self, name: str) -> Float64Array:
        """(B,) the values of one metric. Raises SettingError, listing the metrics, if there is none of that name."""
        if name not in self.per_query:
            raise SettingError(f"There is no metric {name!r}. Metrics: {', '.join(self.per_query)}.")
        return self.per_query[name]

    def means(self) -> dict[str, float]:
        """Metric → mean over the queries that have a value; NaN where no query has one."""
        return {name: weighted_mean(values, self.weights) for name, values in self.per_query.items()}

    def interval(self, name: str, level: float = 0.95) -> ConfidenceInterval:
        """Mean and percentile bootstrap interval over queries: 1000 resamples of all metrics at once.

        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
        """
        check_between("level", level, 0, 1)
        mean = weighted_mean(self.values(name), self.weights)
        low, high = np.quantile(self.bootstrap_means(name), [(1 - level) / 2, (1 + level) / 2])
        return ConfidenceInterval(mean, float(low), float(high))

    def bootstrap_means(self, name: str) -> Float64Array:
        """(1000,) means of one metric over resampled queries."""
        self.values(name)
        return self._bootstrap_table[:, list(self.per_query).index(name)]

    @functools.cached_property
    def _bootstrap_table(self) -> Float64Array:
        table = np.column_stack(list(self.per_query.values()))
        rows = np.isfinite(table).any(axis=1)
        weights = None if self.weights is None else self.weights[rows]
        return bootstrap_means(table[rows], weights, seed=self.seed)

    def intervals(self, level: float = 0.95) -> dict[str, dict[str, float]]:
        """Metric → mean, low and high, as plain numbers."""
        return {name: self.interval(name, level)._asdict() for name in self.per_query}


def bootstrap_means(
    table: Float64Array, weights: Float64Array | None = None, *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Float64Array:
    """(R, M) means of the columns of ``table`` (n, M) over n rows drawn with replacement, R times.

    NaN cells are ignored. Only the number of times that each row is drawn matters, so a resample is a row of counts and
    all means are one matrix product. Above 50,000 rows, random groups of rows are drawn in place of rows: the spread of the
    means is the same, up to the noise of so many groups. Cost O(n · M + R · min(n, 50,000) · M) time, 32 MB at a time.
    """
    n, width = table.shape
    if not n:
        return np.full((n_resamples, width), np.nan)
    rng = np.random.default_rng(seed)
    both = _sum_groups(table, weights, rng)
    n = len(both)
    step = max(1, _CELLS // n)
    total = np.empty((n_resamples, 2 * width))
    for start in range(0, n_resamples, step):
        size = min(step, n_resamples - start)
        drawn = rng.integers(0, n, size=(size, n), dtype=np.int32)
        # Row r of the block counts in its own range of numbers, so that one count serves all of them.
        drawn += (np.arange(size, dtype=np.int32) * n)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        total[start : start + size] = counts.astype(np.float64) @ both
    weight = total[:, width:]
    means: Float64Array = np.full((n_resamples, width), np.nan)
    np.divide(total[:, :width], weight, out=means, where=weight > 0)
    return means


def _sum_groups(table: Float64Array, weights: Float64Array | None, rng: np.random.Generator) -> Float64Array:
    """(G, 2 M) for each random group of rows the weighted sums of the columns, and the sums of the weights; G is at most 50,000."""
    n, width = table.shape
    n_groups = min(n, _MOST_ROWS)
    group = np.arange(n) if n_groups == n else rng.permutation(n) % n_groups
    sums = np.empty((n_groups, 2 * width))
    for at, column in enumerate(table.T):
        counted = np.isfinite(column).astype(np.float64)
        if weights is not None:
            counted *= weights
        sums[:, at] = np.bincount(group, np.where(counted > 0, column, 0.0) * counted, n_groups)
        sums[:, width + at] = np.bincount(group, counted, n_groups)
    return sums


def weighted_mean(values: Float64Array, weights: Float64Array | None) -> float:
    """Mean of the values (n,) that are not NaN, weighted by ``weights`` (n,) or equally; NaN if there are none."""
    known = np.isfinite(values)
    if not known.any():
        return float("nan")
    share: Any = None if weights is None else weights[known]
    return float(np.average(values[known], weights=share))
