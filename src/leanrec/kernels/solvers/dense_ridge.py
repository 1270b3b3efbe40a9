"""Large symmetric matrices in place: Gram, inverse, and what a linear autoencoder makes of the inverse."""

import numba
import numpy as np
import scipy.linalg
import scipy.sparse as sp

from leanrec.errors import DataError
from leanrec.kernels.solvers.inverse import BLOCK_ROWS, is_in_memory, release_pages, row_blocks
from leanrec.kernels.topk.selection import sift_down
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = [
    "dense_gram",
    "fill_gram",
    "invert_in_place",
    "invert_ridge_by_users",
    "regression_weights",
    "keep_largest_weights",
    "mirror_upper_triangle",
]

Float64Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
# A tile and its mirror image fit a first-level cache of 32 kB.
_TILE = 64
_COLUMNS = 2048


def dense_gram(X: CSR) -> Float32Array:
    """XᵀX (N, N), dense. O(Σ_u L_u² + N²) time, 4 N² bytes and a transposed copy of X.

    Args:
        X: (U, N).
    """
    gram = np.zeros((X.shape[1], X.shape[1]), np.float32)
    fill_gram(X, 0.0, gram)
    mirror_upper_triangle(gram)
    return gram


def fill_gram(X: CSR, l2: float, gram: Float32Array, block: int = BLOCK_ROWS) -> None:
    """Add the upper triangle of XᵀX + l2 · I to ``gram`` (N, N), zeros before. O(Σ_u L_u²), half of the products.

    Args:
        X: (U, N).
        l2: what is added to the diagonal.
        gram: (N, N) float32, in memory or mapped from a file.
        block: rows between two releases of a mapped matrix.
    """
    X = X.sorted_indices()
    # Where each entry lies in its row: to the right of it are the items that are not yet met as a pair.
    places = sp.csr_array((np.arange(X.nnz), X.indices, X.indptr), shape=X.shape)
    columns = sp.csr_array(places.T)
    steps = len(gram) if is_in_memory(gram) else block
    for first, last in row_blocks(len(gram), max(1, steps)):
        order = first + _dear_first(columns[first:last], X)
        _gram(
            columns.indptr.astype(np.int64),
            columns.indices.astype(np.int32),
            columns.data,
            *_parts(X),
            order,
            numba.get_num_threads(),
            gram,
        )
        gram[np.arange(first, last), np.arange(first, last)] += np.float32(l2)
        release_pages(gram)


def invert_in_place(matrix: Float32Array) -> Float32Array:
    """The inverse of a symmetric positive definite (N, N), written over it. N³ multiply-adds, no copy.

    Only the upper triangle of the result is valid. Raises DataError if the matrix is not positive definite.
    """
    # LAPACK counts by columns, so it sees the transposed view, whose lower triangle is our upper one.
    factor, info = scipy.linalg.lapack.spotrf(matrix.T, lower=True, clean=False, overwrite_a=True)
    if info == 0:
        factor, info = scipy.linalg.lapack.spotri(factor, lower=True, overwrite_c=True)
    if info != 0:
        raise DataError("The matrix must be positive definite. It is singular in float32: raise l2.")
    return np.asarray(factor.T)


def invert_ridge_by_users(X: CSR, l2: float) -> tuple[Float32Array, Float32Array]:
    """The upper triangle of l2 · (XᵀX + l2 · I)⁻¹ (N, N) without its diagonal, and the diagonal (N,), by way of the users.

    With K = XXᵀ + l2 · I = LLᵀ and W = L⁻¹X it is I − WᵀW: U · N² + 2 U² · N + U³ operations in place of 2 N³, which pays where
    there are fewer users than items. The diagonal, which later divides, is summed in float64.
    Memory 4 N² + 4 U · N + 16 U² bytes and a strip of 24 kB a user.
    """
    kernel = (X @ X.T).toarray().astype(np.float64)
    kernel[np.diag_indices_from(kernel)] += l2
    factor = scipy.linalg.cholesky(kernel, lower=True, overwrite_a=True, check_finite=False)
    n_users, n_items = X.shape
    W = np.empty((n_users, n_items), np.float32, order="F")
    diagonal = np.empty(n_items, np.float32)
    by_columns = sp.csc_array(X)
    for start in range(0, n_items, _COLUMNS):
        block = by_columns[:, start : start + _COLUMNS].toarray(order="F").astype(np.float64)
        block = scipy.linalg.solve_triangular(factor, block, lower=True, overwrite_b=True, check_finite=False)
        diagonal[start : start + _COLUMNS] = 1 - np.einsum("ui,ui->i", block, block)
        W[:, start : start + _COLUMNS] = block
    inverse = np.zeros((n_items, n_items), np.float32)
    scipy.linalg.blas.ssyrk(-1.0, W, c=inverse.T, trans=1, lower=1, overwrite_c=1)
    return inverse, diagonal


