"""Local ridge regressions: each column of a sparse matrix on a few other columns.

Regression j, over the columns S of row j of ``neighbors``, minimizes |x_j − X_S w|² + Σ_i ridge_i w_i².

The Gram matrix of S and j is copied from that of the columns with the most entries, which is computed once where that saves
products. What involves other columns is computed for each j: entries of its columns are linked by row, so that each step along
a linked list is one product of the matrix. If the Gram matrix of all columns is given, the small one is copied from it.
The equations are solved by conjugate gradients with a diagonal preconditioner: with a ridge of the size of the diagonal
a few iterations of K² operations reach float32 precision, where Cholesky costs K³ / 3. Each regression belongs to one
thread and is summed in a fixed order, so the result is the same for any number of threads.
"""

from typing import Any

import numba
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.kernels.csr import count_entries, csr_arrays
from leanrec.kernels.solvers.dense_ridge import dense_gram
from leanrec.kernels.threads import compile_parallel
from leanrec.types import CSR, Float32Array, Int32Array

__all__ = ["fit_local_ridges", "local_ridge_bytes"]

# Fields of a linked entry: next entry of the same row, position of its column in S, its row.
_NEXT, _POSITION, _ROW = 0, 1, 2
# Columns whose Gram matrix is computed once: 64 MB.
_MOST_FREQUENT = 4096
# Rows whose entries are not linked.
_UNLINKED = -2


def local_ridge_bytes(rows: int, entries: int, k: int, columns: int, threads: int) -> int:
    """Upper estimate of the memory of ``fit_local_ridges`` besides its result: orders, and buffers of each thread.

    The linked lists of one regression hold at most all entries.
    """
    k = min(k, columns)
    of_threads = threads * (4 * rows + 16 * entries + 4 * (k + 1) ** 2 + 16 * k)
    # Copies of the entries of frequent columns are freed before the threads begin.
    return (
        8 * k * columns
        + 52 * columns
        + 4 * min(columns, _MOST_FREQUENT) ** 2
        + max(of_threads, 48 * entries + 4 * rows)
    )


def fit_local_ridges(
    columns: CSR,
    neighbors: CSR,
    ridge: Float32Array,
    *,
    first: int = 0,
    gram: Float32Array | None = None,
    tolerance: float = 1e-5,
    n_iter: int = 100,
) -> Float32Array:
    """Weights of the regressions ``first`` to ``first`` + M: float32, one for each entry of ``neighbors``.

    Time O(Σ_j (entries of the columns S_j and their pairs within a row of X) + n_iter · M · K²) for K columns in S.

    Args:
        columns: (N, U) float32, X transposed.
        neighbors: (M, N), row j holds the columns of regression ``first`` + j, without itself.
        ridge: (N,) penalty on the weight of each column, above 0.
        first: target column of row 0 of ``neighbors``.
        gram: (N, N) XᵀX; None = computed from the columns.
        tolerance: relative residual, in the norm of the preconditioner, at which a solve ends.
        n_iter: maximum number of iterations of a solve.
    """
    starts, neighbor_columns, _ = csr_arrays(neighbors)
    weights = np.zeros(neighbors.nnz, np.float32)
    max_neighbors = int(np.diff(starts).max(initial=0))
    limits = max_neighbors, n_iter, np.float32(tolerance), numba.get_num_threads()
    ridge = np.ascontiguousarray(ridge, dtype=np.float32)
    if max_neighbors and gram is not None:
        _solve_from_gram(gram, first, starts, neighbor_columns, ridge, limits, weights)
    elif max_neighbors:
        arrays = csr_arrays(columns)
        counts = np.diff(columns.indptr)
        n_entries = count_entries(neighbors, counts)
        # Most expensive first and taken in turn, so that threads get equal loads.
        order = np.argsort(-n_entries, kind="stable")
        sizes = columns.shape[1], int(n_entries.max() + counts.max()), first
        # By the inequality of Cauchy and Schwarz, as the entries of a regression lie in at most all rows.
        n_products = float((n_entries * np.maximum(1, n_entries / columns.shape[1])).sum())
        frequent = _share_gram(columns, counts, n_products)
        _solve_from_columns(arrays, frequent, sizes, order, starts, neighbor_columns, ridge, limits, weights)
    return weights


def _share_gram(columns: CSR, counts: NDArray[Any], n_products: float) -> tuple[Int32Array, Float32Array]:
    """The place of each column in the Gram matrix of the P columns with the most entries, or P, (N,); and this matrix.

    It is (P + 1, P + 1), with zeros at the end for other columns. P is 0 where it takes more than ``n_products``.
    """
    # By their entries, so that what is read most often lies together.
    chosen = np.argsort(-counts, kind="stable")[:_MOST_FREQUENT]
    part = columns[chosen]
    places = np.zeros(len(counts), np.int32)
    if float((np.bincount(part.indices).astype(np.float64) ** 2).sum()) > n_products:
        return places, np.zeros((1, 1), np.float32)
    places[:] = len(chosen)
    places[chosen] = np.arange(len(chosen))
    rows = sp.csr_array(part.T)
    return places, dense_gram(sp.csr_array((rows.data, rows.indices, rows.indptr), (rows.shape[0], len(chosen) + 1)))


