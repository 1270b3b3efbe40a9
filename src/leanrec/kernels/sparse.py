"""Scores of histories: products of sparse rows with item-item weights or with item vectors."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from leanrec.kernels.topk.selection import sift_down, sort_heap
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, empty_csr

__all__ = ["dot_scores", "history_scores", "narrow_indices", "gather_scores", "concat_ranges", "top_k_sparse"]

ItemMask = np.ndarray[tuple[int], np.dtype[np.bool_]]
_FEW = 4
# Touched columns are noted by blocks of this many, so that the sums have no branch.
_BLOCK = 64


def narrow_indices(matrix: CSR) -> CSR:
    """The matrix with its columns as int32, which every product wants: a request then copies nothing. N below 2³¹."""
    narrowed = empty_csr(*matrix.shape)
    narrowed.data, narrowed.indices, narrowed.indptr = matrix.data, matrix.indices.astype(np.int32), matrix.indptr
    if matrix.nnz < 2**31:
        narrowed.indptr = matrix.indptr.astype(np.int32)
    return narrowed


def concat_ranges(starts: NDArray[Any], lengths: NDArray[Any]) -> Int64Array:
    """Positions ``starts[i]``, ``starts[i] + 1`` … of every stretch, end to end."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.asarray(np.arange(total) + np.repeat(starts - ends + lengths, lengths), np.int64)


def gather_scores(scores: Float32Array, items: Int32Array | None) -> Float32Array:
    """(B, K) of the (B, N) scores, for ``items`` (K,) or (B, K); the scores themselves for None."""
    if items is None:
        return scores
    return np.take_along_axis(scores, np.broadcast_to(items, (len(scores), np.shape(items)[-1])), 1)


def dot_scores(Q: Float32Array, V: Float32Array, items: Int32Array | None = None) -> Float32Array:
    """Q · Vᵀ (B, N), or (B, K) for ``items`` (K,) or (B, K). O(B · N · D), or O(B · K · D)."""
    if items is None:
        return np.asarray(Q @ V.T, dtype=np.float32)
    if np.ndim(items) == 1:
        return np.asarray(Q @ V[items].T, dtype=np.float32)
    return np.asarray(np.einsum("bd,bkd->bk", Q, V[items], dtype=np.float32))


def history_scores(history: CSR, weights: Float32Array | CSR, items: Int32Array | None = None) -> Float32Array:
    """History (B, N) times item-item weights (N, N): (B, N) float32, or (B, K) for ``items`` (K,) or (B, K).

    Dense weights cost O(N) an entry of the history, or O(K) for chosen items; sparse weights cost the
    entries of the rows that the history picks.
    """
    starts, columns, data = _parts(history)
    if isinstance(weights, np.ndarray) and items is not None:
        chosen = np.ascontiguousarray(np.broadcast_to(items, (history.shape[0], np.shape(items)[-1])), dtype=np.int32)
        scores = np.zeros(chosen.shape, np.float32)
        _dense_chosen(starts, columns, data, weights, chosen, scores)
        return scores
    scores = np.zeros((history.shape[0], weights.shape[1]), np.float32)
    few = len(scores) < _FEW
    if isinstance(weights, np.ndarray):
        (_dense_few if few else _dense_many)(starts, columns, data, weights, scores)
        return scores
    (_sparse_few if few else _sparse_many)(_picked(history, weights), scores)
    return gather_scores(scores, items)


