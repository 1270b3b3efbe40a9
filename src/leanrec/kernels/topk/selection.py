"""Exact selection of the top k scores of each row: a bounded min-heap for each list."""

import numba
import numpy as np

from leanrec.kernels.csr import csr_arrays
from leanrec.kernels.threads import MIN_ROWS_FOR_THREADS, compile_serial_and_parallel
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = [
    "ItemMask",
    "empty_lists",
    "fill_zero_queries",
    "is_allowed",
    "mask_array",
    "merge_score_rows",
    "merge_scores",
    "ranks_below",
    "row_entries",
    "sift_down",
    "sort_heap",
    "sort_heaps",
    "top_k",
]

ItemMask = np.ndarray[tuple[int], np.dtype[np.bool_]]
Float64Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

_BLOCK = 32


def top_k(
    scores: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
) -> tuple[Int32Array, Float32Array]:
    """The k largest scores of each row, best first; equal scores in the order of their columns.

    Columns of −inf or NaN are never chosen. Time O(B · (N + m log k)), where m is how often a score of the row exceeds
    the k-th best so far, about k · ln(N / k) in random order; memory O(B · k).

    Args:
        scores: (B, N) float32, C-ordered.
        k: length of the lists, at least 0.
        seen: (B, N) entries to leave out.
        allowed: (N,) columns that may be chosen; None = all.

    Returns:
        items (B, k) int32, −1 past the end; scores (B, k) float32, −inf past the end.
    """
    items, best = empty_lists(len(scores), k)
    if k and scores.size:
        scores = np.ascontiguousarray(scores, dtype=np.float32)
        work = _select_rows.serial if len(scores) < MIN_ROWS_FOR_THREADS else _select_rows.parallel
        work(scores, items, best, *row_entries(seen, len(scores)), mask_array(allowed))
    return items, best


def empty_lists(rows: int, k: int) -> tuple[Int32Array, Float32Array]:
    """Items (rows, k) of −1 and scores (rows, k) of −inf."""
    return np.full((rows, k), -1, dtype=np.int32), np.full((rows, k), -np.inf, dtype=np.float32)


def row_entries(seen: CSR | None, rows: int) -> tuple[Int64Array, Int32Array]:
    """Row starts and sorted columns of ``seen``, in the types the kernels are compiled for; no entries for None."""
    if seen is None:
        return np.zeros(rows + 1, np.int64), np.zeros(0, np.int32)
    if not seen.has_sorted_indices:
        seen = seen.sorted_indices()
    return csr_arrays(seen)[:2]


def mask_array(allowed: ItemMask | None) -> ItemMask:
    """The mask as the kernels take it: an empty one allows every item."""
    return np.zeros(0, np.bool_) if allowed is None else allowed


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
    """``merge_scores`` for each row of a block."""
    for row in range(len(scores)):
        merge_scores(scores[row], offset, items[row], best[row], columns[starts[row] : starts[row + 1]], mask)


@compile_serial_and_parallel
def _select_rows(
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
    """Merge scores of columns ``offset``, ``offset + 1`` … into one list, a min-heap in place. Allocates nothing."""
    k, n = len(items), len(scores)
    floor = best[0]
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        # Counting has no branch, so the compiler turns it into a few vector instructions.
        better = 0
        for column in range(start, stop):
            better += scores[column] > floor
        if better == 0:
            continue
        for column in range(start, stop):
            score = scores[column]
            # The root is the worst entry of the list; a later column with an equal score never replaces it.
            if score > floor and is_allowed(offset + column, seen, mask):
                items[0], best[0] = offset + column, score
                sift_down(items, best, 0, k)
                floor = best[0]


@numba.njit(cache=True)
def is_allowed(item: int, seen: Int32Array, mask: ItemMask) -> bool:
    """Whether the item is allowed by ``mask`` and not in the sorted ``seen``. O(log seen)."""
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
def fill_zero_queries(
    lengths: Float64Array,
    n: int,
    items: Int32Array,
    best: Float32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: ItemMask,
) -> None:
    """A query of length 0 scores every item 0: its list, a heap, holds the first allowed of n items."""
    k = items.shape[1]
    for row in range(len(items)):
        item, found = n if lengths[row] > 0 else 0, 0
        while item < n and found < k:
            if is_allowed(item, columns[starts[row] : starts[row + 1]], mask):
                # Worst first, after the unused positions: the list is a heap until it is sorted.
                items[row, k - 1 - found], best[row, k - 1 - found] = item, 0
                found += 1
            item += 1


@numba.njit(cache=True, nogil=True)
def sort_heaps(items: Int32Array, best: Float32Array) -> None:
    """``sort_heap`` for each row of a block."""
    for row in range(len(items)):
        sort_heap(items[row], best[row])


@numba.njit(cache=True)
def sort_heap(item: Int32Array, score: Float32Array) -> None:
    """Sort a heap, worst entry at the root, into a list, best first, in place."""
    for end in range(len(item) - 1, 0, -1):
        item[0], item[end] = item[end], item[0]
        score[0], score[end] = score[end], score[0]
        sift_down(item, score, 0, end)


@numba.njit(cache=True, inline="always")
def ranks_below(score_a: float, item_a: int, score_b: float, item_b: int) -> bool:
    """Whether entry a comes after entry b in a list: a lower score, or an equal score and a later column."""
    # An unused position (item −1, score −inf) ranks below any item.
    return score_a < score_b or (score_a == score_b and item_a > item_b)


@numba.njit(cache=True)
def sift_down(item: Int32Array, score: Float32Array, start: int, end: int) -> None:
    """Restore the heap below ``start``: every parent ranks below its children."""
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
