"""What every model that predicts ratings must do beside the estimator's contract."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import make_dataset
from leanrec.data.dataset import Dataset
from leanrec.errors import DataError
from leanrec.protocols import RatingPredictor
from leanrec.run import Run
from leanrec.types import Queries, empty_csr


class RatingContract:
    """Put it before the other: ``class TestBias(RatingContract, EstimatorContract)``."""

    estimator: ClassVar[Any]
    # RMSE on a held-out fifth of the made ratings that the model must stay below; the mean alone gets 1.10.
    at_most: ClassVar[float] = 0.9

    def test_predicts_a_rating_for_each_pair(self, model: Any, dataset: Dataset) -> None:
        assert isinstance(model, RatingPredictor)
        items = np.arange(20, dtype=np.int32)
        queries = dataset.queries(np.arange(20, dtype=np.int32))
        ratings = model.predict(queries, items)
        assert ratings.shape == (20,)
        assert ratings.dtype == np.float32
        low, high = dataset.rating_range or (0, 0)
        expected = np.clip(model.score(queries)[np.arange(20), items], low, high)
        np.testing.assert_allclose(ratings, expected, atol=1e-4)

    def test_stays_inside_the_range_of_the_data(self, dataset: Dataset) -> None:
        # Ratings at both ends only: what is unclipped would leave the scale.
        rng = np.random.default_rng(5)
        value = rng.choice(np.array([0.5, 5.0], np.float32), len(dataset.events), p=[0.2, 0.8])
        extreme = dataset.with_events(dataclasses.replace(dataset.events, rating=value))
        model = self.estimator.fit(extreme, Run(threads=1))
        for item in range(0, len(dataset.items), 5):
            ratings = model.predict(extreme.queries(), np.full(len(dataset.users), item, np.int32))
            assert ratings.min() >= 0.5
            assert ratings.max() <= 5.0

    def test_predicts_held_out_ratings(self, dataset: Dataset) -> None:
        events = dataset.events
        assert events.rating is not None
        held = np.random.default_rng(1).random(len(events)) < 0.2
        train = dataset.with_events(events.take(~held))
        test = events.take(held)
        assert test.rating is not None
        model = self.estimator.fit(train, Run(threads=1))
        predicted = model.predict(train.queries(test.user), test.item)
        rmse = float(np.sqrt(np.mean((predicted - test.rating) ** 2)))
        assert rmse <= self.at_most, f"RMSE is {rmse:.3f}"

    def test_a_new_user_gets_the_same_as_a_known_one_with_these_ratings(self, model: Any, dataset: Dataset) -> None:
        known = dataset.queries(np.array([3], np.int32))
        assert known.ratings is not None
        # A fourth rating is one that no training user has, so that no training user is excluded as the query user.
        changed = known.ratings.copy()
        changed.data[0] = 1.5
        one = Queries(users=np.array([-1], np.int32), history=known.history, ratings=changed)
        two = dataclasses.replace(one, history=sp.csr_array(known.history * 3))
        np.testing.assert_allclose(model.score(one), model.score(two), atol=1e-5)

    def test_an_empty_history_predicts_the_baseline_of_the_item(self, model: Any) -> None:
        empty = Queries(users=np.full(2, -1, np.int32), history=empty_csr(2, model.n_items))
        items = np.array([0, 5], np.int32)
        expected = model.baseline.clip(np.float32(model.baseline.mean) + model.baseline.item_offsets[items])
        np.testing.assert_allclose(model.predict(empty, items), expected, atol=1e-5)

    def test_a_history_without_ratings_is_answered(self, model: Any, dataset: Dataset) -> None:
        history = Queries(users=np.full(3, -1, np.int32), history=dataset.interactions[:3])
        assert np.isfinite(model.score(history)).all()
        low, high = dataset.rating_range or (0, 0)
        ratings = model.predict(history, np.array([1, 2, 3], np.int32))
        assert ((ratings >= low) & (ratings <= high)).all()

    def test_constant_ratings_are_predicted(self) -> None:
        data = make_dataset()
        flat = data.with_events(dataclasses.replace(data.events, rating=np.full(len(data.events), 3.5, np.float32)))
        model = self.estimator.fit(flat, Run(threads=1))
        predicted = model.predict(flat.queries(), np.zeros(len(flat.users), np.int32))
        np.testing.assert_allclose(predicted, 3.5, atol=1e-4)

    def test_refuses_data_without_ratings(self) -> None:
        data = make_dataset()
        silent = data.with_events(dataclasses.replace(data.events, rating=None))
        with pytest.raises(DataError, match="needs explicit ratings"):
            self.estimator.fit(silent)
