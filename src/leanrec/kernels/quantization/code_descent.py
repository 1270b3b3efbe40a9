"""Coordinate descent over codes: rows of few levels that solve their weighted least-squares problems.

Row i with entries c over rows w of W minimizes, over its step s and its levels z, half-integers around 0,

    ½ s² zᵀ H z − s bᵀ z   with   H = G + ridge_i · M + Σ c · w wᵀ   and   b = Σ c · w

by rounding one level at a time to its best value, and by the best step for the levels after each pass. H is never formed: a
row keeps (G + ridge_i · M) z and w · z of its entries. The idea of rounding against the rest of the error is that of Frantar,
Ashkboos, Hoefler & Alistarh, "GPTQ", ICLR 2023.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from leanrec.kernels.csr import csr_arrays
from leanrec.kernels.threads import compile_parallel
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["descend_codes"]

_BLOCK = 4096


def descend_codes(
    C: CSR,
    W: Float32Array,
    gram: Float32Array,
    penalty: Float32Array,
    ridge: Float32Array,
    codes: NDArray[np.uint8],
    steps: Float32Array,
    bits: int,
    sweeps: int = 2,
) -> None:
    """Improve codes and steps in place; rows without entries stay as they are. O(sweeps · (entries · D + changes · D) + N · D²).

    Args:
        C: (N, U) weights of the squared errors.
        W: (U, D) float32 vectors of the other side, in the space of the codes.
        gram: (D, D) float32 G, the term of all pairs.
        penalty: (D, D) float32 M.
        ridge: (N,) float32 ridge of each row.
        codes: (N, D) codes below 2^bits.
        steps: (N,) float32.
        bits: bits of a code.
        sweeps: passes over the numbers of a row; a row ends when nothing changes.
    """
    indptr, indices, data = csr_arrays(C)
    middle = np.float32((2**bits - 1) / 2)
    lengths = np.diff(indptr)
    longest = int(lengths.max(initial=0))
    for start in range(0, len(codes), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(codes)))
        levels = codes[rows] - middle
        products = levels @ gram + ridge[rows, None] * (levels @ penalty)
        order = start + np.argsort(-lengths[rows], kind="stable")
        _descend_rows(
            (indptr, indices, data), W, gram, penalty, ridge, codes, steps,
            (start, longest, 2**bits - 1, sweeps, numba.get_num_threads()), order, products,
        )  # fmt: skip


@compile_parallel
def _descend_rows(
    entries: tuple[Int64Array, Int32Array, Float32Array],
    W: Float32Array,
    gram: Float32Array,
    penalty: Float32Array,
    ridge: Float32Array,
    codes: NDArray[np.uint8],
    steps: Float32Array,
    sizes: tuple[int, int, int, int, int],
    order: Int64Array,
    products: Float32Array,
) -> None:
    indptr, indices, data = entries
    start, longest, top, sweeps, workers = sizes
    for worker in numba.prange(workers):
        width = W.shape[1]
        room, found = np.empty(width * longest, np.float32), np.empty(longest, np.float32)
        level, target = np.empty(width, np.float32), np.empty(width, np.float32)
        diagonal = np.empty(width, np.float32)
        for place in range(worker, len(order), workers):
            row = order[place]
            first, last = indptr[row], indptr[row + 1]
            n = last - first
            if n == 0 or steps[row] == 0:
                continue
            T = room[: width * n].reshape(width, n)
            weights = data[first:last]
            _gather(indices[first:last], W, T)
            for d in range(width):
                level[d] = np.float32(codes[row, d]) - np.float32(0.5) * top
                target[d], curve = _weigh(T[d], weights)
                diagonal[d] = gram[d, d] + ridge[row] * penalty[d, d] + curve
            steps[row] = _descend(
                T, weights, gram, penalty, ridge[row], products[row - start], level, target, diagonal, found[:n], top,
                sweeps, steps[row],
            )  # fmt: skip
            for d in range(width):
                codes[row, d] = np.uint8(level[d] + np.float32(0.5) * top + np.float32(0.25))


@numba.njit(cache=True, nogil=True)
def _gather(rows: Int32Array, W: Float32Array, T: Float32Array) -> None:
    for entry in range(len(rows)):
        vector = W[rows[entry]]
        for d in range(len(vector)):
            T[d, entry] = vector[d]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _weigh(values: Float32Array, weights: Float32Array) -> tuple[np.float32, np.float32]:
    """Σ c · w and Σ c · w² of one coordinate."""
    total, square = np.float32(0), np.float32(0)
    for entry in range(len(values)):
        weighted = weights[entry] * values[entry]
        total += weighted
        square += weighted * values[entry]
    return total, square


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot_weighted(a: Float32Array, b: Float32Array, weights: Float32Array) -> np.float32:
    total = np.float32(0)
    for entry in range(len(a)):
        total += weights[entry] * a[entry] * b[entry]
    return total


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _best_step(
    level: Float32Array,
    target: Float32Array,
    product: Float32Array,
    found: Float32Array,
    weights: Float32Array,
    step: np.float32,
) -> np.float32:
    """The step of least loss for the levels; the one before where none is positive."""
    gain = np.float32(0)
    curve = _dot_weighted(found, found, weights)
    for d in range(len(level)):
        gain += level[d] * target[d]
        curve += level[d] * product[d]
    return gain / curve if gain > 0 and curve > 0 else step


@numba.njit(cache=True, nogil=True)
def _descend(
    T: Float32Array,
    weights: Float32Array,
    gram: Float32Array,
    penalty: Float32Array,
    ridge: np.float32,
    product: Float32Array,
    level: Float32Array,
    target: Float32Array,
    diagonal: Float32Array,
    found: Float32Array,
    top: int,
    sweeps: int,
    step: np.float32,
) -> np.float32:
    """Improve ``level`` and ``product`` = (G + ridge · M) z in place. Returns the step."""
    highest = np.float32(0.5) * np.float32(top)
    found[:] = 0
    for d in range(len(level)):
        _add_scaled(found, T[d], level[d])
    step = _best_step(level, target, product, found, weights, step)
    for _ in range(sweeps):
        changed = False
        for d in range(len(level)):
            slope = product[d] + _dot_weighted(found, T[d], weights)
            best = level[d] - (slope - target[d] / step) / diagonal[d]
            rounded = min(max(np.floor(best + highest + np.float32(0.5)) - highest, -highest), highest)
            if rounded != level[d]:
                change = np.float32(rounded - level[d])
                level[d] = rounded
                changed = True
                _add_scaled(found, T[d], change)
                _add_scaled(product, gram[d], change)
                _add_scaled(product, penalty[d], change * ridge)
        step = _best_step(level, target, product, found, weights, step)
        if not changed:
            break
    return step


@numba.njit(cache=True, nogil=True)
def _add_scaled(out: Float32Array, values: Float32Array, factor: np.float32) -> None:
    for d in range(len(out)):
        out[d] += factor * values[d]
