"""Alternating least squares: one regularized weighted least-squares problem per row, on shared factors.

For row r with entries c over the N rows v of V, whose Gram matrix is diagonal (see ``principal_axes``):

    (diag(base) + ridge_r · I + Σ c · v vᵀ) w = Σ c · v

With s = (base + ridge_r)^-½, T = diag(√c) V diag(s) and w = s · x this is (I + TᵀT) x = Tᵀ√c, a system with all
eigenvalues at least 1. A row of n entries needs a system of size min(n, D): for n < D, x = Tᵀ (I + TTᵀ)⁻¹ √c (Woodbury).
Long rows may be solved approximately from a previous solution: by conjugate gradients (Takács, Pilászy & Tikk,
"Applications of the Conjugate Gradient Method for Implicit Feedback Collaborative Filtering", RecSys 2011), for which the
scaling by s is the preconditioner, or by blocks of coordinates (Rendle, Krichene, Zhang & Koren, "iALS++", 2021), without
products with the Gram matrix, since it is diagonal.

Each row belongs to one thread and is summed in a fixed order, so the result is the same for any number of threads.
"""

import contextlib

import numba
import numpy as np

from leanrec.kernels.csr import csr_arrays
from leanrec.kernels.solvers.microkernels import add_products, round_up_to_lanes, row_stride, solve_shifted
from leanrec.kernels.threads import compile_serial_and_parallel, single_threaded_blas
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["principal_axes", "solve_rows", "solve_rows_bytes"]

# Systems up to this size are always solved exactly, which is as cheap as the approximation.
_EXACT_SIZE_CG, _EXACT_SIZE_BLOCKS = 16, 128
# Entries per chunk of an exact solution, and the longest row that the approximate solvers handle.
_CHUNK = 512
_MAX_HELD = 4096
# Below this many rows, starting threads costs more than they save.
_MIN_ROWS_FOR_THREADS = 8
# Up to this width BLAS decomposes a matrix faster on one thread.
_SINGLE_THREAD_WIDTH = 512
# Rows per block that is summed in float32 for the Gram matrix.
_GRAM_ROWS = 8192


def principal_axes(V: Float32Array) -> tuple[Float32Array, Float32Array]:
    """The (D, D) orthogonal matrix Q for which the Gram matrix of V · Q is diagonal, and that diagonal (D,).

    O(N · D² + D³).
    """
    gram = np.zeros((V.shape[1], V.shape[1]))
    for start in range(0, len(V), _GRAM_ROWS):
        block = V[start : start + _GRAM_ROWS]
        gram += block.T @ block
    # On several threads a small decomposition mostly waits for synchronization.
    with single_threaded_blas() if len(gram) <= _SINGLE_THREAD_WIDTH else contextlib.nullcontext():
        eigenvalues, axes = np.linalg.eigh(gram)
    return axes.astype(np.float32), np.maximum(eigenvalues, 0).astype(np.float32)


def solve_rows_bytes(width: int, longest: int, threads: int) -> int:
    """Upper estimate of the working space of ``solve_rows``, besides its arguments and its result.

    Args:
        width: D.
        longest: entries of the longest row.
        threads: number of threads.
    """
    row_length, max_entries = row_stride(width), row_stride(max(_CHUNK, min(longest, _MAX_HELD)))
    floats = row_length * (max(row_length, max_entries) + row_length + 16)
    return threads * (4 * floats + 16 * (row_length + longest)) + 2**16


