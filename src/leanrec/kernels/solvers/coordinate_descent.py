"""Non-negative elastic nets, one for each item, by coordinate descent on columns of the Gram matrix.

For item j: the w ≥ 0 with w_j = 0 that minimises ½|x_j − X w|² + ½ l2 |w|² + l1 Σ w.

The derivative g = G_j − G w is kept up to date: a changed weight costs one row of the Gram matrix. So between two sweeps
over all items the few weights above zero settle among themselves, in a small Gram matrix of their own. As G ≥ 0 and
w ≥ 0, g only falls below G_j, so an item with G_ij ≤ l1 can never enter and is never visited. Each item belongs
to one thread, so the result is the same for any number of threads.
"""

import dataclasses
from typing import Any

import numba
import numpy as np
import scipy.sparse as sp

from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["ElasticNetPenalty", "fit_elastic_nets", "fit_local_elastic_nets"]

# Weights above zero that settle in a Gram matrix of their own, 4 MB a thread.
_SETTLING = 1024


@dataclasses.dataclass(frozen=True)
class ElasticNetPenalty:
    """What the nets pay for their weights, and when the descent ends.

    Attributes:
        l1: at least 0.
        l2: above 0.
        passes: at most this many sweeps over the weights of an item, and after each as many over those above zero.
        tolerance: a sweep that moves no weight by more than this ends the descent.
    """

    l1: float
    l2: float
    passes: int
    tolerance: float


def fit_elastic_nets(gram: Float32Array, penalty: ElasticNetPenalty, start: int, stop: int) -> CSR:
    """Nets of items ``start`` to ``stop`` over all items: (stop − start, N), row j holds the weights of item j.

    Time O(moved weights · N) an item; memory 4 N (stop − start) bytes.

    Args:
        gram: (N, N) XᵀX of non-negative X.
        penalty: of the nets.
        start: first item.
        stop: one past the last.
    """
    out = np.zeros((stop - start, len(gram)), np.float32)
    _over_all(gram, start, *_numbers(penalty), numba.get_num_threads(), out)
    return sp.csr_array(out)


def fit_local_elastic_nets(X: CSR, near: CSR, penalty: ElasticNetPenalty, gram: Float32Array | None = None) -> CSR:
    """Nets of all items in which item j may use only the items of row j of ``near``: (N, N), row j those of item j.

    The Gram matrix among the K neighbours of an item is made for that item alone: time O(Σ over neighbours of
    the entries that they share with more frequent items) + O(moved weights · K); memory 4 K² bytes a thread.

    Args:
        X: (U, N), entries above 0.
        near: (N, N), no diagonal.
        penalty: of the nets.
        gram: (N, N) XᵀX if it is at hand: the small ones are then copied from it.
    """
    how = _by_frequency(X, near) if gram is None else _Renamed(np.arange(X.shape[1]), X, near.sorted_indices())
    starts, places = how.near.indptr.astype(np.int64), how.near.indices.astype(np.int32)
    weights = np.zeros(len(places), np.float32)
    full = np.zeros((0, 0), np.float32) if gram is None else gram
    source = *_parts(sp.csr_array(how.users.T)), *_parts(how.users)
    _over_near(full, *source, starts, places, *_numbers(penalty), numba.get_num_threads(), weights)
    kept = weights > 0
    rows = np.repeat(how.order, np.diff(starts))[kept]
    return sp.coo_array((weights[kept], (rows, how.order[places[kept]])), shape=near.shape).tocsr()


@dataclasses.dataclass(frozen=True, eq=False)
class _Renamed:
    """Data under other names of the items; ``order`` has the old name of each."""

    order: Int64Array
    users: CSR
    near: CSR


