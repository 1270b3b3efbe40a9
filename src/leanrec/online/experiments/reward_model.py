"""Reward model of doubly robust estimates: the reward of an item at a place, from the lists of other users.

The reward is the mean times a factor of the place and a factor of the item. Each factor is shrunk toward 1, by as much as the
places or items differ beyond chance (the gamma-Poisson model of Clayton and Kaldor 1987).
"""

import numpy as np
from numpy.typing import NDArray

from leanrec.types import Int32Array

__all__ = ["predict_rewards"]

_N_FOLDS = 5
Float64Array = NDArray[np.float64]


def predict_rewards(
    rewards: Float64Array, users: NDArray[np.generic], places: Int32Array, shown: Int32Array, wanted: Int32Array
) -> tuple[Float64Array, Float64Array]:
    """Predicted rewards of what was shown, and of what another policy shows, without a look at the rewards of the same user.

    The users are divided into five parts, and the rewards of each are predicted from the other parts (cross-fitting; Chernozhukov
    and others 2018), so that an estimate stays right where the model is wrong. With a single user all predictions are 0.
    Cost: O(n + items).

    Args:
        rewards: (n,) rewards of decisions, from 0 to 1.
        users: (n,) key of the user of each.
        places: (n,) place of the list, from 0 on.
        shown: (n,) number of the item that was shown, from 0 on.
        wanted: (n,) number of the item that the other policy shows at this place, −1 for none, which earns nothing.

    Returns (n,) predictions for ``shown`` and (n,) for ``wanted``.
    """
    fold = np.unique(users, return_inverse=True)[1] % _N_FOLDS
    predicted, target_predicted = np.zeros(len(rewards)), np.zeros(len(rewards))
    n_places, n_items = int(places.max()) + 1, int(max(shown.max(), wanted.max())) + 1
    for each in range(_N_FOLDS):
        own, other = fold == each, fold != each
        mean = float(rewards[other].mean()) if other.any() else 0.0
        if not own.any() or not mean:
            continue
        expected = np.full(np.count_nonzero(other), mean)
        of_place = _fit_factors(places[other], rewards[other], expected, n_places)
        expected = mean * of_place[places[other]]
        of_item = _fit_factors(shown[other], rewards[other], expected, n_items)
        at_place = mean * of_place[places[own]]
        predicted[own] = np.minimum(1.0, at_place * of_item[shown[own]])
        earned = np.minimum(1.0, at_place * of_item[wanted[own]])
        target_predicted[own] = np.where(wanted[own] < 0, 0.0, earned)
    return predicted, target_predicted


def _fit_factors(codes: Int32Array, rewards: Float64Array, expected: Float64Array, n: int) -> Float64Array:
    """(n,) factors by which the rewards of each code differ from what is expected, shrunk toward 1."""
    sums, means = np.bincount(codes, rewards, n), np.bincount(codes, expected, n)
    variance = float(np.sum((sums - means) ** 2 - means) / np.sum(means**2))  # of the factors, beyond that of chance
    if variance <= 0:
        return np.ones(n)
    factors: Float64Array = (sums + 1 / variance) / (means + 1 / variance)
    return factors
