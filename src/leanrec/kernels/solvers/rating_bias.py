"""What to expect of a rating before looking at taste: the mean, how an item is rated, how a user rates.

Koren, "Factorization Meets the Neighborhood", KDD 2008, section 2.1: b_ui = mean + b_u + b_i, with both
offsets damped towards 0 by the number of ratings they rest on.
"""

import dataclasses

import numpy as np
import scipy.sparse as sp

from leanrec.errors import DataError
from leanrec.types import CSR, Float32Array, empty_csr

__all__ = ["RatingBias", "RatingEvidence", "fit_rating_bias"]

_SWEEPS = 10


@dataclasses.dataclass(frozen=True, eq=False)
class RatingEvidence:
    """What B askers have said about items, as ratings.

    Attributes:
        ratings: (B, N) CSR float32, sorted: explicit ratings, and for a touched item without one the rating
            it stands for.
        users: (B,) float32 offset of each asker: how far above the baseline of the items they rate.
    """

    ratings: CSR
    users: Float32Array


@dataclasses.dataclass(frozen=True, eq=False)
class RatingBias:
    """Mean, item offsets, and what turns the ratings of an asker into their offset.

    Attributes:
        mean: of all training ratings.
        items: (N,) float32 offsets; 0 for an item that nobody rated.
        user_damping: ratings at 0 that are added to those of each user.
        residual_std: standard deviation of what the baseline leaves unexplained.
        min_rating: lowest rating of the scale.
        max_rating: highest rating of the scale.
    """

    mean: float
    items: Float32Array
    user_damping: float
    residual_std: float
    min_rating: float
    max_rating: float

    def user_offsets(self, ratings: CSR) -> Float32Array:
        """(B,) damped mean of what ratings (B, N) exceed mean + item offset by; 0 without any. O(entries)."""
        counts = np.diff(ratings.indptr)
        rest = ratings.data - np.float32(self.mean) - self.items[ratings.indices]
        total = np.bincount(np.repeat(np.arange(len(counts)), counts), weights=rest, minlength=len(counts))
        return (total / np.maximum(counts + self.user_damping, 1e-9)).astype(np.float32)

    def evidence(self, history: CSR, ratings: CSR | None) -> RatingEvidence:
        """The ratings of the askers (B, N), and a rating for every touched item of ``history`` (B, N) that has none.

        A touch without a rating is taken as liking: it stands for the baseline of the asker and the item plus
        one standard deviation (``residual_std``), so that a click moves the next answer. O(entries).
        """
        rated = empty_csr(*history.shape) if ratings is None else ratings
        users = self.user_offsets(rated)
        said, touched = _pairs(rated), _pairs(history)
        new = ~np.isin(touched, said)
        owner, item = touched[new] // max(1, history.shape[1]), history.indices[new]
        liked = np.clip(self.mean + self.items[item] + users[owner] + self.residual_std, self.min_rating, self.max_rating)
        key, value = np.concatenate([said, touched[new]]), np.concatenate([rated.data, liked])
        order = np.argsort(key, kind="stable")
        indptr = rated.indptr + np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=history.shape[0]))])
        columns = np.concatenate([rated.indices, item])[order].astype(np.int32)
        whole = sp.csr_array((value[order].astype(np.float32), columns, indptr), shape=history.shape)
        return RatingEvidence(whole, users)

    def residuals(self, evidence: RatingEvidence) -> CSR:
        """(B, N) what the ratings exceed mean + item offset + user offset by; an exact 0 stays an entry."""
        ratings = evidence.ratings
        owner = np.repeat(np.arange(ratings.shape[0]), np.diff(ratings.indptr))
        rest = ratings.data - np.float32(self.mean) - self.items[ratings.indices] - evidence.users[owner]
        return sp.csr_array((rest, ratings.indices, ratings.indptr), shape=ratings.shape)

    def clip(self, ratings: Float32Array) -> Float32Array:
        """The ratings, held inside the scale of the data."""
        return np.clip(ratings, np.float32(self.min_rating), np.float32(self.max_rating))


def fit_rating_bias(
    ratings: CSR | None, user_damping: float, item_damping: float, scale: tuple[float, float] | None = None
) -> RatingBias:
    """Fit mean and offsets to ratings (U, N) by alternating damped means until they settle. O(ratings) time, 24 bytes a rating.

    ``scale`` holds the lowest and the highest rating; None = those there are. Raises DataError if there is no rating.
    """
    if ratings is None:
        raise DataError(
            "A rating model needs explicit ratings, and the data set has none. "
            "Name the rating column, or choose a model for implicit feedback such as ease or item_knn."
        )
    owner = np.repeat(np.arange(ratings.shape[0]), np.diff(ratings.indptr))
    mean = float(ratings.data.mean(dtype=np.float64))
    rest = ratings.data.astype(np.float64) - mean
    users, items = np.zeros(ratings.shape[0]), np.zeros(ratings.shape[1])
    for _ in range(_SWEEPS):
        items = _damped(rest - users[owner], ratings.indices, len(items), item_damping)
        users = _damped(rest - items[ratings.indices], owner, len(users), user_damping)
    residual_std = float(np.std(rest - users[owner] - items[ratings.indices]))
    min_rating, max_rating = scale or (float(ratings.data.min()), float(ratings.data.max()))
    return RatingBias(mean, items.astype(np.float32), user_damping, residual_std, float(min_rating), float(max_rating))


def _damped(values: np.ndarray, group: np.ndarray, n: int, damping: float) -> np.ndarray:
    counts = np.bincount(group, minlength=n)
    means: np.ndarray = np.bincount(group, weights=values, minlength=n) / np.maximum(counts + damping, 1e-9)
    return means


def _pairs(matrix: CSR) -> np.ndarray:
    owner = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    pairs: np.ndarray = owner * matrix.shape[1] + matrix.indices
    return pairs
