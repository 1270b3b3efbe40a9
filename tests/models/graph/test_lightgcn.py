"""LightGCN: the contract, the gradient, and how close a new user is to a known one."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from contracts.estimator import EstimatorContract, OddDataContract
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.kernels.graph.propagation import BipartiteGraph, sample_masked_edges
from leanrec.models.graph.lightgcn import LightGCN, _TrainingState
from leanrec.run import Run
from leanrec.types import Queries

SMALL = LightGCN(embedding_dim=8, epochs=30, batch_size=32, n_negatives=20)
PAPER = dataclasses.replace(SMALL, learn_user_embeddings=True, include_layer_0=True, mask_ratio=0.0)


class TestLightGCN(EstimatorContract, OddDataContract):
    estimator = SMALL


class TestFromRandomNumbers(EstimatorContract):
    estimator = dataclasses.replace(SMALL, n_init_iter=0, batch_size=0, n_layers=2, epochs=100, learning_rate=0.05)


class TestAsInThePaper(EstimatorContract):
    estimator = PAPER


class TestWithoutLayers(EstimatorContract):
    """Matrix factorization by the same loss."""

    estimator = dataclasses.replace(PAPER, n_layers=0)


def as_new(queries: Queries) -> Queries:
    return Queries(users=np.full(len(queries), -1, np.int32), history=queries.history)


@pytest.mark.parametrize(
    "settings",
    [
        PAPER,
        SMALL,
        dataclasses.replace(PAPER, include_layer_0=False, mask_ratio=0.5),
        dataclasses.replace(SMALL, n_layers=2),
    ],
)
def test_the_gradient_of_a_step_is_the_slope_of_its_loss(settings: LightGCN, dataset: Dataset) -> None:
    X, rng = dataset.interactions, np.random.default_rng(0)
    arrays = {"items": rng.standard_normal((40, 4)).astype(np.float32)}
    if settings.learn_user_embeddings:
        arrays["users"] = rng.standard_normal((60, 4)).astype(np.float32)
    # A scale that follows the lengths is no part of the gradient: without the power it is 1.
    work = _TrainingState(
        dataclasses.replace(settings, temperature=0.5, norm_exponent=0.0),
        X,
        BipartiteGraph.from_matrix(sp.csr_array(X / 12)),
        arrays,
    )
    users, negatives = np.array([1, 2, 9, 30, 44]), np.array([0, 5, 6, 31])
    targets, hidden = (
        sample_masked_edges(X, users, settings.mask_ratio, rng) if settings.mask_ratio else (X[users], None)
    )
    gradients = work.gradients(users, targets, hidden, negatives)[1]
    assert set(gradients) == set(arrays)
    for name, array in arrays.items():
        for row in range(0, len(array), 7):
            numeric = np.zeros(4)
            for column in range(4):
                for sign in (1, -1):
                    array[row, column] += sign * 0.02
                    numeric[column] += sign * work.gradients(users, targets, hidden, negatives)[0] / 0.04
                    array[row, column] -= sign * 0.02
            np.testing.assert_allclose(gradients[name][row], numeric, atol=3e-3)


def test_without_own_vectors_known_and_new_users_are_one(dataset: Dataset) -> None:
    model = SMALL.fit(dataset)
    queries = dataset.queries()
    assert model.users.shape == (0, 8)
    np.testing.assert_array_equal(model.score(queries), model.score(as_new(queries)))


def test_a_new_user_is_served_much_as_a_known_one(dataset: Dataset) -> None:
    model = PAPER.fit(dataset)
    queries = dataset.queries()
    known, new = model.score(queries), model.score(as_new(queries))
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(known, new, strict=True)]
    assert np.median(alike) > 0.9


def test_known_and_new_users_in_one_batch(dataset: Dataset) -> None:
    model = PAPER.fit(dataset)
    queries = dataset.queries(np.arange(6, dtype=np.int32))
    mixed = dataclasses.replace(queries, users=np.array([0, -1, 2, -1, 4, -1], np.int32))
    expected = np.where((mixed.users < 0)[:, None], model.score(as_new(queries)), model.score(queries))
    np.testing.assert_allclose(model.score(mixed), expected, rtol=1e-4, atol=1e-5)


def test_reasons_of_a_new_user_add_up_to_the_score(dataset: Dataset) -> None:
    model = SMALL.fit(dataset)
    query = as_new(dataset.queries(np.array([7], np.int32)))
    for item in (0, 11, 39):
        explanation = model.explain(query, np.array([item]))[0]
        assert explanation.weights.sum() == pytest.approx(float(model.score(query)[0, item]), abs=1e-5)
        assert sorted(explanation.items) == sorted(query.history.indices)


def test_threads_do_not_change_a_bit(dataset: Dataset) -> None:
    one, two = (SMALL.fit(dataset, Run(seed=1, threads=threads)) for threads in (1, 2))
    np.testing.assert_array_equal(one.items, two.items)
    np.testing.assert_array_equal(one.sources, two.sources)


def test_another_seed_is_another_model(dataset: Dataset) -> None:
    assert not np.array_equal(SMALL.fit(dataset, Run(seed=1)).items, SMALL.fit(dataset, Run(seed=2)).items)


def test_stops_when_the_time_is_over(dataset: Dataset) -> None:
    assert np.isfinite(SMALL.fit(dataset, Run(budget=Budget(fit_time=0.0))).items).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"embedding_dim": 0}, "embedding_dim must be a number of at least 1"),
        ({"temperature": 0.0}, "temperature must be a positive number"),
        ({"n_layers": 1}, "n_layers must be a number of at least 2"),
        ({"mask_ratio": 1.0}, "mask_ratio must be a number from 0 to 0.95"),
        ({"alpha": 2.0}, "alpha must be a number from 0 to 1"),
        ({"weighting": "bm25"}, "weighting must be one of none, binary, log"),
    ],
)
def test_refuses_settings_outside_their_range(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        LightGCN(**wrong)  # type: ignore[arg-type]
