"""Neighborhood aggregation against loops over single cells."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.kernels.similarity.aggregation import (
    drop_own_column,
    keep_top_entries,
    mean_over_neighbors,
    mean_over_rated_items,
    rank_entries,
)
from leanrec.kernels.threads import MIN_ROWS_FOR_THREADS
from leanrec.run import Run
from leanrec.types import CSR


def random_csr(rows: int, columns: int, seed: int, *, density: float = 0.4, steps: int = 0) -> CSR:
    """Positive entries; with ``steps`` few distinct values, so that ties are common."""
    matrix = sp.random_array(
        (rows, columns), density=density, rng=np.random.default_rng(seed), dtype=np.float32, format="csr"
    )
    if steps:
        matrix.data = np.ceil(matrix.data * steps).astype(np.float32)
    return sp.csr_array(matrix)


def slow_order(matrix: CSR, row: int) -> list[tuple[int, float]]:
    entries = [(int(c), float(w)) for c, w in enumerate(matrix[[row]].toarray()[0]) if w]
    return sorted(entries, key=lambda entry: (-entry[1], entry[0]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 9), st.integers(0, 4))
def test_entries_are_ranked_by_weight(seed: int, k: int, steps: int) -> None:
    matrix = random_csr(6, 8, seed, steps=steps)
    lists = rank_entries(matrix, k)
    for row in range(6):
        expected = slow_order(matrix, row)[:k]
        kept = lists.columns[row] >= 0
        assert list(zip(lists.columns[row][kept].tolist(), lists.weights[row][kept].tolist(), strict=True)) == expected
        assert not lists.weights[row][~kept].any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(0, 4))
def test_own_column_is_dropped_before_the_cut(seed: int, k: int, steps: int) -> None:
    matrix = random_csr(6, 8, seed, steps=steps)
    own = np.array([0, -1, 2, 3, -1, 5], np.int32)
    cut = drop_own_column(matrix, own, k)
    for row in range(6):
        expected = [entry for entry in slow_order(matrix, row) if entry[0] != own[row]][:k]
        assert slow_order(cut, row) == expected
    assert cut.has_sorted_indices


def test_short_rows_are_unchanged() -> None:
    matrix = random_csr(5, 9, 1)
    assert keep_top_entries(matrix, 9) is matrix
    assert keep_top_entries(sp.csr_array((0, 4), dtype=np.float32), 2).shape == (0, 4)


@pytest.mark.parametrize("queries", [MIN_ROWS_FOR_THREADS - 1, MIN_ROWS_FOR_THREADS + 3])
@pytest.mark.parametrize("k", [1, 3, 20])
def test_means_over_neighbors_equal_a_loop(queries: int, k: int) -> None:
    similar, values = random_csr(queries, 15, 3, steps=5), random_csr(15, 11, 4)
    values.data -= 0.5
    means, n_used = mean_over_neighbors(rank_entries(similar), values, k)
    dense, there = values.toarray(), np.zeros(values.shape, bool)
    there[values.nonzero()] = True
    for b in range(queries):
        for i in range(11):
            neighbors = [(v, w) for v, w in slow_order(similar, b) if there[v, i]][:k]
            assert n_used[b, i] == len(neighbors)
            total = sum(w for _, w in neighbors)
            expected = sum(w * dense[v, i] for v, w in neighbors) / total if neighbors else 0
            assert means[b, i] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("queries", [MIN_ROWS_FOR_THREADS - 1, MIN_ROWS_FOR_THREADS + 3])
@pytest.mark.parametrize("k", [1, 3, 20])
def test_means_over_rated_items_equal_a_loop(queries: int, k: int) -> None:
    similar, values = random_csr(12, 12, 5, steps=5), random_csr(queries, 12, 6)
    items = np.random.default_rng(1).integers(0, 12, (queries, 4)).astype(np.int32)
    means, n_used = mean_over_rated_items(rank_entries(similar), values, k, items)
    dense = values.toarray()
    for b in range(queries):
        for at, item in enumerate(items[b]):
            neighbors = [(j, w) for j, w in slow_order(similar, int(item)) if dense[b, j]][:k]
            assert n_used[b, at] == len(neighbors)
            expected = sum(w * dense[b, j] for j, w in neighbors) / sum(w for _, w in neighbors) if neighbors else 0
            assert means[b, at] == pytest.approx(expected, abs=1e-5)


def test_explicit_zero_counts_as_a_value() -> None:
    similar = rank_entries(sp.csr_array(np.array([[0, 1], [1, 0]], np.float32)))
    zero = sp.csr_array((np.zeros(1, np.float32), [1], [0, 1]), shape=(1, 2))
    means, n_used = mean_over_rated_items(similar, zero, 5, np.array([[0, 1]], np.int32))
    assert means.tolist() == [[0, 0]]
    assert n_used.tolist() == [[1, 0]]


def test_result_does_not_depend_on_threads() -> None:
    similar, values = rank_entries(random_csr(50, 40, 7)), random_csr(40, 30, 8)
    results = []
    for threads in (1, 2):
        with Run(threads=threads).limit_threads():
            results.append(mean_over_neighbors(similar, values, 5)[0])
    np.testing.assert_array_equal(*results)
