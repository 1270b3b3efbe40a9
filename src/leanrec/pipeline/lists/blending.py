"""Blending of lists: pinned items and those of sources at their places in the list of the model, no item twice."""

import dataclasses
from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from leanrec.pipeline.lists.rules import RuleStage
from leanrec.pipeline.lists.sources import FittedSource
from leanrec.retrieval.stages import RankedItems
from leanrec.types import Candidates, Float32Array, Int32Array

__all__ = ["NO_ITEM", "OWN_LIST", "PIN", "PINNED", "BlendedLists", "assign_places", "blend_items", "blend_lists"]

OWN_LIST, NO_ITEM, PINNED = -1, -2, -3  # instead of the number of a source
PIN = "pin"  # the source of a pinned item


@dataclasses.dataclass(frozen=True, eq=False)
class BlendedLists:
    """Lists (B, n) of items from several sources.

    Attributes:
        items: (B, n) int32 item rows, −1 at the end of a list that is too short.
        scores: (B, n) float32 scores, each of the source of the item; 0 of a pinned item.
        origins: (B, n) int32 number of the source; −1 = the list of the model, −2 = no item, −3 = a pinned item.
        ranks: (B, n) int32 rank of the item in the list that it comes from.
        is_cut: a list that was as long as asked for ended before its next item was found, so that a longer one could give
            another result.
    """

    items: Int32Array
    scores: Float32Array
    origins: Int32Array
    ranks: Int32Array
    is_cut: bool