def solve_rows(
    C: CSR,
    V: Float32Array,
    base: Float32Array,
    ridge: Float32Array,
    start: Float32Array | None = None,
    *,
    cg_steps: int = 0,
    block_size: int = 0,
) -> Float32Array:
    """The solutions w (R, D) for all rows of C; zeros for a row without entries.

    Exact by default: O(n · D · min(n, D)) for a row of n entries. With ``cg_steps``, rows with min(n, D) > 16 are improved
    from ``start`` by that many steps of conjugate gradients, O(cg_steps · n · D). With ``block_size``, rows with
    min(n, D) > 128 are improved from ``start`` by one pass over blocks of that many coordinates,
    O(n · D · block_size + D · block_size²). Memory O(R · D) and ``solve_rows_bytes``.

    Args:
        C: (R, N) weights of the squared errors, at least 0; duplicate entries are added.
        V: (N, D) float32 whose Gram matrix is diagonal.
        base: (D,) float32, at least 0: diagonal of the Gram matrix, times the weight of unobserved pairs.
        ridge: (R,) float32 ridge of each row, above 0.
        start: (R, D) float32 in the axes of V, read only with ``cg_steps`` or ``block_size``; None = zeros.
        cg_steps: steps of conjugate gradients; 0 = none.
        block_size: coordinates solved together, rounded up to a multiple of 16; 0 = all.
    """
    width, padded_width, block_size = V.shape[1], round_up_to_lanes(V.shape[1]), round_up_to_lanes(block_size)
    lengths = np.diff(C.indptr)
    arrays = csr_arrays(C)
    V = np.ascontiguousarray(V, dtype=np.float32)
    if padded_width != width:
        V = np.pad(V, ((0, 0), (0, padded_width - width)))
        base = np.pad(base, (0, padded_width - width), constant_values=1)
    out = np.zeros((len(lengths), padded_width), np.float32)
    if start is not None and (cg_steps or block_size):
        out[:, :width] = start
    # Longest first and taken in turn, so that threads get equal loads.
    order = np.argsort(-lengths, kind="stable")
    longest = int(lengths[order[0]]) if len(order) else 0
    serial = len(out) < _MIN_ROWS_FOR_THREADS
    workers = 1 if serial else numba.get_num_threads()
    work = _solve_all_rows.serial if serial else _solve_all_rows.parallel
    work(*arrays, V, base, ridge, order, longest, cg_steps, block_size, workers, out)
    return out if padded_width == width else np.ascontiguousarray(out[:, :width])


@compile_serial_and_parallel
def _solve_all_rows(
    indptr: Int64Array,
    indices: Int32Array,
    data: Float32Array,
    V: Float32Array,
    base: Float32Array,
    ridge: Float32Array,
    order: Int64Array,
    longest: int,
    cg_steps: int,
    block_size: int,
    workers: int,
    out: Float32Array,
) -> None:
    for worker in numba.prange(workers):
        _solve_rows_of_worker(
            indptr, indices, data, V, base, ridge, order[worker::workers], longest, cg_steps, block_size, out
        )


@numba.njit(cache=True, nogil=True)
def _solve_rows_of_worker(
    indptr: Int64Array,
    indices: Int32Array,
    data: Float32Array,
    V: Float32Array,
    base: Float32Array,
    ridge: Float32Array,
    rows: Int64Array,
    longest: int,
    cg_steps: int,
    block_size: int,
    out: Float32Array,
) -> None:
    width = V.shape[1]
    size = min(round_up_to_lanes(longest), width)
    max_entries = round_up_to_lanes(min(longest, _MAX_HELD)) if cg_steps or block_size else _CHUNK
    buffer = np.empty(
        max(width * row_stride(max_entries), max(size, max_entries if cg_steps else 0) * row_stride(width)), np.float32
    )
    M, vectors = np.empty((size + 4, row_stride(size)), np.float32), np.empty((4, width), np.float32)
    scale = np.empty(width, np.float32)
    exact_size = _EXACT_SIZE_CG if cg_steps else _EXACT_SIZE_BLOCKS if block_size else width
    for row in rows:
        first, last = indptr[row], indptr[row + 1]
        n = last - first
        if n == 0:
            out[row] = 0
            continue
        for d in range(width):
            scale[d] = np.float32(1) / np.sqrt(base[d] + ridge[row])
        items, roots, w = indices[first:last], np.sqrt(data[first:last]), out[row]
        if exact_size < min(n, width) and n <= _MAX_HELD:
            if cg_steps:
                _improve_by_cg(items, roots, V, scale, buffer, vectors, cg_steps, w)
            else:
                _improve_by_blocks(items, roots, V, scale, buffer, M, block_size, w)
        elif n <= width:
            _solve_by_entries(items, roots, V, scale, buffer, M, w)
        else:
            _solve_by_coordinates(items, roots, V, scale, buffer, M, w)


