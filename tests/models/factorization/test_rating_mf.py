"""Rating MF: the contracts, and the fixed point that alternating regressions end in."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from contracts.estimator import EstimatorContract, OddDataContract
from contracts.rating import RatingContract
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.factorization.rating_mf import RatingMF
from leanrec.pipeline.pipeline import Pipeline
from leanrec.run import Run
from leanrec.types import Queries


class TestRatingMF(RatingContract, EstimatorContract, OddDataContract):
    estimator = RatingMF(embedding_dim=6, l2=0.5)
    # It ranks by expected rating, and the made users rate what they touch, not what they like most.
    min_recall = 0.3
    at_most = 0.85


def test_fold_in_is_the_ridge_regression_on_the_ratings_of_the_query(dataset: Dataset) -> None:
    settings = RatingMF(embedding_dim=4, l2=0.7, bias_l2=2.0, l2_exponent=0.5)
    model = settings.fit(dataset)
    ratings = dataset.ratings
    assert ratings is not None
    query = dataset.queries(np.array([8], np.int32))
    rated, values = ratings[[8]].indices, ratings[[8]].data
    design = np.column_stack([np.ones(len(rated)), model.items[rated]])
    penalty = np.diag([2.0] + [0.7] * 4) * np.sqrt(len(rated))
    target = values - model.baseline.mean - model.baseline.item_offsets[rated]
    solved = np.linalg.solve(design.T @ design + penalty, design.T @ target)
    expected = model.baseline.mean + model.baseline.item_offsets + solved[0] + model.items @ solved[1:]
    np.testing.assert_allclose(model.score(query)[0], expected, rtol=1e-3)


def test_more_sweeps_fit_the_training_ratings_better(dataset: Dataset) -> None:
    ratings = dataset.ratings
    assert ratings is not None
    users, items = ratings.tocoo().coords
    errors = []
    for sweeps in (1, 10):
        model = RatingMF(embedding_dim=4, l2=0.1, epochs=sweeps).fit(dataset, Run(seed=1))
        predicted = model.predict(dataset.queries(users.astype(np.int32)), items.astype(np.int32))
        errors.append(float(np.mean((predicted - ratings.data) ** 2)))
    assert errors[1] < errors[0]


def test_stops_when_the_time_is_over(dataset: Dataset) -> None:
    late = RatingMF(embedding_dim=4, epochs=500).fit(dataset, Run(seed=2, budget=Budget(fit_time=0)))
    once = RatingMF(embedding_dim=4, epochs=1).fit(dataset, Run(seed=2))
    np.testing.assert_array_equal(late.items, once.items)


def test_threads_do_not_change_a_bit(dataset: Dataset) -> None:
    one, two = (RatingMF(embedding_dim=4).fit(dataset, Run(threads=n)).items for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_contributions_sum_to_the_score(dataset: Dataset) -> None:
    model = RatingMF(embedding_dim=4).fit(dataset)
    query = dataset.queries(np.array([4], np.int32))
    reason = model.explain(query, np.array([7]))[0]
    base = model.baseline.mean + model.baseline.item_offsets[7]
    assert base + reason.weights.sum() == pytest.approx(model.score(query)[0, 7], rel=1e-3)


def test_a_click_moves_the_next_answer(dataset: Dataset) -> None:
    model = RatingMF(embedding_dim=4).fit(dataset)
    query = dataset.queries(np.array([4], np.int32))
    clicked = query.history.toarray()
    clicked[0, np.flatnonzero(clicked[0] == 0)[0]] = 1
    after = Queries(users=np.array([-1], np.int32), history=sp.csr_array(clicked), ratings=query.ratings)
    assert not np.allclose(model.score(query), model.score(after))


def test_refuses_wrong_settings() -> None:
    with pytest.raises(SettingError, match="embedding_dim must be a number of at least 1"):
        RatingMF(embedding_dim=0)
    with pytest.raises(SettingError, match="l2_exponent must be a number from 0 to 1"):
        RatingMF(l2_exponent=2)


@pytest.mark.parametrize("rating", [5.0, 4.3])
def test_equal_ratings_tell_nothing(dataset: Dataset, rating: float) -> None:
    equal = np.full(len(dataset.events), rating, np.float32)
    data = dataset.with_events(dataclasses.replace(dataset.events, rating=equal))
    pipeline = Pipeline.fit(RatingMF(embedding_dim=4), data)
    listed = pipeline.recommend("user-3", n=5)
    assert listed.fallback == "popularity"
    assert pipeline.model.predict(data.queries(np.array([3], np.int32)), np.array([1])) == pytest.approx(rating)  # type: ignore[attr-defined]


def test_similar_items_are_those_of_near_factors(dataset: Dataset) -> None:
    """The mean and the offsets would make all items alike, above all those without a rating."""
    data = dataset.with_events(dataset.events.take(dataset.events.item > 1))
    pipeline = Pipeline.fit(RatingMF(embedding_dim=4), data)
    factors = pipeline.model.items / np.maximum(np.linalg.norm(pipeline.model.items, axis=1, keepdims=True), 1e-9)  # type: ignore[attr-defined]
    best = factors @ factors[9]
    best[9] = -9
    assert pipeline.similar_items(109, 1).items[0].id == 100 + int(best.argmax())
    assert pipeline.similar_items(100, 3).fallback == "popularity"
