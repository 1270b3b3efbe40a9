"""Exploration: some of the best items of a list change places, with known probabilities (Bottou and others 2013)."""

import random
from typing import NamedTuple

__all__ = ["N_CANDIDATES", "DrawnPlaces", "draw_places"]

N_CANDIDATES = 50  # items behind the end of a list that may take a place in it


class DrawnPlaces(NamedTuple):
    """What the places of a list show.

    Attributes:
        ranks: rank, from 0 on, of the item that each place shows.
        propensities: exact probability with which each place shows what it shows, None for a place of which nothing was drawn.
    """

    ranks: tuple[int, ...]
    propensities: tuple[float | None, ...]


def draw_places(n_items: int, n: int, rate: float, request: str) -> DrawnPlaces | None:
    """Draw which of the best items the n places of a list show; None if there are not two items to draw from.

    The best items are divided into random pairs, and each pair changes places with probability ``rate``. So a place shows its own
    item, or any other of the best items with the same probability, and no item has two places. O(n_items).

    Args:
        n_items: number of best items that may change places, those behind the end of the list included. Places from
            ``n_items`` on show their own items.
        n: number of places.
        rate: probability that a place shows another item, above 0 and at most 1.
        request: id of the list. The same id gives the same draw.
    """
    if n_items < 2:
        return None
    draw = random.Random(request)  # noqa: S311 - not for secrets
    ranks = list(range(max(n, n_items)))
    places = list(range(n_items + n_items % 2))  # of an odd number one has no partner
    draw.shuffle(places)
    for one, other in zip(places[::2], places[1::2], strict=True):
        if draw.random() < rate and max(one, other) < n_items:
            ranks[one], ranks[other] = ranks[other], ranks[one]
    another = rate / (n_items - 1 + n_items % 2)
    own = 1 - another * (n_items - 1)
    propensities = [None if place >= n_items else own if ranks[place] == place else another for place in range(n)]
    return DrawnPlaces(tuple(ranks[:n]), tuple(propensities))
