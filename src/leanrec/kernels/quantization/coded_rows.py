"""Coded rows that minimize a quadratic loss: sub-codes by coordinate descent, codebooks by conjugate gradients.

The loss of row i with the decoded vector v is vᵀ H v − 2 bᵀ v, where H = gram + ridge_i · I + Σ c · w wᵀ and b = Σ c · w over the
entries c of the row on vectors w (U, D): the equations of an item in alternating least squares with the users' vectors. Without
entries it is the squared error of products with queries whose second moment is ``gram``.
"""

import dataclasses

import numba
import numpy as np
from numpy.typing import NDArray

from leanrec.kernels.csr import csr_arrays
from leanrec.kernels.quantization.sub_codes import decode_sub_codes, sum_by_code
from leanrec.kernels.threads import compile_parallel
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["RowLosses", "improve_books", "improve_codes"]

# Centroids whose loss is computed exactly, of those that are nearest to the minimum along the diagonal.
_SHORTLIST = 12


@dataclasses.dataclass(frozen=True, eq=False)
class RowLosses:
    """The quadratic losses of N rows.

    Attributes:
        gram: (D, D) float32, symmetric: what all rows share.
        ridge: (N,) float32, at least 0.
        entries: (N, U) float32 weights of squared errors; None = none.
        vectors: (U, D) float32.
    """

    gram: Float32Array
    ridge: Float32Array
    entries: CSR | None = None
    vectors: Float32Array | None = None

    def arrays(self) -> tuple[Int64Array, Int32Array, Float32Array, Float32Array]:
        """Row starts, columns, weights and vectors of the entries."""
        if self.entries is None or self.vectors is None:
            empty = np.zeros(0, np.float32)
            return (
                np.zeros(len(self.ridge) + 1, np.int64),
                np.zeros(0, np.int32),
                empty,
                np.zeros((0, len(self.gram)), np.float32),
            )
        indptr, indices, data = csr_arrays(self.entries)
        return indptr.astype(np.int64), indices, data, np.ascontiguousarray(self.vectors, np.float32)

    def multiply(self, V: Float32Array, target: float = 0.0) -> Float32Array:
        """H v of each row, less ``target`` · b. O(N · D² + E · D)."""
        out = V @ self.gram
        out += self.ridge[:, None] * V
        _add_entries(*self.arrays(), np.ascontiguousarray(V), np.float32(target), out)
        return np.asarray(out, np.float32)


def improve_codes(
    losses: RowLosses,
    codes: NDArray[np.uint8],
    books: Float32Array,
    starts: NDArray[np.int64],
    scales: Float32Array,
    slopes: Float32Array,
    sweeps: int = 1,
) -> int:
    """Choose the best code of each group, one group after the other with the others fixed; in place. Returns how many changed.

    No change raises the loss of a row. A sweep takes O(D · (D + n · D + K)) time for a row of n entries.

    Args:
        losses: of the rows.
        codes: (N, M), changed in place.
        books: (K, D) codebooks.
        starts: (M + 1,) first column of each group.
        scales: (N,) factor of each row.
        slopes: (N, D) half the gradient of the loss at the decoded rows; changed in place.
        sweeps: passes over the groups.
    """
    changes = np.zeros(len(codes), np.int64)
    by_dim = np.ascontiguousarray(books.T)
    _improve_rows(
        *losses.arrays(), losses.gram, losses.ridge, books, by_dim, starts, scales, sweeps, codes, slopes, changes
    )
    return int(changes.sum())


def improve_books(
    losses: RowLosses,
    codes: NDArray[np.uint8],
    books: Float32Array,
    starts: NDArray[np.int64],
    scales: Float32Array,
    slopes: Float32Array,
    weights: Float32Array | None = None,
    steps: int = 5,
) -> Float32Array:
    """Codebooks nearer to the minimum of the losses for given codes: conjugate gradients from ``books``.

    Args:
        losses: of the rows.
        codes: (N, M).
        books: (K, D) codebooks.
        starts: (M + 1,) first column of each group.
        scales: (N,) factor of each row.
        slopes: (N, D) half the gradient of the loss at the decoded rows.
        weights: (N,) of the losses of the rows; None = 1.
        steps: of the conjugate gradients, O(N · D² + E · D) each.
    """
    factors = scales if weights is None else scales * weights

    def gather(X: Float32Array) -> Float32Array:
        return sum_by_code(X, codes, starts, factors, len(books))

    curvature = gather((np.diag(losses.gram) + losses.ridge[:, None]) * scales[:, None])
    # A centroid without rows does not move.
    inverse = np.divide(1, curvature, out=np.zeros_like(curvature), where=curvature > 0)
    residual, books = -gather(slopes), books.copy()
    direction = inverse * residual
    size = float(np.vdot(residual, direction))
    for _ in range(steps):
        if size <= 0:
            break
        product = gather(losses.multiply(decode_sub_codes(codes, direction, starts, scales)))
        length = np.float32(size / float(np.vdot(direction, product)))
        books += length * direction
        residual -= length * product
        before, size = size, float(np.vdot(residual, inverse * residual))
        direction = inverse * residual + np.float32(size / before) * direction
    return books