def regression_weights(inverse: Float32Array, diagonal: Float32Array, block: int = BLOCK_ROWS) -> Float32Array:
    """B = I − P · diag(1/P) from the upper triangle of P, in place: B[i, j] = −P[i, j] / P[j, j], B[i, i] = 0.

    P and its diagonal may both come with the other sign.
    """
    scale = np.ascontiguousarray(-1 / diagonal, dtype=np.float32)
    _both_halves(inverse, scale, block)
    for first, last in row_blocks(len(inverse), block):
        inverse[np.arange(first, last), np.arange(first, last)] = 0
        release_pages(inverse)
    return inverse


def mirror_upper_triangle(matrix: Float32Array, block: int = BLOCK_ROWS) -> None:
    """Copy the upper triangle of (N, N) over the lower one. O(N²)."""
    _both_halves(matrix, np.ones(len(matrix), np.float32), block)


def keep_largest_weights(matrix: Float32Array, k: int, scale: Float32Array, block: int = BLOCK_ROWS) -> CSR:
    """The k entries of each row of (N, N), off the diagonal, that are largest in |value| · scale[column]. (N, N).

    Equal sizes are kept in the order of their columns. O(N²) and about 32 N · k bytes.
    """
    n = len(matrix)
    columns = np.full((n, min(k, n)), -1, dtype=np.int32)
    sizes = np.full(columns.shape, -np.inf, dtype=np.float32)
    for first, last in row_blocks(n, block):
        _strongest(matrix[first:last], first, scale, columns[first:last], sizes[first:last])
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


def _both_halves(matrix: Float32Array, scale: Float32Array, block: int) -> None:
    """Upper triangle to full, column j times scale[j]; the diagonal stays. Tile by tile, both halves at once."""
    for first, last in row_blocks(len(matrix), block):
        for left, right in row_blocks(len(matrix), block):
            if right > first:
                _mirror(matrix, scale, first, last, left, right)
                release_pages(matrix)


def _parts(matrix: CSR) -> tuple[Int64Array, Int32Array, Float32Array]:
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data.astype(np.float32)


def _dear_first(columns: CSR, X: CSR) -> Int64Array:
    """Columns, dearest first: dealt out in turn, every thread gets the same load."""
    each = np.concatenate([[0], np.cumsum(np.diff(X.indptr)[columns.indices])])
    order: Int64Array = np.argsort(-(each[columns.indptr[1:]] - each[columns.indptr[:-1]]), kind="stable")
    return order


@numba.njit(parallel=True, cache=True)
def _gram(
    cp: Int64Array,
    ci: Int32Array,
    places: Int64Array,
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
                place = places[entry]
                weight = rd[place]
                for other in range(place, rp[ci[entry] + 1]):
                    out[ri[other]] += weight * rd[other]


@numba.njit(parallel=True, cache=True)
def _mirror(matrix: Float32Array, scale: Float32Array, first: int, last: int, left: int, right: int) -> None:
    """Rows first to last and columns left to right of the upper triangle, and their mirror image."""
    tiles = (right - left + _TILE - 1) // _TILE
    for tile in numba.prange(tiles):
        start, stop = left + tile * _TILE, min(left + (tile + 1) * _TILE, right)
        for top in range(first, last, _TILE):
            for i in range(top, min(top + _TILE, last)):
                for j in range(max(start, i + 1), stop):
                    value = matrix[i, j]
                    matrix[i, j] = value * scale[j]
                    matrix[j, i] = value * scale[i]


@numba.njit(parallel=True, cache=True)
def _strongest(matrix: Float32Array, first: int, scale: Float32Array, columns: Int32Array, sizes: Float32Array) -> None:
    n, k = columns.shape
    for row in numba.prange(n):
        line, mine, best = matrix[row], columns[row], sizes[row]
        for j in range(len(line)):
            size = abs(line[j]) * scale[j]
            if size > 0 and size > best[0] and j != first + row:
                mine[0], best[0] = j, size
                sift_down(mine, best, 0, k)
