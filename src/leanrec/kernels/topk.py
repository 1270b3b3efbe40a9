"""Exact selection of the k best of N scores, from given scores or from a product that is never written out."""

import numba
import numpy as np

from leanrec.kernels.threads import in_threads
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["hide", "sink", "sort_heap", "top_k", "top_k_dot"]

Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]

# A tile of scores: half of it for each of two cores stays in a second-level cache of 1 MB.
_TILE_QUERIES, _TILE_ITEMS = 256, 1024
# Below this many rows, starting threads costs more than they save.
_FEW = 4
_STRIDE = 32


def top_k(
    scores: Float32Array, k: int, *, seen: CSR | None = None, allowed: Mask | None = None
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
    items, best = _lists(len(scores), k)
    if k and scores.size:
        scores = np.ascontiguousarray(scores, dtype=np.float32)
        work = _select_few if len(scores) < _FEW else _select_many
        work(scores, items, best, *_entries(seen, len(scores)), _mask(allowed))
    return items, best


def top_k_dot(
    Q: Float32Array, V: Float32Array, k: int, *, seen: CSR | None = None, allowed: Mask | None = None
) -> tuple[Int32Array, Float32Array]:
    """``top_k(Q @ V.T, k)`` without the (B, N) matrix of scores.

    The product is made by BLAS in tiles that stay in cache and each tile is merged into the lists at once. Items
    that are seen or not allowed are looked up only when they would enter a list. Time O(B · N · D);
    memory O(B · k) and one tile.

    Args:
        Q: (B, D) float32.
        V: (N, D) float32.
        k: length of the lists, at least 0.
        seen: (B, N) entries that must not be chosen.
        allowed: (N,) items that may be chosen; None = all.

    Returns:
        items (B, k) int32, −1 past the end; scores (B, k) float32, −inf there.
    """
    items, best = _lists(len(Q), k)
    if not k or not len(Q) or not len(V):
        return items, best
    Q, V = np.ascontiguousarray(Q, dtype=np.float32), np.ascontiguousarray(V, dtype=np.float32)
    starts, columns = _entries(seen, len(Q))
    mask = _mask(allowed)
    if len(Q) == 1:
        _dot_one(Q[0], V, items[0], best[0], columns[starts[0] : starts[1]], mask)
    else:
        _tiles(Q, V, items, best, starts, columns, mask)
    return items, best


def hide(scores: Float32Array, columns: CSR) -> None:
    """Set the given columns of each row to −inf, in place. O(entries)."""
    _hide(scores, columns.indptr, columns.indices)  # type: ignore[arg-type]  # either width of index compiles


def _lists(rows: int, k: int) -> tuple[Int32Array, Float32Array]:
    return np.full((rows, k), -1, dtype=np.int32), np.full((rows, k), -np.inf, dtype=np.float32)


def _entries(seen: CSR | None, rows: int) -> tuple[Int64Array, Int32Array]:
    """Row starts and sorted columns; one type of index for the compiler."""
    if seen is None:
        return np.zeros(rows + 1, np.int64), np.zeros(0, np.int32)
    if not seen.has_sorted_indices:
        seen = seen.sorted_indices()
    return seen.indptr.astype(np.int64, copy=False), seen.indices.astype(np.int32, copy=False)


def _mask(allowed: Mask | None) -> Mask:
    return np.zeros(0, np.bool_) if allowed is None else allowed


def _tiles(
    Q: Float32Array,
    V: Float32Array,
    items: Int32Array,
    best: Float32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: Mask,
) -> None:
    """Deal blocks of queries to threads; each goes through the items tile by tile."""
    size = min(_TILE_QUERIES, max(_FEW, -(-len(Q) // numba.get_num_threads())))

    def work(top: int) -> None:
        rows = slice(top, min(top + size, len(Q)))
        part, begin = Q[rows], starts[top : rows.stop + 1]
        tile = np.empty(len(part) * min(_TILE_ITEMS, len(V)), np.float32)
        for left in range(0, len(V), _TILE_ITEMS):
            those = V[left : left + _TILE_ITEMS]
            scores = tile[: len(part) * len(those)].reshape(len(part), len(those))
            np.dot(part, those.T, out=scores)
            _merge_all(scores, left, items[rows], best[rows], begin, columns, mask)
        _sort_all(items[rows], best[rows])

    in_threads(work, range(0, len(Q), size))


@numba.njit(parallel=True, cache=True)
def _hide(scores: Float32Array, indptr: Int64Array, indices: Int32Array) -> None:
    for row in numba.prange(len(scores)):
        for entry in range(indptr[row], indptr[row + 1]):
            scores[row, indices[entry]] = -np.inf


@numba.njit(cache=True, nogil=True)
def _merge_all(
    scores: Float32Array,
    offset: int,
    items: Int32Array,
    best: Float32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: Mask,
) -> None:
    for row in range(len(scores)):
        _merge(scores[row], offset, items[row], best[row], columns[starts[row] : starts[row + 1]], mask)


@numba.njit(cache=True, nogil=True)
def _select_few(
    scores: Float32Array,
    items: Int32Array,
    best: Float32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: Mask,
) -> None:
    for row in range(len(scores)):
        _merge(scores[row], 0, items[row], best[row], columns[starts[row] : starts[row + 1]], mask)
        sort_heap(items[row], best[row])


@numba.njit(parallel=True, cache=True)
def _select_many(
    scores: Float32Array,
    items: Int32Array,
    best: Float32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: Mask,
) -> None:
    for row in numba.prange(len(scores)):
        _merge(scores[row], 0, items[row], best[row], columns[starts[row] : starts[row + 1]], mask)
        sort_heap(items[row], best[row])


@numba.njit(cache=True)
def _merge(
    scores: Float32Array, offset: int, items: Int32Array, best: Float32Array, seen: Int32Array, mask: Mask
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
            if score > floor and _may(offset + column, seen, mask):
                items[0], best[0] = offset + column, score
                sink(items, best, 0, k)
                floor = best[0]


@numba.njit(cache=True)
def _may(item: int, seen: Int32Array, mask: Mask) -> bool:
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


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _products(q: Float32Array, V: Float32Array, start: int, out: Float32Array) -> None:
    """Scores of ``len(out)`` items from ``start``; free order of the sum, so that it fills vector registers."""
    for place in range(len(out)):
        total = np.float32(0)
        for d in range(len(q)):
            total += q[d] * V[start + place, d]
        out[place] = total


@numba.njit(cache=True, nogil=True)
def _dot_one(
    q: Float32Array, V: Float32Array, items: Int32Array, best: Float32Array, seen: Int32Array, mask: Mask
) -> None:
    """One query on the calling thread alone: no thread to wait for, so a busy machine does not slow it twice."""
    scores = np.empty(_TILE_ITEMS, np.float32)
    for start in range(0, len(V), _TILE_ITEMS):
        part = scores[: min(_TILE_ITEMS, len(V) - start)]
        _products(q, V, start, part)
        _merge(part, start, items, best, seen, mask)
    sort_heap(items, best)


@numba.njit(cache=True, nogil=True)
def _sort_all(items: Int32Array, best: Float32Array) -> None:
    for row in range(len(items)):
        sort_heap(items[row], best[row])


@numba.njit(cache=True)
def sort_heap(item: Int32Array, score: Float32Array) -> None:
    """Turn a heap, worst at the root, into a list, best first."""
    for end in range(len(item) - 1, 0, -1):
        item[0], item[end] = item[end], item[0]
        score[0], score[end] = score[end], score[0]
        sink(item, score, 0, end)


@numba.njit(cache=True, inline="always")
def _worse(score_a: float, item_a: int, score_b: float, item_b: int) -> bool:
    # An empty place (item −1, score −inf) is worse than any item; among equals the later column is worse.
    return score_a < score_b or (score_a == score_b and item_a > item_b)


@numba.njit(cache=True)
def sink(item: Int32Array, score: Float32Array, start: int, end: int) -> None:
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
