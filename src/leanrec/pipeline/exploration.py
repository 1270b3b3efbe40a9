"""Exploration: places of a list show items from behind its end, with known probabilities (epsilon-greedy; Bottou et al. 2013)."""

import dataclasses
import random

from leanrec.pipeline.stages import RankedItems

__all__ = ["N_CANDIDATES", "explore_list"]

N_CANDIDATES = 50  # items behind the end of a list that may take a place in it


def explore_list(found: RankedItems, n: int, rate: float, request: str) -> tuple[RankedItems, tuple[float, ...] | None]:
    """The first n items, where each place shows one of the items behind them with probability ``rate``; and propensities.

    A place shows its own item or one of the items behind the list, and each of these with the same probability. No item has two
    places. The propensity of a place is the exact probability of the item that it shows. The items obey the rules of the request,
    as all of ``found`` do, and are those of the model, or those of the fallback where the whole list is. O(n + items behind).

    Args:
        found: the best items, those behind the end of the list included.
        n: length of the list.
        rate: probability, from 0 to 1.
        request: id of the list. The same id gives the same draw.

    Returns None for the propensities if nothing was drawn, because there is no item behind the list.
    """
    rows, scores = list(found.rows[:n]), list(found.scores[:n])
    n_same = len(found.rows) if found.from_fallback else found.n_from_model
    behind = range(n, n_same)
    listed = dataclasses.replace(found, rows=tuple(rows), scores=tuple(scores), n_from_model=min(n, found.n_from_model))
    if not behind or rate == 0:
        return listed, None
    draw = random.Random(request)  # noqa: S311 - not for secrets
    # Each place gets a number of its own. Numbers without an item behind the list stand for the item of the place.
    n_numbers = max(n, len(behind))
    propensities = [1 - rate * len(behind) / n_numbers] * n
    for place, number in enumerate(draw.sample(range(n_numbers), n)):
        if draw.random() < rate and number < len(behind):
            rows[place], scores[place] = found.rows[behind[number]], found.scores[behind[number]]
            propensities[place] = rate / n_numbers
    return dataclasses.replace(listed, rows=tuple(rows), scores=tuple(scores)), tuple(propensities)
