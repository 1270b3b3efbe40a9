"""EASE: the contract, and the closed form by the slow road."""

import numpy as np
import pytest

from conftest import make_dataset
from contracts.estimator import EstimatorContract
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.collaborative import ease
from leanrec.models.collaborative.ease import EASE


class TestEASE(EstimatorContract):
    estimator = EASE(l2=20.0)


def test_weights_solve_the_ridge_problem_of_each_item(dataset: Dataset) -> None:
    X = np.log2(1 + dataset.interactions.toarray()).astype(np.float64)
    weights = EASE(l2=20.0).fit(dataset).weights
    for item in range(0, X.shape[1], 9):
        others = np.delete(np.arange(X.shape[1]), item)
        ridge = X[:, others].T @ X[:, others] + 20.0 * np.eye(len(others))
        expected = np.linalg.solve(ridge, X[:, others].T @ X[:, item])
        np.testing.assert_allclose(weights[others, item], expected, atol=1e-4)
        assert weights[item, item] == 0


@pytest.mark.parametrize("l2", [0.0, -3.0, float("nan")])
def test_refuses_a_ridge_that_is_not_positive(l2: float) -> None:
    with pytest.raises(SettingError, match="l2 must be a positive number"):
        EASE(l2=l2)


class TestSparseEASE(EstimatorContract):
    estimator = EASE(l2=20.0, top=15)


@pytest.mark.parametrize("users", [8, 60])
def test_both_ways_to_the_inverse_give_the_same_weights(users: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_dataset(n_users=users)
    monkeypatch.setattr(ease, "_by_users", lambda _: True)
    by_users = EASE(l2=5.0).fit(data).weights
    monkeypatch.setattr(ease, "_by_users", lambda _: False)
    np.testing.assert_allclose(by_users, EASE(l2=5.0).fit(data).weights, atol=2e-6)


def test_top_keeps_the_largest_weights_of_each_item(dataset: Dataset) -> None:
    full, kept = EASE(l2=20.0).fit(dataset).weights, EASE(l2=20.0, top=7).fit(dataset).weights.toarray()
    for item in range(40):
        there = np.flatnonzero(kept[:, item])
        assert len(there) == 7
        np.testing.assert_array_equal(kept[there, item], full[there, item])
        assert abs(full[there, item]).min() >= np.delete(abs(full[:, item]), there).max()


def test_an_item_that_nobody_touched_neither_gives_nor_gets(dataset: Dataset) -> None:
    weights = EASE(l2=20.0).fit(dataset.with_events(dataset.events.take(dataset.events.item != 3))).weights
    assert not weights[3].any()
    assert not weights[:, 3].any()
