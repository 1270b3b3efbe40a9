"""NeuMF: the contract, scores against a slow reference, and user vectors."""

import dataclasses

import numpy as np
import pytest

from contracts.estimator import EstimatorContract, OddDataContract
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.deep.neumf import NeuMF, NeuMFModel
from leanrec.run import Run

SMALL = NeuMF(embedding_dim=8, hidden_sizes=(16, 8), epochs=3, batch_size=256, n_negatives=20, learning_rate=0.005)


class TestNeuMF(EstimatorContract, OddDataContract):
    estimator = SMALL


class TestGMF(EstimatorContract):
    estimator = dataclasses.replace(SMALL, hidden_sizes=(), loss="bce")


@pytest.fixture(scope="module")
def fitted(dataset: Dataset) -> NeuMFModel:
    return dataclasses.replace(SMALL, learning_rate=0.05).fit(dataset, Run(seed=1, threads=1))


def test_scores_equal_a_slow_reference(fitted: NeuMFModel, dataset: Dataset) -> None:
    weights = {name: each.astype(np.float64) for name, each in fitted.weights.items()}
    queries = dataset.queries(np.arange(3, dtype=np.int32))
    scores = fitted.score(queries)
    for b, vector in enumerate(fitted.fold_in.encode(queries.history)):
        p = vector * weights["size"]
        turned = weights["rotation.weight"] @ p + weights["rotation.bias"]
        for item in range(0, fitted.n_items, 7):
            x = weights["from_user.weight"] @ p + weights["from_user.bias"] + fitted.hidden[item]
            x = weights["upper.0.weight"] @ np.maximum(x, 0) + weights["upper.0.bias"]
            added = weights["out.weight"][0] @ np.maximum(x, 0)
            slow = turned @ fitted.items[item, :-1] + added + fitted.items[item, -1]
            assert scores[b, item] == pytest.approx(slow, rel=1e-4, abs=1e-4)


def test_user_vectors_solve_the_least_squares(fitted: NeuMFModel, dataset: Dataset) -> None:
    history, V = dataset.interactions[[0]], fitted.fold_in.items.astype(np.float64)
    rows = V[history.indices]
    A = (
        SMALL.unobserved_weight * V.T @ V
        + rows.T @ rows
        + SMALL.l2 * np.sqrt(history.nnz) * np.eye(SMALL.embedding_dim)
    )
    slow = np.linalg.solve(A, rows.sum(axis=0))
    np.testing.assert_allclose(fitted.fold_in.encode(history)[0], slow, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(fitted.fold_in.item_contributions(history).sum(axis=0), slow, rtol=1e-3, atol=1e-4)


def test_known_user_gets_the_scores_of_a_new_one_with_the_same_history(fitted: NeuMFModel, dataset: Dataset) -> None:
    queries = dataset.queries()
    new = dataclasses.replace(queries, users=np.full(len(queries), -1, np.int32))
    np.testing.assert_array_equal(fitted.score(queries), fitted.score(new))


def test_stops_by_patience(dataset: Dataset) -> None:
    model = dataclasses.replace(SMALL, epochs=4, patience=1).fit(dataset, Run(threads=1))
    assert np.isfinite(model.score(dataset.queries())).all()


def test_hidden_sizes_of_zero_are_refused() -> None:
    with pytest.raises(SettingError, match="hidden_sizes"):
        NeuMF(hidden_sizes=(8, 0))
