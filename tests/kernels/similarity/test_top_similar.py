"""Similarities: every measure against its definition for each pair."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.errors import DataError, SettingError
from leanrec.kernels.csr import csr_arrays
from leanrec.kernels.similarity.top_similar import (
    MEASURES,
    _add_products,
    _count_products,
    compute_row_statistics,
    top_similar,
    top_similar_bytes,
    top_similar_rows,
)
from leanrec.kernels.sparse import history_scores, top_k_sparse
from leanrec.run import Run


def slow_similarity(x: np.ndarray, y: np.ndarray, measure: str, shrinkage: float, min_shared: int) -> float:
    both = (x != 0) & (y != 0)
    shared = int(both.sum())
    if shared < max(1, min_shared):
        return 0.0
    dot, xx, yy, nx, ny = x @ y, x @ x, y @ y, (x != 0).sum(), (y != 0).sum()
    value = {
        "dot": lambda: dot,
        "cosine": lambda: dot / np.sqrt(xx * yy),
        "tanimoto": lambda: dot / (xx + yy - dot),
        "euclidean": lambda: 1 / (1 + np.linalg.norm(x - y)),
        "jaccard": lambda: shared / (nx + ny - shared),
        "dice": lambda: 2 * shared / (nx + ny),
        "overlap": lambda: shared / min(nx, ny),
        "pearson": lambda: slow_pearson(x[both], y[both]),
        "correlation": lambda: slow_pearson(x, y),
    }[measure]()
    return max(0.0, float(value) * shared / (shared + shrinkage))


def slow_pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 1e-9 else 0.0


def slow_matrix(X: np.ndarray, measure: str, shrinkage: float = 0.0, min_shared: int = 1) -> np.ndarray:
    n = X.shape[1]
    matrix = np.array(
        [[slow_similarity(X[:, i], X[:, j], measure, shrinkage, min_shared) for j in range(n)] for i in range(n)]
    )
    np.fill_diagonal(matrix, 0)
    return matrix


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(("shrinkage", "min_shared"), [(0.0, 1), (3.0, 1), (0.0, 3), (2.5, 2)])
def test_similarities_follow_their_definition(measure: str, shrinkage: float, min_shared: int) -> None:
    X = sp.random_array((40, 23), density=0.25, rng=np.random.default_rng(5), dtype=np.float32, format="csr")
    found = top_similar(X, 23, measure, shrinkage=shrinkage, min_shared=min_shared).toarray()
    np.testing.assert_allclose(
        found, slow_matrix(X.toarray().astype(np.float64), measure, shrinkage, min_shared), atol=2e-6
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.sampled_from(["dot", "jaccard"]))
def test_keeps_the_k_largest_and_breaks_ties_by_column(seed: int, k: int, measure: str) -> None:
    rng = np.random.default_rng(seed)
    X = (rng.random((15, 90)) < 0.2).astype(np.float32)
    found = top_similar(sp.csr_array(X), k, measure)
    full = slow_matrix(X.astype(np.float64), measure).astype(np.float32)
    for i in range(X.shape[1]):
        order = [j for j in np.lexsort((np.arange(90), -full[i])) if full[i, j] > 0][:k]
        assert found[[i]].indices.tolist() == sorted(order)


def test_result_does_not_depend_on_threads() -> None:
    X = sp.random_array((200, 150), density=0.1, rng=np.random.default_rng(1), dtype=np.float32, format="csr")
    with Run(threads=1).limit_threads():
        one = top_similar(X, 10)
    with Run(threads=2).limit_threads():
        two = top_similar(X, 10)
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_array_equal(one.data, two.data)


def test_similarities_of_new_rows() -> None:
    rng = np.random.default_rng(2)
    Y = sp.random_array((30, 20), density=0.3, rng=rng, dtype=np.float32, format="csr")
    Yt = sp.csr_array(Y.T)
    full = top_similar(Yt, 30)
    some = top_similar_rows(Y[[4, 9]], Yt, 30, y_statistics=compute_row_statistics(Y)).toarray()
    assert some[0, 4] == pytest.approx(1, abs=1e-6)
    some[0, 4] = some[1, 9] = 0
    np.testing.assert_allclose(some, full.toarray()[[4, 9]], atol=1e-6)


def test_duplicate_entries_are_summed() -> None:
    twice = sp.csr_array((np.ones(4, np.float32), np.array([0, 1, 1, 2]), np.array([0, 3, 4])), shape=(2, 3))
    assert top_similar(twice, 3, "dot").toarray().tolist() == [[0, 2, 0], [2, 0, 0], [0, 0, 0]]


def test_item_without_users_has_no_neighbors() -> None:
    X = sp.csr_array(np.array([[1, 0, 1], [1, 0, 1]], np.float32))
    found = top_similar(X, 2)
    assert np.diff(found.indptr).tolist() == [1, 0, 1]
    assert top_similar(sp.csr_array((0, 3), dtype=np.float32), 2).shape == (3, 3)


def test_unknown_measure_and_mismatched_shapes_are_errors() -> None:
    X = sp.csr_array(np.ones((2, 3), np.float32))
    with pytest.raises(SettingError, match="measure must be one of"):
        top_similar(X, 2, "cosinus")
    with pytest.raises(SettingError, match="k must be"):
        top_similar(X, -1)
    with pytest.raises(DataError, match="A must have a column for each of the 4"):
        top_similar_rows(X, sp.csr_array((4, 5), dtype=np.float32), 2)


def test_memory_estimate_covers_lists_and_buffers() -> None:
    assert top_similar_bytes(100, 100, 10, 2) >= 100 * 10 * 8 * 2 + 2 * 100 * 8


def matrix_of_two_billion_entries(entries: list[int], shape: tuple[int, int]) -> SimpleNamespace:
    """One row whose entries come after 2³¹ others, which take no memory: they all share the same four bytes."""
    start = 2**31 + 7
    return SimpleNamespace(
        indptr=np.array([start, start + len(entries)]),
        indices=np.lib.stride_tricks.as_strided(np.array(entries[:1], np.int32), (start + len(entries),), (0,)),
        data=np.broadcast_to(np.float32(2), start + len(entries)),
        shape=shape,
        nnz=start + len(entries),
    )


def test_entries_after_the_first_two_billion_are_found() -> None:
    Y = sp.csr_array(np.array([[0, 3, 0], [5, 0, 7]], np.float32))
    far: Any = matrix_of_two_billion_entries([1], (1, 2))
    one = sp.csr_array(np.array([[3]], np.float32))
    assert history_scores(one, far).tolist() == [[0, 6]]
    assert top_k_sparse(one, far, 2)[0].tolist() == [[1, 0]]
    starts, columns, data = csr_arrays(far)
    assert starts.dtype == np.int64
    assert _count_products(starts, columns.view(np.uint32), Y.indptr.astype(np.int64)).tolist() == [2]
    sums = np.zeros(3, np.float32)
    _add_products(0, (starts, columns, data), csr_arrays(Y), sums)
    assert sums.tolist() == [10, 0, 14]
