"""Exact selection of the k best of N scores, from given scores or merged a stretch at a time."""

import numba
import numpy as np

from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = [
    "ItemMask",
    "empty_lists",
    "mask_items",
    "is_allowed",
    "merge_scores",
    "merge_score_rows",
    "row_entries",
    "sift_down",
    "sort_heaps",
    "sort_heap",
    "top_k",
    "ranks_below",
]

ItemMask = np.ndarray[tuple[int], np.dtype[np.bool_]]

# Below this many rows, starting threads costs more than they save.
_FEW = 4
_STRIDE = 32


def top_k(
    scores: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
) -> tuple[Int32Array, Float32Array]:
    """The k best columns of each row, best first; equal scores in the order of their columns.

    Columns of −inf or NaN are never chosen. Time O(B · (N + m log k)) where m is how often a row beats its
    k-th best so far, about k · ln(N / k) in random order; memory O(B · k).

    Args:
        scores: (B, N) float32, C-ordered.
        k: length of the lists, at least 0.
        seen: (B, N) entries that must not be chosen.
        allowed: (N,) columns that may be chosen; None = all.

    Returns:
        items (B, k) int32, −1 past the end; scores (B, k) float32, −inf there.
    """
    items, best = empty_lists(len(scores), k)
    if k and scores.size:
        scores = np.ascontiguousarray(scores, dtype=np.float32)
        work = _select_few if len(scores) < _FEW else _select_many
        work(scores, items, best, *row_entries(seen, len(scores)), _mask(allowed))
    return items, best


def mask_items(scores: Float32Array, columns: CSR) -> None:
    """Set the given columns of each row to −inf, in place. O(entries)."""
    _hide(scores, columns.indptr, columns.indices)  # type: ignore[arg-type]  # either width of index compiles


def empty_lists(rows: int, k: int) -> tuple[Int32Array, Float32Array]:
    """Items (rows, k), −1 everywhere, and scores (rows, k), −inf everywhere."""
    return np.full((rows, k), -1, dtype=np.int32), np.full((rows, k), -np.inf, dtype=np.float32)


def row_entries(seen: CSR | None, rows: int) -> tuple[Int64Array, Int32Array]:
    """Row starts and sorted columns; one type of index for the compiler."""
    if seen is None:
        return np.zeros(rows + 1, np.int64), np.zeros(0, np.int32)
    if not seen.has_sorted_indices:
        seen = seen.sorted_indices()
    return seen.indptr.astype(np.int64, copy=False), seen.indices.astype(np.int32, copy=False)


def _mask(allowed: ItemMask | None) -> ItemMask:
    return np.zeros(0, np.bool_) if allowed is None else allowed


@numba.njit(parallel=True, cache=True)
def _hide(scores: Float32Array, indptr: Int64Array, indices: Int32Array) -> None:
    for row in numba.prange(len(scores)):
        for entry in range(indptr[row], indptr[row + 1]):
            scores[row, indices[entry]] = -np.inf


@numba.njit(cache=True, nogil=True)
def merge_score_rows(
    scores: Float32Array,
    offset: int,
    items: Int32Array,
    best: Float32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: ItemMask,
) -> None:
    """``merge_scores`` for every row of a block."""
    for row in range(len(scores)):
        merge_scores(scores[row], offset, items[row], best[row], columns[starts[row] : starts[row + 1]], mask)


@numba.njit(cache=True, nogil=True)
def _select_few(
    scores: Float32Array,
    items: Int32Array,
    best: Float32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: ItemMask,
) -> None:
    """``merge_scores`` for every row of a block."""
    for row in range(len(scores)):
        merge_scores(scores[row], 0, items[row], best[row], columns[starts[row] : starts[row + 1]], mask)
        sort_heap(items[row], best[row])


@numba.njit(parallel=True, cache=True)
def _select_many(
    scores: Float32Array,
    items: Int32Array,
    best: Float32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: ItemMask,
) -> None:
    for row in numba.prange(len(scores)):
        merge_scores(scores[row], 0, items[row], best[row], columns[starts[row] : starts[row + 1]], mask)
        sort_heap(items[row], best[row])


@numba.njit(cache=True)
def merge_scores(
    scores: Float32Array, offset: int, items: Int32Array, best: Float32Array, seen: Int32Array, mask: ItemMask
) -> None:
    """Merge a stretch of one row into its list, a min-heap in the output itself: nothing is allocated."""
    k, n = len(items), len(scores)
    floor = best[0]
    for start in range(0, n, _STRIDE):
        stop = min(start + _STRIDE, n)
        # Counting has no branch, so the compiler makes it a few vector instructions.
        better = 0
        for column in range(start, stop):
            better += scores[column] > floor
        if better == 0:
            continue
        for column in range(start, stop):
            score = scores[column]
            # The root is the worst kept; a later column with an equal score never replaces it.
            if score > floor and is_allowed(offset + column, seen, mask):
                items[0], best[0] = offset + column, score
                sift_down(items, best, 0, k)
                floor = best[0]


@numba.njit(cache=True)
def is_allowed(item: int, seen: Int32Array, mask: ItemMask) -> bool:
    """Whether the item is allowed and not among the sorted ``seen``."""
    if len(mask) and not mask[item]:
        return False
    low, high = 0, len(seen)
    while low < high:
        middle = (low + high) // 2
        if seen[middle] < item:
            low = middle + 1
        else:
            high = middle
    return low == len(seen) or seen[low] != item


@numba.njit(cache=True, nogil=True)
def sort_heaps(items: Int32Array, best: Float32Array) -> None:
    """``sort_heap`` for every row of a block."""
    for row in range(len(items)):
        sort_heap(items[row], best[row])


@numba.njit(cache=True)
def sort_heap(item: Int32Array, score: Float32Array) -> None:
    """Turn a heap, worst at the root, into a list, best first."""
    for end in range(len(item) - 1, 0, -1):
        item[0], item[end] = item[end], item[0]
        score[0], score[end] = score[end], score[0]
        sift_down(item, score, 0, end)


@numba.njit(cache=True, inline="always")
def ranks_below(score_a: float, item_a: int, score_b: float, item_b: int) -> bool:
    """Whether a belongs behind b in a list."""
    # An empty place (item −1, score −inf) is worse than any item; among equals the later column is worse.
    return score_a < score_b or (score_a == score_b and item_a > item_b)


@numba.njit(cache=True)
def sift_down(item: Int32Array, score: Float32Array, start: int, end: int) -> None:
    """Restore the heap below ``start``: every parent is worse than its children."""
    parent = start
    while True:
        child = 2 * parent + 1
        if child >= end:
            return
        if child + 1 < end and ranks_below(score[child + 1], item[child + 1], score[child], item[child]):
            child += 1
        if not ranks_below(score[child], item[child], score[parent], item[parent]):
            return
        item[parent], item[child] = item[child], item[parent]
        score[parent], score[child] = score[child], score[parent]
        parent = child
