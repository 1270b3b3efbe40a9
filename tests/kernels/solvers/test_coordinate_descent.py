"""Elastic nets: optimality conditions, with and without the Gram matrix."""

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.kernels.similarity.top_similar import top_similar
from leanrec.kernels.solvers.coordinate_descent import ElasticNetPenalty, fit_elastic_nets, fit_local_elastic_nets
from leanrec.kernels.solvers.dense_ridge import dense_gram

PENALTY = ElasticNetPenalty(l1=0.3, l2=1.5, n_iter=500, tolerance=1e-7)


@pytest.fixture(scope="module")
def X() -> sp.csr_array:
    X = sp.random_array((80, 40), density=0.15, rng=np.random.default_rng(8), dtype=np.float32).toarray()
    X[:, 7] = 0  # an item without users
    X[:, 8] = 1  # and an item of every user
    return sp.csr_array(X)


def check_optimum(X: sp.csr_array, nets: sp.csr_array, allowed: np.ndarray) -> None:
    """Zero derivative where a weight is positive, none below zero where it is zero (Karush, Kuhn and Tucker)."""
    D, W = X.toarray().astype(np.float64), nets.toarray().astype(np.float64).T
    slope = -D.T @ (D - D @ W) + PENALTY.l2 * W + PENALTY.l1
    assert (W >= 0).all()
    assert not W[~allowed].any()
    np.testing.assert_allclose(slope[W > 0], 0, atol=2e-5)
    assert (slope[allowed & (W == 0)] >= -2e-5).all()


def test_nets_over_all_items_are_optimal(X: sp.csr_array) -> None:
    gram = dense_gram(X)
    nets = sp.vstack([fit_elastic_nets(gram, PENALTY, 0, 25), fit_elastic_nets(gram, PENALTY, 25, 40)], format="csr")
    check_optimum(X, nets, ~np.eye(40, dtype=bool))
    assert nets[[7]].nnz == 0


@pytest.mark.parametrize("with_gram", [False, True])
def test_local_nets_are_optimal_over_their_neighbors(X: sp.csr_array, with_gram: bool) -> None:
    near = top_similar(X, 9)
    nets = fit_local_elastic_nets(X, near, PENALTY, dense_gram(X) if with_gram else None)
    check_optimum(X, nets, near.toarray().T > 0)


def test_nets_with_and_without_the_gram_matrix_agree(X: sp.csr_array) -> None:
    near = top_similar(X, 9)
    one, two = fit_local_elastic_nets(X, near, PENALTY), fit_local_elastic_nets(X, near, PENALTY, dense_gram(X))
    np.testing.assert_allclose(one.toarray(), two.toarray(), atol=1e-6)
