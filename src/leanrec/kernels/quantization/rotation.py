"""Rotations that need no matrix: random signs and Hadamard transforms.

Each number of a rotated vector is a sum over all numbers, so that all have about the same size and few bits code them
equally well. Two or more rounds of random signs and a fast Hadamard transform act like a random orthogonal matrix (Ailon &
Chazelle, "The Fast Johnson-Lindenstrauss Transform", SIAM J. Comput. 39(1), 2009). Where the width is no power of two,
the transforms of the rounds take turns at the first and the last numbers.
"""

import functools

import numba
import numpy as np

from leanrec.kernels.threads import MIN_ROWS_FOR_THREADS, compile_serial_and_parallel
from leanrec.types import Float32Array

__all__ = ["rotate_back", "rotate_rows"]


def rotate_rows(X: Float32Array, seed: int) -> Float32Array:
    """The rows of X (R, D), rotated; a copy. O(R · D log D).

    The rotation depends on seed and D alone, and never changes between versions: it is not stored with what was rotated.
    """
    return _apply(X, seed, backward=False)


def rotate_back(X: Float32Array, seed: int) -> Float32Array:
    """The rows of X (R, D) before ``rotate_rows``."""
    return _apply(X, seed, backward=True)


def _apply(X: Float32Array, seed: int, *, backward: bool) -> Float32Array:
    out = np.array(X, np.float32, order="C")
    if out.size:
        work = _transform_rows.serial if len(out) < MIN_ROWS_FOR_THREADS else _transform_rows.parallel
        work(out, _draw_signs(out.shape[1], seed), backward)
    return out


@functools.lru_cache(maxsize=64)
def _draw_signs(width: int, seed: int) -> Float32Array:
    """(rounds, D) signs by SplitMix64: the generators of NumPy may change with its version."""
    rounds = 2 if width & (width - 1) == 0 else 4
    with np.errstate(over="ignore"):
        counter = np.arange(1, rounds * width + 1, dtype=np.uint64) + np.uint64(seed % 2**32) * np.uint64(2**32)
        z = counter * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    signs = 1 - 2 * ((z ^ (z >> np.uint64(31))) & np.uint64(1)).astype(np.float32)
    return np.ascontiguousarray(signs.reshape(rounds, width))


@compile_serial_and_parallel
def _transform_rows(X: Float32Array, signs: Float32Array, backward: bool) -> None:
    for row in numba.prange(len(X)):
        _transform(X[row], signs, backward)


@numba.njit(cache=True, nogil=True)
def _transform(x: Float32Array, signs: Float32Array, backward: bool) -> None:
    rounds, width = signs.shape
    size = 1
    while 2 * size <= width:
        size *= 2
    scale = np.float32(1 / np.sqrt(size))
    for step in range(rounds):
        turn = rounds - 1 - step if backward else step
        part = x[:size] if turn % 2 == 0 else x[width - size :]
        if not backward:
            for d in range(width):
                x[d] *= signs[turn, d]
        _hadamard(part)
        for d in range(size):
            part[d] *= scale
        if backward:
            for d in range(width):
                x[d] *= signs[turn, d]


@numba.njit(cache=True, nogil=True)
def _hadamard(x: Float32Array) -> None:
    """The fast Hadamard transform of a power of two numbers, in place, without its factor."""
    half = 1
    while half < len(x):
        for start in range(0, len(x), 2 * half):
            for d in range(start, start + half):
                a, b = x[d], x[d + half]
                x[d], x[d + half] = a + b, a - b
        half *= 2
