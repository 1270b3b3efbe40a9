"""Sub-codes: the numbers of a row in groups, each group replaced by one of up to 256 centroids of its codebook.

Groups are columns ``starts[m]`` to ``starts[m + 1]`` of rows (N, D); the codebooks of all groups are one array (K, D).
Product quantization is from Jégou, Douze & Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from leanrec.kernels.threads import compile_parallel, compile_serial_and_parallel
from leanrec.kernels.topk.selection import ItemMask, merge_scores
from leanrec.types import Float32Array, Int32Array

__all__ = [
    "add_tables",
    "decode_sub_codes",
    "fill_tables",
    "fit_centroids",
    "merge_table_scores",
    "nearest_centroids",
    "sum_by_code",
]

_ITERATIONS = 8
# Rows whose scores are merged into a list at once.
_TILE = 1024
# Rows above which a pass over codes is split over threads.
_MIN_ROWS = 4096


def fit_centroids(
    X: Float32Array, weights: Float32Array, starts: NDArray[np.int64], n_centroids: int, rng: np.random.Generator
) -> Float32Array:
    """Codebooks (K, D) by k-means in each group of columns, for rows with weights (N,). O(K · N · D) for each of 8 passes.

    It begins with k-means++ (Arthur & Vassilvitskii, SODA 2007). The groups are independent, and each is one task
    of one thread: the result is the same for any number of threads.
    """
    books = np.zeros((n_centroids, X.shape[1]), np.float32)
    if X.size:
        draws = rng.random((len(starts) - 1, n_centroids))
        _fit_groups(np.ascontiguousarray(X), weights.astype(np.float32), starts, draws, books)
    return books


def nearest_centroids(X: Float32Array, books: Float32Array, starts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Codes (N, M) of the nearest centroids. O(K · N · D)."""
    codes = np.zeros((len(X), len(starts) - 1), np.uint8)
    _find_nearest(np.ascontiguousarray(X), np.ascontiguousarray(books.T), starts, codes)
    return codes


def decode_sub_codes(
    codes: NDArray[np.uint8], books: Float32Array, starts: NDArray[np.int64], scales: Float32Array
) -> Float32Array:
    """(R, D) float32: the centroids of codes (R, M), times the scales (R,)."""
    out = np.empty((len(codes), books.shape[1]), np.float32)
    work = _decode.serial if len(codes) < _MIN_ROWS else _decode.parallel
    work(codes, books, starts, scales, out)
    return out


def sum_by_code(
    X: Float32Array, codes: NDArray[np.uint8], starts: NDArray[np.int64], scales: Float32Array, n_centroids: int
) -> Float32Array:
    """(K, D) sums of the rows of X with each code, times their scales: the transpose of ``decode_sub_codes``."""
    out = np.zeros((n_centroids, X.shape[1]))
    _sum_by_code(X, codes, starts, scales, out)
    return out.astype(np.float32)


def add_tables(tables: Float32Array, codes: NDArray[np.uint8], scales: Float32Array) -> Float32Array:
    """Scores (R,) of one query: the entries of its tables (M, K) that codes (R, M) name, added and scaled. O(R · M)."""
    out = np.empty(len(codes), np.float32)
    work = _add_tables.serial if len(codes) < 4 * _MIN_ROWS else _add_tables.parallel
    work(tables, codes, scales, out)
    return out


@numba.njit(cache=True, nogil=True)
def fill_tables(by_dim: Float32Array, query: Float32Array, starts: NDArray[np.int64], tables: Float32Array) -> None:
    """Products (M, K) of a query (D,) with the centroids of each group, given as ``by_dim`` (D, K). O(K · D)."""
    tables[:] = 0
    for m in range(len(tables)):
        for d in range(starts[m], starts[m + 1]):
            for k in range(tables.shape[1]):
                tables[m, k] += by_dim[d, k] * query[d]


@numba.njit(cache=True, nogil=True)
def merge_table_scores(
    tables: Float32Array,
    codes: NDArray[np.uint8],
    levels: NDArray[np.uint8],
    scales: Float32Array,
    offset: int,
    items: Int32Array,
    best: Float32Array,
    seen: Int32Array,
    mask: ItemMask,
) -> None:
    """Merge the scores of ``add_tables`` into the list of one query, a min-heap in place, without an array of them all. O(R · M).

    Args:
        tables: (M, K) of the query.
        codes: (R, M) of items ``offset``, ``offset + 1`` …
        levels: (R,) levels of the lengths of the rows.
        scales: (256,) factor of each level.
        offset: item of row 0.
        items: (k,) items of the heap.
        best: (k,) scores of the heap.
        seen: sorted items to leave out.
        mask: of all items; an empty one allows every item.
    """
    scores, n_codes = np.empty(min(_TILE, len(codes)), np.float32), codes.shape[1]
    flat, width = tables.reshape(-1), tables.shape[1]
    for start in range(0, len(codes), _TILE):
        part = scores[: min(_TILE, len(codes) - start)]
        # Four rows at a time, whose sums do not wait for each other; the last ones may be summed twice.
        for first in range(0, len(part), 4):
            row = max(0, min(first, len(part) - 4))
            a, b = start + row, start + min(row + 1, len(part) - 1)
            c, d = start + min(row + 2, len(part) - 1), start + min(row + 3, len(part) - 1)
            of_a, of_b, of_c, of_d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for m in range(n_codes):
                base = m * width
                of_a += flat[base + np.int64(codes[a, m])]
                of_b += flat[base + np.int64(codes[b, m])]
                of_c += flat[base + np.int64(codes[c, m])]
                of_d += flat[base + np.int64(codes[d, m])]
            part[a - start], part[b - start] = scales[levels[a]] * of_a, scales[levels[b]] * of_b
            part[c - start], part[d - start] = scales[levels[c]] * of_c, scales[levels[d]] * of_d
        merge_scores(part, offset + start, items, best, seen, mask)


