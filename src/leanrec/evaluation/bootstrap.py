"""Intervals: how far a mean over queries would move if other queries had been drawn."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from leanrec.errors import SettingError
from leanrec.settings import check_between

__all__ = ["Interval", "PerQuery", "resampled_means"]

Float64Array = NDArray[np.float64]
RESAMPLES = 1000
_CELLS = 2**22


class Interval(NamedTuple):
    """A mean and the ends of its percentile interval."""

    mean: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, eq=False)
class PerQuery:
    """One value for each query and metric, with means and intervals over the queries.

    Attributes:
        per_query: name → (B,) float64; NaN where the query has no value.
        cases: fingerprint of the cases that were asked.
        seed: what the resamples follow from. The same seed and cases give the same resamples, so those of
            two models are paired.
        weights: (B,) how much each query counts, or None for all the same.
    """

    per_query: Mapping[str, Float64Array]
    cases: str
    seed: int = 0
    weights: Float64Array | None = None

    def values(self, name: str) -> Float64Array:
        """(B,) the values of one metric. Raises SettingError with the names there are."""
        if name not in self.per_query:
            raise SettingError(f"There is no metric {name!r} here. There are: {', '.join(self.per_query)}.")
        return self.per_query[name]

    def means(self) -> dict[str, float]:
        """Mean over the queries that have a value, by metric; NaN where none has."""
        return {name: _mean(values, self.weights) for name, values in self.per_query.items()}

    def interval(self, name: str, level: float = 0.95) -> Interval:
        """Mean and percentile bootstrap interval over queries: 1000 resamples of all metrics at once.

        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
        """
        check_between("level", level, 0, 1)
        mean = _mean(self.values(name), self.weights)
        low, high = np.quantile(self.resampled(name), [(1 - level) / 2, (1 + level) / 2])
        return Interval(mean, float(low), float(high))

    def resampled(self, name: str) -> Float64Array:
        """(1000,) means of one metric over resampled queries."""
        self.values(name)
        return self._resampled[:, list(self.per_query).index(name)]

    @functools.cached_property
    def _resampled(self) -> Float64Array:
        table = np.column_stack(list(self.per_query.values()))
        rows = np.isfinite(table).any(axis=1)
        weights = None if self.weights is None else self.weights[rows]
        return resampled_means(table[rows], weights, seed=self.seed)

    def intervals(self, level: float = 0.95) -> dict[str, dict[str, float]]:
        """Every metric with its interval, as plain numbers."""
        return {name: self.interval(name, level)._asdict() for name in self.per_query}


def resampled_means(
    table: Float64Array, weights: Float64Array | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> Float64Array:
    """(R, M) means of the columns of ``table`` (n, M) over n rows drawn with replacement, R times.

    NaN cells do not count. Only how often each row was drawn matters, so a resample is a row of counts and
    all means are one matrix product. Cost O(R · n · M) time, 32 MB at a time.
    """
    n, width = table.shape
    if not n:
        return np.full((resamples, width), np.nan)
    counted = np.isfinite(table).astype(np.float64)
    if weights is not None:
        counted *= weights[:, None]
    both = np.hstack([np.where(counted > 0, table, 0.0) * counted, counted])
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // n)
    total = np.concatenate([_draw(rng, min(step, resamples - start), n) @ both for start in range(0, resamples, step)])
    weight = total[:, width:]
    means: Float64Array = np.full((resamples, width), np.nan)
    np.divide(total[:, :width], weight, out=means, where=weight > 0)
    return means


def _draw(rng: np.random.Generator, resamples: int, n: int) -> Float64Array:
    """(R, n) how often each of n rows comes up in n draws."""
    drawn = rng.integers(0, n, size=(resamples, n), dtype=np.int32)
    drawn += (np.arange(resamples, dtype=np.int32) * n)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)


def _mean(values: Float64Array, weights: Float64Array | None) -> float:
    there = np.isfinite(values)
    if not there.any():
        return float("nan")
    share: Any = None if weights is None else weights[there]
    return float(np.average(values[there], weights=share))
