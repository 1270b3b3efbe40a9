"""UltraGCN: the contract, the weights of its loss by their formulas, and its gradient."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from contracts.estimator import EstimatorContract, OddDataContract
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.kernels.graph.spectral import weighted_degrees
from leanrec.models.graph.ultragcn import UltraGCN, _TrainingState
from leanrec.run import Run
from leanrec.types import Queries

SMALL = UltraGCN(embedding_dim=8, epochs=40, batch_size=32, n_negatives=20, negative_weight=10.0, n_neighbors=4)


class TestUltraGCN(EstimatorContract, OddDataContract):
    estimator = SMALL


class TestWithoutNeighbors(EstimatorContract):
    estimator = dataclasses.replace(SMALL, n_neighbors=0, n_init_iter=0, batch_size=0, learning_rate=0.05, epochs=100)
    # From random vectors and pairs alone there is little to learn in 660 events.
    min_recall = 0.3


def as_new(queries: Queries) -> Queries:
    return Queries(users=np.full(len(queries), -1, np.int32), history=queries.history)


def test_neighbors_are_those_of_the_paper(dataset: Dataset) -> None:
    X = dataset.interactions
    dense = X.toarray().astype(np.float64)
    G = dense.T @ dense
    g = G.sum(axis=1)
    omega = G / (g - np.diag(G))[:, None] * np.sqrt(g[:, None] / g[None, :])
    np.fill_diagonal(omega, 0)
    near = SMALL._find_neighbors(X).toarray()
    for item in range(len(omega)):
        strongest = np.sort(omega[item])[-SMALL.n_neighbors :]
        np.testing.assert_allclose(np.sort(near[item])[-SMALL.n_neighbors :], strongest, rtol=1e-4)
        kept = near[item] > 0
        np.testing.assert_allclose(near[item][kept], omega[item][kept], rtol=1e-4)


def test_an_interaction_counts_its_beta(dataset: Dataset) -> None:
    X = dataset.interactions
    users, items = weighted_degrees(X)
    targets = dataclasses.replace(SMALL, n_neighbors=0)._compute_targets(X, users, items).toarray()
    for u, i in ((0, X.indices[0]), (59, X.indices[-1])):
        assert targets[u, i] == pytest.approx(np.sqrt(users[u] + 1) / users[u] / np.sqrt(items[i] + 1), rel=1e-4)
    assert (SMALL._compute_targets(X, users, items).toarray() >= targets - 1e-6).all()


def test_the_steps_of_a_pass_add_up_to_the_gradient_over_all_users(dataset: Dataset) -> None:
    """Each step carries its users' share of the squares of all items, no more."""
    X, rng = dataset.interactions, np.random.default_rng(0)
    arrays = {n: rng.standard_normal((size, 4)).astype(np.float32) for n, size in (("users", 60), ("items", 40))}
    settings = dataclasses.replace(SMALL, l2=0.3)
    work = _TrainingState(settings, settings._compute_targets(X, *weighted_degrees(X)), *weighted_degrees(X), arrays)
    everything, parts = np.arange(40), np.array_split(rng.permutation(60), 7)
    whole = work.gradients(np.arange(60), everything)[1]
    for name in arrays:
        added = sum(len(part) * work.gradients(part, everything)[1][name] for part in parts)
        np.testing.assert_allclose(added, 60 * whole[name], rtol=1e-3, atol=1e-3)


def test_the_gradient_of_a_step_is_the_slope_of_its_loss(dataset: Dataset) -> None:
    X, rng = dataset.interactions, np.random.default_rng(0)
    arrays = {n: rng.standard_normal((size, 4)).astype(np.float32) for n, size in (("users", 60), ("items", 40))}
    settings = dataclasses.replace(SMALL, l2=0.3)
    work = _TrainingState(settings, settings._compute_targets(X, *weighted_degrees(X)), *weighted_degrees(X), arrays)
    users, negatives = np.array([1, 2, 9, 30, 44]), np.array([0, 5, 6, 31])
    gradients = work.gradients(users, negatives)[1]
    for name, array in arrays.items():
        for row in range(0, len(array), 9):
            numeric = np.zeros(4)
            for column in range(4):
                for sign in (1, -1):
                    array[row, column] += sign * 0.02
                    numeric[column] += sign * work.gradients(users, negatives)[0] / 0.04
                    array[row, column] -= sign * 0.02
            np.testing.assert_allclose(gradients[name][row], numeric, rtol=0.02, atol=5e-3)


def test_a_new_user_is_served_much_as_a_known_one(dataset: Dataset) -> None:
    model = SMALL.fit(dataset)
    queries = dataset.queries()
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(model.score(queries), model.score(as_new(queries)), strict=True)]
    assert np.median(alike) > 0.85


def test_threads_do_not_change_a_bit(dataset: Dataset) -> None:
    one, two = (SMALL.fit(dataset, Run(seed=1, threads=threads)) for threads in (1, 2))
    np.testing.assert_array_equal(one.items, two.items)


def test_stops_when_the_time_is_over(dataset: Dataset) -> None:
    assert np.isfinite(SMALL.fit(dataset, Run(budget=Budget(fit_time=0.0))).items).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_negatives": 0}, "n_negatives must be a number of at least 1"),
        ({"negative_weight": 0.0}, "negative_weight must be a positive number"),
        ({"item_item_weight": -1.0}, "item_item_weight must be a number of at least 0"),
        ({"l2": -1.0}, "l2 must be a number of at least 0"),
    ],
)
def test_refuses_settings_outside_their_range(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        UltraGCN(**wrong)  # type: ignore[arg-type]


def test_an_item_without_interactions_tells_nothing(dataset: Dataset) -> None:
    """It was only ever a negative, and its user would get a list of noise."""
    data = dataset.with_events(dataset.events.take(dataset.events.item != 3))
    model = UltraGCN(embedding_dim=8, epochs=20).fit(data, Run(seed=3, threads=1))
    alone = sp.csr_array((np.ones(1, np.float32), ([0], [3])), shape=(1, 40))
    assert not model.embed_queries(Queries(np.array([-1], np.int32), alone)).any()
    assert not model.similarity_vectors()[3].any()
    scores = model.score(data.queries())
    assert (scores[:, 3] < np.median(scores, axis=1)).mean() > 0.9