@compile_serial_and_parallel
def _decode(
    codes: NDArray[np.uint8],
    books: Float32Array,
    starts: NDArray[np.int64],
    scales: Float32Array,
    out: Float32Array,
) -> None:
    for row in numba.prange(len(codes)):
        for m in range(codes.shape[1]):
            centroid, scale = books[codes[row, m]], scales[row]
            for d in range(starts[m], starts[m + 1]):
                out[row, d] = scale * centroid[d]


@compile_serial_and_parallel
def _add_tables(tables: Float32Array, codes: NDArray[np.uint8], scales: Float32Array, out: Float32Array) -> None:
    for row in numba.prange(len(codes)):
        total = np.float32(0)
        for m in range(codes.shape[1]):
            total += tables[m, codes[row, m]]
        out[row] = scales[row] * total


@numba.njit(cache=True, nogil=True)
def _sum_by_code(
    X: Float32Array,
    codes: NDArray[np.uint8],
    starts: NDArray[np.int64],
    scales: Float32Array,
    out: NDArray[np.float64],
) -> None:
    for row in range(len(codes)):
        for m in range(codes.shape[1]):
            code = codes[row, m]
            for d in range(starts[m], starts[m + 1]):
                out[code, d] += scales[row] * X[row, d]


@compile_parallel
def _find_nearest(X: Float32Array, by_dim: Float32Array, starts: NDArray[np.int64], codes: NDArray[np.uint8]) -> None:
    for row in numba.prange(len(X)):
        distances = np.empty(by_dim.shape[1], np.float32)
        for m in range(codes.shape[1]):
            _measure(X[row], by_dim, starts[m], starts[m + 1], distances)
            codes[row, m] = np.argmin(distances)


@numba.njit(cache=True, nogil=True)
def _measure(x: Float32Array, by_dim: Float32Array, first: int, last: int, distances: Float32Array) -> None:
    """Squared distances of the columns ``first`` to ``last`` of a row to all centroids."""
    distances[:] = 0
    for d in range(first, last):
        centroids, value = by_dim[d], x[d]
        for k in range(len(distances)):
            difference = centroids[k] - value
            distances[k] += difference * difference


@compile_parallel
def _fit_groups(
    X: Float32Array,
    weights: Float32Array,
    starts: NDArray[np.int64],
    draws: NDArray[np.float64],
    books: Float32Array,
) -> None:
    for m in numba.prange(len(draws)):
        _fit_group(X, weights, starts[m], starts[m + 1], draws[m], books)


@numba.njit(cache=True, nogil=True)
def _fit_group(
    X: Float32Array, weights: Float32Array, first: int, last: int, draws: NDArray[np.float64], books: Float32Array
) -> None:
    n_centroids = len(draws)
    by_dim = np.zeros((X.shape[1], n_centroids), np.float32)
    _choose_first(X, weights, first, last, draws, by_dim)
    distances, sums, totals = np.empty(n_centroids, np.float32), np.empty_like(books), np.empty(n_centroids)
    for _ in range(_ITERATIONS):
        sums[:, first:last] = 0
        totals[:] = 0
        for row in range(len(X)):
            _measure(X[row], by_dim, first, last, distances)
            nearest = np.argmin(distances)
            totals[nearest] += weights[row]
            for d in range(first, last):
                sums[nearest, d] += weights[row] * X[row, d]
        for k in range(n_centroids):
            # A centroid without rows stays where it is.
            for d in range(first, last):
                by_dim[d, k] = sums[k, d] / totals[k] if totals[k] > 0 else by_dim[d, k]
    for d in range(first, last):
        books[:, d] = by_dim[d]


@numba.njit(cache=True, nogil=True)
def _choose_first(
    X: Float32Array, weights: Float32Array, first: int, last: int, draws: NDArray[np.float64], by_dim: Float32Array
) -> None:
    """Rows as centroids, each drawn with a probability of its weighted squared distance to those before it."""
    nearest = np.full(len(X), np.inf)
    for k in range(len(draws)):
        total = 0.0
        for row in range(len(X)):
            total += weights[row] * (nearest[row] if k else 1.0)
        rest = draws[k] * total
        chosen = len(X) - 1
        for row in range(len(X)):
            rest -= weights[row] * (nearest[row] if k else 1.0)
            if rest < 0:
                chosen = row
                break
        for d in range(first, last):
            by_dim[d, k] = X[chosen, d]
        for row in range(len(X)):
            distance = 0.0
            for d in range(first, last):
                distance += (X[row, d] - X[chosen, d]) ** 2
            nearest[row] = min(nearest[row], distance)
