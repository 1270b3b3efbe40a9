"""Many small regularised least-squares problems that share one design: a half step of alternating least squares.

For row r with entries c over the N rows v of V:

    (base + Σ c · v vᵀ + ridge · n_r · I) w = Σ c · v

Row r belongs to one thread and is summed in a fixed order: the result is the same for any number of threads.
"""

import numba
import numpy as np

from leanrec.kernels.threads import single_blas
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["solve_rows", "solve_spd"]

# Vectors gathered, and rows of a matrix worked on, at a time: the product of two blocks is made by BLAS.
_BLOCK = 32
_FEW = 4


def solve_rows(
    C: CSR,
    V: Float32Array,
    base: Float32Array,
    ridge: Float32Array,
    start: Float32Array | None = None,
    steps: int = 0,
) -> Float32Array:
    """The solutions w (R, D) for all rows of C; zeros where a row has no entries.

    By Cholesky, O(entries · D² + R · D³ / 3); or, with ``steps``, by that many steps of conjugate gradients from
    ``start``, O(steps · (entries · D + R · D²)). Memory O(R · D) and D² for each thread.

    Args:
        C: (R, N) weights of the squared errors, above 0.
        V: (N, D) float32.
        base: (D, D) float32, symmetric, what every row has in common.
        ridge: (R,) float32 the ridge of each row, above 0.
        start: (R, D) float32, read only if ``steps`` is set.
        steps: 0 = Cholesky.
    """
    order = np.argsort(-np.diff(C.indptr), kind="stable")
    parts = (C.indptr.astype(np.int64), C.indices.astype(np.int32), C.data.astype(np.float32))
    V, base = np.ascontiguousarray(V, dtype=np.float32), np.ascontiguousarray(base, dtype=np.float32)
    out = np.zeros((C.shape[0], V.shape[1]), np.float32)
    if steps:
        if start is not None:
            out[:] = start
        _gradient_rows(*parts, V, base, ridge, order, numba.get_num_threads(), steps, out)
    elif len(out) < _FEW:
        _exact(*parts, V, base, ridge, order, out)
    else:
        with single_blas():
            _exact_many(*parts, V, base, ridge, order, numba.get_num_threads(), out)
    return out


@numba.njit(parallel=True, cache=True)
def _exact_many(
    cp: Int64Array,
    ci: Int32Array,
    cd: Float32Array,
    V: Float32Array,
    base: Float32Array,
    ridge: Float32Array,
    order: Int64Array,
    workers: int,
    out: Float32Array,
) -> None:
    for worker in numba.prange(workers):
        _exact(cp, ci, cd, V, base, ridge, order[worker::workers], out)


@numba.njit(cache=True, nogil=True)
def _exact(
    cp: Int64Array,
    ci: Int32Array,
    cd: Float32Array,
    V: Float32Array,
    base: Float32Array,
    ridge: Float32Array,
    rows: Int64Array,
    out: Float32Array,
) -> None:
    width = V.shape[1]
    A = np.empty((width, width), np.float32)
    plain, scaled = np.empty((_BLOCK, width), np.float32), np.empty((_BLOCK, width), np.float32)
    for row in rows:
        low, high = cp[row], cp[row + 1]
        if high > low:
            A[:, :] = base
            for d in range(width):
                A[d, d] += ridge[row]
            _normal(ci[low:high], cd[low:high], V, plain, scaled, A, out[row])
            solve_spd(A, out[row])


@numba.njit(cache=True, nogil=True)
def _normal(
    items: Int32Array,
    weights: Float32Array,
    V: Float32Array,
    plain: Float32Array,
    scaled: Float32Array,
    A: Float32Array,
    right: Float32Array,
) -> None:
    """Add the outer products of one row to the upper triangle of A; its vectors are gathered in blocks."""
    width = V.shape[1]
    for start in range(0, len(items), _BLOCK):
        n = min(_BLOCK, len(items) - start)
        for place in range(n):
            weight, vector = weights[start + place], V[items[start + place]]
            for d in range(width):
                plain[place, d] = vector[d]
                scaled[place, d] = weight * vector[d]
                right[d] += weight * vector[d]
        _add_outer(plain[:n], scaled[:n], np.float32(1), A)  # type: ignore[arg-type]  # compiled


@numba.njit(cache=True, nogil=True)
def _add_outer(X: Float32Array, Y: Float32Array, sign: float, A: Float32Array) -> None:
    """The upper triangle of A += sign · XᵀY, in strips of rows.

    Strips halve the work, and keep each product so small that BLAS makes it on the calling thread: one request
    does not wait for threads.
    """
    n = A.shape[1]
    for top in range(0, n, _BLOCK):
        bottom = min(top + _BLOCK, n)
        strip = np.dot(np.ascontiguousarray(X[:, top:bottom]).T, np.ascontiguousarray(Y[:, top:]))
        for i in range(bottom - top):
            line, more = A[top + i, top:], strip[i]
            for j in range(len(more)):
                line[j] += sign * more[j]


