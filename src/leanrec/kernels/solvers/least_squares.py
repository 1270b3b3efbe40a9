"""Many small regularised least-squares problems that share one design: a half step of alternating least squares.

For row r with entries c over the N rows v of V, whose Gram matrix is diagonal (see ``principal_axes``):

    (diag(base) + ridge_r · I + Σ c · v vᵀ) w = Σ c · v

With s = (base + ridge_r)^-½, T = diag(√c) V diag(s) and w = s · x this is (I + TᵀT) x = Tᵀ√c, whose eigenvalues are
all at least 1. A row of n entries costs a system of size min(n, D): where n is the smaller, x = Tᵀ (I + TTᵀ)⁻¹ √c
(Woodbury). Long rows may be solved approximately from the last solution instead, by conjugate gradients (Takács,
Pilászy & Tikk, RecSys 2011), which the scaling by s preconditions, or block by block of coordinates (Rendle,
Krichene, Zhang & Koren, "iALS++", 2021), which needs no product with the Gram matrix because that is diagonal.

Row r belongs to one thread and is summed in a fixed order: the result is the same for any number of threads.
"""

import contextlib

import numba
import numpy as np

from leanrec.kernels.solvers.microkernels import add_products, round_up_to_lanes, row_stride, solve_shifted
from leanrec.kernels.threads import single_threaded_blas
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["principal_axes", "solve_rows", "solve_rows_bytes"]

# Systems up to this size are solved exactly whatever is asked for: that is as cheap as the approximation.
_FEW_FOR_STEPS, _FEW_FOR_BLOCKS = 16, 128
# Entries gathered at a time for an exact solution, and the longest row that the approximate solvers hold at once.
_CHUNK = 512
_LONG = 4096
# Below this many rows, starting threads costs more than they save.
_FEW = 8
# Up to this width BLAS decomposes a matrix faster on one thread.
_SMALL = 512
# Rows summed at a time in float32 for the Gram matrix.
_STRIP = 8192


def principal_axes(V: Float32Array) -> tuple[Float32Array, Float32Array]:
    """The (D, D) orthogonal matrix Q for which the Gram matrix of V · Q is diagonal, and that diagonal (D,).

    O(N · D² + D³).
    """
    gram = np.zeros((V.shape[1], V.shape[1]))
    for start in range(0, len(V), _STRIP):
        strip = V[start : start + _STRIP]
        gram += strip.T @ strip
    # On several threads a small decomposition mostly waits for them.
    with single_threaded_blas() if len(gram) <= _SMALL else contextlib.nullcontext():
        moments, axes = np.linalg.eigh(gram)
    return axes.astype(np.float32), np.maximum(moments, 0).astype(np.float32)


def solve_rows_bytes(width: int, longest: int, threads: int) -> int:
    """Upper estimate of the working space of ``solve_rows``, beside its arguments and its result.

    Args:
        width: D.
        longest: entries of the longest row.
        threads: threads that work at once.
    """
    line, held = row_stride(width), row_stride(max(_CHUNK, min(longest, _LONG)))
    return threads * (4 * line * (max(line, held) + line + 16) + 16 * (line + longest)) + 2**16


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
    """The solutions w (R, D) for all rows of C; zeros where a row has no entries.

    Exact, O(n · D · min(n, D)) for a row of n entries. With ``cg_steps`` or ``block_size`` only where min(n, D) is at
    most 16 or 128, and the other rows are improved from ``start``: by that many steps of conjugate gradients,
    O(steps · n · D), or by one pass over blocks of that many coordinates, O(n · D · block + D · block²). Memory O(R · D) and ``solve_rows_bytes``.

    Args:
        C: (R, N) weights of the squared errors, at least 0; an entry that occurs twice counts twice.
        V: (N, D) float32 whose Gram matrix is diagonal.
        base: (D,) float32, at least 0: that diagonal, times the weight of all the pairs.
        ridge: (R,) float32 the ridge of each row, above 0.
        start: (R, D) float32 in the axes of V, read only with ``cg_steps`` or ``block_size``; None = zeros.
        cg_steps: steps of conjugate gradients; 0 = none.
        block_size: coordinates solved together, rounded up to a multiple of 16; 0 = all.
    """
    width, wide, block_size = V.shape[1], round_up_to_lanes(V.shape[1]), round_up_to_lanes(block_size)
    lengths = np.diff(C.indptr)
    parts = (C.indptr.astype(np.int64), C.indices.astype(np.int32, copy=False), C.data.astype(np.float32, copy=False))
    V = np.ascontiguousarray(V, dtype=np.float32)
    if wide != width:
        V, base = np.pad(V, ((0, 0), (0, wide - width))), np.pad(base, (0, wide - width), constant_values=1)
    out = np.zeros((len(lengths), wide), np.float32)
    if start is not None and (cg_steps or block_size):
        out[:, :width] = start
    # With the longest first and dealt out in turn, every thread gets as much work.
    order = np.argsort(-lengths, kind="stable")
    longest = int(lengths[order[0]]) if len(order) else 0
    if len(out) < _FEW:
        _solve(*parts, V, base, ridge, order, longest, cg_steps, block_size, out)
    else:
        _solve_many(*parts, V, base, ridge, order, longest, cg_steps, block_size, numba.get_num_threads(), out)
    return out if wide == width else np.ascontiguousarray(out[:, :width])


