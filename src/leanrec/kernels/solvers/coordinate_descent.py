"""Non-negative elastic nets, one for each item, by coordinate descent on columns of the Gram matrix.

For item j: the w ≥ 0 with w_j = 0 that minimizes ½|x_j − X w|² + ½ l2 |w|² + l1 Σ w.

The negative gradient g = G_j − G w of the squared error is kept up to date: a changed weight costs one row of the Gram
matrix. Between two cycles over all items, the few positive weights (the active set) are optimized in their own small Gram
matrix. As G ≥ 0 and w ≥ 0, g never exceeds G_j, so items with G_ij ≤ l1 keep weight 0 and are never visited. Each item
belongs to one thread, so the result is the same for any number of threads.
"""

import dataclasses
from typing import Any

import numba
import numpy as np
import scipy.sparse as sp

from leanrec.kernels.csr import csr_arrays
from leanrec.kernels.threads import compile_parallel
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["ElasticNetPenalty", "fit_elastic_nets", "fit_local_elastic_nets"]

# indptr, indices and data of a CSR matrix.
_Arrays = tuple[Int64Array, Int32Array, Float32Array]
# l1, l2, n_iter and tolerance.
_Penalty = tuple[Any, Any, Any, Any]

# Largest active set that is optimized in its own Gram matrix, 4 MB per thread.
_MAX_ACTIVE = 1024


@dataclasses.dataclass(frozen=True)
class ElasticNetPenalty:
    """Penalties of the elastic nets, and the stopping rule of the solver.

    Attributes:
        l1: at least 0.
        l2: above 0.
        n_iter: maximum number of cycles over the weights of an item, and after each of them over the active set.
        tolerance: a cycle that changes no weight by more than this ends the solver.
    """

    l1: float
    l2: float
    n_iter: int
    tolerance: float


def fit_elastic_nets(gram: Float32Array, penalty: ElasticNetPenalty, start: int, stop: int) -> CSR:
    """Elastic nets of items ``start`` to ``stop`` over all items: (stop − start, N), one row per item.

    Time O(changed weights · N) per item; memory 4 N (stop − start) bytes.

    Args:
        gram: (N, N) XᵀX of non-negative X.
        penalty: penalties and stopping rule.
        start: first item.
        stop: one past the last item.
    """
    out = np.zeros((stop - start, len(gram)), np.float32)
    _fit_all(gram, start, _penalty_arguments(penalty), numba.get_num_threads(), out)
    return sp.csr_array(out)


def fit_local_elastic_nets(X: CSR, neighbors: CSR, penalty: ElasticNetPenalty, gram: Float32Array | None = None) -> CSR:
    """Elastic nets of all items, each over the items of its row of ``neighbors``: (N, N), one row per item.

    The Gram matrix among the K neighbors of an item is computed for that item: time O(Σ over neighbors of the entries
    that they share with more frequent items) + O(changed weights · K); memory 4 K² bytes per thread.

    Args:
        X: (U, N), entries above 0.
        neighbors: (N, N), empty diagonal.
        penalty: penalties and stopping rule.
        gram: (N, N) XᵀX, from which the small matrices are copied; None = computed from X.
    """
    data = _ReorderedData(np.arange(X.shape[1]), X, neighbors.sorted_indices())
    if gram is None:
        data = _sort_by_frequency(X, neighbors)
    starts, candidates, _ = csr_arrays(data.neighbors)
    weights = np.zeros(len(candidates), np.float32)
    full_gram = np.zeros((0, 0), np.float32) if gram is None else gram
    columns, rows = csr_arrays(sp.csr_array(data.X_sorted.T)), csr_arrays(data.X_sorted)
    settings = _penalty_arguments(penalty)
    _fit_neighbors(full_gram, columns, rows, starts, candidates, settings, numba.get_num_threads(), weights)
    kept = weights > 0
    items = np.repeat(data.order, np.diff(starts))[kept]
    return sp.coo_array((weights[kept], (items, data.order[candidates[kept]])), shape=neighbors.shape).tocsr()