@numba.njit(cache=True, nogil=True)
def solve_spd(A: Float32Array, x: Float32Array) -> None:
    """Solve A · x = x in place for a positive definite A (D, D), of which the upper triangle is read and overwritten.

    Cholesky by blocks of rows of the upper factor. O(D³ / 3).
    """
    n = len(x)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        corner = A[start:stop, start:stop]
        _factor(corner)
        if stop < n:
            # Rows right of the corner: R = U⁻ᵀ A, by BLAS as well.
            done = np.dot(_inverse(corner).T, np.ascontiguousarray(A[start:stop, stop:]))
            A[start:stop, stop:] = done
            _add_outer(done, done, np.float32(-1), A[stop:, stop:])  # type: ignore[arg-type]  # compiled
    _back(A, x)


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _factor(A: Float32Array) -> None:
    """The upper triangle of a small A becomes its Cholesky factor, four pivots to a pass over the rows below."""
    n = len(A)
    for done in range(0, n, 4):
        last = min(done + 4, n)
        for k in range(done, last):
            pivot = A[k]
            # A pivot that rounding has made too small would turn the row into noise.
            scale = np.float32(1) / np.sqrt(max(pivot[k], np.float32(1e-12)))
            for j in range(k, n):
                pivot[j] *= scale
            for i in range(k + 1, last):
                factor, line = pivot[i], A[i]
                for j in range(i, n):
                    line[j] -= factor * pivot[j]
        if last - done == 4:
            a, b, c, d = A[done], A[done + 1], A[done + 2], A[done + 3]
            for i in range(last, n):
                fa, fb, fc, fd, line = a[i], b[i], c[i], d[i], A[i]
                for j in range(i, n):
                    line[j] -= fa * a[j] + fb * b[j] + fc * c[j] + fd * d[j]


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _inverse(U: Float32Array) -> Float32Array:
    """The inverse of a small upper factor."""
    n = len(U)
    out = np.zeros((n, n), np.float32)
    for i in range(n - 1, -1, -1):
        line, scale = out[i], np.float32(1) / U[i, i]
        line[i] = 1
        for k in range(i + 1, n):
            factor, below = U[i, k], out[k]
            for j in range(k, n):
                line[j] -= factor * below[j]
        for j in range(i, n):
            line[j] *= scale
    return out


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _back(U: Float32Array, x: Float32Array) -> None:
    """Solve UᵀU · x = x in place for an upper factor U."""
    n = len(x)
    for i in range(n):
        line = U[i]
        x[i] /= line[i]
        value = x[i]
        for j in range(i + 1, n):
            x[j] -= value * line[j]
    for i in range(n - 1, -1, -1):
        line = U[i]
        total = np.float32(0)
        for j in range(i + 1, n):
            total += line[j] * x[j]
        x[i] = (x[i] - total) / line[i]


@numba.njit(parallel=True, cache=True)
def _gradient_rows(
    cp: Int64Array,
    ci: Int32Array,
    cd: Float32Array,
    V: Float32Array,
    base: Float32Array,
    ridge: Float32Array,
    order: Int64Array,
    workers: int,
    steps: int,
    out: Float32Array,
) -> None:
    width = V.shape[1]
    for worker in numba.prange(workers):
        rest, way, image = (
            np.empty(width, np.float32),
            np.empty(width, np.float32),
            np.empty(width, np.float32),
        )
        for at in range(worker, len(order), workers):
            row = order[at]
            low, high = cp[row], cp[row + 1]
            if high == low:
                out[row] = 0
                continue
            _gradient(ci[low:high], cd[low:high], V, base, ridge[row], steps, rest, way, image, out[row])


@numba.njit(cache=True, nogil=True)
def _gradient(
    items: Int32Array,
    weights: Float32Array,
    V: Float32Array,
    base: Float32Array,
    ridge: float,
    steps: int,
    rest: Float32Array,
    way: Float32Array,
    image: Float32Array,
    w: Float32Array,
) -> None:
    """Conjugate gradients on one row from w, in place (Takács, Pilászy & Tikk, RecSys 2011)."""
    width = len(w)
    _apply(items, weights, V, base, ridge, w, rest)
    rest[:] = -rest
    for entry in range(len(items)):
        weight, vector = weights[entry], V[items[entry]]
        for d in range(width):
            rest[d] += weight * vector[d]
    way[:] = rest
    size = _dot(rest, rest)
    for _ in range(steps):
        if size < 1e-20:
            return
        _apply(items, weights, V, base, ridge, way, image)
        length = size / _dot(way, image)
        for d in range(width):
            w[d] += length * way[d]
            rest[d] -= length * image[d]
        before, size = size, _dot(rest, rest)
        share = size / before
        for d in range(width):
            way[d] = rest[d] + share * way[d]


@numba.njit(cache=True, nogil=True)
def _apply(
    items: Int32Array,
    weights: Float32Array,
    V: Float32Array,
    base: Float32Array,
    ridge: float,
    x: Float32Array,
    out: Float32Array,
) -> None:
    """The matrix of one row times x, without making the matrix."""
    width = len(x)
    for d in range(width):
        out[d] = ridge * x[d]
    for i in range(width):
        value, line = x[i], base[i]
        for d in range(width):
            out[d] += value * line[d]
    for entry in range(len(items)):
        vector = V[items[entry]]
        value = weights[entry] * _dot(vector, x)
        for d in range(width):
            out[d] += value * vector[d]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot(a: Float32Array, b: Float32Array) -> float:
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total  # type: ignore[return-value]  # compiled
