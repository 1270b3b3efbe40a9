"""Attention over sequences that lie end to end, without padding.

Sequence b has the rows ``bounds[b]`` to ``bounds[b + 1]``. Queries are those of all rows, or of the last rows of each
sequence: a network whose last state alone is needed computes its last block for one row.
"""

from collections.abc import Callable

import numpy as np

from leanrec.types import Float32Array, Int64Array

__all__ = ["attend", "count_from_end"]

# Queries whose scores are computed at a time; of a causal block, those of later keys are not computed.
_BLOCK = 64


def attend(
    queries: Float32Array,
    keys: Float32Array,
    values: Float32Array,
    query_bounds: Int64Array,
    bounds: Int64Array,
    weigh: Callable[[Float32Array, int, int], None],
    *,
    n_heads: int = 1,
    causal: bool = True,
) -> Float32Array:
    """Sums of the values, weighted by what ``weigh`` makes of query · key: (Q, D) for queries (Q, D), keys, values (T, D).

    Args:
        queries: the last ``query_bounds[b + 1] − query_bounds[b]`` rows of each sequence b.
        keys: of all rows.
        values: of all rows.
        query_bounds: (B + 1,) where the queries of each sequence begin.
        bounds: (B + 1,) where its rows begin.
        weigh: changes products (R, K) of R queries with the first K rows of the sequence to weights, in place. It is
            called with the products, the row of the first query in its sequence, and the number of the head.
        n_heads: number of equal parts of D that attend separately.
        causal: keys after a block of queries are left out; those after each query are for ``weigh`` to leave out.
    """
    out = np.empty_like(queries)
    width = queries.shape[1] // n_heads
    parts = [slice(head * width, (head + 1) * width) for head in range(n_heads)]
    for b, (begin, end) in enumerate(zip(query_bounds[:-1].tolist(), query_bounds[1:].tolist(), strict=True)):
        start, stop = int(bounds[b]), int(bounds[b + 1])
        before = stop - start - (end - begin)
        for first in range(begin, end, _BLOCK):
            last = min(first + _BLOCK, end)
            reach = start + before + last - begin if causal else stop
            for head, part in enumerate(parts):
                weights = queries[first:last, part] @ keys[start:reach, part].T
                weigh(weights, before + first - begin, head)
                out[first:last, part] = weights @ values[start:reach, part]
    return out


def count_from_end(bounds: Int64Array) -> Int64Array:
    """(T,) how many rows of its sequence follow each row."""
    return np.repeat(bounds[1:], np.diff(bounds)) - 1 - np.arange(bounds[-1])
