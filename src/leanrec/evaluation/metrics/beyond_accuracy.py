"""What lists do to the catalogue and to variety: measures that need no truth."""

import dataclasses

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset
from leanrec.errors import DataError
from leanrec.evaluation.metrics.ranking import Float64Array, divide
from leanrec.types import CSR, Int32Array, Int64Array

__all__ = [
    "Background",
    "coverage",
    "diversity",
    "exposure",
    "gini",
    "novelty",
    "popularity",
    "popularity_lift",
]

_ENTRIES = 100_000


@dataclasses.dataclass(frozen=True, eq=False)
class Background:
    """What training says of each item.

    Attributes:
        share: (N,) share of the users with a history who touched the item.
        vectors: (N, F) CSR, rows of length 1 (or 0): items are as similar as the cosine of their rows.
    """

    share: Float64Array
    vectors: CSR

    @classmethod
    def of(cls, train: Dataset, features: CSR | None = None, seed: int = 0) -> "Background":
        """Popularity from all users; similarity from ``features`` (N, F), or else from who touched the items.

        Similarity by users is the cosine of co-occurrence. On a log of more than 100,000 entries it looks at
        as many users as have about that many, drawn by ``seed``, so that diversity costs the same on a large
        log. Time and memory O(entries).
        """
        touched = train.interactions
        active = np.flatnonzero(np.diff(touched.indptr))
        users, everybody = np.bincount(touched.indices, minlength=touched.shape[1]), max(len(active), 1)
        if features is None:
            if touched.nnz > _ENTRIES:
                some = max(1, len(active) * _ENTRIES // touched.nnz)
                active = np.sort(np.random.default_rng(seed).choice(active, some, replace=False))
            binary = sp.csr_array(touched[active], copy=True)
            binary.data[:] = 1.0
            features = binary.T.tocsr()
        if features.shape[0] != touched.shape[1]:
            raise DataError(f"features must have a row for each of {touched.shape[1]} items. Got {features.shape[0]}.")
        return cls(users / everybody, _unit_rows(features))


def _unit_rows(matrix: CSR) -> CSR:
    unit = matrix.astype(np.float64)
    length = np.sqrt(_row_squares(unit))
    unit.data /= np.repeat(np.where(length > 0, length, 1.0), np.diff(unit.indptr))
    return unit


def _row_squares(matrix: CSR) -> Float64Array:
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    squares = matrix.data.astype(np.float64) ** 2
    return np.bincount(rows, weights=squares, minlength=matrix.shape[0]).astype(np.float64)


def popularity(items: Int32Array, background: Background) -> Float64Array:
    """(B,) average over the list of the share of users who touched the item; NaN for an empty list.

    Average recommendation popularity: Yin, Cui, Li, Yao and Chen, "Challenging the Long Tail Recommendation",
    VLDB 2012.
    """
    return _list_mean(items, background.share)


def novelty(items: Int32Array, background: Background) -> Float64Array:
    """(B,) average self-information −log₂(share of users who touched the item); NaN for an empty list.

    Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS 2010. An item
    nobody touched counts as one that the least popular item's users touched.
    """
    touched = background.share[background.share > 0]
    floor = touched.min() if len(touched) else 1.0
    return _list_mean(items, -np.log2(np.maximum(background.share, floor)))


def diversity(items: Int32Array, background: Background) -> Float64Array:
    """(B,) 1 − average similarity of the pairs in the list; NaN for lists of fewer than two items.

    Intra-list diversity: Smyth and McClave, "Similarity vs. Diversity", ICCBR 2001. The sum over pairs comes
    from the length of the sum of the rows, so the cost is O(entries of the listed rows), without pairs.
    """
    filled = items >= 0
    n = filled.sum(axis=1)
    indptr = np.concatenate([[0], np.cumsum(n)])
    shape = (len(items), background.vectors.shape[0])
    ones = sp.csr_array((np.ones(indptr[-1]), items[filled], indptr), shape=shape)
    own = ones @ _row_squares(background.vectors)
    similar = _row_squares(sp.csr_array(ones @ background.vectors)) - own
    return 1 - divide(similar, n * (n - 1))


def _list_mean(items: Int32Array, value: Float64Array) -> Float64Array:
    filled = items >= 0
    total = np.where(filled, value[items], 0.0).sum(axis=1)
    return divide(total, filled.sum(axis=1))


def exposure(items: Int32Array, n_items: int) -> Int64Array:
    """(N,) in how many lists each item is. Sums over blocks of lists."""
    return np.bincount(items[items >= 0], minlength=n_items).astype(np.int64)


def coverage(shown: Int64Array) -> float:
    """Share of the catalogue that is in at least one list."""
    return float(np.count_nonzero(shown) / max(len(shown), 1))


def gini(shown: Int64Array) -> float:
    """Inequality of exposure over the catalogue: 0 = every item equally often, near 1 = always the same few.

    Σ (2 i − N − 1) x_i / (N Σ x) over ascending x; Fleder and Hosanagar, Management Science 2009.
    """
    n, total = len(shown), shown.sum()
    if not total:
        return 0.0
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(shown) / (n * total))


def popularity_lift(listed: Float64Array, history: CSR, background: Background) -> float:
    """How much more popular lists are than the histories they answer: mean / mean − 1; 0 = no bias.

    Abdollahpouri, Mansoury, Burke and Mobasher, "The Unfairness of Popularity Bias in Recommendation", RMSE
    2019, with all askers as one group. Askers without history are left out.

    Args:
        listed: (B,) ``popularity`` of each list.
        history: (B, N) histories.
        background: popularity of the items.
    """
    n = np.diff(history.indptr)
    rows = np.repeat(np.arange(history.shape[0]), n)
    total = np.bincount(rows, weights=background.share[history.indices], minlength=history.shape[0])
    own = divide(total, n)
    both = np.isfinite(own) & np.isfinite(listed)
    known = own[both].sum()
    return float(listed[both].sum() / known - 1) if known else float("nan")
