"""Stochastic gradients on pairs (touched item, other item) of a user: the loss −log σ(score difference).

Users and items are cut into P blocks each. In one round P tasks run side by side, each with its own block of users
and its own block of items, so that no two threads ever touch the same vector (Gemulla et al., KDD 2011): the
result is the same for any number of threads.
"""

import dataclasses
from typing import Any

import numba
import numpy as np

from leanrec.kernels.threads import run_by_rows
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["PairwiseStep", "fold_in_users", "run_epoch"]

_BLOCKS = 16
# A block must have items enough to draw others from.
_ITEMS = 64
_TRIES = 20


@dataclasses.dataclass(frozen=True)
class PairwiseStep:
    """How one gradient step is taken.

    Attributes:
        rate: length.
        l2: shrinkage of every vector it touches.
        popular: draw the other item in proportion to how often items occur; else every item alike.
    """

    rate: float
    l2: float
    popular: bool


def run_epoch(X: CSR, users: Float32Array, items: Float32Array, step: PairwiseStep, rng: np.random.Generator) -> None:
    """One pass over the entries of X in random order, in place. O(entries · D).

    Args:
        X: (U, N), columns sorted within a row.
        users: (U, D) float32.
        items: (N, D + 1) float32, the last column is the bias.
        step: how to step.
        rng: the order of the entries, the blocks of items and the drawn items follow from it.
    """
    blocks = max(1, min(_BLOCKS, X.shape[1] // _ITEMS, X.shape[0]))
    item_block = rng.permutation(X.shape[1]) % blocks
    user_block = rng.permutation(X.shape[0]) % blocks
    mixed = rng.permutation(X.nnz)
    user = np.repeat(np.arange(X.shape[0], dtype=np.int32), np.diff(X.indptr))[mixed]
    item = X.indices[mixed].astype(np.int32)
    key = (item_block[item] * blocks + user_block[user]).astype(np.uint16)
    order = np.argsort(key, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=blocks**2))]).astype(np.int64)
    members = np.argsort(item_block, kind="stable").astype(np.int32)
    firsts = np.concatenate([[0], np.cumsum(np.bincount(item_block, minlength=blocks))]).astype(np.int64)
    seed = int(rng.integers(2**62))
    pairs = (user[order], item[order])
    for turn in range(blocks):
        _round(*pairs, starts, members, firsts, *_entries(X), blocks, turn, *_numbers(step), seed, users, items)


def fold_in_users(history: CSR, items: Float32Array, frequency: Int64Array, step: PairwiseStep, steps: int) -> Float32Array:
    """(B, D) vectors of users who were not in the fit: ``steps`` gradient steps on their own vector, the items fixed.

    The second half of the way is averaged. The draws are the same at every call, so an asker's answer depends on
    the history alone. O(B · steps · D); zeros for an empty history, or one that holds every item.

    Args:
        history: (B, N).
        items: (N, D + 1).
        frequency: (N,) running sum of how often the items occur, to draw in proportion; read only if ``step.popular``.
        step: how to step; the rate falls to a tenth.
        steps: at least 2.
    """
    if not history.has_sorted_indices:
        history = history.sorted_indices()
    out = np.zeros((history.shape[0], items.shape[1] - 1), np.float32)
    starts, places = _entries(history)

    def some(rows: slice) -> None:
        _fold_rows(starts[rows.start :], places, items, frequency, *_numbers(step), steps, out[rows])

    run_by_rows(some, len(out), 4)
    return out


def _entries(X: CSR) -> tuple[Int64Array, Int32Array]:
    return X.indptr.astype(np.int64, copy=False), X.indices.astype(np.int32, copy=False)


def _numbers(step: PairwiseStep) -> tuple[Any, Any, Any]:
    return np.float32(step.rate), np.float32(step.l2), step.popular


