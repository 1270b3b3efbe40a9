"""Which of several models is better on the same queries, and could it be chance?

Differences are taken query by query, so what makes a query hard for everybody cancels out.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from leanrec.errors import DataError, SettingError
from leanrec.evaluation.bootstrap import PerQuery, resampled_means
from leanrec.evaluation.metrics.ranking import RANKING, Float64Array
from leanrec.settings import check_at_least, check_between

__all__ = ["Comparison", "Pair", "compare", "holm", "sign_flip"]

_CELLS = 2**22
_LOWER = {"mse", "mae"}
_QUALITY = {name for name, _ in RANKING} | {"graded_ndcg", "auc"}


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two models on one metric.

    Attributes:
        a: the one with the better mean, or the one that all are compared with.
        b: the other.
        difference: mean over queries of a's value minus b's.
        low: lower end of the bootstrap interval of the difference (of this pair alone).
        high: upper end.
        p: probability of a difference at least as large if a and b were interchangeable.
        p_corrected: p after Holm's correction for everything that was compared.
        shown: whether the difference stands after the correction.
        verdict: the same in words.
    """

    a: str
    b: str
    difference: float
    low: float
    high: float
    p: float
    p_corrected: float
    shown: bool
    verdict: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several models on one metric.

    Attributes:
        metric: what was compared.
        means: model → mean, best first.
        pairs: the comparisons that were asked for.
        n_queries: queries with a value for at least one pair.
        n_tests: how many tests the correction is for.
        level: of the intervals; 1 − level is the error rate of the verdicts together.
    """

    metric: str
    means: dict[str, float]
    pairs: tuple[Pair, ...]
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
    evaluations: Mapping[str, PerQuery],
    metric: str = "ndcg@10",
    *,
    against: str = "best",
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Paired tests between models, corrected for their number.

    p comes from a two-sided sign-flip test (Fisher 1935; recommended for ranking metrics by Smucker, Allan
    and Carterette, CIKM 2007), the interval from a paired bootstrap, the correction from Holm, "A Simple
    Sequentially Rejective Multiple Test Procedure", 1979. Cost O(resamples · queries · pairs).

    Args:
        evaluations: model → what ``evaluate`` gave, all over the same cases.
        metric: a name in their ``per_query``.
        against: "best": everything with the best mean. The data chose it, so the correction is for all pairs.
            "all": every pair. The name of a model: everything with that one, chosen beforehand.
        level: of the intervals; differences are shown at an error rate of 1 − level over all tests together.
        resamples: sign flips; the smallest p is 1 / (resamples + 1).
        seed: of flips and resamples.

    Raises:
        SettingError: fewer than two models, an unknown metric, or an unknown model in ``against``.
        DataError: the evaluations are over different cases.
    """
    check_between("level", level, 0.5, 0.9999)
    check_at_least("resamples", resamples, 100)
    names, means = _ranked(evaluations, metric)
    pairs = _pairs(names, against)
    values = {name: evaluations[name].values(metric) for name in names}
    table = np.column_stack([values[a] - values[b] for a, b in pairs])
    rows = np.isfinite(table).any(axis=1)
    weights = evaluations[names[0]].weights
    weights = None if weights is None else weights[rows]
    p = sign_flip(table[rows], weights, resamples=resamples, seed=seed)
    corrected = holm(p)
    drawn = resampled_means(table[rows], weights, seed=seed)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    difference = _weighted_mean(table[rows], weights)
    found = (
        _pair(metric, means, pairs[i], (difference[i], low[i], high[i], p[i], corrected[i]), level)
        for i in range(len(pairs))
        if against != "best" or names[0] in pairs[i]
    )
    return Comparison(metric, means, tuple(found), int(rows.sum()), len(pairs), level)


