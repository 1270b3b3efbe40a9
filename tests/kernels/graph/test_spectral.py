"""Spectral graph filtering against dense NumPy."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.kernels.graph.spectral import (
    build_item_graph,
    inverse_power,
    multiply_sparse,
    normalize_adjacency,
    right_singular_vectors,
    scale_rows_and_columns,
    sparsify_filter,
    weighted_degrees,
)
from leanrec.types import CSR, Float32Array


def made(users: int, items: int, seed: int, density: float = 0.2) -> CSR:
    return sp.random_array(
        (users, items), density=density, format="csr", dtype=np.float32, rng=np.random.default_rng(seed)
    )


def slow_normalize(X: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    out = np.zeros_like(X)
    for u, i in zip(*np.nonzero(X), strict=True):
        out[u, i] = X[u, i] / X[u].sum() ** alpha / X[:, i].sum() ** 0.5
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 10**6))
def test_normalized_adjacency_equals_a_loop(users: int, items: int, seed: int) -> None:
    X = made(users, items, seed)
    R = normalize_adjacency(X)
    np.testing.assert_allclose(R.toarray(), slow_normalize(X.toarray().astype(np.float64)), atol=1e-6)
    assert np.linalg.norm(R.toarray(), 2) <= 1 + 1e-5


def test_degrees_and_scaling() -> None:
    X = made(20, 15, 1)
    users, items = weighted_degrees(X)
    np.testing.assert_allclose(users, X.toarray().sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(items, X.toarray().sum(axis=0), rtol=1e-6)
    expected = np.diag(users) @ X.toarray() @ np.diag(items**2)
    np.testing.assert_allclose(scale_rows_and_columns(X, users, items**2).toarray(), expected, rtol=1e-5)
    np.testing.assert_array_equal(inverse_power(np.array([4.0, 0.0]), 0.5), [0.5, 0.0])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.integers(0, 10**6))
def test_singular_vectors_equal_the_dense_svd(users: int, items: int, width: int, seed: int) -> None:
    X = made(users, items, seed)
    V, singular = right_singular_vectors(X, sp.csr_array(X.T), width, 12, np.random.default_rng(seed))
    found = min(width, users, items)
    assert V.shape == (items, found)
    expected = np.linalg.svd(X.toarray().astype(np.float64), compute_uv=False)[:found]
    np.testing.assert_allclose(singular, expected, atol=2e-3)
    strong = singular > 1e-3 * max(singular.max(initial=0), 1e-9)
    np.testing.assert_allclose(V[:, strong].T @ V[:, strong], np.eye(strong.sum()), atol=1e-4)
    # X V has the singular values as the lengths of its columns, and they are orthogonal.
    product = X.toarray() @ V
    np.testing.assert_allclose(product.T @ product, np.diag(singular**2), atol=1e-3)


def test_zero_components_and_empty_matrix() -> None:
    V, singular = right_singular_vectors(made(5, 6, 0), sp.csr_array(made(5, 6, 0).T), 0, 3, np.random.default_rng(0))
    assert V.shape == (6, 0)
    assert len(singular) == 0
    empty = sp.csr_array((5, 6), dtype=np.float32)
    V, singular = right_singular_vectors(empty, sp.csr_array(empty.T), 3, 3, np.random.default_rng(0))
    assert not V.any()
    assert not singular.any()


@pytest.mark.parametrize("width", [1, 7, 64])
def test_sparse_dense_product(width: int) -> None:
    X = made(30, 20, 3)
    signals = np.random.default_rng(1).standard_normal((20, width)).astype(np.float32)
    np.testing.assert_allclose(multiply_sparse(X, signals), X.toarray() @ signals, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.5, 0.3])
def test_item_graph_equals_the_dense_graph(alpha: float) -> None:
    X = made(40, 25, 5)
    graph, strengths = build_item_graph(X, alpha, 6, 30, np.random.default_rng(0))
    R = slow_normalize(X.toarray().astype(np.float64), alpha)
    R /= np.linalg.norm(R, 2)
    P = R.T @ R
    values, vectors = np.linalg.eigh(P)
    np.testing.assert_allclose(strengths, values[::-1][:6], atol=1e-4)
    signals = made(7, 25, 6)
    np.testing.assert_allclose(graph.propagate_sparse(signals), signals.toarray() @ P, atol=1e-5)
    np.testing.assert_allclose(
        graph.propagate_dense(graph.propagate_sparse(signals)), signals.toarray() @ P @ P, atol=1e-5
    )
    gains = np.arange(1, 7, dtype=np.float32)
    best = vectors[:, ::-1][:, :6]
    expected = signals.toarray() @ best * gains @ best.T
    np.testing.assert_allclose(graph.apply_spectral_filter(signals, gains), expected, atol=5e-3)


@pytest.mark.parametrize("k", [0, 1, 4, 99])
def test_sparsified_filter_keeps_the_largest_responses(k: int) -> None:
    W = np.random.default_rng(2).standard_normal((300, 300)).astype(np.float32)

    def answer(signals: CSR) -> Float32Array:
        return np.asarray(signals @ W)

    found = sparsify_filter(answer, 300, k).toarray()
    for row in range(300):
        others = np.where(np.arange(300) == row, -np.inf, W[row])
        expected = np.zeros(300, np.float32)
        for column in np.argsort(-others)[:k]:
            expected[column] = max(0, others[column])
        np.testing.assert_array_equal(found[row], expected)
