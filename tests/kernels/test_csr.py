"""Arrays of CSR matrices: types, row pointers, ranges and lists."""

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.kernels.csr import (
    build_row,
    build_single_rows,
    concat_ranges,
    count_entries,
    csr_arrays,
    entry_rows,
    indptr_from_counts,
    lists_to_csr,
    replace_columns,
    replace_rows,
    replace_values,
    resize_csr,
)
from leanrec.types import compact_indices


def random_csr() -> sp.csr_array:
    return sp.random_array((20, 15), density=0.3, rng=np.random.default_rng(1), format="csr", dtype=np.float32)


def test_counts_of_the_columns_of_a_row_are_added() -> None:
    matrix, counts = random_csr(), np.arange(15)
    expected = [sum(int(counts[column]) for column in matrix[[row]].indices) for row in range(20)]
    assert count_entries(matrix, counts).tolist() == expected
    assert count_entries(matrix[:0], counts).tolist() == []


@pytest.mark.parametrize("index_type", [np.int32, np.int64])
def test_arrays_have_one_type_each(index_type: type) -> None:
    X = random_csr()
    X.indptr, X.indices = X.indptr.astype(index_type), X.indices.astype(index_type)
    X.data = X.data.astype(np.float64)
    indptr, indices, data = csr_arrays(X)
    assert (indptr.dtype, indices.dtype, data.dtype) == (np.int64, np.int32, np.float32)
    np.testing.assert_array_equal(
        sp.csr_array((data, indices, indptr), shape=X.shape).toarray(), random_csr().toarray()
    )


def test_arrays_of_the_right_type_are_not_copied() -> None:
    X = random_csr()
    assert csr_arrays(X)[1] is X.indices
    assert csr_arrays(X)[2] is X.data


def test_row_of_each_entry() -> None:
    X = random_csr()
    np.testing.assert_array_equal(entry_rows(X), X.tocoo().coords[0])
    assert len(entry_rows(sp.csr_array((3, 4), dtype=np.float32))) == 0


def test_ranges_are_concatenated() -> None:
    found = concat_ranges(np.array([5, 0, 7]), np.array([2, 0, 3]))
    assert found.tolist() == [5, 6, 7, 8, 9]
    assert len(concat_ranges(np.zeros(0, np.int64), np.zeros(0, np.int64))) == 0


@pytest.mark.parametrize("counts", [[2, 2], [2, 0], [0, 1]])
def test_lists_of_any_length_become_rows(counts: list[int]) -> None:
    items, values = np.array([[0, 3], [1, 2]], np.int32), np.array([[1, 2], [3, 4]], np.float32)
    expected = np.zeros((2, 4), np.float32)
    for row, count in enumerate(counts):
        expected[row, items[row, :count]] = values[row, :count]
    assert lists_to_csr(items, values, np.array(counts), 4).toarray().tolist() == expected.tolist()


def test_row_pointers_are_int32_while_they_fit() -> None:
    lists = lists_to_csr(np.zeros((1, 2), np.int32), np.ones((1, 2), np.float32), np.array([1]), 4)
    assert lists.indices.dtype == np.int32
    assert indptr_from_counts(np.array([2**31 - 1])).dtype == np.int32
    assert indptr_from_counts(np.array([2**31 - 1, 1])).tolist() == [0, 2**31 - 1, 2**31]


def test_compact_indices_change_only_the_index_type() -> None:
    X = random_csr()
    wide = sp.csr_array((X.data, X.indices.astype(np.int64), X.indptr.astype(np.int64)), shape=X.shape)
    found = compact_indices(wide)
    assert found.indices.dtype == found.indptr.dtype == np.int32
    np.testing.assert_array_equal(found.toarray(), X.toarray())
    assert found.has_canonical_format


def test_a_row_equals_that_of_the_constructor_and_shares_its_arrays() -> None:
    columns, values = np.array([1, 4], np.int32), np.array([2.0, 3.0], np.float32)
    row = build_row(columns, values, 6)
    expected = sp.csr_array((values, columns, np.array([0, 2])), shape=(1, 6))
    np.testing.assert_array_equal(row.toarray(), expected.toarray())
    np.testing.assert_array_equal((row @ np.eye(6)).ravel(), [0, 2, 0, 0, 3, 0])
    assert row.has_canonical_format
    assert row.nnz == 2
    assert row.indices is columns
    row.sum_duplicates()
    row.check_format(full_check=True)
    # The next row of the same width does not change the first.
    assert build_row(np.array([0], np.int32), np.array([1.0], np.float32), 6).nnz == 1
    assert row.nnz == 2


def test_values_are_replaced_in_a_matrix_of_its_own() -> None:
    X = random_csr()
    before = X.toarray()
    doubled = replace_values(X, X.data * 2)
    np.testing.assert_array_equal(doubled.toarray(), 2 * before)
    np.testing.assert_array_equal(X.toarray(), before)
    assert doubled.indices is X.indices


def test_single_rows_hold_one_entry_each() -> None:
    rows = build_single_rows(np.array([4, 0, 4], np.int32), np.array([1, 2, 3], np.float32), 5)
    assert rows.has_canonical_format
    np.testing.assert_array_equal(rows.toarray(), [[0, 0, 0, 0, 1], [2, 0, 0, 0, 0], [0, 0, 0, 0, 3]])


def test_a_resized_matrix_has_empty_rows_and_columns() -> None:
    X = random_csr()
    larger = resize_csr(X, 23, 18)
    assert np.shares_memory(larger.data, X.data)
    wanted = np.zeros((23, 18), np.float32)
    wanted[:20, :15] = X.toarray()
    np.testing.assert_array_equal(larger.toarray(), wanted)


def test_replaced_rows_and_columns_are_those_of_the_other_matrix() -> None:
    X, rows = random_csr(), np.array([7, 2])
    wanted = X.toarray()
    wanted[rows] = X.toarray()[:2]
    np.testing.assert_array_equal(replace_rows(X, rows, X[:2]).toarray(), wanted)
    assert replace_rows(X, rows, X[:2]).indices.dtype == np.int32
    square = sp.csr_array(X[:15])
    new = sp.csr_array(np.arange(2 * 17, dtype=np.float32).reshape(2, 17))
    grown = np.zeros((17, 17), np.float32)
    grown[:15, :15] = square.toarray()
    grown[:, [16, 3]] = new.toarray().T
    np.testing.assert_array_equal(replace_columns(square, np.array([16, 3]), new).toarray(), grown)