def assign_places(sources: Sequence[FittedSource], n: int) -> Int32Array:
    """(n,) number of the source that has a place, −1 for a place of the model.

    Positions come first. What is left of the quotas gets the last free places, in the order of the sources, but at most as
    many as make half of the list.
    """
    owners = np.full(n, OWN_LIST, np.int32)
    left: list[int] = []
    for number, source in enumerate(sources):
        owners[[position - 1 for position in source.positions if position <= n]] = number
        left += [number] * (source.quota - len(source.positions))
    free = np.flatnonzero(owners == OWN_LIST)
    n_last = max(0, min(len(left), len(free), n // 2 - (n - len(free))))
    owners[free[len(free) - n_last :]] = left[:n_last]
    return owners


def blend_lists(
    own: Candidates,
    others: Sequence[Candidates],
    owners: Int32Array,
    pins: Int32Array | None = None,
    rules: RuleStage | None = None,
) -> BlendedLists:
    """Fill the places of B lists from the list of the model and those of S sources. O(B · n²) at worst.

    Args:
        own: (B, K) the lists of the model.
        others: S times (B, K_s) the lists of the sources.
        owners: (n,) the source of each place; see `assign_places`.
        pins: (B, n) items that have their places in any case, −1 where there is none; None = no such items.
        rules: limits on items that are alike; None = no limits.
    """
    n_lists, n = len(own.items), len(owners)
    longest = max((each.items.shape[1] for each in others), default=0)
    stacked = np.full((len(others), n_lists, longest), -1, np.int32)
    for number, each in enumerate(others):
        stacked[number, :, : each.items.shape[1]] = each.items
    if pins is None:
        pins = np.full((n_lists, n), -1, np.int32)
    no_labels = (np.zeros(1, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int32))
    labels = no_labels if rules is None else (rules.indptr, rules.codes, rules.limits)
    items, origins, ranks = (np.full((n_lists, n), fill, np.int32) for fill in (-1, NO_ITEM, 0))
    is_cut = _blend(np.ascontiguousarray(own.items), stacked, owners, pins, *labels, items, origins, ranks)
    scores = np.full((n_lists, n), -np.inf, np.float32)
    scores[origins == PINNED] = 0
    for number, each in enumerate((own, *others), start=OWN_LIST):
        row, place = np.nonzero(origins == number)
        scores[row, place] = each.scores[row, ranks[row, place]]
    return BlendedLists(items, scores, origins, ranks, is_cut)


def blend_items(
    own: RankedItems,
    lists: Sequence[tuple[FittedSource, Candidates]],
    owners: Int32Array,
    pins: Int32Array,
    rules: RuleStage | None,
    *,
    is_whole: bool,
) -> tuple[RankedItems, bool]:
    """The list of one query with pinned items and those of sources, and whether it needs longer lists; see `blend_lists`.

    Args:
        own: the list of the model.
        lists: the sources with their lists (1, K_s).
        owners: (n,) the source of each place.
        pins: (1, n) items that have their places in any case, −1 where there is none.
        rules: limits on items that are alike; None = no limits.
        is_whole: the model has no more items than those of ``own``.
    """
    rows, scores = ((*own.rows, -1), (*own.scores, 0.0)) if is_whole else (own.rows, own.scores)
    ranked = Candidates(np.array([rows], np.int32), np.array([scores], np.float32))
    blended = blend_lists(ranked, [each for _, each in lists], owners, pins, rules)
    n_listed = int((blended.origins[0] != NO_ITEM).sum())
    origins, ranks = blended.origins[0, :n_listed], blended.ranks[0, :n_listed]
    names = {OWN_LIST: "", PINNED: PIN} | {number: source.name for number, (source, _) in enumerate(lists)}
    n_from_model = int(((origins == OWN_LIST) & (ranks < own.n_from_model)).sum())
    rows, scores = tuple(blended.items[0, :n_listed].tolist()), tuple(blended.scores[0, :n_listed].tolist())
    placed = tuple([names[origin] for origin in origins.tolist()])
    return RankedItems(rows, scores, n_from_model, own.from_fallback, placed), blended.is_cut


@numba.njit(cache=True, nogil=True)
def _blend(
    own: Int32Array,
    others: NDArray[np.int32],
    owners: Int32Array,
    pins: Int32Array,
    indptr: Int32Array,
    codes: Int32Array,
    limits: Int32Array,
    items: Int32Array,
    origins: Int32Array,
    ranks: Int32Array,
) -> bool:
    """Fill the last three arrays. Returns whether a list ended too early to know what comes next."""
    n_places, is_cut = len(owners), False
    next_rank = np.empty(len(others) + 1, np.int32)  # that of the model is the last
    counts = np.zeros(len(limits), np.int32)
    for row in range(own.shape[0]):
        next_rank[:] = 0
        n_listed = 0
        for place in range(n_places):
            _count_labels(pins[row, place], 1, indptr, codes, counts)
        for place in range(n_places):
            if pins[row, place] >= 0:
                items[row, n_listed], origins[row, n_listed] = pins[row, place], -3
                n_listed += 1
                continue
            for turn in range(2):  # the owner of the place, then the model
                origin = owners[place] if turn == 0 else -1
                source = own[row] if origin < 0 else others[origin, row]
                rank = next_rank[origin]
                while rank < len(source) and source[rank] >= 0:
                    item = source[rank]
                    is_free = not _contains(items[row], n_listed, item) and not _contains(pins[row], n_places, item)
                    if is_free and _is_within(item, indptr, codes, counts, limits):
                        break
                    rank += 1
                next_rank[origin] = rank
                if rank < len(source) and source[rank] >= 0:
                    items[row, n_listed], origins[row, n_listed], ranks[row, n_listed] = source[rank], origin, rank
                    _count_labels(source[rank], 1, indptr, codes, counts)
                    next_rank[origin] = rank + 1
                    n_listed += 1
                    break
                is_cut |= rank == len(source)
        for place in range(n_listed):
            _count_labels(items[row, place], -1, indptr, codes, counts)
    return is_cut


@numba.njit(cache=True, nogil=True)
def _contains(items: Int32Array, n: int, item: int) -> bool:
    for at in range(n):  # noqa: SIM110 - compiled
        if items[at] == item:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _is_within(item: int, indptr: Int32Array, codes: Int32Array, counts: Int32Array, limits: Int32Array) -> bool:
    if len(limits):
        for at in range(indptr[item], indptr[item + 1]):
            if counts[codes[at]] >= limits[codes[at]]:
                return False
    return True


@numba.njit(cache=True, nogil=True)
def _count_labels(item: int, change: int, indptr: Int32Array, codes: Int32Array, counts: Int32Array) -> None:
    if item >= 0 and len(counts):
        for at in range(indptr[item], indptr[item + 1]):
            counts[codes[at]] += change
