"""Scores of histories: products of sparse rows with item-item weights or with item vectors."""

import numba
import numpy as np

from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["dot_scores", "history_scores", "pick"]

_FEW = 4


def pick(scores: Float32Array, items: Int32Array | None) -> Float32Array:
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
    (_sparse_few if few else _sparse_many)(starts, columns, data, *_parts(weights), scores)
    return pick(scores, items)


def _parts(matrix: CSR) -> tuple[Int64Array, Int32Array, Float32Array]:
    return (
        matrix.indptr.astype(np.int64, copy=False),
        matrix.indices.astype(np.int32, copy=False),
        matrix.data.astype(np.float32, copy=False),
    )


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
def _sparse_row(
    columns: Int32Array,
    data: Float32Array,
    wp: Int64Array,
    wi: Int32Array,
    wd: Float32Array,
    out: Float32Array,
) -> None:
    for entry in range(len(columns)):
        weight, item = data[entry], columns[entry]
        for other in range(wp[item], wp[item + 1]):
            out[wi[other]] += weight * wd[other]


@numba.njit(cache=True, nogil=True)
def _sparse_few(
    starts: Int64Array,
    columns: Int32Array,
    data: Float32Array,
    wp: Int64Array,
    wi: Int32Array,
    wd: Float32Array,
    out: Float32Array,
) -> None:
    for row in range(len(out)):
        part = slice(starts[row], starts[row + 1])
        _sparse_row(columns[part], data[part], wp, wi, wd, out[row])


@numba.njit(parallel=True, cache=True)
def _sparse_many(
    starts: Int64Array,
    columns: Int32Array,
    data: Float32Array,
    wp: Int64Array,
    wi: Int32Array,
    wd: Float32Array,
    out: Float32Array,
) -> None:
    for row in numba.prange(len(out)):
        _sparse_row(columns[starts[row] : starts[row + 1]], data[starts[row] : starts[row + 1]], wp, wi, wd, out[row])
