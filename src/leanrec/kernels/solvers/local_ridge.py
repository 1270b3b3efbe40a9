"""Ridge regressions of each column of a sparse matrix on a few other columns of it.

Regression j, over the columns S of row j of ``near``: the w that minimises |x_j − X_S w|² + Σ_i ridge_i w_i².

The Gram matrix of S and j is made for j alone: the entries of its columns are chained by row, so that every
step of a chain is one product that the matrix needs. Where the Gram matrix of all columns is at hand, the small
one is copied from it. The equations are solved by conjugate gradients with the diagonal as preconditioner: with a
ridge of the size of the diagonal a handful of passes over K² numbers reaches the rounding of float32, where
Cholesky would cost K³ / 3. Each regression belongs to one thread and is summed in a fixed order, so the result is
the same for any number of threads.
"""

import numba
import numpy as np

from leanrec.types import CSR, Float32Array, Int64Array

__all__ = ["local_ridge_bytes", "fit_local_ridges"]

# Entries of a chained column: next in the chain, its place in S, its row.
_NEXT, _PLACE, _ROW = 0, 1, 2


def local_ridge_bytes(rows: int, entries: int, k: int, columns: int, threads: int) -> int:
    """Upper estimate of the memory of ``fit_local_ridges`` beside its result: orders, and strips for each thread.

    The chains of one regression hold at most all entries.
    """
    k = min(k, columns)
    return 8 * k * columns + 48 * columns + threads * (4 * rows + 16 * entries + 4 * (k + 1) ** 2 + 16 * k)


def fit_local_ridges(
    columns: CSR,
    near: CSR,
    ridge: Float32Array,
    *,
    first: int = 0,
    gram: Float32Array | None = None,
    tolerance: float = 1e-5,
    passes: int = 100,
) -> Float32Array:
    """The weights of the regressions ``first`` to ``first`` + M: one for each entry of ``near``, float32.

    Time O(Σ_j (entries of the columns S_j and their pairs in one row of X) + passes · M · K²), K columns in S.

    Args:
        columns: (N, U) float32, X transposed.
        near: (M, N), row j holds the columns that regression ``first`` + j may use; not itself.
        ridge: (N,) above 0, what the weight of column i costs.
        first: the column that row 0 of ``near`` is about.
        gram: (N, N) XᵀX if it is at hand.
        tolerance: a solve ends when its residual, in the norm of the preconditioner, has shrunk to this share.
        passes: of one solve, at most.
    """
    starts, places = near.indptr.astype(np.int64), near.indices.astype(np.int32)
    weights = np.zeros(near.nnz, np.float32)
    widest = int(np.diff(starts).max(initial=0))
    limits = widest, passes, np.float32(tolerance), numba.get_num_threads()
    ridge = np.ascontiguousarray(ridge, dtype=np.float32)
    if widest and gram is not None:
        _solve_of_gram(gram, first, starts, places, ridge, limits, weights)
    elif widest:
        parts = columns.indptr.astype(np.int64), columns.indices.astype(np.int32), columns.data.astype(np.float32)
        costs = _entries(np.diff(columns.indptr), near)
        # Dearest first: dealt out in turn, every thread gets the same load.
        order = np.argsort(-costs, kind="stable")
        sizes = columns.shape[1], int(costs.max()), first
        _solve(parts, sizes, order, starts, places, ridge, limits, weights)
    return weights


def _entries(counts: Int64Array, near: CSR) -> Int64Array:
    """(M,) how many entries the columns of each regression have."""
    total = np.concatenate([[0], np.cumsum(counts[near.indices], dtype=np.int64)])
    return np.asarray(total[near.indptr[1:]] - total[near.indptr[:-1]])


