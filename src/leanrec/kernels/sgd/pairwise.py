"""Bayesian personalized ranking: stochastic gradient descent on −log σ(score of a positive item − score of a negative).

Users and items are split into P blocks each. In one round P tasks run in parallel, each with its own block of users and
its own block of items, so that no two threads update the same vector and the result is the same for any number of
threads (Gemulla et al., "Large-Scale Matrix Factorization with Distributed Stochastic Gradient Descent", KDD 2011).
"""

import dataclasses
from typing import Any

import numba
import numpy as np

from leanrec.kernels.csr import csr_arrays
from leanrec.kernels.threads import MIN_ROWS_FOR_THREADS, compile_parallel, run_by_rows
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["PairwiseStep", "draw_negatives", "fold_in_users", "run_epoch"]

_MAX_BLOCKS = 16
# Items per block at least: negatives are drawn from within a block.
_MIN_BLOCK_ITEMS = 64
_MAX_DRAWS = 20


@dataclasses.dataclass(frozen=True)
class PairwiseStep:
    """Settings of a gradient step.

    Attributes:
        learning_rate: step size.
        l2: regularization of each vector in the step.
        by_popularity: draw negatives in proportion to item frequency; False = uniformly.
    """

    learning_rate: float
    l2: float
    by_popularity: bool


def run_epoch(X: CSR, users: Float32Array, items: Float32Array, step: PairwiseStep, rng: np.random.Generator) -> None:
    """One epoch over the entries of X in random order, in place. O(entries · D).

    Args:
        X: (U, N), columns sorted within a row.
        users: (U, D) float32.
        items: (N, D + 1) float32, bias in the last column.
        step: settings of the steps.
        rng: draws the order of the entries, the blocks and the negatives.
    """
    blocks = max(1, min(_MAX_BLOCKS, X.shape[1] // _MIN_BLOCK_ITEMS, X.shape[0]))
    item_block = rng.permutation(X.shape[1]) % blocks
    user_block = rng.permutation(X.shape[0]) % blocks
    shuffled = rng.permutation(X.nnz)
    user = np.repeat(np.arange(X.shape[0], dtype=np.int32), np.diff(X.indptr))[shuffled]
    item = X.indices[shuffled].astype(np.int32)
    key = (item_block[item] * blocks + user_block[user]).astype(np.uint16)
    order = np.argsort(key, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=blocks**2))]).astype(np.int64)
    block_items = np.argsort(item_block, kind="stable").astype(np.int32)
    block_starts = np.concatenate([[0], np.cumsum(np.bincount(item_block, minlength=blocks))]).astype(np.int64)
    seed = int(rng.integers(2**62))
    pairs, histories = (user[order], item[order]), csr_arrays(X)[:2]
    for turn in range(blocks):
        _run_round(
            *pairs,
            starts,
            block_items,
            block_starts,
            *histories,
            blocks,
            turn,
            *_step_arguments(step),
            seed,
            users,
            items,
        )


def draw_negatives(frequency: Int64Array, n_items: int, step: PairwiseStep, steps: int) -> Int32Array:
    """(steps,) the negatives that a fold-in of users meets, the same for all users and in every call. O(steps · log N).

    Args:
        frequency: (N,) cumulative item counts; read only if ``step.by_popularity``.
        n_items: N.
        step: settings of the steps.
        steps: number of draws; there is none from no items, or from items without interactions by popularity.
    """
    has_items = frequency[-1:].any() if step.by_popularity else n_items
    drawn = np.zeros(steps if has_items else 0, np.int32)
    _draw_items(frequency, n_items, step.by_popularity, drawn)
    return drawn


def fold_in_users(history: CSR, items: Float32Array, negatives: Int32Array, step: PairwiseStep) -> Float32Array:
    """(B, D) vectors of users from their histories: a gradient step on the user vector for each negative, items fixed.

    The second half of the iterates is averaged. The negatives are given, so the result depends on the history alone.
    Only the rows of ``items`` of the histories and the negatives are read. O(B · steps · D); zeros for an empty history
    and for one with every negative.

    Args:
        history: (B, N).
        items: (N, D + 1).
        negatives: (steps,) rows of items, as `draw_negatives` gives them; one that is in the history is left out.
        step: settings of the steps; the learning rate falls to a tenth.
    """
    if not history.has_sorted_indices:
        history = history.sorted_indices()
    out = np.zeros((history.shape[0], items.shape[1] - 1), np.float32)
    starts, columns, _ = csr_arrays(history)

    def fold_rows(rows: slice) -> None:
        learning_rate, l2, _ = _step_arguments(step)
        _fold_in_rows(starts[rows.start :], columns, items, negatives, learning_rate, l2, out[rows])

    run_by_rows(fold_rows, len(out), MIN_ROWS_FOR_THREADS)
    return out


def _step_arguments(step: PairwiseStep) -> tuple[Any, Any, Any]:
    return np.float32(step.learning_rate), np.float32(step.l2), step.by_popularity