def top_k_sparse(
    profile: CSR, weights: CSR, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
) -> tuple[Int32Array, Float32Array, ItemMask]:
    """``top_k(history_scores(profile, weights), k)``, the same to the bit, without the (B, N) matrix of scores.

    Sums, selection and the clearing of the sums stay in one row of N for each thread, and only blocks of 64
    columns that an entry reached are looked at. A column that no entry reaches scores 0: it comes after the
    scores above 0 and before those below. Time O(entries of the rows of ``weights`` that the profile picks +
    64 · blocks reached + m log k); memory O(B · k) and 4 N bytes a thread.

    Args:
        profile: (B, M) what each asker brings.
        weights: (M, N), of either sign.
        k: length of the lists, at least 0.
        seen: (B, N) entries that must not be chosen.
        allowed: (N,) columns that may be chosen; None = all.

    Returns:
        items (B, k) int32, −1 past the end; scores (B, k) float32, −inf there; flat (B,) bool: all N scores
        are equal, seen and forbidden ones among them.
    """
    rows, n = profile.shape[0], weights.shape[1]
    items = np.full((rows, k), -1, np.int32)
    best = np.full((rows, k), -np.inf, np.float32)
    flat = np.ones(rows, np.bool_)
    if rows and n:
        hidden = (np.zeros(rows + 1, np.int64), np.zeros(0, np.int32)) if seen is None else _parts(seen)[:2]
        mask = np.zeros(0, np.bool_) if allowed is None else allowed
        work = _lists_few if rows < _FEW else _lists_many
        workers = 1 if rows < _FEW else min(rows, numba.get_num_threads())
        work(workers, n, _picked(profile, weights), hidden, mask, (items, best, flat))
    return items, best, flat


def _picked(history: CSR, weights: CSR) -> tuple[np.ndarray, ...]:
    """What the kernels read: row starts, weights, first and last places in ``weights``; its columns and its data.

    Places are looked up for the entries of the history alone: to widen all row starts of a million items would
    cost more than an answer.
    """
    starts, rows, data = _parts(history)
    bounds = weights.indptr
    begin, end = bounds[rows].astype(np.int64, copy=False), bounds[1:][rows].astype(np.int64, copy=False)
    return starts, data, begin, end, *_entries(weights)


def _parts(matrix: CSR) -> tuple[Int64Array, Int32Array, Float32Array]:
    return (matrix.indptr.astype(np.int64, copy=False), *_entries(matrix))


def _entries(matrix: CSR) -> tuple[Int32Array, Float32Array]:
    return matrix.indices.astype(np.int32, copy=False), matrix.data.astype(np.float32, copy=False)


@numba.njit(cache=True, nogil=True)
def _dense_row(columns: Int32Array, data: Float32Array, weights: Float32Array, out: Float32Array) -> None:
    # Four rows at a time: the sums pass through the cache a quarter as often.
    n, entry = len(out), 0
    while entry + 4 <= len(columns):
        a, b, c, d = data[entry], data[entry + 1], data[entry + 2], data[entry + 3]
        ra, rb = weights[columns[entry]], weights[columns[entry + 1]]
        rc, rd = weights[columns[entry + 2]], weights[columns[entry + 3]]
        for item in range(n):
            out[item] += a * ra[item] + b * rb[item] + c * rc[item] + d * rd[item]
        entry += 4
    for rest in range(entry, len(columns)):
        a, ra = data[rest], weights[columns[rest]]
        for item in range(n):
            out[item] += a * ra[item]


@numba.njit(cache=True, nogil=True)
def _dense_few(
    starts: Int64Array, columns: Int32Array, data: Float32Array, weights: Float32Array, out: Float32Array
) -> None:
    for row in range(len(out)):
        part = slice(starts[row], starts[row + 1])
        _dense_row(columns[part], data[part], weights, out[row])


@numba.njit(parallel=True, cache=True)
def _dense_many(
    starts: Int64Array, columns: Int32Array, data: Float32Array, weights: Float32Array, out: Float32Array
) -> None:
    for row in numba.prange(len(out)):
        _dense_row(columns[starts[row] : starts[row + 1]], data[starts[row] : starts[row + 1]], weights, out[row])


@numba.njit(cache=True, nogil=True)
def _dense_chosen(
    starts: Int64Array,
    columns: Int32Array,
    data: Float32Array,
    weights: Float32Array,
    items: Int32Array,
    out: Float32Array,
) -> None:
    for row in range(len(out)):
        for entry in range(starts[row], starts[row + 1]):
            weight, from_item = data[entry], weights[columns[entry]]
            for place in range(items.shape[1]):
                out[row, place] += weight * from_item[items[row, place]]


