"""Rounding of rows to few levels, with the step that minimizes the error of each row."""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from leanrec.kernels.threads import compile_parallel
from leanrec.types import Float32Array

__all__ = ["quantize_rows"]

# Step between the levels that is best for normal numbers of variance 1, by bits (Max, "Quantizing for Minimum Distortion", IRE
# Transactions on Information Theory 6, 1960).
_NORMAL_STEPS = np.array([0, 1.596, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308], np.float32)
_RATIOS = np.array([0.55, 0.65, 0.75, 0.83, 0.9, 0.96, 1.02, 1.1, 1.2, 1.35, 1.6, 2.0], np.float32)
_REFINEMENTS = 3


def quantize_rows(X: Float32Array, bits: int) -> tuple[NDArray[np.uint8], Float32Array]:
    """Codes (R, D) below 2^bits and steps (R,): code c stands for step · (c − (2^bits − 1) / 2).

    Of several steps around the best one for normal numbers, and the one with which the largest number fits, each row
    takes that of the least squared error, improved in turns by least squares and rounding. Steps have 8 significant bits,
    so that they may be kept in float16. O(R · D) times about 16.
    """
    codes, steps = np.zeros(X.shape, np.uint8), np.zeros(len(X), np.float32)
    if X.size:
        _quantize_rows(np.ascontiguousarray(X, np.float32), bits, _NORMAL_STEPS[bits] * _RATIOS, codes, steps)
    return codes, steps


@compile_parallel
def _quantize_rows(
    X: Float32Array, bits: int, candidates: Float32Array, codes: NDArray[np.uint8], steps: Float32Array
) -> None:
    for row in numba.prange(len(X)):
        steps[row] = _quantize_row(X[row], bits, candidates, codes[row])


@numba.njit(cache=True, nogil=True)
def _quantize_row(x: Float32Array, bits: int, candidates: Float32Array, codes: NDArray[np.uint8]) -> np.float32:
    largest, square = 0.0, 0.0
    for d in range(len(x)):
        largest = max(largest, abs(np.float64(x[d])))
        square += np.float64(x[d]) ** 2
    if largest < 1e-37:
        return np.float32(0)
    deviation = math.sqrt(square / len(x))
    top = 2**bits - 1
    # The largest number fits exactly with this one.
    best = _shorten(2 * largest / top)
    least = _error_of(x, best, top)[0]
    for candidate in candidates:
        step = _shorten(candidate * deviation)
        for _ in range(_REFINEMENTS):
            error, better = _error_of(x, step, top)
            if error < least:
                least, best = error, step
            step = _shorten(better)
    half = np.float32(0.5) * np.float32(top)
    for d in range(len(x)):
        codes[d] = np.uint8(min(max(np.floor(x[d] / best + half + np.float32(0.5)), 0), top))
    return best


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _error_of(x: Float32Array, step: np.float32, top: int) -> tuple[float, float]:
    """Squared error of rounding to the levels of a step, and the step of least squares for these levels."""
    half, inverse, limit = np.float32(0.5) * np.float32(top), np.float32(1) / step, np.float32(top)
    square, product, error = np.float32(0), np.float32(0), np.float32(0)
    for d in range(len(x)):
        scaled = x[d] * inverse
        level = min(max(np.floor(scaled + half + np.float32(0.5)), np.float32(0)), limit) - half
        error += (scaled - level) ** 2
        square += level * level
        product += level * scaled
    # float() of Numba leaves a float32, whose square would overflow.
    size = np.float64(step)
    return np.float64(error) * size**2, size * np.float64(product) / max(np.float64(square), 1e-30)


@numba.njit(cache=True, nogil=True)
def _shorten(step: float) -> np.float32:
    """The step with 8 significant bits, at least 1e-37."""
    mantissa, exponent = math.frexp(max(step, 1e-37))
    return np.float32(math.ldexp(round(mantissa * 256) / 256, exponent))