def _by_frequency(X: CSR, near: CSR) -> _Renamed:
    """Renamed by frequency: a pair is then met once, from its rarer side, in the front part of a user's row."""
    order = np.argsort(-np.bincount(X.indices, minlength=X.shape[1]), kind="stable")
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    users = sp.csr_array((X.data, rank[X.indices], X.indptr), shape=X.shape).sorted_indices()
    allowed = near[order]
    allowed = sp.csr_array((allowed.data, rank[allowed.indices], allowed.indptr), shape=near.shape).sorted_indices()
    return _Renamed(order, users, allowed)


def _parts(matrix: CSR) -> tuple[Int64Array, Int32Array, Float32Array]:
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data.astype(np.float32)


def _numbers(penalty: ElasticNetPenalty) -> tuple[Any, Any, Any, Any]:
    return np.float32(penalty.l1), np.float32(penalty.l2), penalty.passes, np.float32(penalty.tolerance)


@numba.njit(cache=True, nogil=True)
def _descend(
    gram: Float32Array,
    places: Int32Array,
    rest: Float32Array,
    w: Float32Array,
    l1: float,
    l2: float,
    passes: int,
    tolerance: float,
    small: Float32Array,
) -> None:
    """Sweep over ``places`` until nothing moves; after each sweep the weights above zero settle among themselves.

    ``rest`` enters as G_j and leaves as G_j − G w. ``small`` (M, M) is room for the settling of up to M − 2 weights.
    """
    active = np.empty(len(places), np.int32)
    for _ in range(passes):
        moved, count = np.float32(0), 0
        for i in places:
            line = gram[i]
            value = max(np.float32(0), (rest[i] + line[i] * w[i] - l1) / (line[i] + l2))
            step = value - w[i]
            if step != 0:
                w[i] = value
                moved = max(moved, abs(step))
                for k in range(len(rest)):
                    rest[k] -= step * line[k]
            if value > 0:
                active[count] = i
                count += 1
        if moved <= tolerance:
            return
        if count + 2 <= len(small) and passes > 1:
            _settle(gram, active[:count], rest, w, l1, l2, passes, tolerance, small)


@numba.njit(cache=True, nogil=True)
def _settle(
    gram: Float32Array,
    active: Int32Array,
    rest: Float32Array,
    w: Float32Array,
    l1: float,
    l2: float,
    passes: int,
    tolerance: float,
    small: Float32Array,
) -> None:
    """Descend over the ``active`` weights in a Gram matrix of their own; ``rest`` is put right once, at the end."""
    count = len(active)
    mine, value = small[count], small[count + 1]
    for a in range(count):
        mine[a], value[a] = rest[active[a]], w[active[a]]
        line, source = small[a], gram[active[a]]
        for b in range(count):
            line[b] = source[active[b]]
    for _ in range(passes):
        if _sweep(small, mine, value, count, l1, l2) <= tolerance:
            break
    for a in range(count):
        step = value[a] - w[active[a]]
        if step != 0:
            w[active[a]] = value[a]
            line = gram[active[a]]
            for k in range(len(rest)):
                rest[k] -= step * line[k]


@numba.njit(cache=True, nogil=True)
def _sweep(gram: Float32Array, rest: Float32Array, w: Float32Array, count: int, l1: float, l2: float) -> float:
    """One sweep over the first ``count`` weights; the largest move."""
    moved = np.float32(0)
    for a in range(count):
        line = gram[a]
        value = max(np.float32(0), (rest[a] + line[a] * w[a] - l1) / (line[a] + l2))
        step = value - w[a]
        if step != 0:
            w[a] = value
            moved = max(moved, abs(step))
            for b in range(count):
                rest[b] -= step * line[b]
    return moved  # type: ignore[return-value]  # compiled


@numba.njit(parallel=True, cache=True)
def _over_all(
    gram: Float32Array,
    start: int,
    l1: float,
    l2: float,
    passes: int,
    tolerance: float,
    workers: int,
    out: Float32Array,
) -> None:
    n = len(gram)
    for worker in numba.prange(workers):
        rest, places = np.empty(n, np.float32), np.empty(n, np.int32)
        small = np.empty((min(n, _SETTLING) + 2, min(n, _SETTLING) + 2), np.float32)
        for at in range(worker, len(out), workers):
            j = start + at
            rest[:] = gram[j]
            count = 0
            for i in range(n):
                if i != j and rest[i] > l1:
                    places[count] = i
                    count += 1
            _descend(gram, places[:count], rest, out[at], l1, l2, passes, tolerance, small)


