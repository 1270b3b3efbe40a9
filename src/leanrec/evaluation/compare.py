"""Paired significance tests between models on the same queries, corrected for multiple comparisons.

Differences are taken query by query, so the difficulty of a query, which affects all models, cancels out.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from leanrec.errors import DataError, SettingError
from leanrec.evaluation.bootstrap import PerQueryMetrics, bootstrap_means, weighted_mean
from leanrec.evaluation.metrics.ranking import RANKING_METRICS, Float64Array
from leanrec.settings import check_at_least, check_between

__all__ = ["ModelComparison", "PairedComparison", "compare", "holm_correction", "sign_flip_test"]

# Numbers of a table of resamples that is in memory at a time: 32 MB.
_CELLS = 2**22
_LOWER_IS_BETTER = {"mse", "mae"}
_HIGHER_IS_BETTER = {name for name, _ in RANKING_METRICS} | {"graded_ndcg", "auc"}


@dataclasses.dataclass(frozen=True)
class PairedComparison:
    """Two models on one metric.

    Attributes:
        a: the model with the better mean, or the baseline.
        b: the other model.
        difference: mean over queries of a's value minus b's.
        low: lower end of the bootstrap interval of the difference (of this pair alone).
        high: upper end.
        p: p-value: probability of a difference at least as large if a and b were interchangeable.
        p_corrected: p after Holm's correction for the number of tests.
        significant: whether the difference is significant after the correction.
        verdict: the outcome in words.
    """

    a: str
    b: str
    difference: float
    low: float
    high: float
    p: float
    p_corrected: float
    significant: bool
    verdict: str

    def swap(self) -> "PairedComparison":
        """The same comparison with a and b exchanged. The verdict stays as it is."""
        return dataclasses.replace(
            self, a=self.b, b=self.a, difference=-self.difference, low=-self.high, high=-self.low
        )


@dataclasses.dataclass(frozen=True)
class ModelComparison:
    """Several models on one metric.

    Attributes:
        metric: the compared metric.
        means: model → mean, best first.
        pairs: the requested comparisons.
        n_queries: queries with a value for at least one pair.
        n_tests: number of tests in the correction.
        level: of the intervals; 1 − level is the family-wise error rate of the verdicts.
    """

    metric: str
    means: dict[str, float]
    pairs: tuple[PairedComparison, ...]
    n_queries: int
    n_tests: int
    level: float

    @property
    def best(self) -> str:
        """The model with the best mean."""
        return next(iter(self.means))

    def __str__(self) -> str:
        return "\n".join(pair.verdict for pair in self.pairs)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and text."""
        return {"best": self.best, **dataclasses.asdict(self)}