@compile_parallel
def _solve_from_columns(arrays, frequent, sizes, order, starts, neighbor_columns, ridge, limits, weights):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    rows, max_entries, first = sizes
    max_neighbors, workers = limits[0], limits[3]
    for worker in numba.prange(workers):
        head = np.full(rows, _UNLINKED, np.int32)
        links, values = np.empty((max_entries, 3), np.int32), np.empty(max_entries, np.float32)
        local = np.empty(max_neighbors + 1, np.int32)
        buffer, vectors = (
            np.empty((max_neighbors + 1) * (max_neighbors + 1), np.float32),
            np.empty((4, max_neighbors), np.float32),
        )
        for at in range(worker, len(order), workers):
            j = order[at]
            members = neighbor_columns[starts[j] : starts[j + 1]]
            if len(members):
                gram = buffer[: (len(members) + 1) ** 2].reshape(len(members) + 1, len(members) + 1)
                _fill_gram(first + j, members, arrays, frequent, local, head, links, values, gram)
                _solve_cg(gram, members, ridge, limits, vectors, weights[starts[j] : starts[j + 1]])


@compile_parallel
def _solve_from_gram(full_gram, first, starts, neighbor_columns, ridge, limits, weights):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    max_neighbors, workers = limits[0], limits[3]
    for worker in numba.prange(workers):
        buffer, vectors = (
            np.empty((max_neighbors + 1) * (max_neighbors + 1), np.float32),
            np.empty((4, max_neighbors), np.float32),
        )
        for j in range(worker, len(starts) - 1, workers):
            members = neighbor_columns[starts[j] : starts[j + 1]]
            k = len(members)
            gram = buffer[: (k + 1) ** 2].reshape(k + 1, k + 1)
            for a in range(k + 1):
                line, source = gram[a], full_gram[members[a] if a < k else first + j]
                for b in range(min(a + 1, k)):
                    line[b] = source[members[b]]
            if k:
                _solve_cg(gram, members, ridge, limits, vectors, weights[starts[j] : starts[j + 1]])


@numba.njit(cache=True, nogil=True)
def _fill_gram(j, members, arrays, frequent, local, head, links, values, gram):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, C901
    """Fill the lower triangle of the Gram matrix of the columns ``members`` and, in the last row, column j."""
    starts, rows, data = arrays
    places, shared = frequent
    k, count, n_rare, n_frequent = len(members), 0, 0, len(shared) - 1
    for a in range(k + 1):
        column = members[a] if a < k else j
        local[a] = places[column]
        line, source = gram[a], shared[local[a]]
        for b in range(a + 1):
            line[b] = source[local[b]]
        if local[a] == n_frequent:
            n_rare += 1
            for entry in range(starts[column], starts[column + 1]):
                head[rows[entry]] = -1
    # Frequent columns are linked first, so that each other column meets all of them.
    for is_rare in range(2 if n_rare else 0):
        for a in range(k + 1):
            column = members[a] if a < k else j
            if (local[a] == n_frequent) != (is_rare == 1):
                continue
            square = np.float32(0)
            for entry in range(starts[column], starts[column + 1]):
                row, value = rows[entry], data[entry]
                link = first = head[row]
                if first == _UNLINKED:
                    continue
                while is_rare and link >= 0:
                    b = links[link, _POSITION]
                    gram[max(a, b), min(a, b)] += value * values[link]
                    link = links[link, _NEXT]
                square += value * value
                links[count, _NEXT], links[count, _POSITION], links[count, _ROW] = first, a, row
                values[count] = value
                head[row] = count
                count += 1
            if is_rare:
                gram[a, a] = square
    for link in range(count):
        head[links[link, _ROW]] = _UNLINKED


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _solve_cg(gram, members, ridge, limits, vectors, w):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Solve (lower triangle + ridge) w = last row by preconditioned conjugate gradients. w must be 0 on entry."""
    k = len(members)
    residual, direction, product, inverse_diagonal = vectors[0, :k], vectors[1, :k], vectors[2, :k], vectors[3, :k]
    size = np.float32(0)
    for a in range(k):
        gram[a, a] += ridge[members[a]]
        inverse_diagonal[a] = np.float32(1) / gram[a, a]
        residual[a] = gram[k, a]
        direction[a] = inverse_diagonal[a] * residual[a]
        size += residual[a] * direction[a]
    tolerance_squared = size * limits[2] * limits[2]
    for _ in range(limits[1]):
        if size <= tolerance_squared:
            return
        curvature = _multiply_symmetric(gram, direction, product)
        if curvature <= 0:
            return
        step, next_size = size / curvature, np.float32(0)
        for a in range(k):
            w[a] += step * direction[a]
            residual[a] -= step * product[a]
            next_size += residual[a] * residual[a] * inverse_diagonal[a]
        ratio = next_size / size
        size = next_size
        for a in range(k):
            direction[a] = inverse_diagonal[a] * residual[a] + ratio * direction[a]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _multiply_symmetric(gram, x, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Set ``out`` = A x for symmetric A, given as its lower triangle. Returns x · A x. Reads each entry once."""
    curvature = np.float32(0)
    for a in range(len(x)):
        line, value, total = gram[a], x[a], np.float32(0)
        for b in range(a):
            total += line[b] * x[b]
            out[b] += value * line[b]
        out[a] = total + line[a] * value
        curvature += value * (np.float32(2) * total + line[a] * value)
    return curvature