@numba.njit(parallel=True, cache=True)
def _over_near(
    full: Float32Array,
    cp: Int64Array,
    ci: Int32Array,
    cd: Float32Array,
    rp: Int64Array,
    ri: Int32Array,
    rd: Float32Array,
    starts: Int64Array,
    near: Int32Array,
    l1: float,
    l2: float,
    passes: int,
    tolerance: float,
    workers: int,
    weights: Float32Array,
) -> None:
    n, counted = len(starts) - 1, len(full) == 0
    largest = 0
    for j in range(n):
        largest = max(largest, starts[j + 1] - starts[j])
    for worker in numba.prange(workers):
        place = np.full(n if counted else 0, -1, np.int32)
        space, rest = np.empty((largest, largest), np.float32), np.empty(largest, np.float32)
        everyone = np.arange(largest).astype(np.int32)
        small = np.empty((min(largest, _SETTLING) + 2, min(largest, _SETTLING) + 2), np.float32)
        for j in range(worker, n, workers):
            mine = near[starts[j] : starts[j + 1]]
            k = len(mine)
            gram, part = space[:k, :k], rest[:k]
            if counted:
                _local_gram(mine, cp, ci, cd, rp, ri, rd, place, gram)
                _against(j, mine, cp, ci, cd, rp, ri, rd, place, part)
            else:
                _copy(full, j, mine, gram, part)
            out = weights[starts[j] : starts[j + 1]]
            _descend(gram, everyone[:k], part, out, l1, l2, passes, tolerance, small)


@numba.njit(cache=True, nogil=True)
def _copy(full: Float32Array, item: int, mine: Int32Array, gram: Float32Array, part: Float32Array) -> None:
    for a in range(len(mine)):
        part[a] = full[item, mine[a]]
        line, source = gram[a], full[mine[a]]
        for b in range(len(mine)):
            line[b] = source[mine[b]]


@numba.njit(cache=True, nogil=True)
def _local_gram(
    mine: Int32Array,
    cp: Int64Array,
    ci: Int32Array,
    cd: Float32Array,
    rp: Int64Array,
    ri: Int32Array,
    rd: Float32Array,
    place: Int32Array,
    gram: Float32Array,
) -> None:
    """The Gram matrix among the items ``mine``, sorted, most frequent first."""
    gram[:, :] = 0
    for a in range(len(mine)):
        place[mine[a]] = a
    for a in range(len(mine)):
        line, item = gram[a], mine[a]
        for entry in range(cp[item], cp[item + 1]):
            weight, user = cd[entry], ci[entry]
            for other in range(rp[user], rp[user + 1]):
                if ri[other] > item:
                    break
                b = place[ri[other]]
                if b >= 0:
                    line[b] += weight * rd[other]
    for a in range(len(mine)):
        place[mine[a]] = -1
        for b in range(a):
            gram[b, a] = gram[a, b]


@numba.njit(cache=True, nogil=True)
def _against(
    item: int,
    mine: Int32Array,
    cp: Int64Array,
    ci: Int32Array,
    cd: Float32Array,
    rp: Int64Array,
    ri: Int32Array,
    rd: Float32Array,
    place: Int32Array,
    out: Float32Array,
) -> None:
    """The products of one item with the items ``mine``."""
    out[:] = 0
    for a in range(len(mine)):
        place[mine[a]] = a
    for entry in range(cp[item], cp[item + 1]):
        weight, user = cd[entry], ci[entry]
        for other in range(rp[user], rp[user + 1]):
            b = place[ri[other]]
            if b >= 0:
                out[b] += weight * rd[other]
    for a in range(len(mine)):
        place[mine[a]] = -1
