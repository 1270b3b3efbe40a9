"""Errors of predicted ratings: RMSE and MAE."""

import dataclasses
import math
from typing import Any

import numpy as np

from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import DataError
from leanrec.evaluation.bootstrap import ConfidenceInterval, PerQueryMetrics
from leanrec.evaluation.metrics.ranking import divide_or_nan
from leanrec.protocols import RatingPredictor
from leanrec.run import Run

__all__ = ["RatingErrors", "evaluate_ratings"]

_BLOCK_SIZE = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class RatingErrors(PerQueryMetrics):
    """RMSE and MAE over held-out ratings.

    ``per_query`` holds the mean squared ("mse") and mean absolute ("mae") error of each query and ``weights``
    the number of its ratings. So means are over ratings and intervals are over queries, because the errors of one user's
    ratings are correlated.
    """

    @property
    def n_ratings(self) -> int:
        """Number of predicted ratings."""
        return int(np.sum(self.weights)) if self.weights is not None else 0

    @property
    def rmse(self) -> float:
        """Square root of the mean squared error over all ratings."""
        return math.sqrt(self.means()["mse"])

    @property
    def mae(self) -> float:
        """Mean absolute error over all ratings."""
        return self.means()["mae"]

    def interval(self, name: str, level: float = 0.95) -> ConfidenceInterval:
        """Mean and interval of a metric. Those of "rmse" are the square roots of those of "mse", a monotone function."""
        if name != "rmse":
            return super().interval(name, level)
        return ConfidenceInterval(*(math.sqrt(end) for end in super().interval("mse", level)))

    def to_dict(self, level: float = 0.95) -> dict[str, Any]:
        """RMSE and MAE with their intervals, and the number of ratings."""
        return {
            "n_ratings": self.n_ratings,
            **{name: self.interval(name, level)._asdict() for name in ("rmse", "mae")},
        }


def evaluate_ratings(model: RatingPredictor, evaluation_set: EvaluationSet, *, run: Run = Run()) -> RatingErrors:
    """Predict every held-out rating and compute the errors. Cost: one prediction for each rating, 4096 at a time.

    Raises:
        DataError: the evaluation set has no ratings, or a prediction is not finite.
    """
    if evaluation_set.ratings is None or not evaluation_set.ratings.nnz:
        raise DataError("The evaluation set must have held-out ratings. It has none: use data with ratings.")
    n = np.diff(evaluation_set.ratings.indptr)
    rows = np.repeat(np.arange(len(evaluation_set)), n)
    items = evaluation_set.ratings.indices.astype(np.int32)
    with run.limit_threads():
        parts = [
            model.predict(
                evaluation_set.queries.take(rows[start : start + _BLOCK_SIZE]), items[start : start + _BLOCK_SIZE]
            )
            for start in range(0, len(rows), _BLOCK_SIZE)
        ]
    error = np.concatenate(parts).astype(np.float64) - evaluation_set.ratings.data
    if not np.isfinite(error).all():
        raise DataError(f"Predicted ratings must be finite. {np.count_nonzero(~np.isfinite(error))} are not.")
    means = {
        name: divide_or_nan(np.bincount(rows, values, len(evaluation_set)), n)
        for name, values in (("mse", error**2), ("mae", np.abs(error)))
    }
    return RatingErrors(means, evaluation_set.fingerprint, run.seed, n.astype(np.float64))