@numba.njit(cache=True, nogil=True)
def _next_state(state: np.uint64) -> np.uint64:
    """Xorshift: the next state, never 0."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@numba.njit(cache=True, nogil=True)
def _draw_below(state: np.uint64, n: int) -> int:
    """An integer from 0 to n − 1 from the upper bits of the state; n below 2³¹."""
    return np.int64(((state >> np.uint64(33)) * np.uint64(n)) >> np.uint64(31))  # type: ignore[return-value]  # compiled


@numba.njit(cache=True, nogil=True)
def _contains(item: int, row: Int32Array) -> bool:
    low, high = 0, len(row)
    while low < high:
        middle = (low + high) // 2
        if row[middle] < item:
            low = middle + 1
        else:
            high = middle
    return low < len(row) and row[low] == item


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _loss_slope(w: Float32Array, a: Float32Array, b: Float32Array) -> float:
    """σ(−x) for the score difference x of a and b: the derivative of the loss, negated."""
    width = len(w)
    difference = a[width] - b[width]
    for d in range(width):
        difference += w[d] * (a[d] - b[d])
    return np.float32(1) / (np.float32(1) + np.exp(difference))  # type: ignore[no-any-return]  # compiled


@compile_parallel
def _run_round(
    user: Int32Array,
    item: Int32Array,
    starts: Int64Array,
    block_items: Int32Array,
    block_starts: Int64Array,
    xp: Int64Array,
    xi: Int32Array,
    blocks: int,
    turn: int,
    learning_rate: float,
    l2: float,
    by_popularity: bool,
    seed: int,
    users: Float32Array,
    items: Float32Array,
) -> None:
    for user_group in numba.prange(blocks):
        item_group = (user_group + turn) % blocks
        cell = item_group * blocks + user_group
        state = np.uint64(seed) ^ (np.uint64(cell + 1) * np.uint64(0x9E3779B97F4A7C15))
        pool = item[starts[item_group * blocks] : starts[(item_group + 1) * blocks]]
        if not by_popularity:
            pool = block_items[block_starts[item_group] : block_starts[item_group + 1]]
        for entry in range(starts[cell], starts[cell + 1]):
            u, positive = user[entry], item[entry]
            row = xi[xp[u] : xp[u + 1]]
            for _ in range(_MAX_DRAWS):
                state = _next_state(state)
                negative = pool[_draw_below(state, len(pool))]
                if not _contains(negative, row):
                    _update_pair(users[u], items[positive], items[negative], learning_rate, l2)
                    break


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _update_pair(w: Float32Array, a: Float32Array, b: Float32Array, learning_rate: float, l2: float) -> None:
    width = len(w)
    slope = _loss_slope(w, a, b)
    for d in range(width):
        wd, ad, bd = w[d], a[d], b[d]
        w[d] = wd + learning_rate * (slope * (ad - bd) - l2 * wd)
        a[d] = ad + learning_rate * (slope * wd - l2 * ad)
        b[d] = bd - learning_rate * (slope * wd + l2 * bd)
    a[width] += learning_rate * (slope - l2 * a[width])
    b[width] -= learning_rate * (slope + l2 * b[width])


@numba.njit(cache=True, nogil=True)
def _fold_in_rows(
    xp: Int64Array,
    xi: Int32Array,
    items: Float32Array,
    negatives: Int32Array,
    learning_rate: float,
    l2: float,
    out: Float32Array,
) -> None:
    for row in range(len(out)):
        _fold_in_row(xi[xp[row] : xp[row + 1]], items, negatives, learning_rate, l2, out[row])


@numba.njit(cache=True, nogil=True)
def _fold_in_row(
    row: Int32Array,
    items: Float32Array,
    negatives: Int32Array,
    learning_rate: float,
    l2: float,
    average: Float32Array,
) -> None:
    if not len(row):
        return
    width, steps = len(average), len(negatives)
    w = np.zeros(width, np.float32)
    n_averaged = 0
    for turn in range(steps):
        # Positives take turns.
        positive, negative = row[turn % len(row)], negatives[turn]
        if not _contains(negative, row):
            length = learning_rate * (np.float32(1) - np.float32(0.9) * turn / steps)
            _update_user(w, items[positive], items[negative], length, l2)  # type: ignore[arg-type]  # compiled
        if turn >= steps // 2:
            n_averaged += 1
            for d in range(width):
                average[d] += (w[d] - average[d]) / n_averaged


@numba.njit(cache=True, nogil=True)
def _draw_items(frequency: Int64Array, n: int, by_popularity: bool, out: Int32Array) -> None:
    state = np.uint64(0x2545F4914F6CDD1D)
    for turn in range(len(out)):
        state = _next_state(state)
        if by_popularity:
            # The item whose interval of the cumulative counts contains the number.
            out[turn] = np.searchsorted(frequency, _draw_below(state, frequency[n - 1]), side="right")
        else:
            out[turn] = _draw_below(state, n)


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _update_user(w: Float32Array, a: Float32Array, b: Float32Array, learning_rate: float, l2: float) -> None:
    slope = _loss_slope(w, a, b)
    for d in range(len(w)):
        w[d] += learning_rate * (slope * (a[d] - b[d]) - l2 * w[d])