@numba.njit(cache=True, nogil=True)
def _next(state: np.uint64) -> np.uint64:
    """Xorshift: the next state, never 0."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@numba.njit(cache=True, nogil=True)
def _below(state: np.uint64, n: int) -> int:
    """A number from 0 to n − 1 from the upper bits of the state; n below 2³¹."""
    return np.int64(((state >> np.uint64(33)) * np.uint64(n)) >> np.uint64(31))  # type: ignore[return-value]  # compiled


@numba.njit(cache=True, nogil=True)
def _touched(item: int, row: Int32Array) -> bool:
    low, high = 0, len(row)
    while low < high:
        middle = (low + high) // 2
        if row[middle] < item:
            low = middle + 1
        else:
            high = middle
    return low < len(row) and row[low] == item


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _pull(w: Float32Array, a: Float32Array, b: Float32Array) -> float:
    """σ(−x) for the score difference x of a and b: how far this pair still has to move."""
    width = len(w)
    difference = a[width] - b[width]
    for d in range(width):
        difference += w[d] * (a[d] - b[d])
    return np.float32(1) / (np.float32(1) + np.exp(difference))  # type: ignore[no-any-return]  # compiled


@numba.njit(parallel=True, cache=True)
def _round(
    user: Int32Array,
    item: Int32Array,
    starts: Int64Array,
    members: Int32Array,
    firsts: Int64Array,
    xp: Int64Array,
    xi: Int32Array,
    blocks: int,
    turn: int,
    rate: float,
    l2: float,
    popular: bool,
    seed: int,
    users: Float32Array,
    items: Float32Array,
) -> None:
    for mine in numba.prange(blocks):
        theirs = (mine + turn) % blocks
        cell = theirs * blocks + mine
        state = np.uint64(seed) ^ (np.uint64(cell + 1) * np.uint64(0x9E3779B97F4A7C15))
        pool = item[starts[theirs * blocks] : starts[(theirs + 1) * blocks]]
        if not popular:
            pool = members[firsts[theirs] : firsts[theirs + 1]]
        for entry in range(starts[cell], starts[cell + 1]):
            who, good = user[entry], item[entry]
            row = xi[xp[who] : xp[who + 1]]
            for _ in range(_TRIES):
                state = _next(state)
                other = pool[_below(state, len(pool))]
                if not _touched(other, row):
                    _move(users[who], items[good], items[other], rate, l2)
                    break


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _move(w: Float32Array, a: Float32Array, b: Float32Array, rate: float, l2: float) -> None:
    width = len(w)
    pull = _pull(w, a, b)
    for d in range(width):
        wd, ad, bd = w[d], a[d], b[d]
        w[d] = wd + rate * (pull * (ad - bd) - l2 * wd)
        a[d] = ad + rate * (pull * wd - l2 * ad)
        b[d] = bd - rate * (pull * wd + l2 * bd)
    a[width] += rate * (pull - l2 * a[width])
    b[width] -= rate * (pull + l2 * b[width])


@numba.njit(cache=True, nogil=True)
def _fold_rows(
    xp: Int64Array,
    xi: Int32Array,
    items: Float32Array,
    frequency: Int64Array,
    rate: float,
    l2: float,
    popular: bool,
    steps: int,
    out: Float32Array,
) -> None:
    for row in range(len(out)):
        _fold(xi[xp[row] : xp[row + 1]], items, frequency, rate, l2, popular, steps, out[row])


@numba.njit(cache=True, nogil=True)
def _fold(
    row: Int32Array,
    items: Float32Array,
    frequency: Int64Array,
    rate: float,
    l2: float,
    popular: bool,
    steps: int,
    mean: Float32Array,
) -> None:
    if not len(row):
        return
    width, n = len(mean), len(items)
    w = np.zeros(width, np.float32)
    state, taken = np.uint64(0x2545F4914F6CDD1D), 0
    for turn in range(steps):
        state = _next(state)
        # Drawn from both ends: the low bits choose the item of the history in turn.
        good = row[turn % len(row)]
        other = _draw(state, frequency, n, popular)
        if not _touched(other, row):
            step = rate * (np.float32(1) - np.float32(0.9) * turn / steps)
            _move_user(w, items[good], items[other], step, l2)  # type: ignore[arg-type]  # compiled
        if turn >= steps // 2:
            taken += 1
            for d in range(width):
                mean[d] += (w[d] - mean[d]) / taken


@numba.njit(cache=True, nogil=True)
def _draw(state: np.uint64, frequency: Int64Array, n: int, popular: bool) -> int:
    if not popular:
        return _below(state, n)
    # The item in whose share of the running sum the number falls.
    return np.searchsorted(frequency, _below(state, frequency[n - 1]), side="right")  # type: ignore[return-value]  # compiled


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _move_user(w: Float32Array, a: Float32Array, b: Float32Array, rate: float, l2: float) -> None:
    pull = _pull(w, a, b)
    for d in range(len(w)):
        w[d] += rate * (pull * (a[d] - b[d]) - l2 * w[d])