@numba.njit(cache=True, nogil=True)
def _gather(
    items: Int32Array, roots: Float32Array, V: Float32Array, scale: Float32Array, buffer: Float32Array
) -> Float32Array:
    """T (n, D), padded with zero rows to a multiple of 16."""
    n, width = len(items), len(scale)
    size, row_length = round_up_to_lanes(n), row_stride(width)
    T = buffer[: size * row_length].reshape(size, row_length)
    for entry in range(n):
        vector, root, into = V[items[entry]], roots[entry], T[entry]
        for d in range(width):
            into[d] = root * scale[d] * vector[d]
    T[n:] = 0
    return T


@numba.njit(cache=True, nogil=True)
def _solve_by_entries(
    items: Int32Array,
    roots: Float32Array,
    V: Float32Array,
    scale: Float32Array,
    buffer: Float32Array,
    M: Float32Array,
    w: Float32Array,
) -> None:
    """Solve a row with at most D entries: x = Tᵀ y, from a system of the size of its entries."""
    n, width = len(items), len(scale)
    T = _gather(items, roots, V, scale, buffer)
    size = len(T)
    M[: size + 1, :size] = 0
    M[size, :n] = roots
    add_products(T, 0, n, width, M)
    solve_shifted(M, n)
    w[:] = 0
    _add_weighted_rows(T, M[size], n, w)
    for d in range(width):
        w[d] *= scale[d]


@numba.njit(cache=True, nogil=True)
def _solve_by_coordinates(
    items: Int32Array,
    roots: Float32Array,
    V: Float32Array,
    scale: Float32Array,
    buffer: Float32Array,
    M: Float32Array,
    w: Float32Array,
) -> None:
    """Solve a row with more than D entries, from a (D, D) system summed over chunks of entries."""
    width = len(scale)
    M[: width + 1, :width] = 0
    for start in range(0, len(items), _CHUNK):
        stop = min(start + _CHUNK, len(items))
        T = _gather_columns(items[start:stop], roots[start:stop], V, scale, buffer)
        add_products(T, 0, width, round_up_to_lanes(stop - start), M)
        for d in range(width):
            M[width, d] += _dot(T[d], roots[start:stop])
    solve_shifted(M, width)
    for d in range(width):
        w[d] = scale[d] * M[width, d]


@numba.njit(cache=True, nogil=True)
def _gather_columns(
    items: Int32Array, roots: Float32Array, V: Float32Array, scale: Float32Array, buffer: Float32Array
) -> Float32Array:
    """Tᵀ (D, n), its rows padded with zeros to a multiple of 16."""
    n, width = len(items), len(scale)
    row_length = row_stride(n)
    T = buffer[: width * row_length].reshape(width, row_length)
    for entry in range(n):
        vector, root = V[items[entry]], roots[entry]
        for d in range(width):
            T[d, entry] = root * scale[d] * vector[d]
    T[:, n:] = 0
    return T


@numba.njit(cache=True, nogil=True)
def _improve_by_blocks(
    items: Int32Array,
    roots: Float32Array,
    V: Float32Array,
    scale: Float32Array,
    buffer: Float32Array,
    M: Float32Array,
    block_size: int,
    w: Float32Array,
) -> None:
    """Improve a row by one pass over blocks of coordinates."""
    T = _gather_columns(items, roots, V, scale, buffer)
    x, residual = np.empty_like(w), np.zeros(T.shape[1], np.float32)
    for d in range(len(x)):
        x[d] = w[d] / scale[d]
    _add_weighted_rows(T, x, len(x), residual)
    for entry in range(len(residual)):
        residual[entry] = (roots[entry] if entry < len(roots) else np.float32(0)) - residual[entry]
    for start in range(0, len(x), block_size):
        _solve_block(T, start, min(start + block_size, len(x)), M, residual, x)
    for d in range(len(x)):
        w[d] = scale[d] * x[d]


