"""SLIM: the contract, and the conditions of the optimum."""

import dataclasses

import numpy as np
import pytest

from contracts.estimator import EstimatorContract, OddDataContract
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.linear import slim
from leanrec.models.linear.slim import SLIM
from leanrec.run import Run

EXACT = SLIM(l1=0.5, l2=5.0, n_neighbors=0, max_iter=1000, tolerance=1e-7)


class TestSLIM(EstimatorContract, OddDataContract):
    estimator = SLIM(l1=0.2, l2=5.0, n_neighbors=0)


class TestNeighbors(EstimatorContract, OddDataContract):
    estimator = SLIM(l1=0.2, l2=5.0, n_neighbors=15)


def test_the_optimum_has_no_slope(dataset: Dataset) -> None:
    X = np.log2(1 + dataset.interactions.toarray()).astype(np.float64)
    W = EXACT.fit(dataset).weights.toarray().astype(np.float64)
    slope = X.T @ (X @ W - X) + EXACT.l2 * W + EXACT.l1
    off = ~np.eye(len(W), dtype=bool)
    assert (W >= 0).all()
    assert not np.diag(W).any()
    np.testing.assert_allclose(slope[W > 0], 0, atol=1e-4)
    assert (slope[off & (W == 0)] >= -1e-4).all()


def test_all_items_as_neighbors_is_no_restriction(dataset: Dataset) -> None:
    near = dataclasses.replace(EXACT, n_neighbors=40).fit(dataset)
    np.testing.assert_allclose(near.weights.toarray(), EXACT.fit(dataset).weights.toarray(), atol=1e-5)


def test_neighbors_without_the_full_gram_matrix(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    how = dataclasses.replace(EXACT, n_neighbors=10)
    with_it = how.fit(dataset).weights.toarray()
    monkeypatch.setattr(slim, "is_dense_gram_small", lambda _: False)
    np.testing.assert_allclose(how.fit(dataset).weights.toarray(), with_it, atol=1e-6)
    assert ((with_it > 0).sum(axis=0) <= 10).all()


def test_a_large_l1_leaves_no_weights(dataset: Dataset) -> None:
    assert SLIM(l1=1e6).fit(dataset).weights.nnz == 0


def test_threads_do_not_change_a_bit(dataset: Dataset) -> None:
    one, two = (EXACT.fit(dataset, Run(threads=threads)).weights for threads in (1, 2))
    np.testing.assert_array_equal(one.toarray(), two.toarray())


def test_out_of_time_leaves_a_model_of_one_sweep(dataset: Dataset) -> None:
    late = EXACT.fit(dataset, Run(budget=Budget(fit_time=0.0))).weights.toarray()
    np.testing.assert_array_equal(late, dataclasses.replace(EXACT, max_iter=1).fit(dataset).weights.toarray())


def test_an_item_without_interactions_has_no_weights(dataset: Dataset) -> None:
    kept = dataset.events.take(dataset.events.item != 3)
    weights = EXACT.fit(dataset.with_events(kept)).weights.toarray()
    assert not weights[3].any()
    assert not weights[:, 3].any()


@pytest.mark.parametrize("wrong", [{"l1": -1.0}, {"l2": 0.0}, {"n_neighbors": -1}, {"max_iter": 0}, {"tolerance": 0.0}])
def test_refuses_settings_outside_their_range(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(wrong))} must be a"):
        SLIM(**wrong)  # type: ignore[arg-type]
