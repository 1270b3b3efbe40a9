"""What graph models share: the loss and its gradients, initialization and fold-in."""

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset
from leanrec.kernels.graph.propagation import BipartiteEdges
from leanrec.kernels.weighting import weight_interactions
from leanrec.models.graph.core.training import (
    GraphTraining,
    edge_softmax,
    explain_fold_in,
    fit_fold_in_map,
    fold_in,
    spectral_init,
)

RNG = np.random.default_rng(0)
U, N, D = 6, 5, 3


def random_rows(n: int) -> np.ndarray:
    return RNG.standard_normal((n, D)).astype(np.float32)


def test_gradients_of_the_loss_are_those_of_finite_differences() -> None:
    users, items = random_rows(U), random_rows(N)
    X = sp.csr_array((RNG.random((U, N)) < 0.5).astype(np.float32))
    rows, negatives = np.arange(U), np.arange(N)

    def loss(users: np.ndarray, items: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        return edge_softmax(
            BipartiteEdges.from_matrix(X), users, items, rows, negatives,
            temperature=0.5, length_exponent=0.5, norm_exponent=0.5,
        )  # fmt: skip

    _, d_users, d_items = loss(users, items)
    for array, gradient in ((users, d_users), (items, d_items)):
        for cell in ((0, 0), (2, 1), (4, 2)):
            before = array[cell]
            array[cell] = before + 1e-2
            high = loss(users, items)[0]
            array[cell] = before - 1e-2
            low = loss(users, items)[0]
            array[cell] = before
            # The scale of the norms is a constant for the gradient, hence the tolerance.
            np.testing.assert_allclose(gradient[cell], (high - low) / 2e-2, atol=0.05)


def test_initialization_follows_the_singular_vectors(dataset: Dataset) -> None:
    X = weight_interactions(dataset.interactions, "log")
    users, items = spectral_init(X, 4, 8, np.random.default_rng(1), noise=0.0)
    product = (users @ items.T).astype(np.float64)
    assert product[X.toarray() > 0].mean() > product[X.toarray() == 0].mean()


def test_batches_of_an_epoch_have_every_user_once() -> None:
    batches = GraphTraining(batch_size=4).sample_batches(10, np.random.default_rng(0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(10))
    assert len(GraphTraining(batch_size=0).sample_batches(10, np.random.default_rng(0))) == 1


def test_contributions_of_a_folded_in_user_sum_to_the_score(dataset: Dataset) -> None:
    sources = RNG.standard_normal((dataset.shape.items, D)).astype(np.float32)
    query = dataset.queries().block(0, 1)
    scores = fold_in(query.history, sources, "log", 0.4) @ sources[3:5].T
    explanations = explain_fold_in(query, sources, sources[3:5], "log", 0.4, None)
    np.testing.assert_allclose([each.weights.sum() for each in explanations], scores[0], rtol=1e-4)


def test_the_fold_in_map_recovers_a_linear_map() -> None:
    folded, expected = random_rows(200), random_rows(D)
    np.testing.assert_allclose(fit_fold_in_map(folded, folded @ expected), expected, atol=1e-2)
    np.testing.assert_array_equal(fit_fold_in_map(np.zeros((4, D), np.float32), random_rows(4)), np.eye(D))
