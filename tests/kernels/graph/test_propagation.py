"""Propagation on bipartite graphs against SciPy and powers of the dense adjacency matrix."""

import numba
import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.kernels.graph.propagation import BipartiteEdges, BipartiteGraph, bipartite_graph_bytes, sample_masked_edges
from leanrec.types import CSR


def random_graph(rows: int, columns: int, edges: int, seed: int = 0) -> CSR:
    rng = np.random.default_rng(seed)
    picked = rng.choice(rows * columns, edges, replace=False)
    values = rng.standard_normal(edges).astype(np.float32)
    return sp.csr_array((values, (picked // columns, picked % columns)), shape=(rows, columns))


def signals(rows: int, width: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)


@pytest.mark.parametrize(
    ("rows", "columns", "edges", "width"), [(7, 5, 12, 3), (900, 700, 20_000, 64), (3, 4, 0, 2), (1, 9, 9, 1)]
)
def test_propagation_equals_sparse_matrix_products(rows: int, columns: int, edges: int, width: int) -> None:
    X = random_graph(rows, columns, edges)
    ours = BipartiteGraph.from_matrix(X)
    np.testing.assert_allclose(
        ours.propagate_to_rows(signals(columns, width)), X @ signals(columns, width), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        ours.propagate_to_columns(signals(rows, width)), X.T @ signals(rows, width), rtol=1e-4, atol=1e-4
    )


def test_edge_values_are_in_row_order() -> None:
    X = random_graph(60, 50, 400)
    links, values = BipartiteEdges.from_matrix(X), signals(400, 1)[:, 0]
    other = sp.csr_array((values, X.indices, X.indptr), shape=X.shape)
    np.testing.assert_allclose(
        links.propagate_to_rows(values, signals(50, 4)), other @ signals(50, 4), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        links.propagate_to_columns(values, signals(60, 4)), other.T @ signals(60, 4), rtol=1e-4, atol=1e-5
    )
    assert len(links) == 400
    np.testing.assert_array_equal(links.row_counts, np.diff(X.indptr))


@pytest.mark.parametrize("edges", [400, 20_000])
def test_dot_products_along_edges(edges: int) -> None:
    X = random_graph(300, 200, edges)
    U, V = signals(300, 32), signals(200, 32, seed=2)
    entries = X.tocoo()
    expected = (U[entries.row] * V[entries.col]).sum(axis=1)
    np.testing.assert_allclose(BipartiteEdges.from_matrix(X).dot_along_edges(U, V), expected, rtol=1e-4, atol=1e-4)


def test_layers_are_powers_of_the_adjacency_matrix() -> None:
    X = random_graph(12, 9, 40)
    A = np.zeros((21, 21))
    A[:12, 12:], A[12:, :12] = X.toarray(), X.toarray().T
    start = signals(21, 5)
    shares = np.array([0.4, 0.1, 0.3, 0.2], np.float32)
    expected = sum(share * np.linalg.matrix_power(A, k) @ start for k, share in enumerate(shares))
    rows, columns = BipartiteGraph.from_matrix(X).sum_layers(start[:12], start[12:], shares)
    np.testing.assert_allclose(np.vstack([rows, columns]), expected, rtol=1e-4, atol=1e-4)


def test_propagation_is_its_own_adjoint() -> None:
    X = random_graph(40, 30, 200)
    ours, shares = BipartiteGraph.from_matrix(X), np.full(3, 1 / 3, np.float32)
    u, v, gu, gv = signals(40, 6), signals(30, 6, 2), signals(40, 6, 3), signals(30, 6, 4)
    out, back = ours.sum_layers(u, v, shares), ours.sum_layers(gu, gv, shares)
    assert (out[0] * gu).sum() + (out[1] * gv).sum() == pytest.approx(
        (u * back[0]).sum() + (v * back[1]).sum(), rel=1e-4
    )


@pytest.mark.parametrize("layers", [0, 1, 2, 3, 4])
def test_layers_from_columns_equal_layers_with_zero_rows(layers: int) -> None:
    X = random_graph(40, 30, 200)
    ours, shares = BipartiteGraph.from_matrix(X), np.random.default_rng(0).random(layers + 1).astype(np.float32)
    start, d_rows, d_columns = signals(30, 6), signals(40, 6, 2), signals(30, 6, 3)
    rows, columns = ours.sum_layers_from_columns(start, shares)
    expected = ours.sum_layers(np.zeros((40, 6), np.float32), start, shares)
    np.testing.assert_allclose(rows, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(columns, expected[1], rtol=1e-4, atol=1e-5)
    back = ours.sum_layers(d_rows, d_columns, shares)[1]
    np.testing.assert_allclose(
        ours.sum_layers_from_columns_backward(d_rows, d_columns, shares), back, rtol=1e-3, atol=1e-4
    )


def test_masked_edges_belong_to_the_rows_and_can_be_removed() -> None:
    X = random_graph(50, 40, 300)
    rows = np.array([3, 4, 20, 41])
    masked, positions = sample_masked_edges(X, rows, 0.5, np.random.default_rng(0))
    assert masked.shape == (4, 40)
    assert 0 < masked.nnz == len(positions) < X[rows].nnz
    entries = masked.tocoo()
    np.testing.assert_array_equal(X.toarray()[rows[entries.row], entries.col], entries.data)
    rest = X.toarray()
    rest[rows[entries.row], entries.col] = 0
    np.testing.assert_allclose(
        BipartiteGraph.from_matrix(X).without_edges(positions).propagate_to_columns(signals(50, 4)),
        rest.T @ signals(50, 4),
        rtol=1e-4,
        atol=1e-5,
    )


def test_row_with_one_edge_keeps_it() -> None:
    X = sp.csr_array(np.array([[1, 0, 0], [1, 1, 1]], np.float32))
    masked, positions = sample_masked_edges(X, np.array([0, 1]), 0.999, np.random.default_rng(0))
    assert positions.tolist() == [1, 2, 3]
    assert masked.toarray().tolist() == [[0, 0, 0], [1, 1, 1]]


def test_result_does_not_depend_on_threads() -> None:
    X, before = random_graph(2000, 1500, 30_000), numba.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            ours = BipartiteGraph.from_matrix(X)
            results.append(
                (
                    ours.propagate_to_rows(signals(1500, 32)),
                    ours.edges.dot_along_edges(signals(2000, 32), signals(1500, 32)),
                )
            )
    finally:
        numba.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_int64_indices_give_the_same_result() -> None:
    X = random_graph(50, 40, 300)
    wide = X.copy()
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    np.testing.assert_array_equal(
        BipartiteGraph.from_matrix(wide).propagate_to_columns(signals(50, 4)),
        BipartiteGraph.from_matrix(X).propagate_to_columns(signals(50, 4)),
    )


def test_memory_is_within_the_estimate() -> None:
    ours = BipartiteGraph.from_matrix(random_graph(1000, 800, 9_000))
    sides = (ours.edges.rows, ours.edges.columns)
    held = sum(each.nbytes for side in sides for each in (side.indptr, side.indices, side.blocks))
    held += ours.row_values.nbytes + ours.column_values.nbytes + ours.edges.positions.nbytes
    assert held <= bipartite_graph_bytes(1000, 800, 9_000)
