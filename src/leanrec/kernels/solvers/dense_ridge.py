"""Ridge regression of every item on all others with dense matrices: Gram matrix, inverse in place, and weights."""

import numba
import numpy as np
import scipy.sparse as sp

from leanrec.errors import DataError
from leanrec.kernels.csr import count_entries, csr_arrays
from leanrec.kernels.solvers.inverse import BLOCK_ROWS, is_in_memory, release_pages, row_blocks
from leanrec.kernels.solvers.lapack import call_blas, call_lapack
from leanrec.kernels.threads import compile_parallel
from leanrec.kernels.topk.selection import sift_down
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = [
    "dense_gram",
    "fill_gram",
    "invert_in_place",
    "invert_ridge_by_users",
    "is_dense_gram_small",
    "keep_largest_by_users",
    "keep_largest_weights",
    "mirror_upper_triangle",
    "regression_weights",
]

Float64Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
# A tile and its mirror image fit in a first-level cache of 32 kB.
_TILE = 64
_SOLVE_COLUMNS = 2048
_SMALL_GRAM_BYTES = 512 * 2**20


def dense_gram(X: CSR) -> Float32Array:
    """The Gram matrix XᵀX (N, N), dense. O(Σ_u L_u² + N²) time, 4 N² bytes and a transposed copy of X.

    Args:
        X: (U, N).
    """
    gram = np.zeros((X.shape[1], X.shape[1]), np.float32)
    fill_gram(X, 0.0, gram)
    mirror_upper_triangle(gram)
    return gram


def is_dense_gram_small(n_items: int) -> bool:
    """Whether the Gram matrix of all items takes at most 512 MB: local regressions then copy their entries from it."""
    return 4 * n_items**2 <= _SMALL_GRAM_BYTES


def fill_gram(X: CSR, l2: float, gram: Float32Array, block: int = BLOCK_ROWS) -> None:
    """Add the upper triangle of XᵀX + l2 · I to ``gram`` (N, N), zeros on entry. O(Σ_u L_u²), half of the products.

    Args:
        X: (U, N).
        l2: added to the diagonal.
        gram: (N, N) float32, in memory or mapped from a file.
        block: rows between two releases of the pages of a mapped matrix.
    """
    X = X.sorted_indices()
    # Position of each entry in X: the pairs of an entry are with the entries to its right in the row.
    positions = sp.csr_array((np.arange(X.nnz), X.indices, X.indptr), shape=X.shape)
    columns = sp.csr_array(positions.T)
    steps = len(gram) if is_in_memory(gram) else block
    for first, last in row_blocks(len(gram), max(1, steps)):
        # By descending cost: taken in turn, they give threads equal loads.
        order = first + np.argsort(-count_entries(columns[first:last], np.diff(X.indptr)), kind="stable")
        starts, users, _ = csr_arrays(columns)
        _add_products(starts, users, columns.data, *csr_arrays(X), order, numba.get_num_threads(), gram)
        gram[np.arange(first, last), np.arange(first, last)] += np.float32(l2)
        release_pages(gram)


def invert_in_place(matrix: Float32Array) -> Float32Array:
    """Invert a symmetric positive definite matrix (N, N) in place by Cholesky. N³ operations, no copy.

    Only the upper triangle of the result is valid. Raises DataError if the matrix is not positive definite.
    """
    n = len(matrix)
    assert matrix.flags.c_contiguous  # noqa: S101 - LAPACK is column-major: its lower triangle is our upper one
    for routine in ("spotrf", "spotri"):
        if call_lapack(routine, b"L", n, matrix, max(1, n)) != 0:
            raise DataError("The matrix must be positive definite. It is singular in float32: raise l2.")
    return matrix


def invert_ridge_by_users(X: CSR, l2: float) -> tuple[Float32Array, Float32Array]:
    """l2 · (XᵀX + l2 · I)⁻¹ (N, N) by inverting in user space: upper triangle without the diagonal, and diagonal (N,).

    With K = XXᵀ + l2 · I = LLᵀ and W = L⁻¹X it equals I − WᵀW (Woodbury): U · N² + U² · N + U³ / 3 operations instead
    of N³, faster for fewer users than items.
    Memory 4 N² + 4 U · N + 16 U² bytes and 24 kB per user.
    """
    W, diagonal = _solve_by_users(X, l2)
    n_users, n_items = X.shape
    step = max(1, n_users)
    inverse = np.zeros((n_items, n_items), np.float32)
    call_blas("ssyrk", b"L", b"T", n_items, n_users, np.float32(-1), W, step, np.float32(0), inverse, n_items)
    return inverse, diagonal


def keep_largest_by_users(X: CSR, l2: float, k: int, scale: Float32Array) -> CSR:
    """``keep_largest_weights`` of l2 · (XᵀX + l2 · I)⁻¹ without the (N, N) matrix: a block of its rows at a time.

    For fewer users than items; see ``invert_ridge_by_users``. U · N² operations; memory 4 U · N + 16 U² bytes, 24 kB per
    user, 2 kB per item and about 16 N · k bytes.
    """
    W, _ = _solve_by_users(X, l2)
    n = X.shape[1]
    columns = np.full((n, min(k, n)), -1, dtype=np.int32)
    values = np.full(columns.shape, -np.inf, dtype=np.float32)
    for first, last in row_blocks(n, BLOCK_ROWS):
        rows = np.negative(W[:, first:last].T @ W)
        _select_largest_of_rows(rows, first, scale, columns[first:last], values[first:last])
        found = columns[first:last]
        values[first:last] = np.take_along_axis(rows, np.maximum(found, 0), 1)
    kept = columns >= 0
    starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    return sp.csr_array((values[kept], columns[kept], starts), shape=(n, n)).sorted_indices()