@numba.njit(cache=True, nogil=True)
def _solve_block(
    T: Float32Array, start: int, stop: int, M: Float32Array, residual: Float32Array, x: Float32Array
) -> None:
    """Optimize the coordinates start … stop of x with the others fixed; ``residual`` = √c − T x is kept up to date."""
    size = stop - start
    M[:size, :size] = 0
    add_products(T, start, size, T.shape[1], M)
    for d in range(size):
        M[size, d] = _dot(T[start + d], residual) - x[start + d]
    solve_shifted(M, size)
    for d in range(size):
        x[start + d] += M[size, d]
    change = np.zeros_like(residual)
    _add_weighted_rows(T[start:stop], M[size], size, change)
    for entry in range(len(residual)):
        residual[entry] -= change[entry]


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _improve_by_cg(
    items: Int32Array,
    roots: Float32Array,
    V: Float32Array,
    scale: Float32Array,
    buffer: Float32Array,
    vectors: Float32Array,
    cg_steps: int,
    w: Float32Array,
) -> None:
    """Improve a row by conjugate gradients on (I + TᵀT) x = Tᵀ√c, starting from x = w / s."""
    T, width = _gather(items, roots, V, scale, buffer), len(w)
    x, gradient, direction, product = vectors[0], vectors[1], vectors[2], vectors[3]
    for d in range(width):
        x[d] = w[d] / scale[d]
        gradient[d] = -x[d]
    _multiply_normal(T, roots, np.float32(-1), x, gradient)
    direction[:] = gradient
    size = _dot(gradient, gradient)
    for _ in range(cg_steps):
        if size < np.float32(1e-20):
            break
        product[:] = direction
        length = size / (_dot(direction, direction) + _multiply_normal(T, roots[:0], np.float32(1), direction, product))
        for d in range(width):
            x[d] += length * direction[d]
            gradient[d] -= length * product[d]
        before, size = size, _dot(gradient, gradient)
        ratio = size / before
        for d in range(width):
            direction[d] = gradient[d] + ratio * direction[d]
    for d in range(width):
        w[d] = scale[d] * x[d]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _multiply_normal(
    T: Float32Array, targets: Float32Array, sign: np.float32, x: Float32Array, out: Float32Array
) -> np.float32:
    """Add Tᵀ y to ``out`` for y = targets + sign · T x. Returns |y|². Each row of T is loaded once."""
    square = np.float32(0)
    for i in range(0, len(T), 4):
        a, b, c, d = T[i], T[i + 1], T[i + 2], T[i + 3]
        ya = yb = yc = yd = np.float32(0)
        for j in range(len(x)):
            ya, yb, yc, yd = ya + a[j] * x[j], yb + b[j] * x[j], yc + c[j] * x[j], yd + d[j] * x[j]
        ya, yb, yc, yd = sign * ya, sign * yb, sign * yc, sign * yd
        if i < len(targets):
            ya += targets[i]
            yb += targets[i + 1] if i + 1 < len(targets) else np.float32(0)
            yc += targets[i + 2] if i + 2 < len(targets) else np.float32(0)
            yd += targets[i + 3] if i + 3 < len(targets) else np.float32(0)
        square += ya * ya + yb * yb + yc * yc + yd * yd
        for j in range(len(out)):
            out[j] += ya * a[j] + yb * b[j] + yc * c[j] + yd * d[j]
    return square


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _add_weighted_rows(T: Float32Array, weights: Float32Array, n: int, out: Float32Array) -> None:
    """Add Σ weights[i] · T[i] over the first n rows to ``out``, four rows per pass."""
    whole = n // 4 * 4
    for i in range(0, whole, 4):
        a, b, c, d = T[i], T[i + 1], T[i + 2], T[i + 3]
        fa, fb, fc, fd = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
        for j in range(len(out)):
            out[j] += fa * a[j] + fb * b[j] + fc * c[j] + fd * d[j]
    for i in range(whole, n):
        factor, row_length = weights[i], T[i]
        for j in range(len(out)):
            out[j] += factor * row_length[j]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(a: Float32Array, b: Float32Array) -> float:
    total = np.float32(0)
    for d in range(len(b)):
        total += a[d] * b[d]
    return total  # type: ignore[return-value]  # compiled
