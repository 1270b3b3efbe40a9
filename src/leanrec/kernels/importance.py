"""Importance of sparse or dense weights: |weight| · factor of its row · factor of its column, counted before any is kept."""

import numba
import numpy as np
from numpy.typing import NDArray

from leanrec.types import Float32Array, Int32Array, Int64Array

__all__ = ["N_BINS", "count_importances", "find_important"]

# A bin is the exponent of a positive float32 and the first five bits of its fraction: larger numbers have higher bins.
_SHIFT = 18
N_BINS = 1 << (31 - _SHIFT)


@numba.njit(cache=True, nogil=True)
def count_importances(
    rows: Int32Array,
    columns: Int32Array,
    values: Float32Array,
    of_rows: NDArray[np.float64],
    of_columns: NDArray[np.float64],
    counts: Int64Array,
) -> None:
    """Add to ``counts`` (N_BINS,) how many weights have an importance in each bin; those of 0 are left out."""
    importance = np.empty(1, np.float32)
    bits = importance.view(np.uint32)
    for at in range(len(values)):
        importance[0] = abs(values[at]) * of_rows[rows[at]] * of_columns[columns[at]]
        if importance[0] > 0:
            counts[bits[0] >> np.uint32(_SHIFT)] += 1


@numba.njit(cache=True, nogil=True)
def find_important(
    rows: Int32Array,
    columns: Int32Array,
    values: Float32Array,
    of_rows: NDArray[np.float64],
    of_columns: NDArray[np.float64],
    lowest: int,
) -> tuple[Int64Array, Float32Array]:
    """Places of the weights above 0 whose bin is at least ``lowest``, and their importance."""
    found, importance = np.empty(len(values), np.int64), np.empty(len(values) + 1, np.float32)
    bits, n = importance.view(np.uint32), 0
    for at in range(len(values)):
        importance[n] = abs(values[at]) * of_rows[rows[at]] * of_columns[columns[at]]
        if importance[n] > 0 and (bits[n] >> np.uint32(_SHIFT)) >= lowest:
            found[n] = at
            n += 1
    return found[:n], importance[:n]
