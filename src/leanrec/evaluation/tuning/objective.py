"""One number for each query, higher is better, whatever the metric: what a search compares settings by."""

import dataclasses
import math
import re
from typing import Any, NamedTuple

import numpy as np

from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import DataError, SettingError
from leanrec.evaluation.bootstrap import resampled_means
from leanrec.evaluation.evaluate import Evaluation, evaluate
from leanrec.evaluation.frontier.results import Quality
from leanrec.evaluation.metrics.ranking import RANKING, Float64Array
from leanrec.evaluation.metrics.ratings import evaluate_ratings
from leanrec.protocols import RatingPredictor, Scorer
from leanrec.run import Run

__all__ = ["Gap", "Judged", "WrongMetricError", "Yardstick", "clearly_worse", "optimism"]

_ERRORS = ("rmse", "mae")
_METRICS = tuple(name for name, _ in RANKING)
# Two-sided, at each look: what is given up is worse with a probability of 0.995 at that look.
_CERTAIN = 2.576
_RESAMPLES = 400


class WrongMetricError(SettingError):
    """The metric cannot be had from the model, whatever its settings."""


class Judged(NamedTuple):
    """What a model did on some cases: (B,) values, higher is better, and how much each counts."""

    values: Float64Array
    weights: Float64Array

    def and_more(self, others: "Judged | None") -> "Judged":
        """Those of ``others`` before these."""
        if others is None:
            return self
        return Judged(*(np.concatenate(pair) for pair in zip(others, self, strict=True)))

    @property
    def mean(self) -> float:
        """The weighted mean; NaN where nothing counts."""
        total = self.weights.sum()
        return float((self.values * self.weights).sum() / total) if total else float("nan")


@dataclasses.dataclass(frozen=True)
class Gap:
    """How much better one model is than another on the same queries: the mean and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclasses.dataclass(frozen=True)
class Yardstick:
    """How settings are judged.

    Attributes:
        metric: a ranking metric with its cut-off, such as "ndcg@10", or "rmse" or "mae" of predicted ratings.
    """

    metric: str = "ndcg@10"

    def __post_init__(self) -> None:
        name, at, cut = self.metric.partition("@")
        ranks = name in _METRICS and re.fullmatch(r"[1-9]\d*", cut)
        if not (ranks or (self.metric in _ERRORS and not at)):
            raise SettingError(
                f"metric must be one of {', '.join(_METRICS)} with a cut-off, as in ndcg@10, or rmse or mae. Got {self.metric!r}."
            )

    @property
    def is_error(self) -> bool:
        """Whether lower is better."""
        return self.metric in _ERRORS

    def answerable(self, cases: EvaluationSet) -> Any:
        """The positions of the cases that can be judged."""
        if not self.is_error:
            return np.flatnonzero(cases.n_relevant)
        return np.flatnonzero(np.diff(cases.ratings.indptr)) if cases.ratings is not None else np.zeros(0, np.int64)

    def judge(self, model: Scorer, cases: EvaluationSet, fallback: Scorer, run: Run) -> Judged:
        """Ask every case. Raises WrongMetricError where the metric needs predicted ratings and the model has none."""
        if self.is_error:
            if not isinstance(model, RatingPredictor):
                raise WrongMetricError(f"{self.metric} needs a model that predicts ratings, such as rating_mf.")
            errors = evaluate_ratings(model, cases, run=run)
            found = errors.values("mse" if self.metric == "rmse" else "mae")
            weights = np.ones(len(found)) if errors.weights is None else errors.weights
            return Judged(-np.nan_to_num(found), weights)
        evaluation = self._lists(model, cases, fallback, run)
        values = evaluation.values(self.metric)
        return Judged(np.nan_to_num(values), np.isfinite(values).astype(np.float64))

    def _lists(self, model: Scorer, cases: EvaluationSet, fallback: Scorer, run: Run) -> Evaluation:
        cut = int(self.metric.partition("@")[2])
        return evaluate(model, cases, k=(cut,), fallback=fallback, run=dataclasses.replace(run, callbacks=()))

    def show(self, signed: Any) -> Any:
        """A mean of values that are better the higher, in the unit of the metric."""
        if self.metric == "rmse":
            return np.sqrt(-np.minimum(signed, 0.0))
        return -signed if self.is_error else signed

    def quality(self, judged: Judged, seed: int) -> Quality:
        """The mean in the unit of the metric with its 95 % bootstrap interval over queries."""
        drawn = np.sort(self.show(resampled_means(judged.values[:, None], judged.weights, seed=seed)[:, 0]))
        low, high = np.quantile(drawn, [0.025, 0.975])
        return Quality(float(self.show(judged.mean)), float(low), float(high), int((judged.weights > 0).sum()))

    def gap(self, better: Judged, other: Judged, seed: int) -> Gap:
        """By how much the one is better than the other in the unit of the metric, query by query."""
        if not np.array_equal(better.weights, other.weights):
            raise DataError("Two models can only be compared over the same cases.")
        drawn = self.show(resampled_means(np.column_stack([better.values, other.values]), better.weights, seed=seed))
        sign = -1.0 if self.is_error else 1.0
        low, high = np.quantile(sign * (drawn[:, 0] - drawn[:, 1]), [0.025, 0.975])
        return Gap(float(sign * (self.show(better.mean) - self.show(other.mean))), float(low), float(high))


def clearly_worse(one: Judged, other: Judged) -> bool:
    """Whether the 99 % interval of the mean difference, query by query, lies below 0. O(B)."""
    total = one.weights.sum()
    if total <= 1:
        return False
    difference = one.values - other.values
    mean = float((difference * one.weights).sum() / total)
    spread = math.sqrt(float((((difference - mean) * one.weights) ** 2).sum())) / total
    return bool(mean + _CERTAIN * spread < 0)


def optimism(tried: list[Judged], seed: int) -> float:
    """How much higher the mean of the best of several is than what the best will do on other queries.

    The choice is repeated on 400 resamples of the queries, and each winner is judged on the queries that its resample
    left out: Tsamardinos, Greasidou & Borboudakis, "Bootstrapping the out-of-sample predictions for efficient and
    accurate cross-validation", Machine Learning 107, 2018. O(400 · B · T) for T candidates; 0 with one.
    """
    if len(tried) < 2:
        return 0.0
    values, weights = np.column_stack([each.values for each in tried]), tried[0].weights
    rng, n, left_out = np.random.default_rng(seed), len(weights), []
    for _ in range(_RESAMPLES):
        drawn = np.bincount(rng.integers(0, n, n), minlength=n)
        inside, outside = drawn * weights, (drawn == 0) * weights
        if inside.sum() and outside.sum():
            winner = int(np.argmax(inside @ values))
            left_out.append(float(outside @ values[:, winner] / outside.sum()))
    best = max(each.mean for each in tried)
    return max(0.0, best - float(np.mean(left_out))) if left_out else 0.0
