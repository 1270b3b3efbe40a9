"""Rating errors: against plain loops."""

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
    """Predicts from the history's length and the item, so that mixed-up rows show."""

    def predict(self, queries: Queries, items: Int32Array) -> Float32Array:
        assert len(queries) == len(items) <= ratings._BLOCK
        return (np.diff(queries.history.indptr) / 10 + items / 20).astype(np.float32)


def test_agrees_with_plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratings, "_BLOCK", 7)
    cases = split(make_dataset(), "time").test
    assert cases.ratings is not None
    lengths = np.diff(cases.queries.history.indptr)
    errors: dict[int, list[float]] = {}
    for (b, item), rating in cases.ratings.todok().items():
        errors.setdefault(b, []).append(lengths[b] / 10 + item / 20 - rating)
    flat = [error for each in errors.values() for error in each]
    found = evaluate_ratings(ByUserAndItem(), cases)
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


def test_refuses_cases_without_ratings_and_predictions_that_are_none() -> None:
    cases = split(make_dataset(), "time").test
    with pytest.raises(DataError, match="no held-out ratings"):
        evaluate_ratings(ByUserAndItem(), dataclasses.replace(cases, ratings=None))

    class Broken:
        def predict(self, queries: Queries, items: Int32Array) -> Float32Array:
            return np.full(len(items), np.nan, np.float32)

    with pytest.raises(DataError, match=r"must be a number\. 72 are not"):
        evaluate_ratings(Broken(), cases)
