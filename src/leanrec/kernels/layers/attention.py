"""Attention over sequences that lie end to end, without padding.

Sequence b has the rows ``bounds[b]`` to ``bounds[b + 1]``. Queries are those of all rows, or of the last rows of each
sequence: a network whose last state alone is needed computes its last block for one row.
"""

import itertools
from collections.abc import Callable

import numpy as np

from leanrec.types import Float32Array, Int64Array

__all__ = ["add_positions", "attend"]

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
    for b, (begin, end) in enumerate(itertools.pairwise(query_bounds.tolist())):
        start, stop = int(bounds[b]), int(bounds[b + 1])
        before = stop - start - (end - begin)
        for head, part in enumerate(parts):
            # BLAS multiplies with a transposed copy in two thirds of the time.
            transposed, of_head = np.ascontiguousarray(keys[start:stop, part].T), values[start:stop, part]
            for first in range(begin, end, _BLOCK):
                last = min(first + _BLOCK, end)
                reach = before + last - begin if causal else stop - start
                weights = queries[first:last, part] @ transposed[:, :reach]
                weigh(weights, before + first - begin, head)
                out[first:last, part] = weights @ of_head[:reach]
    return out


def add_positions(x: Float32Array, table: Float32Array, bounds: Int64Array) -> None:
    """Add the vector of its position to each row, in place: ``table[0]`` to the last row of a sequence, and so backwards."""
    for start, stop in itertools.pairwise(bounds.tolist()):
        x[start:stop] += table[: stop - start][::-1]
