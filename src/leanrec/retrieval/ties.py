"""Ties of a ranking: where the scores of a model are equal, the fallback decides, and never the order of the ids."""

import dataclasses

import numba
import numpy as np
from numpy.typing import NDArray

from leanrec.kernels.csr import entry_rows
from leanrec.kernels.topk.selection import ItemMask, top_k
from leanrec.protocols import Scorer
from leanrec.types import CSR, Candidates, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["break_ties", "count_ranked", "drop_unranked"]

_BLOCK_BYTES = 64 * 2**20
# Scores that differ by less, relatively, are equal: float32 has 24 bits.
_TOLERANCE = np.float32(5e-7)


def break_ties(
    ranked: Candidates,
    queries: Queries,
    scorer: Scorer,
    fallback: Scorer,
    *,
    seen: CSR | None = None,
    allowed: ItemMask | None = None,
) -> Candidates:
    """Order items of equal score by the fallback: lists (B, K) from the lists (B, K + 1) of a model.

    Score 0 means that the model has no evidence for an item. So a list holds the items that the model ranks, and then
    those that the fallback prefers among the items of score 0, from ``Candidates.n_from_model`` on. At the last position
    all items of its score compete, listed or not; the extra position shows whether there are others. Where the model
    scores all items alike, except those that the user has seen, the whole list comes from the fallback, and
    ``Candidates.fallback`` is True. Items that the fallback scores alike stay in the order of rows. Scores that differ by
    rounding only are equal.

    Cost: O(B · K) for lists without ties; each other list takes one query of model and fallback, and O(N).

    Args:
        ranked: the lists of the model, one position longer than wanted; ``fallback`` is True where all its scores are
            equal.
        queries: B queries.
        scorer: the model.
        fallback: a scorer over the same items.
        seen: (B, N) entries to leave out.
        allowed: (N,) items that may be listed; None = all.
    """
    scores, k = ranked.scores, ranked.scores.shape[1] - 1
    is_flat = np.zeros(len(scores), np.bool_) if ranked.fallback is None else ranked.fallback.copy()
    if not is_flat.any() and not _has_ties(scores):
        items, best = ranked.items[:, :-1].copy(), scores[:, :-1].copy()
        return Candidates(items, best, is_flat, count_ranked(items, best, is_flat))
    is_tied = _equals(scores[:, 1:], scores[:, :-1]) & ~is_flat[:, None]
    items, best = ranked.items[:, :-1].copy(), scores[:, :-1].copy()
    if fallback is scorer:  # its equal scores are in order; only lists of one score may be flat
        is_tied &= _equals(_lowest(scores), scores[:, 0])[:, None]
    tied = np.flatnonzero(is_tied.any(axis=1))
    step = max(1, _BLOCK_BYTES // (16 * max(1, scorer.n_items)))
    for start in range(0, len(tied), step):
        rows = tied[start : start + step]
        some = _take(queries, rows)
        preferences = fallback.score(some)
        # Items outside a list may share the score of its last position; a list of one score may be all that there is.
        is_open = is_tied[rows, -1] | _equals(_lowest(scores[rows]), scores[rows, 0])
        if is_open.any():
            among = np.flatnonzero(is_open)
            chosen = rows[among]
            last = _LastPositions.find(ranked.items[chosen], scores[chosen], scorer.score(_take(some, among)))
            excluded = None if seen is None else seen[chosen]
            items[chosen] = last.fill(preferences[among], seen=excluded, allowed=allowed)
            is_flat[chosen] = last.find_flat(excluded)
        preferred = np.take_along_axis(preferences, np.maximum(items[rows], 0), axis=1)
        group = np.cumsum(~is_tied[rows], axis=1)
        # The tie of the first two positions is at index 0: a group begins after each index without a tie.
        group = np.pad(group, ((0, 0), (1, 0)))[:, :k]
        order = np.lexsort((items[rows], np.where(items[rows] < 0, np.inf, -preferred), group), axis=-1)
        items[rows] = np.take_along_axis(items[rows], order, axis=1)
    flat = np.flatnonzero(is_flat)
    if len(flat):
        excluded = None if seen is None else seen[flat]
        items[flat], best[flat] = top_k(fallback.score(_take(queries, flat)), k, seen=excluded, allowed=allowed)
    return Candidates(items, best, is_flat, count_ranked(items, best, is_flat))


def count_ranked(items: Int32Array, scores: Float32Array, is_flat: np.ndarray) -> Int32Array:
    """(B,) number of items at the head of each list that the model ranks: all before those of score 0.

    A list with negative scores is ranked as a whole, and so is one that comes from the fallback.
    """
    counts = np.empty(len(items), np.int32)
    _count_ranked(items, scores, is_flat, counts)
    return counts


# Most lists have no ties: for one list, a pass of compiled code takes a tenth of the time of NumPy's calls.
@numba.njit(cache=True, nogil=True)
def _has_ties(scores: Float32Array) -> bool:
    """Whether any two neighbors in a list are equal in the sense of ``_equals``."""
    for row in range(scores.shape[0]):
        for position in range(1, scores.shape[1]):
            before, here = scores[row, position - 1], scores[row, position]
            if abs(here - before) <= _TOLERANCE * abs(before):
                return True
    return False


@numba.njit(cache=True, nogil=True)
def _count_ranked(items: Int32Array, scores: Float32Array, is_flat: NDArray[np.bool_], counts: Int32Array) -> None:
    for row in range(items.shape[0]):
        n_listed, n_positive, as_a_whole = 0, 0, is_flat[row]
        for position in range(items.shape[1]):
            if items[row, position] >= 0:
                n_listed += 1
                n_positive += scores[row, position] > 0
                as_a_whole |= scores[row, position] < 0
        counts[row] = n_listed if as_a_whole else n_positive


def drop_unranked(candidates: Candidates) -> Candidates:
    """The lists (B, K) without the positions at their end that several items of score 0 compete for, from lists (B, K + 1).

    The model has no evidence for these items, and without a fallback nothing orders them.
    """
    items, scores = candidates.items, candidates.scores
    is_flat = np.zeros(len(items), np.bool_) if candidates.fallback is None else candidates.fallback
    n_ranked, is_listed = count_ranked(items, scores, is_flat), items >= 0
    is_dropped = np.arange(items.shape[1]) >= n_ranked[:, None]
    # A single item of score 0 has a defined position: after those that the model prefers.
    is_dropped &= (is_listed.sum(axis=1) - n_ranked > 1)[:, None]
    items = np.where(is_dropped, np.int32(-1), items)[:, :-1]
    return Candidates(items, np.where(is_dropped, np.float32(-np.inf), scores)[:, :-1], candidates.fallback)


@dataclasses.dataclass(frozen=True, eq=False)
class _LastPositions:
    """The positions of B lists that share the score of the last one, and all items that compete for them.

    Attributes:
        items: (B, K) the lists.
        n_before: (B, 1) number of positions before those.
        competing: (B, N) whether an item has that score.
    """

    items: Int32Array
    n_before: Int64Array
    competing: NDArray[np.bool_]

    @classmethod
    def find(cls, items: Int32Array, best: Float32Array, scores: Float32Array) -> "_LastPositions":
        """From lists (B, K + 1) with their scores, and the scores of all items (B, N)."""
        lowest = _lowest(best[:, :-1])[:, None]
        competing = _equals(scores, lowest)
        shares = _equals(best, lowest)
        # A search over vectors may round differently from a product of matrices.
        row, position = np.nonzero(shares)
        competing[row, items[row, position]] = True
        n_before = ((best > lowest) & ~shares).sum(axis=1, keepdims=True)
        return cls(items[:, :-1], n_before, competing)

    def fill(self, preferences: Float32Array, *, seen: CSR | None, allowed: ItemMask | None) -> Int32Array:
        """(B, K) the lists with the preferred competitors in the last positions."""
        k = self.items.shape[1]
        values = np.where(self.competing, preferences, np.float32(-np.inf))
        preferred, _ = top_k(values, k, seen=seen, allowed=allowed)
        position = np.arange(k) - self.n_before
        chosen = np.take_along_axis(preferred, np.maximum(position, 0), axis=1)
        return np.where((position < 0) | (self.items < 0), self.items, chosen)

    def find_flat(self, seen: CSR | None) -> NDArray[np.bool_]:
        """(B,) whether all items compete, except those that are seen."""
        differs = ~self.competing
        if seen is not None:
            differs[entry_rows(seen), seen.indices] = False
        return np.asarray(~differs.any(axis=1))


def _equals(scores: Float32Array, others: Float32Array) -> NDArray[np.bool_]:
    """Whether scores are finite and equal, up to the rounding of a sum in another order; 0 equals 0 only."""
    with np.errstate(invalid="ignore"):  # −inf − −inf
        return np.asarray(np.abs(scores - others) <= _TOLERANCE * np.abs(others))


def _lowest(scores: Float32Array) -> Float32Array:
    """(B,) the lowest score of each list."""
    return np.asarray(np.where(scores > -np.inf, scores, np.float32(np.inf)).min(axis=1, initial=np.inf))


def _take(queries: Queries, rows: np.ndarray) -> Queries:
    # Slicing the matrices would cost more than it saves for a single request.
    return queries if len(rows) == len(queries) else queries.take(rows)