@numba.njit(parallel=True, cache=True)
def _solve(parts, sizes, order, starts, places, ridge, limits, weights):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    rows, longest, first = sizes
    widest, workers = limits[0], limits[3]
    for worker in numba.prange(workers):
        head = np.full(rows, -1, np.int32)
        chain, values = np.empty((longest, 3), np.int32), np.empty(longest, np.float32)
        space, strips = np.empty((widest + 1) * (widest + 1), np.float32), np.empty((4, widest), np.float32)
        for at in range(worker, len(order), workers):
            j = order[at]
            mine = places[starts[j] : starts[j + 1]]
            if len(mine):
                gram = space[: (len(mine) + 1) ** 2].reshape(len(mine) + 1, len(mine) + 1)
                _chain(first + j, mine, parts, head, chain, values, gram)
                _regress(gram, mine, ridge, limits, strips, weights[starts[j] : starts[j + 1]])


@numba.njit(parallel=True, cache=True)
def _solve_of_gram(whole, first, starts, places, ridge, limits, weights):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    widest, workers = limits[0], limits[3]
    for worker in numba.prange(workers):
        space, strips = np.empty((widest + 1) * (widest + 1), np.float32), np.empty((4, widest), np.float32)
        for j in range(worker, len(starts) - 1, workers):
            mine = places[starts[j] : starts[j + 1]]
            k = len(mine)
            gram = space[: (k + 1) ** 2].reshape(k + 1, k + 1)
            for a in range(k + 1):
                line, source = gram[a], whole[mine[a] if a < k else first + j]
                for b in range(min(a + 1, k)):
                    line[b] = source[mine[b]]
            if k:
                _regress(gram, mine, ridge, limits, strips, weights[starts[j] : starts[j + 1]])


@numba.njit(cache=True, nogil=True)
def _chain(j, mine, parts, head, chain, values, gram):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """The lower triangle of the Gram matrix of the columns ``mine``, and column j against them in the last row."""
    starts, rows, data = parts
    k, count = len(mine), 0
    for a in range(k + 1):
        line, column = gram[a], mine[a] if a < k else j
        line[: a + 1] = 0
        square = np.float32(0)
        for entry in range(starts[column], starts[column + 1]):
            row, value = rows[entry], data[entry]
            first = head[row]
            link = first
            while link >= 0:
                line[chain[link, _PLACE]] += value * values[link]
                link = chain[link, _NEXT]
            square += value * value
            if a < k:
                chain[count, _NEXT], chain[count, _PLACE], chain[count, _ROW] = first, a, row
                values[count] = value
                head[row] = count
                count += 1
        line[a] = square
    for link in range(count):
        head[chain[link, _ROW]] = -1


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _regress(gram, mine, ridge, limits, strips, w):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Solve (lower triangle + ridge) w = last row by conjugate gradients; w enters as zeros."""
    k = len(mine)
    rest, way, image, inverse = strips[0, :k], strips[1, :k], strips[2, :k], strips[3, :k]
    size = np.float32(0)
    for a in range(k):
        gram[a, a] += ridge[mine[a]]
        inverse[a] = np.float32(1) / gram[a, a]
        rest[a] = gram[k, a]
        way[a] = inverse[a] * rest[a]
        size += rest[a] * way[a]
    enough = size * limits[2] * limits[2]
    for _ in range(limits[1]):
        if size <= enough:
            return
        bend = _apply(gram, way, image)
        if bend <= 0:
            return
        step, after = size / bend, np.float32(0)
        for a in range(k):
            w[a] += step * way[a]
            rest[a] -= step * image[a]
            after += rest[a] * rest[a] * inverse[a]
        share = after / size
        size = after
        for a in range(k):
            way[a] = inverse[a] * rest[a] + share * way[a]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _apply(gram, x, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Out = A x for the symmetric A whose lower triangle is given, and x · A x: each number is read once."""
    bend = np.float32(0)
    for a in range(len(x)):
        line, value, total = gram[a], x[a], np.float32(0)
        for b in range(a):
            total += line[b] * x[b]
            out[b] += value * line[b]
        out[a] = total + line[a] * value
        bend += value * (np.float32(2) * total + line[a] * value)
    return bend
