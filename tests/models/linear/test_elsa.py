"""ELSA: the contract in both forms, and a step as the definition of the loss gives it."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import make_dataset
from contracts.estimator import EstimatorContract, OddDataContract
from contracts.fitting import fit_once
from contracts.updatable import UpdatableContract
from leanrec.budget import Budget
from leanrec.compression import ScalarCodec, compress_factors
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.linear.elsa import ELSA, DenseELSAModel, SparseELSAModel, _compute_gradient, _compute_step
from leanrec.run import Run

_RUN = Run(seed=3, threads=1)
DENSE = ELSA(embedding_dim=16, epochs=8, batch_size=32)
SPARSE = ELSA(embedding_dim=24, n_nonzeros=5, epochs=9, batch_size=32)


class TestELSA(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = DENSE


class TestSparseELSA(EstimatorContract):
    estimator = SPARSE


def fit_vectors(estimator: ELSA, data: Dataset) -> np.ndarray:
    """(N, D) item vectors, dense."""
    items: Any = fit_once(estimator, data, _RUN).items
    return items if isinstance(items, np.ndarray) else np.asarray(items.toarray())


def find_loss(X: np.ndarray, weights: np.ndarray) -> float:
    """The mean loss of the users, from all scores."""
    A = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    Y = X @ (A @ A.T - np.eye(len(A)))
    targets, found = (M / np.linalg.norm(M, axis=1, keepdims=True) for M in (X, Y))
    return float(((targets - found) ** 2).sum(axis=1).mean())


def test_a_step_is_the_slope_of_the_loss_over_all_scores() -> None:
    rng = np.random.default_rng(4)
    X = (rng.random((12, 9)) < 0.4) * (0.5 + rng.random((12, 9)))
    X[:, 0] += 0.1  # every user has an item
    weights = rng.standard_normal((9, 4)) * 0.7
    loss, gradients = _compute_step(sp.csr_array(X.astype(np.float32)), np.arange(12), weights.astype(np.float32), None)
    assert loss == pytest.approx(find_loss(X, weights), rel=1e-5)
    expected, h = np.zeros_like(weights), 1e-5
    for place in np.ndindex(*weights.shape):
        step = np.zeros_like(weights)
        step[place] = h
        expected[place] = (find_loss(X, weights + step) - find_loss(X, weights - step)) / (2 * h)
    np.testing.assert_allclose(gradients["items"], expected, atol=1e-5)


def test_entries_that_are_cut_have_no_slope() -> None:
    rng = np.random.default_rng(4)
    X = sp.csr_array((rng.random((12, 9)) < 0.6).astype(np.float32))
    kept = (rng.random((9, 4)) < 0.5).astype(np.float32)
    weights = rng.standard_normal((9, 4)).astype(np.float32) * kept
    _, gradients = _compute_step(X, np.arange(12), weights, kept)
    assert not gradients["items"][kept == 0].any()
    assert gradients["items"][kept == 1].any()


def test_a_user_of_one_item_that_is_like_no_other_has_a_finite_slope() -> None:
    loss, gradient = _compute_gradient(sp.csr_array(np.eye(3, dtype=np.float32)), np.eye(3, dtype=np.float32))
    assert loss == 2
    assert np.isfinite(gradient).all()


def test_training_lowers_the_loss(dataset: Dataset) -> None:
    X = np.log2(1 + dataset.interactions.toarray().astype(np.float64))
    short, long = (fit_vectors(ELSA(embedding_dim=16, epochs=epochs), dataset) for epochs in (1, 60))
    assert find_loss(X, long) < 0.8 * find_loss(X, short)


def test_vectors_have_length_1_and_those_of_items_without_interactions_are_0(dataset: Dataset) -> None:
    data = dataset.with_events(dataset.events.take(dataset.events.item != 3))
    for estimator in (DENSE, SPARSE):
        vectors = fit_vectors(estimator, data)
        lengths = (vectors * vectors).sum(axis=1)
        np.testing.assert_allclose(lengths, np.arange(40) != 3, atol=1e-5)


def test_rows_keep_the_number_of_entries_that_was_asked_for(dataset: Dataset) -> None:
    model = fit_once(SPARSE, dataset, _RUN)
    assert isinstance(model, SparseELSAModel)
    np.testing.assert_array_equal(np.diff(model.items.indptr), 5)
    assert model.items.indices.dtype == np.int32


def test_entries_fall_exponentially() -> None:
    assert ELSA(n_nonzeros=32)._plan_stages(512) == [512, 256, 128, 64, 32]
    assert ELSA(n_nonzeros=20)._plan_stages(100) == [100, 58, 34, 20]
    assert ELSA(n_nonzeros=20)._plan_stages(16) == ELSA()._plan_stages(16) == [16]


def test_pruning_in_stages_loses_less_than_a_cut_at_the_end() -> None:
    data = make_dataset(n_users=200, n_items=60, per_user=12)
    X = np.log2(1 + data.interactions.toarray().astype(np.float64))
    how = ELSA(embedding_dim=32, epochs=30, batch_size=64)
    dense, sparse = (fit_vectors(dataclasses.replace(how, n_nonzeros=n), data) for n in (0, 4))
    cut = np.where(np.abs(dense) >= np.sort(np.abs(dense))[:, [-4]], dense, 0)
    assert find_loss(X, sparse) < 0.9 * find_loss(X, cut)


def test_a_fit_that_is_out_of_time_still_cuts(dataset: Dataset) -> None:
    model = SPARSE.fit(dataset, Run(budget=Budget(fit_time=1e-9)))
    assert isinstance(model, SparseELSAModel)
    assert np.diff(model.items.indptr).max() == 5


def test_scores_of_sparse_vectors_are_those_of_the_same_dense_ones(dataset: Dataset) -> None:
    sparse = fit_once(SPARSE, dataset, _RUN)
    dense = DenseELSAModel(SPARSE, sparse.items.toarray())
    queries = dataset.queries()
    np.testing.assert_allclose(sparse.score(queries), dense.score(queries), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("estimator", [DENSE, SPARSE])
def test_the_reasons_add_up_to_the_score(estimator: ELSA, dataset: Dataset) -> None:
    model = fit_once(estimator, dataset, _RUN)
    query = dataset.queries(np.array([7], np.int32))
    for item in (11, int(query.history.indices[0])):
        assert model.explain(query, np.array([item]))[0].weights.sum() == pytest.approx(
            float(model.score(query)[0, item]), abs=1e-5
        )


def test_dense_vectors_are_compressed_as_factors(dataset: Dataset) -> None:
    model = fit_once(DENSE, dataset, _RUN)
    codes = compress_factors(model, ScalarCodec(bits=8), data=dataset, seed=0)
    queries = dataset.queries()
    np.testing.assert_allclose(codes.score(queries), model.score(queries), atol=0.1)


@pytest.mark.parametrize("wrong", [{"embedding_dim": 0}, {"n_nonzeros": -1}, {"learning_rate": 0.0}, {"epochs": 0}])
def test_refuses_settings_outside_their_range(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(wrong))} must be a"):
        ELSA(**wrong)  # type: ignore[arg-type]