@dataclasses.dataclass(frozen=True, eq=False)
class _ReorderedData:
    """Data with reordered items; ``order`` maps new items to the original ones."""

    order: Int64Array
    X_sorted: CSR
    neighbors: CSR


def _sort_by_frequency(X: CSR, neighbors: CSR) -> _ReorderedData:
    """Sort items by frequency, so that each pair is found from its rarer item, in the front part of a user's row."""
    order = np.argsort(-np.bincount(X.indices, minlength=X.shape[1]), kind="stable")
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    X_sorted = sp.csr_array((X.data, rank[X.indices], X.indptr), shape=X.shape).sorted_indices()
    allowed = neighbors[order]
    allowed = sp.csr_array(
        (allowed.data, rank[allowed.indices], allowed.indptr), shape=neighbors.shape
    ).sorted_indices()
    return _ReorderedData(order, X_sorted, allowed)


def _penalty_arguments(penalty: ElasticNetPenalty) -> _Penalty:
    return np.float32(penalty.l1), np.float32(penalty.l2), penalty.n_iter, np.float32(penalty.tolerance)


@numba.njit(cache=True, nogil=True)
def _descend(
    gram: Float32Array,
    candidates: Int32Array,
    gradient: Float32Array,
    w: Float32Array,
    penalty: _Penalty,
    small_gram: Float32Array,
) -> None:
    """Cycle over ``candidates`` until no weight changes; after each cycle optimize the active set alone.

    ``gradient`` is G_j on entry and G_j − G w on return. ``small_gram`` (M, M) is a buffer for up to M − 2 active weights.
    """
    l1, l2, n_iter, tolerance = penalty
    active = np.empty(len(candidates), np.int32)
    for _ in range(n_iter):
        max_change, count = np.float32(0), 0
        for i in candidates:
            gram_row = gram[i]
            value = max(np.float32(0), (gradient[i] + gram_row[i] * w[i] - l1) / (gram_row[i] + l2))
            step = value - w[i]
            if step != 0:
                w[i] = value
                max_change = max(max_change, abs(step))
                for k in range(len(gradient)):
                    gradient[k] -= step * gram_row[k]
            if value > 0:
                active[count] = i
                count += 1
        if max_change <= tolerance:
            return
        if count + 2 <= len(small_gram) and n_iter > 1:
            _descend_active(gram, active[:count], gradient, w, penalty, small_gram)


@numba.njit(cache=True, nogil=True)
def _descend_active(
    gram: Float32Array,
    active: Int32Array,
    gradient: Float32Array,
    w: Float32Array,
    penalty: _Penalty,
    small_gram: Float32Array,
) -> None:
    """Optimize the ``active`` weights in their own Gram matrix; ``gradient`` is updated once, at the end."""
    l1, l2, n_iter, tolerance = penalty
    count = len(active)
    members, value = small_gram[count], small_gram[count + 1]
    for a in range(count):
        members[a], value[a] = gradient[active[a]], w[active[a]]
        gram_row, source = small_gram[a], gram[active[a]]
        for b in range(count):
            gram_row[b] = source[active[b]]
    for _ in range(n_iter):
        if _run_cycle(small_gram, members, value, count, l1, l2) <= tolerance:
            break
    for a in range(count):
        step = value[a] - w[active[a]]
        if step != 0:
            w[active[a]] = value[a]
            gram_row = gram[active[a]]
            for k in range(len(gradient)):
                gradient[k] -= step * gram_row[k]


@numba.njit(cache=True, nogil=True)
def _run_cycle(gram: Float32Array, gradient: Float32Array, w: Float32Array, count: int, l1: float, l2: float) -> float:
    """One cycle over the first ``count`` weights. Returns the largest change."""
    max_change = np.float32(0)
    for a in range(count):
        gram_row = gram[a]
        value = max(np.float32(0), (gradient[a] + gram_row[a] * w[a] - l1) / (gram_row[a] + l2))
        step = value - w[a]
        if step != 0:
            w[a] = value
            max_change = max(max_change, abs(step))
            for b in range(count):
                gradient[b] -= step * gram_row[b]
    return max_change  # type: ignore[return-value]  # compiled


