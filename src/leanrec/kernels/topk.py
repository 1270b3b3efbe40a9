"""Exact selection of the K best of N scores, a row at a time."""

import numba
import numpy as np

from leanrec.types import CSR, Float32Array, Int32Array

__all__ = ["hide", "sink", "top_k"]


def top_k(scores: Float32Array, k: int) -> tuple[Int32Array, Float32Array]:
    """The k best columns of each row, best first; equal scores in the order of their columns.

    Columns of −inf or NaN are never chosen. Time O(B · (N + m log k)) where m is how often a row beats its k-th
    best so far, about k · ln(N / k) in random order; memory O(B · k).

    Args:
        scores: (B, N) float32, C-ordered.
        k: length of the lists, at least 0.

    Returns:
        items (B, k) int32, −1 past the end; scores (B, k) float32, −inf there.
    """
    items = np.full((len(scores), k), -1, dtype=np.int32)
    best = np.full((len(scores), k), -np.inf, dtype=np.float32)
    if k:
        _select(np.ascontiguousarray(scores, dtype=np.float32), items, best)
    return items, best


def hide(scores: Float32Array, columns: CSR) -> None:
    """Set the given columns of each row to −inf, in place. O(entries)."""
    _hide(scores, columns.indptr, columns.indices)


@numba.njit(parallel=True, cache=True)
def _hide(scores, indptr, indices):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for row in numba.prange(len(scores)):
        for entry in range(indptr[row], indptr[row + 1]):
            scores[row, indices[entry]] = -np.inf


@numba.njit(parallel=True, cache=True)
def _select(scores, items, best):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Keep a min-heap of the k best in the output row, then sort it: nothing else is allocated."""
    n_columns, k = scores.shape[1], items.shape[1]
    for row in numba.prange(len(scores)):
        heap_item, heap_score = items[row], best[row]
        floor = -np.inf
        for column in range(n_columns):
            score = scores[row, column]
            # The root is the worst kept; a later column with an equal score never replaces it.
            if score > floor:
                heap_item[0], heap_score[0] = column, score
                sink(heap_item, heap_score, 0, k)
                floor = heap_score[0]
        for end in range(k - 1, 0, -1):
            heap_item[0], heap_item[end] = heap_item[end], heap_item[0]
            heap_score[0], heap_score[end] = heap_score[end], heap_score[0]
            sink(heap_item, heap_score, 0, end)


@numba.njit(cache=True, inline="always")
def _worse(score_a, item_a, score_b, item_b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    # An empty place (item −1, score −inf) is worse than any item; among equals the later column is worse.
    return score_a < score_b or (score_a == score_b and item_a > item_b)


@numba.njit(cache=True)
def sink(item, score, start, end):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Restore the heap below ``start``: every parent is worse than its children."""
    parent = start
    while True:
        child = 2 * parent + 1
        if child >= end:
            return
        if child + 1 < end and _worse(score[child + 1], item[child + 1], score[child], item[child]):
            child += 1
        if not _worse(score[child], item[child], score[parent], item[parent]):
            return
        item[parent], item[child] = item[child], item[parent]
        score[parent], score[child] = score[child], score[parent]
        parent = child
