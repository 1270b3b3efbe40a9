"""Beyond-accuracy metrics: novelty, diversity, popularity bias, coverage and inequality of exposure."""

import dataclasses
import functools

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset
from leanrec.errors import DataError
from leanrec.evaluation.metrics.ranking import Float64Array, divide_or_nan
from leanrec.kernels.csr import entry_rows
from leanrec.types import CSR, Int32Array, Int64Array

__all__ = [
    "ItemStatistics",
    "count_exposure",
    "coverage",
    "diversity",
    "gini",
    "novelty",
    "popularity",
    "popularity_lift",
]

_MAX_ENTRIES = 100_000
# Distinct items of a block of lists up to which the similarity of each pair of them is computed, instead of that of each list.
_MAX_DISTINCT = 256


@dataclasses.dataclass(frozen=True, eq=False)
class ItemStatistics:
    """Popularity and features of items in the training data.

    Attributes:
        popularity: (N,) share of the active users who interacted with the item.
        features: (N, F) CSR, rows of length 1 (or 0): the similarity of two items is the cosine of their rows.
    """

    popularity: Float64Array
    features: CSR

    @functools.cached_property
    def norms(self) -> Float64Array:
        """(N,) squared lengths of the rows: 1, or 0 for an item without features."""
        return _squared_row_norms(self.features)

    @classmethod
    def from_dataset(cls, train: Dataset, features: CSR | None = None, seed: int = 0) -> "ItemStatistics":
        """Popularity from all users; similarity from ``features`` (N, F), or else from the users of the items.

        Similarity by users is the cosine of co-occurrence. On more than 100,000 interactions it uses a random sample of
        users with about that many, drawn by ``seed``, so that the cost of diversity is bounded. Items that none of them
        has are then left out of it, and for items with few of them the similarity is a rough estimate: pass
        ``features`` where the tail of the catalog matters. Time and memory O(interactions).
        """
        interactions = train.interactions
        active = np.flatnonzero(np.diff(interactions.indptr))
        counts, n_active = np.bincount(interactions.indices, minlength=interactions.shape[1]), max(len(active), 1)
        if features is None:
            if interactions.nnz > _MAX_ENTRIES:
                n_sampled = max(1, len(active) * _MAX_ENTRIES // interactions.nnz)
                active = np.sort(np.random.default_rng(seed).choice(active, n_sampled, replace=False))
            binary = sp.csr_array(interactions[active], copy=True)
            binary.data[:] = 1.0
            features = binary.T.tocsr()
        n_items = interactions.shape[1]
        if features.shape[0] != n_items:
            raise DataError(f"features must have a row for each of {n_items} items. Got {features.shape[0]}.")
        unit = features.astype(np.float64)
        norms = np.sqrt(_squared_row_norms(unit))
        unit.data /= np.where(norms > 0, norms, 1.0)[entry_rows(unit)]
        return cls(counts / n_active, unit)


def _squared_row_norms(matrix: CSR) -> Float64Array:
    squares = matrix.data.astype(np.float64) ** 2
    return np.bincount(entry_rows(matrix), weights=squares, minlength=matrix.shape[0]).astype(np.float64)


def popularity(items: Int32Array, statistics: ItemStatistics) -> Float64Array:
    """(B,) average over the list of the share of users who interacted with the item; NaN for an empty list.

    Average recommendation popularity: Yin, Cui, Li, Yao and Chen, "Challenging the Long Tail Recommendation",
    VLDB 2012.
    """
    return _list_mean(items, statistics.popularity)


def novelty(items: Int32Array, statistics: ItemStatistics) -> Float64Array:
    """(B,) average self-information −log₂(share of users who interacted with the item); NaN for an empty list.

    Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS 2010. An item
    without interactions counts as popular as the least popular item with interactions.
    """
    known = statistics.popularity[statistics.popularity > 0]
    floor = known.min() if len(known) else 1.0
    return _list_mean(items, -np.log2(np.maximum(statistics.popularity, floor)))


def diversity(items: Int32Array, statistics: ItemStatistics) -> Float64Array:
    """(B,) 1 − average similarity of the pairs in the list; NaN for lists of fewer than two items with features.

    Items without features are left out, because their similarity to others is unknown. Intra-list diversity: Smyth and
    McClave, "Similarity vs. Diversity", ICCBR 2001. The sum over pairs comes from the length of the sum of the rows, so
    the cost is O(features of the recommended items), without a loop over pairs. Where the lists have few distinct items, as the most
    popular ones do, each pair of these is compared once.
    """
    counted = (items >= 0) & (statistics.norms[items] > 0)
    n = counted.sum(axis=1)
    distinct, place = np.unique(np.where(counted, items, -1), return_inverse=True)
    if len(distinct) <= _MAX_DISTINCT:
        rows = statistics.features[np.maximum(distinct, 0)]
        similarity = (rows @ rows.T).toarray()
        similarity[distinct < 0] = similarity[:, distinct < 0] = 0
        place = place.reshape(items.shape)
        pairs = similarity[place[:, :, None], place[:, None, :]].sum(axis=(1, 2))
        return 1 - divide_or_nan(pairs - similarity.diagonal()[place].sum(axis=1), n * (n - 1))
    indptr = np.concatenate([[0], np.cumsum(n)])
    shape = (len(items), statistics.features.shape[0])
    ones = sp.csr_array((np.ones(indptr[-1]), items[counted], indptr), shape=shape)
    with_itself = ones @ statistics.norms
    similar = _squared_row_norms(sp.csr_array(ones @ statistics.features)) - with_itself
    return 1 - divide_or_nan(similar, n * (n - 1))


def _list_mean(items: Int32Array, value: Float64Array) -> Float64Array:
    filled = items >= 0
    total = np.where(filled, value[items], 0.0).sum(axis=1)
    return divide_or_nan(total, filled.sum(axis=1))


def count_exposure(items: Int32Array, n_items: int) -> Int64Array:
    """(N,) number of lists that contain each item. Counts of blocks of lists can be added."""
    return np.bincount(items[items >= 0], minlength=n_items).astype(np.int64)


def coverage(exposure: Int64Array) -> float:
    """Share of the catalog that is in at least one list."""
    return float(np.count_nonzero(exposure) / max(len(exposure), 1))


def gini(exposure: Int64Array) -> float:
    """Gini index of exposure over the catalog: 0 = every item equally often, near 1 = always the same few.

    Σ (2 i − N − 1) x_i / (N Σ x) over ascending x; Fleder and Hosanagar, Management Science 2009.
    """
    n, total = len(exposure), exposure.sum()
    if not total:
        return 0.0
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(exposure) / (n * total))


def popularity_lift(of_lists: Float64Array, history: CSR, statistics: ItemStatistics) -> float:
    """Popularity of lists relative to the histories of their users: mean / mean − 1; 0 = no popularity bias.

    Abdollahpouri, Mansoury, Burke and Mobasher, "The Unfairness of Popularity Bias in Recommendation", RMSE
    2019, with all users as one group. Users without a history are ignored.

    Args:
        of_lists: (B,) ``popularity`` of each list.
        history: (B, N) histories.
        statistics: popularity of the items.
    """
    popularities = statistics.popularity[history.indices]
    total = np.bincount(entry_rows(history), weights=popularities, minlength=history.shape[0])
    of_histories = divide_or_nan(total, np.diff(history.indptr))
    both = np.isfinite(of_histories) & np.isfinite(of_lists)
    expected = of_histories[both].sum()
    return float(of_lists[both].sum() / expected - 1) if expected else float("nan")