def _solve_by_users(X: CSR, l2: float) -> tuple[Float32Array, Float32Array]:
    """W = L⁻¹X (U, N), where LLᵀ = XXᵀ + l2 · I, and the diagonal of I − WᵀW, summed in float64 because it divides later."""
    kernel = (X @ X.T).toarray().astype(np.float64)
    kernel[np.diag_indices_from(kernel)] += l2
    factor = np.linalg.cholesky(kernel)
    n_users, n_items = X.shape
    step = max(1, n_users)
    W = np.empty((n_users, n_items), np.float32, order="F")
    diagonal = np.empty(n_items, np.float32)
    by_columns = sp.csc_array(X)
    for start in range(0, n_items, _SOLVE_COLUMNS):
        block = by_columns[:, start : start + _SOLVE_COLUMNS].toarray(order="F").astype(np.float64)
        # A triangle by rows is the transposed one by columns.
        call_blas("dtrsm", b"L", b"U", b"T", b"N", *block.shape, np.float64(1), factor, step, block, step)
        diagonal[start : start + _SOLVE_COLUMNS] = 1 - np.einsum("ui,ui->i", block, block)
        W[:, start : start + _SOLVE_COLUMNS] = block
    return W, diagonal


def regression_weights(inverse: Float32Array, diagonal: Float32Array, block: int = BLOCK_ROWS) -> Float32Array:
    """B = I − P · diag(1 / diag(P)) from the upper triangle of P, in place: B[i, j] = −P[i, j] / P[j, j], B[i, i] = 0.

    The same result for −P and its diagonal.
    """
    scale = np.ascontiguousarray(-1 / diagonal, dtype=np.float32)
    _scale_and_mirror(inverse, scale, block)
    for first, last in row_blocks(len(inverse), block):
        inverse[np.arange(first, last), np.arange(first, last)] = 0
        release_pages(inverse)
    return inverse


def mirror_upper_triangle(matrix: Float32Array, block: int = BLOCK_ROWS) -> None:
    """Copy the upper triangle of (N, N) over the lower one. O(N²)."""
    _scale_and_mirror(matrix, np.ones(len(matrix), np.float32), block)


def keep_largest_weights(matrix: Float32Array, k: int, scale: Float32Array, block: int = BLOCK_ROWS) -> CSR:
    """Keep the k off-diagonal entries of each row of (N, N) that are largest in |value| · scale[column]: (N, N) CSR.

    Ties go to the first columns. O(N²) and about 32 N · k bytes.
    """
    n = len(matrix)
    columns = np.full((n, min(k, n)), -1, dtype=np.int32)
    magnitudes = np.full(columns.shape, -np.inf, dtype=np.float32)
    for first, last in row_blocks(n, block):
        _select_largest_of_rows(matrix[first:last], first, scale, columns[first:last], magnitudes[first:last])
        release_pages(matrix)
    kept = columns >= 0
    rows = np.nonzero(kept)[0]
    starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    values = np.empty(len(rows), np.float32)
    chosen = columns[kept]
    for first, last in row_blocks(n, block):
        part = slice(starts[first], starts[last])
        values[part] = matrix[rows[part], chosen[part]]
        release_pages(matrix)
    return sp.csr_array((values, chosen, starts), shape=matrix.shape).sorted_indices()


def _scale_and_mirror(matrix: Float32Array, scale: Float32Array, block: int) -> None:
    """Fill the lower triangle from the upper one and scale column j by scale[j], tile by tile; the diagonal is unchanged."""
    for first, last in row_blocks(len(matrix), block):
        for left, right in row_blocks(len(matrix), block):
            if right > first:
                _mirror_tiles(matrix, scale, first, last, left, right)
                release_pages(matrix)


@compile_parallel
def _add_products(
    cp: Int64Array,
    ci: Int32Array,
    positions: Int64Array,
    rp: Int64Array,
    ri: Int32Array,
    rd: Float32Array,
    order: Int64Array,
    workers: int,
    gram: Float32Array,
) -> None:
    for worker in numba.prange(workers):
        for at in range(worker, len(order), workers):
            column = order[at]
            out = gram[column]
            for entry in range(cp[column], cp[column + 1]):
                position = positions[entry]
                weight = rd[position]
                for other in range(position, rp[ci[entry] + 1]):
                    out[ri[other]] += weight * rd[other]


@compile_parallel
def _mirror_tiles(matrix: Float32Array, scale: Float32Array, first: int, last: int, left: int, right: int) -> None:
    """Process rows first to last and columns left to right of the upper triangle, and their mirror image."""
    tiles = (right - left + _TILE - 1) // _TILE
    for tile in numba.prange(tiles):
        start, stop = left + tile * _TILE, min(left + (tile + 1) * _TILE, right)
        for top in range(first, last, _TILE):
            for i in range(top, min(top + _TILE, last)):
                for j in range(max(start, i + 1), stop):
                    value = matrix[i, j]
                    matrix[i, j] = value * scale[j]
                    matrix[j, i] = value * scale[i]


@compile_parallel
def _select_largest_of_rows(
    matrix: Float32Array, first: int, scale: Float32Array, columns: Int32Array, magnitudes: Float32Array
) -> None:
    n, k = columns.shape
    for row in numba.prange(n):
        row_values, row_columns, row_magnitudes = matrix[row], columns[row], magnitudes[row]
        for j in range(len(row_values)):
            size = abs(row_values[j]) * scale[j]
            if size > 0 and size > row_magnitudes[0] and j != first + row:
                row_columns[0], row_magnitudes[0] = j, size
                sift_down(row_columns, row_magnitudes, 0, k)
