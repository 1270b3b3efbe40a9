"""Scores of histories: sparse rows times item-item weights or item vectors, and the top k of such products."""

import numba
import numpy as np

from leanrec.kernels.csr import csr_arrays
from leanrec.kernels.threads import MIN_ROWS_FOR_THREADS, compile_serial_and_parallel
from leanrec.kernels.topk.selection import ItemMask, mask_array, sift_down, sort_heap
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = [
    "COLUMN_BLOCK",
    "dot_scores",
    "gather_scores",
    "history_contributions",
    "history_scores",
    "select_from_sums",
    "top_k_sparse",
]

# Columns with a nonzero sum are tracked in blocks of this size, so that the inner loop has no branch.
COLUMN_BLOCK = 64


def gather_scores(scores: Float32Array, items: Int32Array | None) -> Float32Array:
    """(B, K) of the (B, N) scores for ``items`` (K,) or (B, K); the scores themselves for None."""
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

    Dense weights cost O(N) per entry of the history, or O(K) with ``items``. Sparse weights cost O(entries of the
    weight rows that the history selects).
    """
    starts, columns, data = csr_arrays(history)
    if not isinstance(weights, np.ndarray) and items is not None and np.ndim(items) == 1:
        scores = np.zeros((history.shape[0], len(items)), np.float32)
        chosen = np.ascontiguousarray(items, dtype=np.int32)
        _multiply_sparse_columns(_product_arrays(history, weights), weights.shape[1], chosen, scores)
        return scores
    if isinstance(weights, np.ndarray) and items is not None:
        chosen = np.ascontiguousarray(np.broadcast_to(items, (history.shape[0], np.shape(items)[-1])), dtype=np.int32)
        scores = np.zeros(chosen.shape, np.float32)
        _multiply_dense_columns(starts, columns, data, weights, chosen, scores)
        return scores
    scores = np.zeros((history.shape[0], weights.shape[1]), np.float32)
    serial = len(scores) < MIN_ROWS_FOR_THREADS
    if isinstance(weights, np.ndarray):
        (_multiply_dense.serial if serial else _multiply_dense.parallel)(starts, columns, data, weights, scores)
        return scores
    (_multiply_sparse.serial if serial else _multiply_sparse.parallel)(_product_arrays(history, weights), scores)
    return gather_scores(scores, items)


def history_contributions(history: CSR, weights: Float32Array | CSR, items: Int32Array) -> Float32Array:
    """(K, L): what each of the L entries of one history (1, N) adds to the scores of ``items`` (K,), in its order.

    O(K · L) with dense item-item weights (N, N); with sparse ones, once over the rows that the history selects.
    """
    if isinstance(weights, np.ndarray):
        return np.asarray(weights[history.indices[:, None], items].T * history.data, dtype=np.float32)
    added = np.zeros((history.nnz, len(items)), np.float32)
    # Each entry in a row of its own. As a matrix of SciPy these rows would take longer than the product.
    product = (np.arange(history.nnz + 1), *_product_arrays(history, weights)[1:])
    _multiply_sparse_columns(product, weights.shape[1], np.ascontiguousarray(items, dtype=np.int32), added)
    return np.ascontiguousarray(added.T)


def top_k_sparse(
    profile: CSR, weights: CSR, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
) -> tuple[Int32Array, Float32Array, ItemMask]:
    """``top_k(history_scores(profile, weights), k)``, bit for bit, without the (B, N) matrix of scores.

    Each thread keeps one row of N sums, selects from it and clears it; only blocks of 64 columns with at least one
    entry are read. A column without entries scores 0: it ranks after positive and before negative scores.
    Time O(entries of the selected rows of ``weights`` + 64 · blocks + m log k) per row, where m is the number of
    insertions; memory O(B · k) and 4 N bytes per thread.

    Args:
        profile: (B, M) input of each query.
        weights: (M, N), of either sign.
        k: length of the lists, at least 0.
        seen: (B, N) entries to leave out.
        allowed: (N,) columns that may be chosen; None = all.

    Returns:
        items (B, k) int32, −1 past the end; scores (B, k) float32, −inf past the end; is_constant (B,) bool, whether
        all N scores of a row are equal, seen and forbidden ones included.
    """
    rows, n = profile.shape[0], weights.shape[1]
    items = np.full((rows, k), -1, np.int32)
    best = np.full((rows, k), -np.inf, np.float32)
    is_constant = np.ones(rows, np.bool_)
    if rows and n:
        masked = (np.zeros(rows + 1, np.int64), np.zeros(0, np.int32)) if seen is None else csr_arrays(seen)[:2]
        serial = rows < MIN_ROWS_FOR_THREADS
        work = _select_rows.serial if serial else _select_rows.parallel
        workers = 1 if serial else min(rows, numba.get_num_threads())
        product = _product_arrays(profile, weights)
        work(workers, n, product, masked, mask_array(allowed), (items, best, is_constant))
    return items, best, is_constant


def _product_arrays(history: CSR, weights: CSR) -> tuple[np.ndarray, ...]:
    """Typed inputs of the sparse kernels.

    Row starts and data of the history; for each of its entries the range of entries of ``weights`` that it selects
    (first, one past the last); indices and data of ``weights``. Ranges are looked up for the entries of the history
    only: converting ``weights.indptr`` of a million items to int64 would cost more than a request.
    """
    starts, rows, data = csr_arrays(history)
    begin = weights.indptr[rows].astype(np.int64, copy=False)
    end = weights.indptr[1:][rows].astype(np.int64, copy=False)
    return (
        starts,
        data,
        begin,
        end,
        weights.indices.astype(np.int32, copy=False),
        weights.data.astype(np.float32, copy=False),
    )


@numba.njit(cache=True, nogil=True)
def _multiply_dense_row(columns: Int32Array, data: Float32Array, weights: Float32Array, out: Float32Array) -> None:
    # Four weight rows per pass: the sums move through the cache a quarter as often.
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


@compile_serial_and_parallel
def _multiply_dense(
    starts: Int64Array, columns: Int32Array, data: Float32Array, weights: Float32Array, out: Float32Array
) -> None:
    for row in numba.prange(len(out)):
        first, last = starts[row], starts[row + 1]
        _multiply_dense_row(columns[first:last], data[first:last], weights, out[row])


@numba.njit(cache=True, nogil=True)
def _multiply_dense_columns(
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
            for position in range(items.shape[1]):
                out[row, position] += weight * from_item[items[row, position]]


@numba.njit(cache=True, nogil=True)
def _multiply_sparse_row(row, product, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    starts, data, begin, end, indices, weights = product
    for entry in range(starts[row], starts[row + 1]):
        weight = data[entry]
        for other in range(begin[entry], end[entry]):
            out[row, indices[other]] += weight * weights[other]


@numba.njit(cache=True, nogil=True)
def _multiply_sparse_columns(product, n, items, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Columns ``items`` of the product with ``n`` columns. An item may be given several times."""
    starts, data, begin, end, indices, weights = product
    last, before = np.full(n, -1, np.int32), np.full(len(items), -1, np.int32)
    for position in range(len(items)):
        before[position], last[items[position]] = last[items[position]], position
    for row in range(len(out)):
        for entry in range(starts[row], starts[row + 1]):
            for other in range(begin[entry], end[entry]):
                position = last[indices[other]]
                while position >= 0:
                    out[row, position] += data[entry] * weights[other]
                    position = before[position]


