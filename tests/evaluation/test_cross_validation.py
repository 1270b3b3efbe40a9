"""Cross-validation against separate fits and evaluations."""

import json

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.data.splits.folds import make_folds
from leanrec.errors import SettingError
from leanrec.evaluation.compare import compare
from leanrec.evaluation.cross_validation import cross_validate
from leanrec.evaluation.evaluate import evaluate
from leanrec.models.baselines.popularity import Popularity
from leanrec.models.linear.ease import EASE
from leanrec.run import Run


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset(n_users=120)


@pytest.mark.parametrize("how", ["time", "users", "random"])
def test_each_fold_is_a_fit_and_an_evaluation(data: Dataset, how: str) -> None:
    found = cross_validate(EASE(l2=20.0), data, folds=3, how=how, k=(5,), run=Run(seed=2))
    assert found.how == how
    for fold, split in zip(found.folds, make_folds(data, 3, how, seed=2), strict=True):
        model = EASE(l2=20.0).fit(split.train)
        alone = evaluate(model, split.test, k=(5,), fallback=Popularity().fit(split.train))
        assert fold.train == split.train.shape
        np.testing.assert_allclose(fold.evaluation.per_query["ndcg@5"], alone.per_query["ndcg@5"])
    means = [fold.evaluation.means()["ndcg@5"] for fold in found.folds]
    counts = [fold.evaluation.n_queries for fold in found.folds]
    assert found.means()["ndcg@5"] == pytest.approx(np.average(means, weights=counts))
    assert found.spread("ndcg@5") == pytest.approx(np.std(means, ddof=1))
    interval = found.interval("ndcg@5")
    assert interval.low < interval.mean < interval.high


def test_models_are_compared_on_the_queries_of_all_folds(data: Dataset) -> None:
    found = {name: cross_validate(name, data, folds=3, k=(10,)) for name in ("ease", "popularity")}
    result = compare(found, "ndcg@10")
    assert result.best == "ease"
    assert result.pairs[0].significant
    assert result.n_queries == sum(fold.evaluation.n_queries for fold in found["ease"].folds)


def test_the_dictionary_survives_json(data: Dataset) -> None:
    plain = json.loads(json.dumps(cross_validate("popularity", data, folds=2).to_dict()))
    assert {"mean", "low", "high", "spread"} == set(plain["metrics"]["ndcg@10"])
    assert len(plain["folds"]) == 2


@pytest.mark.parametrize(("seconds", "timed_out"), [(0, True), (60, False)])
def test_the_time_limit_applies_to_each_fit(data: Dataset, seconds: float, timed_out: bool) -> None:
    found = cross_validate("popularity", data, folds=2, run=Run(budget=Budget(fit_time=seconds)))
    assert [fold.timed_out for fold in found.folds] == [timed_out, timed_out]


def test_a_single_fold_is_refused(data: Dataset) -> None:
    with pytest.raises(SettingError, match="at least 2"):
        cross_validate("popularity", data, folds=1)