def compare(
    evaluations: Mapping[str, PerQueryMetrics],
    metric: str = "ndcg@10",
    *,
    against: str = "best",
    level: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> ModelComparison:
    """Compare models by paired tests on the same queries, corrected for multiple comparisons.

    p comes from a two-sided sign-flip test (Fisher 1935; recommended for ranking metrics by Smucker, Allan
    and Carterette, CIKM 2007), the interval from a paired bootstrap, the correction from Holm, "A Simple
    Sequentially Rejective Multiple Test Procedure", 1979. Cost O(n_resamples · queries · pairs).

    Args:
        evaluations: model → result of ``evaluate``, all on the same evaluation set.
        metric: a name in their ``per_query``.
        against: "best" compares all models with the one with the best mean; as the data selects it, the correction is for
            all pairs. "all" compares every pair. The name of a model compares all others with this baseline.
        level: of the intervals; differences are significant at a family-wise error rate of 1 − level.
        n_resamples: number of sign flips; the smallest p is 1 / (n_resamples + 1).
        seed: of sign flips and bootstrap.

    Raises:
        SettingError: fewer than two models, an unknown metric, or an unknown model in ``against``.
        DataError: the evaluations are on different evaluation sets.
    """
    check_between("level", level, 0.5, 0.9999)
    check_at_least("n_resamples", n_resamples, 100)
    names, means = _rank_models(evaluations, metric)
    pairs = _list_pairs(names, against)
    values = {name: evaluations[name].values(metric) for name in names}
    table = np.column_stack([values[a] - values[b] for a, b in pairs])
    rows = np.isfinite(table).any(axis=1)
    weights = evaluations[names[0]].weights
    weights = None if weights is None else weights[rows]
    p = sign_flip_test(table[rows], weights, n_resamples=n_resamples, seed=seed)
    corrected = holm_correction(p)
    drawn = bootstrap_means(table[rows], weights, seed=seed)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    difference = [weighted_mean(column, weights) for column in table[rows].T]
    found = (
        _compare_pair(metric, means, pairs[i], (difference[i], low[i], high[i], p[i], corrected[i]), level)
        for i in range(len(pairs))
        if against != "best" or names[0] in pairs[i]
    )
    return ModelComparison(metric, means, tuple(found), int(rows.sum()), len(pairs), level)


def sign_flip_test(
    differences: Float64Array,
    weights: Float64Array | None = None,
    *,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> Float64Array:
    """Two-sided p (P,) of the mean of each column of paired differences (n, P). O(n_resamples · n · P).

    Under the null hypothesis the sign of each difference is arbitrary: p is the share of random sign assignments,
    including the observed one, whose mean is at least as far from 0. NaN counts as no difference.
    """
    scaled = np.nan_to_num(differences) * (1.0 if weights is None else weights[:, None])
    scaled = scaled[(scaled != 0).any(axis=1)]
    n, observed = len(scaled), np.abs(scaled.sum(axis=0))
    # Sums that differ by rounding errors only count as equal.
    threshold = observed - 1e-9 * np.abs(scaled).sum(axis=0)
    rng, step = np.random.default_rng(seed), max(1, _CELLS // max(n, 1))
    reached = np.ones(differences.shape[1])
    for start in range(0, n_resamples, step):
        size = min(step, n_resamples - start)
        bits = np.unpackbits(rng.integers(0, 256, (size, -(-n // 8)), dtype=np.uint8), axis=1, count=n)
        sums = 2.0 * (bits.astype(np.float64) @ scaled) - scaled.sum(axis=0)
        reached += (np.abs(sums) >= threshold).sum(axis=0)
    return np.asarray(reached / (n_resamples + 1))


def holm_correction(p: Sequence[float] | Float64Array) -> Float64Array:
    """Holm's step-down correction: the i-th smallest of m p-values times m − i, made monotone, at most 1."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def _rank_models(evaluations: Mapping[str, PerQueryMetrics], metric: str) -> tuple[list[str], dict[str, float]]:
    """Names and means, best first."""
    if len(evaluations) < 2:
        raise SettingError(f"A comparison needs at least two evaluations. Got {len(evaluations)}.")
    first, *others = evaluations
    for name in others:
        if evaluations[name].fingerprint != evaluations[first].fingerprint:
            raise DataError(
                f"Evaluations must be on the same evaluation set to be compared. {first!r} and {name!r} are not: "
                "evaluate both on the same part of the same split."
            )
    for each in evaluations.values():
        each.values(metric)
    means = {name: each.means()[metric] for name, each in evaluations.items()}
    names = sorted(means, key=lambda name: means[name], reverse=_metric_name(metric) not in _LOWER_IS_BETTER)
    return names, {name: means[name] for name in names}


def _list_pairs(names: list[str], against: str) -> list[tuple[str, str]]:
    if against in {"best", "all"}:
        return list(itertools.combinations(names, 2))
    if against not in names:
        raise SettingError(f"against must be 'best', 'all' or one of {', '.join(names)}. Got {against!r}.")
    return [(against, name) for name in names if name != against]


def _compare_pair(
    metric: str, means: dict[str, float], names: tuple[str, str], found: tuple[float, ...], level: float
) -> PairedComparison:
    difference, low, high, p, corrected = (float(each) for each in found)
    significant = corrected < 1 - level
    a, b = names
    if not significant:
        outcome = f"No significant difference between {a} and {b} in {metric}"
    else:
        name = _metric_name(metric)
        is_higher = difference > 0
        words = ("better", "worse") if name in _HIGHER_IS_BETTER | _LOWER_IS_BETTER else ("higher", "lower")
        first = is_higher != (name in _LOWER_IS_BETTER)
        outcome = f"{a} is {words[0] if first else words[1]} than {b} in {metric}"
    verdict = (
        f"{outcome}: {means[a]:.4f} against {means[b]:.4f}, "
        f"difference {difference:+.4f} ({100 * level:g} % interval of this pair alone {low:+.4f} to {high:+.4f}, "
        f"p corrected for all tests {corrected:.2g})."
    )
    return PairedComparison(*names, difference, low, high, p, corrected, significant, verdict)


def _metric_name(metric: str) -> str:
    return metric.partition("@")[0]