@compile_serial_and_parallel
def _multiply_sparse(product, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for row in numba.prange(len(out)):
        _multiply_sparse_row(row, product, out)


@numba.njit(cache=True, nogil=True)
def _select_rows_of_worker(worker, workers, n, product, masked, mask, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Every ``workers``-th row, from row ``worker`` on."""
    starts, data, begin, end, indices, weights = product
    sums, has_entry = np.zeros(n, np.float32), np.zeros(n // COLUMN_BLOCK + 1, np.bool_)
    for row in range(worker, len(starts) - 1, workers):
        for entry in range(starts[row], starts[row + 1]):
            weight = data[entry]
            for other in range(begin[entry], end[entry]):
                sums[indices[other]] += weight * weights[other]
                has_entry[indices[other] // COLUMN_BLOCK] = True
        select_from_sums(row, sums, has_entry, masked, mask, lists)


@compile_serial_and_parallel
def _select_rows(workers, n, product, masked, mask, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for worker in numba.prange(workers):
        _select_rows_of_worker(worker, workers, n, product, masked, mask, lists)


@numba.njit(cache=True, nogil=True)
def select_from_sums(row, sums, has_entry, masked, mask, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Fill the list of one row from its N sums, and set them and ``has_entry``, which has a flag for each block, to 0.

    Args:
        row: row of the lists.
        sums: (N,) float32.
        has_entry: (N / 64 + 1,) bool, False for blocks of columns that have no entry.
        masked: row starts and columns that are left out.
        mask: (N,) columns that may be chosen; an empty one allows all.
        lists: items, scores and whether a row is constant, of all rows; see ``top_k_sparse``.
    """
    lists[2][row] = _are_equal(sums, has_entry)
    seen = masked[1][masked[0][row] : masked[0][row + 1]]
    for column in seen:
        sums[column] = -np.inf
    if lists[0].shape[1]:
        _fill_list(sums, has_entry, mask, lists[0][row], lists[1][row])
    for column in seen:
        sums[column] = 0
    _clear_sums(sums, has_entry)


@numba.njit(cache=True)
def _are_equal(sums, has_entry):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Whether all sums are equal. Stops at the first that differs."""
    first = sums[0]
    for block in range(len(has_entry)):
        # If the first sum is 0, a block without entries cannot differ.
        if has_entry[block] or first != 0:
            for column in range(block * COLUMN_BLOCK, min(block * COLUMN_BLOCK + COLUMN_BLOCK, len(sums))):
                if sums[column] != first:
                    return False
    return True


@numba.njit(cache=True)
def _fill_list(sums, has_entry, mask, items, best):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Fill one list: positive scores, then zeros in column order if positions remain, then negative scores."""
    found = _push_above(sums, has_entry, mask, np.float32(0), items, best)
    column = 0
    while found < len(items) and column < len(sums):
        if sums[column] == 0 and (not len(mask) or mask[column]):
            _push(column, np.float32(0), items, best)
            found += 1
        column += 1
    if found < len(items):
        _push_above(sums, has_entry, mask, np.float32(-np.inf), items, best)
    sort_heap(items, best)


@numba.njit(cache=True)
def _push_above(sums, has_entry, mask, above, items, best):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Push scores larger than ``above``: 0, or −inf for all negative scores. Returns the number pushed, at most k."""
    found = 0
    floor = max(best[0], above)
    for block in range(len(has_entry)):
        if not has_entry[block]:
            continue
        start, stop = block * COLUMN_BLOCK, min(block * COLUMN_BLOCK + COLUMN_BLOCK, len(sums))
        if not _any_above(sums[start:stop], floor):
            continue
        for column in range(start, stop):
            score = sums[column]
            if score > floor and (above == 0 or score < 0) and (not len(mask) or mask[column]):
                _push(column, score, items, best)
                floor = max(best[0], above)
                found += 1
    return min(found, len(items))


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})
def _any_above(values, floor):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    # Counted in float32, the width of the values, so that sixteen are compared at once.
    above = np.float32(0)
    for at in range(len(values)):
        above += np.float32(1) if values[at] > floor else np.float32(0)
    return above > 0


@numba.njit(cache=True)
def _push(column, score, items, best):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    items[0], best[0] = column, score
    sift_down(items, best, 0, len(items))


@numba.njit(cache=True)
def _clear_sums(sums, has_entry):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for block in range(len(has_entry)):
        if has_entry[block]:
            has_entry[block] = False
            sums[block * COLUMN_BLOCK : block * COLUMN_BLOCK + COLUMN_BLOCK] = 0
