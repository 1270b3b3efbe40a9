"""Bias: the contracts, and offsets by hand."""

import numpy as np
import pytest
import scipy.sparse as sp

from contracts.estimator import EstimatorContract, OddDataContract
from contracts.rating import RatingContract
from contracts.updatable import UpdatableContract
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.kernels.solvers.rating_bias import RatingBias
from leanrec.models.baselines.bias import Bias, BiasModel
from leanrec.types import Queries


class TestBias(RatingContract, EstimatorContract, OddDataContract, UpdatableContract):
    estimator = Bias()
    personalized = False
    min_recall = 0.1
    # Users and items of the made data have no bias, only taste: no better than the mean.
    at_most = 1.2


def test_a_rating_by_hand() -> None:
    items = np.array([1, 0, -1.5], np.float32)
    model = BiasModel(
        Bias(), RatingBias(mean=3.5, item_offsets=items, user_damping=1, residual_std=1, min_rating=1, max_rating=5)
    )
    # Rates items 1 and 2 with 5 and 3: (1.5 + 1) / (2 + 1) above the baseline.
    ratings = sp.csr_array(np.array([[0, 5, 3]], np.float32))
    query = Queries(users=np.array([-1], np.int32), history=ratings, ratings=ratings)
    offset = 2.5 / 3
    np.testing.assert_allclose(model.score(query), [[4.5 + offset, 3.5 + offset, 2 + offset]], rtol=1e-6)
    assert model.predict(query, np.array([0], np.int32)).tolist() == [5]
    assert model.predict(query, np.array([2], np.int32))[0] == pytest.approx(2 + offset)


def test_more_damping_brings_offsets_closer_to_zero(dataset: Dataset) -> None:
    little, much = (np.abs(Bias(5, damping).fit(dataset).baseline.item_offsets).sum() for damping in (1, 20))
    assert much < little


def test_no_damping_is_allowed_and_an_unrated_item_is_average(dataset: Dataset) -> None:
    none_of_0 = dataset.with_events(dataset.events.take(dataset.events.item != 0))
    model = Bias(0, 0).fit(none_of_0)
    assert model.baseline.item_offsets[0] == 0
    assert np.isfinite(model.baseline.item_offsets).all()


def test_refuses_negative_damping() -> None:
    with pytest.raises(SettingError, match="item_damping must be a number of at least 0"):
        Bias(item_damping=-1)
