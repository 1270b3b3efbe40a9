"""Exploration: some of the best items of a list change places, with known probabilities (Bottou and others 2013)."""

import dataclasses
import random

from leanrec.pipeline.stages import RankedItems

__all__ = ["N_CANDIDATES", "explore_list"]

N_CANDIDATES = 50  # items behind the end of a list that may take a place in it


def explore_list(
    found: RankedItems, n: int, rate: float, request: str
) -> tuple[RankedItems, tuple[float | None, ...] | None]:
    """A list of n in which each place shows another item with probability ``rate``; and the propensities of what it shows.

    The best items are divided into random pairs, and each pair changes places with probability ``rate``. So a place shows its own
    item, or any other of the best items with the same probability, and no item has two places. The propensity is the exact
    probability with which a place shows what it shows. All items obey the rules of the request, as those of ``found`` do. Those
    that the fallback filled in stay where they are, unless the whole list is the fallback's. O(n + items behind).

    Args:
        found: the best items, those behind the end of the list included.
        n: length of the list.
        rate: probability, from 0 to 1.
        request: id of the list. The same id gives the same draw.

    Returns the list and a propensity for each place, None for a place of which nothing was drawn. None instead of the
    propensities: nothing was drawn at all.
    """
    n_paired = len(found.rows) if found.from_fallback else found.n_from_model
    order = list(range(len(found.rows)))
    draw = random.Random(request)  # noqa: S311 - not for secrets
    if rate > 0 and n_paired > 1:
        places = list(range(n_paired + n_paired % 2))  # an odd one is left over
        draw.shuffle(places)
        for one, other in zip(places[::2], places[1::2], strict=True):
            if draw.random() < rate and max(one, other) < n_paired:
                order[one], order[other] = order[other], order[one]
    listed = dataclasses.replace(
        found,
        rows=tuple([found.rows[at] for at in order[:n]]),
        scores=tuple([found.scores[at] for at in order[:n]]),
        n_from_model=min(n, found.n_from_model),
    )
    if rate == 0 or n_paired < 2:
        return listed, None
    another = rate / (n_paired - 1 + n_paired % 2)
    own = 1 - another * (n_paired - 1)
    propensities = [
        None if place >= n_paired else own if at == place else another for place, at in enumerate(order[:n])
    ]
    return listed, tuple(propensities)