@numba.njit(parallel=True, cache=True)
def _solve_many(
    cp: Int64Array,
    ci: Int32Array,
    cd: Float32Array,
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
        _solve(cp, ci, cd, V, base, ridge, order[worker::workers], longest, cg_steps, block_size, out)


@numba.njit(cache=True, nogil=True)
def _solve(
    cp: Int64Array,
    ci: Int32Array,
    cd: Float32Array,
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
    held = round_up_to_lanes(min(longest, _LONG)) if cg_steps or block_size else _CHUNK
    space = np.empty(max(width * row_stride(held), max(size, held if cg_steps else 0) * row_stride(width)), np.float32)
    M, vectors = np.empty((size + 4, row_stride(size)), np.float32), np.empty((4, width), np.float32)
    scale = np.empty(width, np.float32)
    few = _FEW_FOR_STEPS if cg_steps else _FEW_FOR_BLOCKS if block_size else width
    for row in rows:
        low, high = cp[row], cp[row + 1]
        n = high - low
        if n == 0:
            out[row] = 0
            continue
        for d in range(width):
            scale[d] = np.float32(1) / np.sqrt(base[d] + ridge[row])
        items, roots, w = ci[low:high], np.sqrt(cd[low:high]), out[row]
        if few < min(n, width) and n <= _LONG:
            if cg_steps:
                _descend(items, roots, V, scale, space, vectors, cg_steps, w)
            else:
                _improve(items, roots, V, scale, space, M, block_size, w)
        elif n <= width:
            _short(items, roots, V, scale, space, M, w)
        else:
            _exact(items, roots, V, scale, space, M, w)


@numba.njit(cache=True, nogil=True)
def _gather(
    items: Int32Array, roots: Float32Array, V: Float32Array, scale: Float32Array, space: Float32Array
) -> Float32Array:
    """T (n, D), filled up with rows of zeros to a multiple of 16."""
    n, width = len(items), len(scale)
    size, line = round_up_to_lanes(n), row_stride(width)
    T = space[: size * line].reshape(size, line)
    for entry in range(n):
        vector, root, into = V[items[entry]], roots[entry], T[entry]
        for d in range(width):
            into[d] = root * scale[d] * vector[d]
    T[n:] = 0
    return T


@numba.njit(cache=True, nogil=True)
def _short(
    items: Int32Array,
    roots: Float32Array,
    V: Float32Array,
    scale: Float32Array,
    space: Float32Array,
    M: Float32Array,
    w: Float32Array,
) -> None:
    """A row with no more entries than coordinates: x = Tᵀ y from the system between its entries."""
    n, width = len(items), len(scale)
    T = _gather(items, roots, V, scale, space)
    size = len(T)
    M[: size + 1, :size] = 0
    M[size, :n] = roots
    add_products(T, 0, n, width, M)
    solve_shifted(M, n)
    w[:] = 0
    _combine(T, M[size], n, w)
    for d in range(width):
        w[d] *= scale[d]


@numba.njit(cache=True, nogil=True)
def _exact(
    items: Int32Array,
    roots: Float32Array,
    V: Float32Array,
    scale: Float32Array,
    space: Float32Array,
    M: Float32Array,
    w: Float32Array,
) -> None:
    """A row with more entries than coordinates: the system between the coordinates, summed chunk by chunk."""
    width = len(scale)
    M[: width + 1, :width] = 0
    for start in range(0, len(items), _CHUNK):
        stop = min(start + _CHUNK, len(items))
        T = _gather_columns(items[start:stop], roots[start:stop], V, scale, space)
        add_products(T, 0, width, round_up_to_lanes(stop - start), M)
        for d in range(width):
            M[width, d] += _dot(T[d], roots[start:stop])
    solve_shifted(M, width)
    for d in range(width):
        w[d] = scale[d] * M[width, d]


@numba.njit(cache=True, nogil=True)
def _gather_columns(
    items: Int32Array, roots: Float32Array, V: Float32Array, scale: Float32Array, space: Float32Array
) -> Float32Array:
    """Tᵀ (D, n), its rows filled up with zeros to a multiple of 16."""
    n, width = len(items), len(scale)
    line = row_stride(n)
    T = space[: width * line].reshape(width, line)
    for entry in range(n):
        vector, root = V[items[entry]], roots[entry]
        for d in range(width):
            T[d, entry] = root * scale[d] * vector[d]
    T[:, n:] = 0
    return T


@numba.njit(cache=True, nogil=True)
def _improve(
    items: Int32Array,
    roots: Float32Array,
    V: Float32Array,
    scale: Float32Array,
    space: Float32Array,
    M: Float32Array,
    block_size: int,
    w: Float32Array,
) -> None:
    """One pass over the blocks of coordinates of a row."""
    T = _gather_columns(items, roots, V, scale, space)
    x, rest = np.empty_like(w), np.zeros(T.shape[1], np.float32)
    for d in range(len(x)):
        x[d] = w[d] / scale[d]
    _combine(T, x, len(x), rest)
    for entry in range(len(rest)):
        rest[entry] = (roots[entry] if entry < len(roots) else np.float32(0)) - rest[entry]
    for start in range(0, len(x), block_size):
        _solve_block(T, start, min(start + block_size, len(x)), M, rest, x)
    for d in range(len(x)):
        w[d] = scale[d] * x[d]


@numba.njit(cache=True, nogil=True)
def _solve_block(T: Float32Array, start: int, stop: int, M: Float32Array, rest: Float32Array, x: Float32Array) -> None:
    """The coordinates start … stop of x get the values that are best beside the others; ``rest`` = √c − T x."""
    size = stop - start
    M[:size, :size] = 0
    add_products(T, start, size, T.shape[1], M)
    for d in range(size):
        M[size, d] = _dot(T[start + d], rest) - x[start + d]
    solve_shifted(M, size)
    for d in range(size):
        x[start + d] += M[size, d]
    change = np.zeros_like(rest)
    _combine(T[start:stop], M[size], size, change)
    for entry in range(len(rest)):
        rest[entry] -= change[entry]


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _descend(
    items: Int32Array,
    roots: Float32Array,
    V: Float32Array,
    scale: Float32Array,
    space: Float32Array,
    vectors: Float32Array,
    cg_steps: int,
    w: Float32Array,
) -> None:
    """Steps of conjugate gradients for a row, on (I + TᵀT) x = Tᵀ√c from x = w / s."""
    T, width = _gather(items, roots, V, scale, space), len(w)
    x, slope, way, image = vectors[0], vectors[1], vectors[2], vectors[3]
    for d in range(width):
        x[d] = w[d] / scale[d]
        slope[d] = -x[d]
    _there_and_back(T, roots, np.float32(-1), x, slope)
    way[:] = slope
    size = _dot(slope, slope)
    for _ in range(cg_steps):
        if size < np.float32(1e-20):
            break
        image[:] = way
        length = size / (_dot(way, way) + _there_and_back(T, roots[:0], np.float32(1), way, image))
        for d in range(width):
            x[d] += length * way[d]
            slope[d] -= length * image[d]
        before, size = size, _dot(slope, slope)
        share = size / before
        for d in range(width):
            way[d] = slope[d] + share * way[d]
    for d in range(width):
        w[d] = scale[d] * x[d]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _there_and_back(
    T: Float32Array, targets: Float32Array, sign: np.float32, x: Float32Array, out: Float32Array
) -> np.float32:
    """Add Tᵀ y to ``out``, for y = targets + sign · T x; the square of y. Every row of T is read once from far."""
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
def _combine(T: Float32Array, weights: Float32Array, n: int, out: Float32Array) -> None:
    """Add Σ weights[i] · T[i] over the first n rows to ``out``, four rows to a pass."""
    whole = n // 4 * 4
    for i in range(0, whole, 4):
        a, b, c, d = T[i], T[i + 1], T[i + 2], T[i + 3]
        fa, fb, fc, fd = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
        for j in range(len(out)):
            out[j] += fa * a[j] + fb * b[j] + fc * c[j] + fd * d[j]
    for i in range(whole, n):
        factor, line = weights[i], T[i]
        for j in range(len(out)):
            out[j] += factor * line[j]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(a: Float32Array, b: Float32Array) -> float:
    total = np.float32(0)
    for d in range(len(b)):
        total += a[d] * b[d]
    return total  # type: ignore[return-value]  # compiled
