"""Large symmetric matrices in place: Gram, inverse, and what a linear autoencoder makes of the inverse."""

import numba
import numpy as np
import scipy.linalg
import scipy.sparse as sp

from leanrec.errors import DataError
from leanrec.kernels.topk import sink
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["dense_gram", "inverse_in_place", "inverse_of_ridge", "regression_weights", "strongest"]

Float64Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
# A tile and its mirror image fit a first-level cache of 32 kB.
_TILE = 64
_COLUMNS = 2048


def dense_gram(X: CSR) -> Float32Array:
    """XᵀX (N, N), dense. O(Σ_u L_u² + N²) time, 4 N² bytes and a transposed copy of X.

    Args:
        X: (U, N).
    """
    columns = sp.csr_array(X.T)
    gram = np.zeros((X.shape[1], X.shape[1]), np.float32)
    _gram(*_parts(columns), *_parts(X), _dear_first(columns, X), numba.get_num_threads(), gram)
    return gram


def inverse_in_place(matrix: Float32Array) -> Float32Array:
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


def inverse_of_ridge(X: CSR, l2: float) -> tuple[Float32Array, Float32Array]:
    """The upper triangle of l2 · (XᵀX + l2 · I)⁻¹ (N, N) and its diagonal (N,), by way of the users.

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


def regression_weights(inverse: Float32Array, diagonal: Float32Array) -> Float32Array:
    """B = I − P · diag(1/P) from the upper triangle of P, in place: B[i, j] = −P[i, j] / P[j, j], B[i, i] = 0."""
    _mirror(inverse, np.ascontiguousarray(1 / diagonal, dtype=np.float32))
    return inverse


def strongest(weights: Float32Array, k: int) -> CSR:
    """The k entries of each column of (N, N) that are largest in size, others dropped. O(N²) and about 32 N · k bytes.

    Equal sizes are kept in the order of their rows.
    """
    n = len(weights)
    rows = np.full((n, min(k, n)), -1, dtype=np.int32)
    sizes = np.full(rows.shape, -np.inf, dtype=np.float32)
    _strongest(weights, rows, sizes)
    kept = rows >= 0
    columns = np.nonzero(kept)[0].astype(np.int32)
    rows = rows[kept]
    return sp.coo_array((weights[rows, columns], (rows, columns)), shape=weights.shape).tocsr()


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
    cd: Float32Array,
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
                weight, row = cd[entry], ci[entry]
                for other in range(rp[row], rp[row + 1]):
                    out[ri[other]] += weight * rd[other]


@numba.njit(parallel=True, cache=True)
def _mirror(matrix: Float32Array, scale: Float32Array) -> None:
    """Upper triangle to full, column j times −scale[j], zeros on the diagonal: tile by tile, both halves at once."""
    n = len(matrix)
    tiles = (n + _TILE - 1) // _TILE
    # Rows of tiles from both ends, so that each step of the loop is equally long.
    for step in numba.prange(tiles):
        band = step // 2 if step % 2 == 0 else tiles - 1 - step // 2
        for left in range(band, tiles):
            for i in range(band * _TILE, min((band + 1) * _TILE, n)):
                for j in range(max(left * _TILE, i + 1), min((left + 1) * _TILE, n)):
                    value = -matrix[i, j]
                    matrix[i, j] = value * scale[j]
                    matrix[j, i] = value * scale[i]
        for i in range(band * _TILE, min((band + 1) * _TILE, n)):
            matrix[i, i] = 0


@numba.njit(parallel=True, cache=True)
def _strongest(weights: Float32Array, rows: Int32Array, sizes: Float32Array) -> None:
    n, k = rows.shape
    width = 64
    for strip in numba.prange((n + width - 1) // width):
        # A strip of columns at a time: a column alone would touch a cache line for each entry.
        first, last = strip * width, min((strip + 1) * width, n)
        for i in range(n):
            for j in range(first, last):
                size = abs(weights[i, j])
                if size > 0 and size > sizes[j, 0]:
                    rows[j, 0], sizes[j, 0] = i, size
                    sink(rows[j], sizes[j], 0, k)