@compile_parallel
def _add_entries(
    indptr: Int64Array,
    indices: Int32Array,
    data: Float32Array,
    W: Float32Array,
    V: Float32Array,
    target: np.float32,
    out: Float32Array,
) -> None:
    for row in numba.prange(len(V)):
        for entry in range(indptr[row], indptr[row + 1]):
            w = W[indices[entry]]
            _add_scaled(w, data[entry] * (_dot(w, V[row]) - target), out[row])


@compile_parallel
def _improve_rows(
    indptr: Int64Array,
    indices: Int32Array,
    data: Float32Array,
    W: Float32Array,
    gram: Float32Array,
    ridge: Float32Array,
    books: Float32Array,
    by_dim: Float32Array,
    starts: Int64Array,
    scales: Float32Array,
    sweeps: int,
    codes: NDArray[np.uint8],
    slopes: Float32Array,
    changes: Int64Array,
) -> None:
    for row in numba.prange(len(codes)):
        first, last = indptr[row], indptr[row + 1]
        items, weights = indices[first:last], data[first:last]
        # A scale of 0 is a row of zeros, whatever its codes.
        for _ in range(sweeps if scales[row] > 0 else 0):
            changed = _improve_row(
                items, weights, W, gram, ridge[row], books, by_dim, starts, scales[row], codes[row], slopes[row]
            )
            changes[row] += changed
            if changed == 0:
                break


@numba.njit(cache=True, nogil=True)
def _improve_row(
    items: Int32Array,
    weights: Float32Array,
    W: Float32Array,
    gram: Float32Array,
    ridge: np.float32,
    books: Float32Array,
    by_dim: Float32Array,
    starts: Int64Array,
    scale: np.float32,
    code: NDArray[np.uint8],
    slope: Float32Array,
) -> int:
    changed = 0
    for m in range(len(starts) - 1):
        first, last = starts[m], starts[m + 1]
        H = gram[first:last, first:last].copy()
        for d in range(last - first):
            H[d, d] += ridge
        for entry in range(len(items)):
            w = W[items[entry], first:last]
            for d in range(last - first):
                _add_scaled(w, weights[entry] * w[d], H[d])
        now = scale * books[code[m], first:last]
        best = _choose_code(H, now, slope[first:last], books[:, first:last], by_dim[first:last], scale)
        if best < 0 or best == code[m]:
            continue
        changed += 1
        code[m] = best
        move = scale * books[best, first:last] - now
        for d in range(last - first):
            _add_scaled(gram[first + d], move[d], slope)
            slope[first + d] += ridge * move[d]
        for entry in range(len(items)):
            w = W[items[entry]]
            _add_scaled(w, weights[entry] * _dot(w[first:last], move), slope)
    return changed


@numba.njit(cache=True, nogil=True)
def _choose_code(
    H: Float32Array,
    now: Float32Array,
    slope: Float32Array,
    books: Float32Array,
    by_dim: Float32Array,
    scale: np.float32,
) -> int:
    """The centroid with the least loss, of those nearest to the minimum; −1 where none is better than ``now``."""
    size = len(now)
    minimum = _solve(H, slope)
    distances = np.zeros(len(books), np.float32)
    for d in range(size):
        centroids, value, weight = by_dim[d], (now[d] - minimum[d]) / scale, H[d, d]
        for k in range(len(distances)):
            difference = centroids[k] - value
            distances[k] += weight * difference * difference
    least, best, move = np.float32(0), -1, np.empty(size, np.float32)
    for _ in range(min(_SHORTLIST, len(books))):
        k = int(np.argmin(distances))
        distances[k] = np.inf
        for d in range(size):
            move[d] = scale * books[k, d] - now[d]
        change = np.float32(0)
        for d in range(size):
            change += move[d] * (np.float32(2) * slope[d] + _dot(H[d], move))
        if change < least:
            least, best = change, k
    return best


@numba.njit(cache=True, nogil=True)
def _solve(H: Float32Array, b: Float32Array) -> Float32Array:
    """H⁻¹ b by Cholesky, of a small symmetric matrix; a pivot that is not above 0 is replaced."""
    size = len(b)
    L, x = np.zeros((size, size), np.float32), np.zeros(size, np.float32)
    for i in range(size):
        for j in range(i + 1):
            rest = H[i, j] - _dot(L[i, :j], L[j, :j])
            if i == j:
                L[i, i] = np.sqrt(max(rest, np.float32(1e-6) * H[i, i] + np.float32(1e-30)))
            else:
                L[i, j] = rest / L[j, j]
        x[i] = (b[i] - _dot(L[i, :i], x[:i])) / L[i, i]
    for i in range(size - 1, -1, -1):
        for j in range(i + 1, size):
            x[i] -= L[j, i] * x[j]
        x[i] /= L[i, i]
    return x


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(a: Float32Array, b: Float32Array) -> np.float32:
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _add_scaled(x: Float32Array, factor: np.float32, out: Float32Array) -> None:
    for d in range(len(x)):
        out[d] += factor * x[d]