@numba.njit(cache=True, nogil=True)
def _sparse_row(row, picked, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    starts, data, begin, end, wi, wd = picked
    for entry in range(starts[row], starts[row + 1]):
        weight = data[entry]
        for other in range(begin[entry], end[entry]):
            out[row, wi[other]] += weight * wd[other]


@numba.njit(cache=True, nogil=True)
def _sparse_few(picked, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for row in range(len(out)):
        _sparse_row(row, picked, out)


@numba.njit(parallel=True, cache=True)
def _sparse_many(picked, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for row in numba.prange(len(out)):
        _sparse_row(row, picked, out)


@numba.njit(cache=True, nogil=True)
def _lists_of_worker(me, of, n, picked, hidden, mask, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """The rows of worker ``me`` of ``of``."""
    starts, data, begin, end, wi, wd = picked
    sums, reached = np.zeros(n, np.float32), np.zeros(n // _BLOCK + 1, np.bool_)
    for row in range(me, len(starts) - 1, of):
        for entry in range(starts[row], starts[row + 1]):
            weight = data[entry]
            for other in range(begin[entry], end[entry]):
                sums[wi[other]] += weight * wd[other]
                reached[wi[other] // _BLOCK] = True
        lists[2][row] = _is_flat(sums, reached)
        seen = hidden[1][hidden[0][row] : hidden[0][row + 1]]
        for column in seen:
            sums[column] = -np.inf
        if lists[0].shape[1]:
            _fill(sums, reached, mask, lists[0][row], lists[1][row])
        for column in seen:
            sums[column] = 0
        _clear(sums, reached)


@numba.njit(cache=True, nogil=True)
def _lists_few(workers, n, picked, hidden, mask, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for worker in range(workers):
        _lists_of_worker(worker, workers, n, picked, hidden, mask, lists)


@numba.njit(parallel=True, cache=True)
def _lists_many(workers, n, picked, hidden, mask, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for worker in numba.prange(workers):
        _lists_of_worker(worker, workers, n, picked, hidden, mask, lists)


@numba.njit(cache=True)
def _is_flat(sums, reached):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Whether all sums are equal: the first that differs ends the search."""
    first = sums[0]
    for block in range(len(reached)):
        # Where the first is 0, a block that nothing reached cannot differ.
        if reached[block] or first != 0:
            for column in range(block * _BLOCK, min(block * _BLOCK + _BLOCK, len(sums))):
                if sums[column] != first:
                    return False
    return True


@numba.njit(cache=True)
def _fill(sums, reached, mask, items, best):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """One list: what is above 0; if that leaves places, columns of 0 in their order; then what is below."""
    found = _select(sums, reached, mask, np.float32(0), items, best)
    column = 0
    while found < len(items) and column < len(sums):
        if sums[column] == 0 and (not len(mask) or mask[column]):
            _enter(column, np.float32(0), items, best)
            found += 1
        column += 1
    if found < len(items):
        _select(sums, reached, mask, np.float32(-np.inf), items, best)
    sort_heap(items, best)


@numba.njit(cache=True)
def _select(sums, reached, mask, above, items, best):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Enter what lies above ``above`` (0, or −inf for all below 0); return how many entered, k at most."""
    found = 0
    floor = max(best[0], above)
    for block in range(len(reached)):
        if not reached[block]:
            continue
        start, stop = block * _BLOCK, min(block * _BLOCK + _BLOCK, len(sums))
        better = 0
        for column in range(start, stop):
            better += sums[column] > floor
        if better == 0:
            continue
        for column in range(start, stop):
            score = sums[column]
            if score > floor and (above == 0 or score < 0) and (not len(mask) or mask[column]):
                _enter(column, score, items, best)
                floor = max(best[0], above)
                found += 1
    return min(found, len(items))


@numba.njit(cache=True)
def _enter(column, score, items, best):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    items[0], best[0] = column, score
    sift_down(items, best, 0, len(items))


@numba.njit(cache=True)
def _clear(sums, reached):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for block in range(len(reached)):
        if reached[block]:
            reached[block] = False
            sums[block * _BLOCK : block * _BLOCK + _BLOCK] = 0
