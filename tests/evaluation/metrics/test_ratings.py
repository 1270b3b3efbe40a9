"""Rating errors against plain loops."""

import dataclasses
import json
import math

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.data.splits.split import split
from leanrec.errors import DataError
from leanrec.evaluation.metrics import ratings
from leanrec.evaluation.metrics.ratings import evaluate_ratings
from leanrec.types import Float32Array, Int32Array, Queries


class ByUserAndItem:
    """Predicts from the length of the history and the item, so that mixed-up rows are detected."""

    def predict(self, queries: Queries, items: Int32Array) -> Float32Array:
        assert len(queries) == len(items) <= ratings._BLOCK_SIZE
        return (np.diff(queries.history.indptr) / 10 + items / 20).astype(np.float32)


def test_agrees_with_plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratings, "_BLOCK_SIZE", 7)
    evaluation_set = split(make_dataset(), "time").test
    assert evaluation_set.ratings is not None
    lengths = np.diff(evaluation_set.queries.history.indptr)
    errors: dict[int, list[float]] = {}
    for (b, item), rating in evaluation_set.ratings.todok().items():
        errors.setdefault(b, []).append(lengths[b] / 10 + item / 20 - rating)
    flat = [error for each in errors.values() for error in each]
    found = evaluate_ratings(ByUserAndItem(), evaluation_set)
    assert found.n_ratings == len(flat)
    assert found.rmse == pytest.approx(math.sqrt(sum(e * e for e in flat) / len(flat)), rel=1e-5)
    assert found.mae == pytest.approx(sum(map(abs, flat)) / len(flat), rel=1e-5)
    for b, each in errors.items():
        assert found.per_query["mae"][b] == pytest.approx(sum(map(abs, each)) / len(each), rel=1e-4)


def test_rmse_has_the_interval_of_the_mean_squared_error() -> None:
    found = evaluate_ratings(ByUserAndItem(), split(make_dataset(), "time").test)
    interval, squared = found.interval("rmse"), found.interval("mse")
    assert interval.low < interval.mean == found.rmse < interval.high
    assert interval.high**2 == pytest.approx(squared.high)
    report = json.loads(json.dumps(found.to_dict()))
    assert report["rmse"]["mean"] == found.rmse
    assert report["n_ratings"] == found.n_ratings


def test_missing_ratings_and_nan_predictions_are_refused() -> None:
    evaluation_set = split(make_dataset(), "time").test
    with pytest.raises(DataError, match="must have held-out ratings"):
        evaluate_ratings(ByUserAndItem(), dataclasses.replace(evaluation_set, ratings=None))

    class Broken:
        def predict(self, queries: Queries, items: Int32Array) -> Float32Array:
            return np.full(len(items), np.nan, np.float32)

    with pytest.raises(DataError, match=r"must be finite\. 72 are not"):
        evaluate_ratings(Broken(), evaluation_set)
