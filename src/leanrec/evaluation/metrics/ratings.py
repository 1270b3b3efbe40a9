"""Errors of predicted ratings."""

import dataclasses
import math
from typing import Any

import numpy as np

from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import DataError
from leanrec.evaluation.bootstrap import Interval, PerQuery
from leanrec.evaluation.metrics.ranking import divide
from leanrec.protocols import RatingPredictor
from leanrec.run import Run
from leanrec.types import Float32Array

__all__ = ["RatingErrors", "evaluate_ratings"]

_BLOCK = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class RatingErrors(PerQuery):
    """RMSE and MAE over held-out ratings.

    ``per_query`` holds the mean squared ("mse") and mean absolute ("mae") error of each query and ``weights``
    the number of its ratings. So means are over ratings, as is usual, and intervals are over queries, because
    the ratings of one person err together.
    """

    @property
    def n_ratings(self) -> int:
        """Ratings that were predicted."""
        return int(np.sum(self.weights)) if self.weights is not None else 0

    @property
    def rmse(self) -> float:
        """Square root of the mean squared error over all ratings."""
        return math.sqrt(self.means()["mse"])

    @property
    def mae(self) -> float:
        """Mean absolute error over all ratings."""
        return self.means()["mae"]

    def interval(self, name: str, level: float = 0.95) -> Interval:
        """As for every metric; "rmse" is taken from "mse", whose order the square root keeps."""
        if name != "rmse":
            return super().interval(name, level)
        return Interval(*(math.sqrt(end) for end in super().interval("mse", level)))

    def to_dict(self, level: float = 0.95) -> dict[str, Any]:
        """RMSE and MAE with their intervals, and over how many ratings."""
        return {
            "n_ratings": self.n_ratings,
            **{name: self.interval(name, level)._asdict() for name in ("rmse", "mae")},
        }


def evaluate_ratings(model: RatingPredictor, cases: EvaluationSet, *, run: Run = Run()) -> RatingErrors:
    """Predict every held-out rating and compare. Cost: one prediction a rating, 4096 at a time.

    Raises:
        DataError: the cases hold no rating, or the model predicts something that is not a number.
    """
    if cases.ratings is None or not cases.ratings.nnz:
        raise DataError("The cases hold no held-out ratings, so no RMSE can be measured. Use data with ratings.")
    n = np.diff(cases.ratings.indptr)
    rows = np.repeat(np.arange(len(cases)), n)
    items = cases.ratings.indices.astype(np.int32)
    with run.limit_threads():
        parts = [
            _predict(model, cases, rows[start : start + _BLOCK], items[start : start + _BLOCK])
            for start in range(0, len(rows), _BLOCK)
        ]
    error = np.concatenate(parts).astype(np.float64) - cases.ratings.data
    if not np.isfinite(error).all():
        raise DataError(f"A predicted rating must be a number. {np.count_nonzero(~np.isfinite(error))} are not.")
    means = {
        name: divide(np.bincount(rows, values, len(cases)), n)
        for name, values in (("mse", error**2), ("mae", np.abs(error)))
    }
    return RatingErrors(means, cases.fingerprint, run.seed, n.astype(np.float64))


def _predict(model: RatingPredictor, cases: EvaluationSet, rows: np.ndarray, items: np.ndarray) -> Float32Array:
    return model.predict(cases.queries.take(rows), items)
