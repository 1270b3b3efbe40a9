"""CSR matrices as plain arrays: what compiled kernels take and return."""

import functools
from typing import Any

import numba
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, compact_indices

__all__ = [
    "build_row",
    "build_single_rows",
    "concat_ranges",
    "count_entries",
    "csr_arrays",
    "entry_rows",
    "indptr_from_counts",
    "lists_to_csr",
    "replace_columns",
    "replace_rows",
    "replace_values",
    "resize_csr",
]


def count_entries(matrix: CSR, counts: Int64Array) -> Int64Array:
    """(M,) for each row of a matrix (M, N) the sum of ``counts`` (N,) over the columns of its entries. O(entries)."""
    total = np.concatenate([[0], np.cumsum(counts[matrix.indices], dtype=np.int64)])
    return np.asarray(total[matrix.indptr[1:]] - total[matrix.indptr[:-1]])


def csr_arrays(matrix: CSR) -> tuple[Int64Array, Int32Array, Float32Array]:
    """(indptr, indices, data) as int64, int32 and float32, copied only where the type differs.

    Kernels are compiled for these types alone, so no call waits for a new compilation, and matrices of more than 2³¹
    entries work.
    """
    return (
        matrix.indptr.astype(np.int64, copy=False),
        matrix.indices.astype(np.int32, copy=False),
        matrix.data.astype(np.float32, copy=False),
    )


def build_row(columns: Int32Array, values: Float32Array, n_columns: int) -> CSR:
    """A (1, n_columns) matrix with these entries, in columns that ascend; nothing is copied or checked.

    The constructor of SciPy checks its arguments, which takes longer than most of the work on a row of a request.
    """
    row: CSR = object.__new__(sp.csr_array)
    indptr = np.array((0, len(columns)), np.int32)
    row.__dict__ = {**_get_parts_of_row(n_columns), "data": values, "indices": columns, "indptr": indptr}
    return row


def build_single_rows(columns: Int32Array, values: Float32Array, n_columns: int) -> CSR:
    """(L, n_columns) with the entry ``values[i]`` in column ``columns[i]`` of row i, and no other. Nothing is copied."""
    indptr = np.arange(len(columns) + 1, dtype=np.int32)
    matrix = sp.csr_array((values, columns, indptr), shape=(len(columns), n_columns))
    matrix.has_canonical_format = True
    return matrix


def replace_values(matrix: CSR, values: Float32Array) -> CSR:
    """A matrix with the same columns and other values; nothing is copied or checked."""
    # copy.copy would take ten times as long: longer than the work on a row of a request.
    changed: CSR = object.__new__(type(matrix))
    vars(changed).update(vars(matrix), data=values)
    return changed


def resize_csr(matrix: CSR, n_rows: int, n_columns: int) -> CSR:
    """The matrix with more rows and columns, which are empty. The entries are shared. O(rows)."""
    indptr = np.append(matrix.indptr, np.full(n_rows - matrix.shape[0], matrix.nnz, matrix.indptr.dtype))
    larger: CSR = sp.csr_array((matrix.data, matrix.indices, indptr), shape=(n_rows, n_columns))
    return compact_indices(larger)


def replace_rows(matrix: CSR, rows: NDArray[Any], new: CSR) -> CSR:
    """The matrix with other rows ``rows`` (C,), which are all different: those of ``new`` (C, M). O(entries)."""
    order = np.arange(matrix.shape[0])
    order[rows] = matrix.shape[0] + np.arange(len(rows))
    replaced: CSR = sp.vstack([matrix, new], format="csr")[order]
    return compact_indices(replaced)


def replace_columns(matrix: CSR, columns: NDArray[Any], new: CSR) -> CSR:
    """The matrix (N, M) with other columns ``columns`` (C,), which are all different: the rows of ``new`` (C, N).

    Both may have more rows and columns than ``matrix``, which then has none there. O(entries).
    """
    n = max(new.shape[1], matrix.shape[0])
    larger = resize_csr(matrix, n, max(n, matrix.shape[1]))
    return compact_indices(sp.csr_array(replace_rows(sp.csr_array(larger.T), columns, new).T))


@functools.lru_cache(maxsize=8)
def _get_parts_of_row(n_columns: int) -> dict[str, Any]:
    """The attributes of an empty matrix (1, n_columns)."""
    no_entries = (np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(2, np.int32))
    row = sp.csr_array(no_entries, shape=(1, n_columns))
    row.has_canonical_format = True
    return vars(row)


def entry_rows(matrix: CSR) -> Int64Array:
    """(E,) row of each entry, in the order of ``data``."""
    return np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))


def concat_ranges(starts: NDArray[Any], lengths: NDArray[Any]) -> Int64Array:
    """Concatenated ranges ``starts[i]``, ``starts[i] + 1`` … of ``lengths[i]`` numbers each. O(Σ lengths)."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.asarray(np.arange(total) + np.repeat(starts - ends + lengths, lengths), np.int64)


def indptr_from_counts(counts: NDArray[Any]) -> NDArray[Any]:
    """(B + 1,) ``indptr`` from the number of entries of each row.

    int32 if the total is below 2³¹, else int64: SciPy converts ``indices`` to the type of ``indptr``.
    """
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return indptr.astype(np.int32) if indptr[-1] < 2**31 else indptr


def lists_to_csr(items: Int32Array, values: Float32Array, counts: Int64Array, n_columns: int) -> CSR:
    """(B, n_columns) from lists (B, k); row b has ``counts[b]`` entries, columns ascending. O(B · k)."""
    indptr = indptr_from_counts(counts)
    columns, data = items.ravel(), values.ravel()
    if indptr[-1] < items.size:
        columns, data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
        _concat_lists(items, values, indptr.astype(np.int64), columns, data)
    matrix = sp.csr_array((data, columns, indptr), shape=(len(items), n_columns))
    # Known from the input; SciPy would go through all entries to find out.
    matrix.has_canonical_format = True
    return matrix


@numba.njit(cache=True, nogil=True)
def _concat_lists(
    items: Int32Array, values: Float32Array, indptr: Int64Array, columns: Int32Array, data: Float32Array
) -> None:
    for row in range(len(items)):
        start, count = indptr[row], indptr[row + 1] - indptr[row]
        columns[start : start + count] = items[row, :count]
        data[start : start + count] = values[row, :count]