def sign_flip(
    differences: Float64Array,
    weights: Float64Array | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Float64Array:
    """Two-sided p (P,) of the mean of each column of paired differences (n, P). O(resamples · n · P).

    If two models were interchangeable, each difference could as well have had the other sign: p is the share
    of random signs, the observed ones among them, whose mean is as far from 0. NaN counts as no difference.
    """
    scaled = np.nan_to_num(differences) * (1.0 if weights is None else weights[:, None])
    scaled = scaled[(scaled != 0).any(axis=1)]
    n, observed = len(scaled), np.abs(scaled.sum(axis=0))
    # Sums that differ by rounding alone are as far from 0.
    threshold = observed - 1e-9 * np.abs(scaled).sum(axis=0)
    rng, step = np.random.default_rng(seed), max(1, _CELLS // max(n, 1))
    reached = np.ones(differences.shape[1])
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        bits = np.unpackbits(rng.integers(0, 256, (size, -(-n // 8)), dtype=np.uint8), axis=1, count=n)
        sums = 2.0 * (bits.astype(np.float64) @ scaled) - scaled.sum(axis=0)
        reached += (np.abs(sums) >= threshold).sum(axis=0)
    return np.asarray(reached / (resamples + 1))


def holm(p: Sequence[float] | Float64Array) -> Float64Array:
    """Holm's step-down correction: the i-th smallest of m values times m − i, made to rise, at most 1."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def _ranked(evaluations: Mapping[str, PerQuery], metric: str) -> tuple[list[str], dict[str, float]]:
    """Names and means, the best first."""
    if len(evaluations) < 2:
        raise SettingError(f"A comparison needs at least two evaluations. Got {len(evaluations)}.")
    first, *others = evaluations
    for name in others:
        if evaluations[name].cases != evaluations[first].cases:
            raise DataError(
                f"Evaluations must be over the same cases to be compared. {first!r} and {name!r} are not: "
                "evaluate both on the same part of the same split."
            )
    for each in evaluations.values():
        each.values(metric)
    means = {name: each.means()[metric] for name, each in evaluations.items()}
    names = sorted(means, key=lambda name: means[name], reverse=_kind(metric) not in _LOWER)
    return names, {name: means[name] for name in names}


def _pairs(names: list[str], against: str) -> list[tuple[str, str]]:
    if against in {"best", "all"}:
        return list(itertools.combinations(names, 2))
    if against not in names:
        raise SettingError(f"against must be 'best', 'all' or one of {', '.join(names)}. Got {against!r}.")
    return [(against, name) for name in names if name != against]


def _weighted_mean(table: Float64Array, weights: Float64Array | None) -> Float64Array:
    weight = np.isfinite(table) * (1.0 if weights is None else weights[:, None])
    total = weight.sum(axis=0)
    return np.asarray((np.nan_to_num(table) * weight).sum(axis=0) / np.where(total > 0, total, np.nan))


def _pair(metric: str, means: dict[str, float], names: tuple[str, str], found: tuple[float, ...], level: float) -> Pair:
    difference, low, high, p, corrected = (float(each) for each in found)
    shown = corrected < 1 - level
    verdict = (
        f"{_opening(metric, names, difference, shown)}: {means[names[0]]:.4f} against {means[names[1]]:.4f}, "
        f"difference {difference:+.4f} ({100 * level:g} % interval of this pair alone {low:+.4f} to {high:+.4f}, "
        f"p corrected for all pairs {corrected:.2g})."
    )
    return Pair(*names, difference, low, high, p, corrected, shown, verdict)


def _opening(metric: str, names: tuple[str, str], difference: float, shown: bool) -> str:
    a, b = names
    if not shown:
        return f"No difference shown between {a} and {b} in {metric}"
    kind = _kind(metric)
    if kind in _LOWER:
        return f"{a} is {'better' if difference < 0 else 'worse'} than {b} in {metric}"
    words = ("better", "worse") if kind in _QUALITY else ("higher", "lower")
    return f"{a} is {words[0] if difference > 0 else words[1]} than {b} in {metric}"


def _kind(metric: str) -> str:
    return metric.partition("@")[0]
