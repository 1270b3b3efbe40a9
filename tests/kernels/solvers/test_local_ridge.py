"""Local ridge regressions against NumPy's dense solver in float64."""

import numba
import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.kernels.similarity.top_similar import top_similar
from leanrec.kernels.solvers import local_ridge
from leanrec.kernels.solvers.dense_ridge import dense_gram
from leanrec.kernels.solvers.local_ridge import fit_local_ridges, local_ridge_bytes
from leanrec.types import CSR


@pytest.fixture(scope="module")
def X() -> CSR:
    X = sp.random_array((90, 50), density=0.15, rng=np.random.default_rng(5), dtype=np.float32).toarray()
    X[:, 7] = 0  # an item without users
    X[:, 8] = 1  # and an item of every user
    X[:, 9] = X[:, 8]  # and its duplicate
    return sp.csr_array(X)


RIDGE = np.linspace(0.5, 4, 50).astype(np.float32)


def by_numpy(X: CSR, near: CSR) -> np.ndarray:
    D, weights = X.toarray().astype(np.float64), []
    for item in range(near.shape[0]):
        S = near.indices[near.indptr[item] : near.indptr[item + 1]]
        A = D[:, S].T @ D[:, S] + np.diag(RIDGE[S].astype(np.float64))
        weights.append(np.linalg.solve(A, D[:, S].T @ D[:, item]))
    return np.concatenate(weights)


@pytest.mark.parametrize("k", [1, 9, 49])
@pytest.mark.parametrize("with_gram", [False, True])
def test_weights_equal_the_dense_solver(X: CSR, k: int, with_gram: bool) -> None:
    near = top_similar(X, k)
    gram = dense_gram(X) if with_gram else None
    weights = fit_local_ridges(sp.csr_array(X.T), near, RIDGE, gram=gram, tolerance=1e-7)
    np.testing.assert_allclose(weights, by_numpy(X, near), atol=2e-6)


@pytest.mark.parametrize("n_frequent", [1, 12, 50])
def test_weights_are_the_same_whatever_columns_share_a_gram_matrix(
    X: CSR, n_frequent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_ridge, "_MOST_FREQUENT", n_frequent)
    near, columns = top_similar(X, 20), sp.csr_array(X.T)
    places, shared = local_ridge._share_gram(columns, np.diff(columns.indptr), 1e9)
    np.testing.assert_allclose(
        shared[:-1, :-1], dense_gram(X)[np.argsort(places)][:, np.argsort(places)][:n_frequent, :n_frequent]
    )
    assert not shared[-1].any()
    np.testing.assert_allclose(fit_local_ridges(columns, near, RIDGE, tolerance=1e-7), by_numpy(X, near), atol=2e-6)


def test_no_gram_matrix_is_shared_where_it_takes_more_products(X: CSR) -> None:
    columns = sp.csr_array(X.T)
    places, shared = local_ridge._share_gram(columns, np.diff(columns.indptr), 1.0)
    assert shared.shape == (1, 1)
    assert not places.any()


def test_default_tolerance_is_precise_enough_to_rank(X: CSR) -> None:
    near = top_similar(X, 20)
    np.testing.assert_allclose(fit_local_ridges(sp.csr_array(X.T), near, RIDGE), by_numpy(X, near), atol=1e-4)


@pytest.mark.parametrize("with_gram", [False, True])
def test_blocks_of_regressions_give_the_same_weights(X: CSR, with_gram: bool) -> None:
    near, columns = top_similar(X, 9), sp.csr_array(X.T)
    gram = dense_gram(X) if with_gram else None
    blocks = [fit_local_ridges(columns, near[at : at + 17], RIDGE, first=at, gram=gram) for at in range(0, 50, 17)]
    np.testing.assert_array_equal(np.concatenate(blocks), fit_local_ridges(columns, near, RIDGE, gram=gram))


def test_negative_values() -> None:
    rng = np.random.default_rng(2)
    X = sp.csr_array(rng.normal(size=(30, 50)).astype(np.float32))
    near = sp.csr_array(np.float32(1) - np.eye(50, dtype=np.float32))
    weights = fit_local_ridges(sp.csr_array(X.T), near, RIDGE, tolerance=1e-7)
    np.testing.assert_allclose(weights, by_numpy(X, near), atol=5e-5)


def test_result_does_not_depend_on_threads(X: CSR) -> None:
    near, columns, before = top_similar(X, 12), sp.csr_array(X.T), numba.get_num_threads()
    try:
        numba.set_num_threads(2)
        two = fit_local_ridges(columns, near, RIDGE)
        numba.set_num_threads(1)
        np.testing.assert_array_equal(fit_local_ridges(columns, near, RIDGE), two)
    finally:
        numba.set_num_threads(before)


def test_item_without_neighbors_has_no_weights(X: CSR) -> None:
    empty = sp.csr_array((50, 50), dtype=np.float32)
    assert len(fit_local_ridges(sp.csr_array(X.T), empty, RIDGE)) == 0
    assert top_similar(X, 9)[[7]].nnz == 0


def test_memory_estimate_grows_with_size() -> None:
    few, many = local_ridge_bytes(100, 1_000, 10, 50, 1), local_ridge_bytes(100, 1_000, 20, 50, 2)
    assert 0 < few < many
