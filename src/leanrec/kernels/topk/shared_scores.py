"""Exact selection of the top k where all rows have the same scores: a walk along their order."""

import numba
import numpy as np

from leanrec.kernels.threads import MIN_ROWS_FOR_THREADS, compile_serial_and_parallel
from leanrec.kernels.topk.selection import ItemMask, empty_lists, mask_array, row_entries
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["order_scores", "top_k_shared"]


def order_scores(scores: Float32Array) -> Int32Array:
    """(M,) columns of the scores (N,), the largest first and equal ones in the order of columns, without those of −inf and NaN."""
    order = np.argsort(-scores, kind="stable").astype(np.int32)
    return order[scores[order] > -np.inf]


def top_k_shared(
    scores: Float32Array,
    order: Int32Array,
    n_rows: int,
    k: int,
    *,
    seen: CSR | None = None,
    allowed: ItemMask | None = None,
) -> tuple[Int32Array, Float32Array]:
    """The k largest scores of each of ``n_rows`` rows that all have the same scores, as `top_k` selects them.

    O(B · (k + s) log m) time, where s is the number of left-out columns among the largest and m that of all of a row.

    Args:
        scores: (N,) float32.
        order: what ``order_scores`` gives for them.
        n_rows: B.
        k: length of the lists, at least 0.
        seen: (B, N) entries to leave out.
        allowed: (N,) columns that may be chosen; None = all.

    Returns:
        items (B, k) int32, −1 past the end; scores (B, k) float32, −inf past the end.
    """
    items, best = empty_lists(n_rows, k)
    if k and n_rows and len(order):
        work = _walk_rows.serial if n_rows < MIN_ROWS_FOR_THREADS else _walk_rows.parallel
        work(scores, order, items, best, *row_entries(seen, n_rows), mask_array(allowed))
    return items, best


@compile_serial_and_parallel
def _walk_rows(
    scores: Float32Array,
    order: Int32Array,
    items: Int32Array,
    best: Float32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: ItemMask,
) -> None:
    for row in numba.prange(len(items)):
        seen = columns[starts[row] : starts[row + 1]]
        n_chosen = 0
        for column in order:
            if len(mask) and not mask[column]:
                continue
            at = np.searchsorted(seen, column)
            if at < len(seen) and seen[at] == column:
                continue
            items[row, n_chosen], best[row, n_chosen] = column, scores[column]
            n_chosen += 1
            if n_chosen == items.shape[1]:
                break
