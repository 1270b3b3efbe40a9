"""What neighbours say: weighted means over the rows or the columns of a sparse matrix."""

import dataclasses

import numba
import numpy as np
import scipy.sparse as sp

from leanrec.kernels.topk.largest import indptr_from_counts
from leanrec.types import CSR, Float32Array, Int32Array

__all__ = ["MIN_ROWS_FOR_THREADS", "RankedLists", "keep_top_entries", "mean_over_rated_items", "mean_over_neighbors", "csr_arrays", "rank_entries", "drop_own_column"]

# Below this many rows, waking threads costs more than they save: milliseconds where the cores are busy.
MIN_ROWS_FOR_THREADS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class RankedLists:
    """Lists of weighted columns, heaviest first.

    Attributes:
        columns: (B, K) int32, −1 past the end of a list.
        weights: (B, K) float32, non-increasing along a row, 0 past the end.
    """

    columns: Int32Array
    weights: Float32Array


def rank_entries(matrix: CSR, k: int | None = None) -> RankedLists:
    """The entries of each row by weight, heaviest first, equal ones by column. O(entries · log) time.

    Args:
        matrix: (B, M).
        k: length of the lists; None = that of the longest row.
    """
    counts = np.diff(matrix.indptr)
    width = int(counts.max(initial=0)) if k is None else k
    owner = np.repeat(np.arange(matrix.shape[0]), counts)
    order = np.lexsort((matrix.indices, -matrix.data, owner))
    place = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], counts)
    kept = place < width
    columns = np.full((matrix.shape[0], width), -1, dtype=np.int32)
    weights = np.zeros((matrix.shape[0], width), dtype=np.float32)
    columns[owner[kept], place[kept]] = matrix.indices[order][kept]
    weights[owner[kept], place[kept]] = matrix.data[order][kept]
    return RankedLists(columns, weights)


def drop_own_column(similar: CSR, own: Int32Array, k: int) -> CSR:
    """The k heaviest entries of each row besides column ``own[b]`` (−1: none). O(entries · log)."""
    owner = np.repeat(np.arange(similar.shape[0]), np.diff(similar.indptr))
    others = similar.indices != own[owner]
    if not others.all():
        counts = np.bincount(owner[others], minlength=similar.shape[0])
        indptr = indptr_from_counts(counts)
        similar = sp.csr_array((similar.data[others], similar.indices[others], indptr), shape=similar.shape)
    return keep_top_entries(similar, k)


def keep_top_entries(matrix: CSR, k: int) -> CSR:
    """The k heaviest entries of each row, of equal ones the first. O(entries · log), or O(B) if all fit."""
    counts = np.diff(matrix.indptr)
    if counts.max(initial=0) <= k:
        return matrix
    owner = np.repeat(np.arange(matrix.shape[0]), counts)
    order = np.lexsort((matrix.indices, -matrix.data, owner))
    place = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], counts)
    kept = np.sort(order[place < k])
    indptr = indptr_from_counts(np.minimum(counts, k))
    return sp.csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)


def mean_over_neighbors(similar: RankedLists, values: CSR, k: int) -> tuple[Float32Array, Int32Array]:
    """For each column, the weighted mean of the k heaviest listed rows that have an entry there.

    Args:
        similar: (B, K) rows of ``values`` and their weights.
        values: (M, N).
        k: how many rows at most speak for a column.

    Returns:
        means (B, N) float32, 0 where no listed row has an entry; how many rows spoke (B, N) int32.
        Time O(B · N + Σ lengths of the listed rows).
    """
    shape = len(similar.columns), values.shape[1]
    means, spoke = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.int32)
    run = _rows_few if shape[0] < MIN_ROWS_FOR_THREADS else _rows_many
    run(similar.columns, similar.weights, *csr_arrays(values), k, means, spoke)
    return means, spoke


def mean_over_rated_items(similar: RankedLists, values: CSR, k: int, items: Int32Array) -> tuple[Float32Array, Int32Array]:
    """For each asked item, the weighted mean of ``values`` over its k most similar items that have a value.

    Args:
        similar: (N, K) the similar items of each item and their weights.
        values: (B, N).
        k: how many items at most speak for one.
        items: (B, T) the items asked about.

    Returns:
        means (B, T) float32, 0 where nothing speaks; how many items spoke (B, T) int32.
        Time O(B · N + B · T · K).
    """
    means, spoke = np.zeros(items.shape, dtype=np.float32), np.zeros(items.shape, dtype=np.int32)
    items = np.ascontiguousarray(items, dtype=np.int32)
    run = _rated_few if len(items) < MIN_ROWS_FOR_THREADS else _rated_many
    run(similar.columns, similar.weights, *csr_arrays(values), values.shape[1], k, items, means, spoke)
    return means, spoke


def csr_arrays(matrix: CSR) -> tuple[np.ndarray, Int32Array, Float32Array]:
    """One type for each array, so that a query never meets an uncompiled kernel."""
    return (
        matrix.indptr.astype(np.int64, copy=False),
        matrix.indices.astype(np.int32, copy=False),
        matrix.data.astype(np.float32, copy=False),
    )


@numba.njit(cache=True, nogil=True)
def _rows_one(row, columns, weights, vp, vi, vd, k, means, spoke):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    total = np.zeros(means.shape[1], np.float32)
    for place in range(columns.shape[1]):
        neighbour, weight = columns[row, place], weights[row, place]
        if neighbour < 0:
            break
        # Heaviest first: once k have spoken for a column, the rest have nothing to add.
        for entry in range(vp[neighbour], vp[neighbour + 1]):
            column = vi[entry]
            if spoke[row, column] < k:
                spoke[row, column] += 1
                means[row, column] += weight * vd[entry]
                total[column] += weight
    for column in range(means.shape[1]):
        if total[column] > 0:
            means[row, column] /= total[column]


@numba.njit(cache=True, nogil=True)
def _rows_few(columns, weights, vp, vi, vd, k, means, spoke):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for row in range(len(means)):
        _rows_one(row, columns, weights, vp, vi, vd, k, means, spoke)


@numba.njit(parallel=True, cache=True)
def _rows_many(columns, weights, vp, vi, vd, k, means, spoke):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for row in numba.prange(len(means)):
        _rows_one(row, columns, weights, vp, vi, vd, k, means, spoke)


@numba.njit(cache=True, nogil=True)
def _rated_one(row, columns, weights, vp, vi, vd, n_items, k, items, means, spoke):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    value = np.full(n_items, np.nan, np.float32)
    for entry in range(vp[row], vp[row + 1]):
        value[vi[entry]] = vd[entry]
    for at in range(items.shape[1]):
        item, total, mean, count = items[row, at], np.float32(0), np.float32(0), 0
        for place in range(columns.shape[1]):
            other = columns[item, place]
            if other < 0 or count == k:
                break
            if not np.isnan(value[other]):
                mean += weights[item, place] * value[other]
                total += weights[item, place]
                count += 1
        if total > 0:
            means[row, at] = mean / total
            spoke[row, at] = count


@numba.njit(cache=True, nogil=True)
def _rated_few(columns, weights, vp, vi, vd, n_items, k, items, means, spoke):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for row in range(len(items)):
        _rated_one(row, columns, weights, vp, vi, vd, n_items, k, items, means, spoke)


@numba.njit(parallel=True, cache=True)
def _rated_many(columns, weights, vp, vi, vd, n_items, k, items, means, spoke):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for row in numba.prange(len(items)):
        _rated_one(row, columns, weights, vp, vi, vd, n_items, k, items, means, spoke)
