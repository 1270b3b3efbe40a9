"""Tuning objective: per-query scores, oriented so that higher is better."""

import dataclasses
import math
import re
from typing import Any, NamedTuple

import numpy as np

from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import DataError, SettingError
from leanrec.evaluation.bootstrap import bootstrap_means
from leanrec.evaluation.evaluate import evaluate
from leanrec.evaluation.frontier.results import QualityEstimate
from leanrec.evaluation.metrics.ranking import RANKING_METRICS, Float64Array
from leanrec.evaluation.metrics.ratings import evaluate_ratings
from leanrec.protocols import RatingPredictor, Scorer
from leanrec.run import Run

__all__ = [
    "Difference",
    "QueryScores",
    "TuningObjective",
    "UnsupportedMetricError",
    "estimate_optimism",
    "is_significantly_worse",
]

_ERRORS = ("rmse", "mae")
_METRICS = tuple(name for name, _ in RANKING_METRICS)
# Two-sided 99 % at each test: a trial that is as good as the best is pruned with a probability of 0.005 at that test.
_Z_SCORE = 2.576
_N_RESAMPLES = 400


class UnsupportedMetricError(SettingError):
    """The model cannot provide the metric, whatever its settings."""


class QueryScores(NamedTuple):
    """Scores of one model on B queries: (B,) values, higher is better, and (B,) weights."""

    values: Float64Array
    weights: Float64Array

    def append_to(self, earlier: "QueryScores | None") -> "QueryScores":
        """``earlier`` followed by these."""
        if earlier is None:
            return self
        return QueryScores(*(np.concatenate(pair) for pair in zip(earlier, self, strict=True)))

    @property
    def mean(self) -> float:
        """The weighted mean; NaN if all weights are zero."""
        total = self.weights.sum()
        return float((self.values * self.weights).sum() / total) if total else float("nan")


@dataclasses.dataclass(frozen=True)
class Difference:
    """Improvement of one model over another on the same queries: the mean and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


@dataclasses.dataclass(frozen=True)
class TuningObjective:
    """The metric that tuning optimizes.

    Attributes:
        metric: a ranking metric with its cut-off, such as "ndcg@10", or "rmse" or "mae" of predicted ratings.
    """

    metric: str = "ndcg@10"

    def __post_init__(self) -> None:
        name, at, cutoff = self.metric.partition("@")
        is_ranking = name in _METRICS and re.fullmatch(r"[1-9]\d*", cutoff)
        if not (is_ranking or (self.metric in _ERRORS and not at)):
            raise SettingError(
                f"metric must be one of {', '.join(_METRICS)} with a cut-off, as in ndcg@10, or rmse or mae. Got {self.metric!r}."
            )

    @property
    def is_error(self) -> bool:
        """Whether lower is better."""
        return self.metric in _ERRORS

    def find_evaluable(self, evaluation_set: EvaluationSet) -> Any:
        """Positions of the queries that the metric is defined for."""
        if not self.is_error:
            return np.flatnonzero(evaluation_set.n_relevant)
        ratings = evaluation_set.ratings
        return np.zeros(0, np.int64) if ratings is None else np.flatnonzero(np.diff(ratings.indptr))

    def score_queries(self, model: Scorer, evaluation_set: EvaluationSet, fallback: Scorer, run: Run) -> QueryScores:
        """Evaluate every query.

        Raises UnsupportedMetricError if the metric needs predicted ratings and the model predicts none.
        """
        if self.is_error:
            if not isinstance(model, RatingPredictor):
                raise UnsupportedMetricError(f"{self.metric} needs a model that predicts ratings, such as rating_mf.")
            errors = evaluate_ratings(model, evaluation_set, run=run)
            found = errors.values("mse" if self.metric == "rmse" else "mae")
            weights = np.ones(len(found)) if errors.weights is None else errors.weights
            return QueryScores(-np.nan_to_num(found), weights)
        cutoff = int(self.metric.partition("@")[2])
        quiet = dataclasses.replace(run, callbacks=())
        evaluation = evaluate(model, evaluation_set, k=(cutoff,), fallback=fallback, run=quiet)
        values = evaluation.values(self.metric)
        return QueryScores(np.nan_to_num(values), np.isfinite(values).astype(np.float64))

    def to_metric(self, score: Any) -> Any:
        """Convert a mean score to the unit of the metric."""
        if self.metric == "rmse":
            return np.sqrt(-np.minimum(score, 0.0))
        return -score if self.is_error else score

    def from_metric(self, value: float) -> float:
        """Convert a value of the metric to a mean score. The inverse of ``to_metric``."""
        if self.metric == "rmse":
            return -(value**2)
        return -value if self.is_error else value

    def estimate_quality(self, scores: QueryScores, seed: int) -> QualityEstimate:
        """Mean in the unit of the metric with its 95 % bootstrap interval over queries."""
        means = np.sort(self.to_metric(bootstrap_means(scores.values[:, None], scores.weights, seed=seed)[:, 0]))
        low, high = np.quantile(means, [0.025, 0.975])
        return QualityEstimate(
            float(self.to_metric(scores.mean)), float(low), float(high), int((scores.weights > 0).sum())
        )

    def estimate_difference(self, better: QueryScores, other: QueryScores, seed: int) -> Difference:
        """Improvement of ``better`` over ``other`` in the unit of the metric, paired by query."""
        if not np.array_equal(better.weights, other.weights):
            raise DataError("Two models can only be compared on the same evaluation set.")
        table = np.column_stack([better.values, other.values])
        means = self.to_metric(bootstrap_means(table, better.weights, seed=seed))
        sign = -1.0 if self.is_error else 1.0
        low, high = np.quantile(sign * (means[:, 0] - means[:, 1]), [0.025, 0.975])
        mean = sign * (self.to_metric(better.mean) - self.to_metric(other.mean))
        return Difference(float(mean), float(low), float(high))


def is_significantly_worse(scores: QueryScores, other: QueryScores) -> bool:
    """Whether the 99 % interval of the mean paired difference lies below 0. O(B)."""
    total = scores.weights.sum()
    if total <= 1:
        return False
    difference = scores.values - other.values
    mean = float((difference * scores.weights).sum() / total)
    error = math.sqrt(float((((difference - mean) * scores.weights) ** 2).sum())) / total
    return bool(mean + _Z_SCORE * error < 0)


def estimate_optimism(trials: list[QueryScores], seed: int) -> float:
    """Selection bias: how much the validation mean of the best of several trials exceeds its mean on other queries.

    The selection is repeated on 400 bootstrap samples of the queries, and each winner is evaluated on the queries outside
    its sample: Tsamardinos, Greasidou & Borboudakis, "Bootstrapping the out-of-sample predictions for efficient and
    accurate cross-validation", Machine Learning 107, 2018. O(400 · B · T) for T trials; 0 for a single trial.
    """
    if len(trials) < 2:
        return 0.0
    values, weights = np.column_stack([each.values for each in trials]), trials[0].weights
    rng, n, out_of_sample = np.random.default_rng(seed), len(weights), []
    for _ in range(_N_RESAMPLES):
        drawn = np.bincount(rng.integers(0, n, n), minlength=n)
        inside, outside = drawn * weights, (drawn == 0) * weights
        if inside.sum() and outside.sum():
            winner = int(np.argmax(inside @ values))
            out_of_sample.append(float(outside @ values[:, winner] / outside.sum()))
    best = max(each.mean for each in trials)
    return max(0.0, best - float(np.mean(out_of_sample))) if out_of_sample else 0.0
