"""Weighted neighborhood aggregation: the top entries of sparse rows, and weighted means over neighbors."""

import dataclasses
from typing import Annotated

import numba
import numpy as np
import scipy.sparse as sp

from leanrec.field_checks import ArrayShape
from leanrec.kernels.csr import csr_arrays, entry_rows, indptr_from_counts
from leanrec.kernels.threads import MIN_ROWS_FOR_THREADS, compile_serial_and_parallel
from leanrec.types import CSR, Float32Array, Int32Array

__all__ = [
    "RankedLists",
    "drop_own_column",
    "keep_top_entries",
    "mean_over_neighbors",
    "mean_over_rated_items",
    "rank_entries",
]


@dataclasses.dataclass(frozen=True, eq=False)
class RankedLists:
    """Lists of weighted columns, largest weight first.

    Attributes:
        columns: (B, K) int32, −1 past the end of a list.
        weights: (B, K) float32, non-increasing along a row, 0 past the end.
    """

    columns: Annotated[Int32Array, ArrayShape("B", "K")]
    weights: Annotated[Float32Array, ArrayShape("B", "K")]


def rank_entries(matrix: CSR, k: int | None = None) -> RankedLists:
    """The entries of each row sorted by weight, largest first; ties by column. O(entries · log entries) time.

    Args:
        matrix: (B, M).
        k: length of the lists; None = length of the longest row.
    """
    counts = np.diff(matrix.indptr)
    width = int(counts.max(initial=0)) if k is None else k
    rows = entry_rows(matrix)
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    position = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], counts)
    kept = position < width
    columns = np.full((matrix.shape[0], width), -1, dtype=np.int32)
    weights = np.zeros((matrix.shape[0], width), dtype=np.float32)
    columns[rows[kept], position[kept]] = matrix.indices[order][kept]
    weights[rows[kept], position[kept]] = matrix.data[order][kept]
    return RankedLists(columns, weights)


def drop_own_column(similar: CSR, own: Int32Array, k: int) -> CSR:
    """The k largest entries of each row, without the entry in column ``own[b]`` (−1: none). O(entries · log entries)."""
    rows = entry_rows(similar)
    others = similar.indices != own[rows]
    if not others.all():
        counts = np.bincount(rows[others], minlength=similar.shape[0])
        indptr = indptr_from_counts(counts)
        similar = sp.csr_array((similar.data[others], similar.indices[others], indptr), shape=similar.shape)
    return keep_top_entries(similar, k)


def keep_top_entries(matrix: CSR, k: int) -> CSR:
    """The k largest entries of each row; ties go to the first columns. O(entries · log entries), or O(B) if all fit."""
    counts = np.diff(matrix.indptr)
    if counts.max(initial=0) <= k:
        return matrix
    rows = entry_rows(matrix)
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    position = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], counts)
    kept = np.sort(order[position < k])
    indptr = indptr_from_counts(np.minimum(counts, k))
    return sp.csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)


def mean_over_neighbors(similar: RankedLists, values: CSR, k: int) -> tuple[Float32Array, Int32Array]:
    """For each column, the weighted mean over the k nearest listed rows that have an entry there.

    Args:
        similar: (B, K) rows of ``values`` and their weights.
        values: (M, N).
        k: number of rows used per column, at most.

    Returns:
        means (B, N) float32, 0 where no listed row has an entry; number of rows used (B, N) int32.
        Time O(B · N + Σ lengths of the listed rows).
    """
    shape = len(similar.columns), values.shape[1]
    means, n_used = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.int32)
    work = _average_neighbors.serial if shape[0] < MIN_ROWS_FOR_THREADS else _average_neighbors.parallel
    work(similar.columns, similar.weights, *csr_arrays(values), k, means, n_used)
    return means, n_used


def mean_over_rated_items(
    similar: RankedLists, values: CSR, k: int, items: Int32Array
) -> tuple[Float32Array, Int32Array]:
    """For each requested item, the weighted mean of ``values`` over its k most similar items that have a value.

    Args:
        similar: (N, K) the similar items of each item and their weights.
        values: (B, N).
        k: number of similar items used per item, at most.
        items: (B, T) requested items.

    Returns:
        means (B, T) float32, 0 where no similar item has a value; number of items used (B, T) int32.
        Time O(B · N + B · T · K).
    """
    means, n_used = np.zeros(items.shape, dtype=np.float32), np.zeros(items.shape, dtype=np.int32)
    items = np.ascontiguousarray(items, dtype=np.int32)
    work = _average_rated.serial if len(items) < MIN_ROWS_FOR_THREADS else _average_rated.parallel
    work(similar.columns, similar.weights, *csr_arrays(values), values.shape[1], k, items, means, n_used)
    return means, n_used


@numba.njit(cache=True, nogil=True)
def _average_neighbors_of_row(row, columns, weights, starts, indices, data, k, means, n_used):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    total = np.zeros(means.shape[1], np.float32)
    for position in range(columns.shape[1]):
        neighbor, weight = columns[row, position], weights[row, position]
        if neighbor < 0:
            break
        # Nearest first: later neighbors are ignored for a column that has k values.
        for entry in range(starts[neighbor], starts[neighbor + 1]):
            column = indices[entry]
            if n_used[row, column] < k:
                n_used[row, column] += 1
                means[row, column] += weight * data[entry]
                total[column] += weight
    for column in range(means.shape[1]):
        if total[column] > 0:
            means[row, column] /= total[column]


@compile_serial_and_parallel
def _average_neighbors(columns, weights, starts, indices, data, k, means, n_used):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for row in numba.prange(len(means)):
        _average_neighbors_of_row(row, columns, weights, starts, indices, data, k, means, n_used)


@numba.njit(cache=True, nogil=True)
def _average_rated_of_row(row, columns, weights, starts, indices, data, n_items, k, items, means, n_used):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    value = np.full(n_items, np.nan, np.float32)
    for entry in range(starts[row], starts[row + 1]):
        value[indices[entry]] = data[entry]
    for target in range(items.shape[1]):
        item, total, mean, count = items[row, target], np.float32(0), np.float32(0), 0
        for position in range(columns.shape[1]):
            other = columns[item, position]
            if other < 0 or count == k:
                break
            if not np.isnan(value[other]):
                mean += weights[item, position] * value[other]
                total += weights[item, position]
                count += 1
        if total > 0:
            means[row, target] = mean / total
            n_used[row, target] = count


@compile_serial_and_parallel
def _average_rated(columns, weights, starts, indices, data, n_items, k, items, means, n_used):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for row in numba.prange(len(items)):
        _average_rated_of_row(row, columns, weights, starts, indices, data, n_items, k, items, means, n_used)