@compile_parallel
def _fit_all(gram: Float32Array, start: int, penalty: _Penalty, workers: int, out: Float32Array) -> None:
    n, l1 = len(gram), penalty[0]
    for worker in numba.prange(workers):
        gradient, candidates = np.empty(n, np.float32), np.empty(n, np.int32)
        small_gram = np.empty((min(n, _MAX_ACTIVE) + 2, min(n, _MAX_ACTIVE) + 2), np.float32)
        for at in range(worker, len(out), workers):
            j = start + at
            gradient[:] = gram[j]
            count = 0
            for i in range(n):
                if i != j and gradient[i] > l1:
                    candidates[count] = i
                    count += 1
            _descend(gram, candidates[:count], gradient, out[at], penalty, small_gram)


@compile_parallel
def _fit_neighbors(
    full_gram: Float32Array,
    columns: _Arrays,
    rows: _Arrays,
    starts: Int64Array,
    neighbors: Int32Array,
    penalty: _Penalty,
    workers: int,
    weights: Float32Array,
) -> None:
    n, from_columns = len(starts) - 1, len(full_gram) == 0
    max_members = 0
    for j in range(n):
        max_members = max(max_members, starts[j + 1] - starts[j])
    for worker in numba.prange(workers):
        position = np.full(n if from_columns else 0, -1, np.int32)
        buffer, gradient = np.empty((max_members, max_members), np.float32), np.empty(max_members, np.float32)
        all_members = np.arange(max_members).astype(np.int32)
        small_gram = np.empty((min(max_members, _MAX_ACTIVE) + 2, min(max_members, _MAX_ACTIVE) + 2), np.float32)
        for j in range(worker, n, workers):
            members = neighbors[starts[j] : starts[j + 1]]
            k = len(members)
            gram, item_gradient = buffer[:k, :k], gradient[:k]
            if from_columns:
                _local_gram(members, columns, rows, position, gram)
                _multiply_item(j, members, columns, rows, position, item_gradient)
            else:
                _copy_gram(full_gram, j, members, gram, item_gradient)
            out = weights[starts[j] : starts[j + 1]]
            _descend(gram, all_members[:k], item_gradient, out, penalty, small_gram)


@numba.njit(cache=True, nogil=True)
def _copy_gram(
    full_gram: Float32Array, item: int, members: Int32Array, gram: Float32Array, item_gradient: Float32Array
) -> None:
    for a in range(len(members)):
        item_gradient[a] = full_gram[item, members[a]]
        gram_row, source = gram[a], full_gram[members[a]]
        for b in range(len(members)):
            gram_row[b] = source[members[b]]


@numba.njit(cache=True, nogil=True)
def _local_gram(members: Int32Array, columns: _Arrays, rows: _Arrays, position: Int32Array, gram: Float32Array) -> None:
    """The Gram matrix among the items ``members``, sorted by descending frequency."""
    cp, ci, cd = columns
    rp, ri, rd = rows
    gram[:, :] = 0
    for a in range(len(members)):
        position[members[a]] = a
    for a in range(len(members)):
        gram_row, item = gram[a], members[a]
        for entry in range(cp[item], cp[item + 1]):
            weight, user = cd[entry], ci[entry]
            for other in range(rp[user], rp[user + 1]):
                if ri[other] > item:
                    break
                b = position[ri[other]]
                if b >= 0:
                    gram_row[b] += weight * rd[other]
    for a in range(len(members)):
        position[members[a]] = -1
        for b in range(a):
            gram[b, a] = gram[a, b]


@numba.njit(cache=True, nogil=True)
def _multiply_item(
    item: int, members: Int32Array, columns: _Arrays, rows: _Arrays, position: Int32Array, out: Float32Array
) -> None:
    """The products of one item with each of ``members``."""
    cp, ci, cd = columns
    rp, ri, rd = rows
    out[:] = 0
    for a in range(len(members)):
        position[members[a]] = a
    for entry in range(cp[item], cp[item + 1]):
        weight, user = cd[entry], ci[entry]
        for other in range(rp[user], rp[user + 1]):
            b = position[ri[other]]
            if b >= 0:
                out[b] += weight * rd[other]
    for a in range(len(members)):
        position[members[a]] = -1
