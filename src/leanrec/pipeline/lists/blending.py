"""Blending of lists: the items of sources at their places in the list of the model, no item twice."""

import dataclasses
from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from leanrec.pipeline.lists.sources import FittedSource
from leanrec.types import Candidates, Float32Array, Int32Array

__all__ = ["NO_ITEM", "OWN_LIST", "BlendedLists", "assign_places", "blend_lists"]

OWN_LIST, NO_ITEM = -1, -2  # instead of the number of a source


@dataclasses.dataclass(frozen=True, eq=False)
class BlendedLists:
    """Lists (B, n) of items from several sources.

    Attributes:
        items: (B, n) int32 item rows, −1 at the end of a list that is too short.
        scores: (B, n) float32 scores, each of the source of the item.
        origins: (B, n) int32 number of the source; −1 = the list of the model, −2 = no item.
        ranks: (B, n) int32 rank of the item in the list that it comes from.
    """

    items: Int32Array
    scores: Float32Array
    origins: Int32Array
    ranks: Int32Array


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


def blend_lists(own: Candidates, others: Sequence[Candidates], owners: NDArray[np.int32]) -> BlendedLists:
    """Fill the places of B lists from the list of the model and those of S sources. O(B · n²) at worst.

    Args:
        own: (B, K) the lists of the model.
        others: S times (B, K_s) the lists of the sources.
        owners: (n,) the source of each place; see `assign_places`.
    """
    n_lists, n = len(own.items), len(owners)
    longest = max((each.items.shape[1] for each in others), default=0)
    stacked = np.full((len(others), n_lists, longest), -1, np.int32)
    for number, each in enumerate(others):
        stacked[number, :, : each.items.shape[1]] = each.items
    items, origins, ranks = (np.full((n_lists, n), fill, np.int32) for fill in (-1, NO_ITEM, 0))
    _blend(np.ascontiguousarray(own.items), stacked, owners, items, origins, ranks)
    scores = np.full((n_lists, n), -np.inf, np.float32)
    for number, each in enumerate((own, *others), start=OWN_LIST):
        row, place = np.nonzero(origins == number)
        scores[row, place] = each.scores[row, ranks[row, place]]
    return BlendedLists(items, scores, origins, ranks)


@numba.njit(cache=True, nogil=True)
def _blend(
    own: Int32Array,
    others: NDArray[np.int32],
    owners: Int32Array,
    items: Int32Array,
    origins: Int32Array,
    ranks: Int32Array,
) -> None:
    n_sources = len(others)
    next_rank = np.empty(n_sources + 1, np.int32)  # that of the model is the last
    for row in range(own.shape[0]):
        next_rank[:] = 0
        n_listed = 0
        for place in range(len(owners)):
            for turn in range(2):  # the owner of the place, then the model
                origin = owners[place] if turn == 0 else -1
                source = own[row] if origin < 0 else others[origin, row]
                rank = next_rank[origin]
                while rank < len(source) and source[rank] >= 0 and _contains(items[row], n_listed, source[rank]):
                    rank += 1
                next_rank[origin] = rank
                if rank < len(source) and source[rank] >= 0:
                    items[row, n_listed], origins[row, n_listed], ranks[row, n_listed] = source[rank], origin, rank
                    next_rank[origin] = rank + 1
                    n_listed += 1
                    break


@numba.njit(cache=True, nogil=True)
def _contains(items: Int32Array, n: int, item: int) -> bool:
    for at in range(n):  # noqa: SIM110 - compiled
        if items[at] == item:
            return True
    return False
