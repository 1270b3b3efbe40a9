"""Ranking metrics: recall, precision, NDCG, MRR, MAP, hit rate and AUC, one value for each query.

Every metric is a function of a ``Relevance`` block and a cut-off k. It gives float64 (B,), NaN where the query has no
relevant items. Higher is better and 1 is the maximum (for recall, if k reaches the number of relevant items, and for
precision, if the relevant items reach k). Cost O(B · K) each.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from leanrec.data.splits.evaluation_set import find_repeat, pair_keys
from leanrec.errors import DataError, SettingError
from leanrec.kernels.csr import entry_rows
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = [
    "RANKING_METRICS",
    "Float64Array",
    "Metric",
    "Relevance",
    "auc",
    "average_precision",
    "divide_or_nan",
    "graded_ndcg",
    "hit_rate",
    "match_ground_truth",
    "ndcg",
    "precision",
    "recall",
    "reciprocal_rank",
]

Float64Array: TypeAlias = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Relevance:
    """Relevance of recommendation lists, position by position.

    Attributes:
        gains: (B, K) weight of the item at each position in the ground truth, 0 if it is not relevant or missing.
        ideal: (B, K) the largest weights of the ground truth, descending, 0 past the end: the gains of a perfect list.
        n_relevant: (B,) number of relevant items.
    """

    gains: Float64Array
    ideal: Float64Array
    n_relevant: Int64Array

    @property
    def depth(self) -> int:
        """K, the largest possible cut-off."""
        return int(self.gains.shape[1])

    def truncate(self, k: int) -> "Relevance":
        """The first k positions. Raises SettingError if the lists are shorter."""
        if not 1 <= k <= self.depth:
            raise SettingError(f"k must be from 1 to {self.depth}, the length of the lists. Got {k}.")
        return Relevance(self.gains[:, :k], self.ideal[:, :k], self.n_relevant)


Metric: TypeAlias = Callable[[Relevance, int], Float64Array]


def match_ground_truth(items: Int32Array, ground_truth: CSR) -> Relevance:
    """Look up recommended items in the ground truth. O((B · K + entries) · log entries).

    Args:
        items: (B, K) rows of items, best first, −1 past the end.
        ground_truth: (B, N) weights; an entry above 0 is relevant.

    Raises:
        DataError: a list or a row of the ground truth contains an item twice, or an item is outside 0 … N − 1, or the
            shapes differ.
    """
    _check_lists(items, ground_truth)
    if not ground_truth.has_sorted_indices:
        ground_truth = ground_truth.sorted_indices()
    twice = find_repeat(ground_truth)
    if twice is not None:
        raise DataError(
            f"The ground truth must not contain an item twice. Row {twice} does: call sum_duplicates() first."
        )
    keys, rows = pair_keys(ground_truth), np.arange(len(items), dtype=np.int64)[:, None]
    wanted = np.where(items < 0, -1, rows * ground_truth.shape[1] + items)
    at = np.searchsorted(keys, wanted)
    found = np.append(keys, -2)[at] == wanted
    weights = np.maximum(np.append(ground_truth.data, 0), 0).astype(np.float64)
    query, n_positions = entry_rows(ground_truth), items.shape[1]
    order = np.lexsort((-ground_truth.data, query))
    position = np.arange(len(query)) - ground_truth.indptr[:-1][query]
    within = position < n_positions
    ideal = np.zeros((len(items), n_positions))
    ideal[query[within], position[within]] = np.maximum(ground_truth.data[order][within], 0)
    n_relevant = np.bincount(query[ground_truth.data > 0], minlength=len(items)).astype(np.int64)
    return Relevance(np.where(found, weights[at], 0.0), ideal, n_relevant)


def _check_lists(items: Int32Array, ground_truth: CSR) -> None:
    if items.ndim != 2 or len(items) != ground_truth.shape[0]:
        raise DataError(f"Lists must have the shape ({ground_truth.shape[0]}, K) of the queries. Got {items.shape}.")
    if items.size and (items.max() >= ground_truth.shape[1] or items.min() < -1):
        raise DataError(
            f"Lists must contain item rows from 0 to {ground_truth.shape[1] - 1}, or -1 past the end. "
            f"Got {items.min()} to {items.max()}."
        )
    ordered = np.sort(items, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        row, position = np.argwhere(twice)[0]
        raise DataError(f"A list must not contain an item twice. List {row} repeats item {ordered[row, position]}.")


def recall(relevance: Relevance, k: int) -> Float64Array:
    """Share of the relevant items that are among the first k: hits / relevant items."""
    return _mask_without_relevant(
        relevance, (relevance.truncate(k).gains > 0).sum(axis=1) / np.maximum(relevance.n_relevant, 1)
    )


def precision(relevance: Relevance, k: int) -> Float64Array:
    """Share of the first k positions with a relevant item: hits / k, also for shorter lists."""
    return _mask_without_relevant(relevance, (relevance.truncate(k).gains > 0).mean(axis=1))


def hit_rate(relevance: Relevance, k: int) -> Float64Array:
    """1 if at least one relevant item is among the first k, otherwise 0."""
    return _mask_without_relevant(relevance, (relevance.truncate(k).gains > 0).any(axis=1).astype(np.float64))


def reciprocal_rank(relevance: Relevance, k: int) -> Float64Array:
    """1 / position of the first relevant item, 0 if none is among the first k. The mean is MRR (Voorhees, TREC-8)."""
    hit = relevance.truncate(k).gains > 0
    return _mask_without_relevant(relevance, np.where(hit.any(axis=1), 1 / (1 + hit.argmax(axis=1)), 0.0))


def average_precision(relevance: Relevance, k: int) -> Float64Array:
    """Sum of the precision at each hit, over min(k, relevant items): 1 for a perfect list. The mean is MAP.

    Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, chapter 8.4, at cut-off k.
    """
    hit = relevance.truncate(k).gains > 0
    at_hit = np.where(hit, np.cumsum(hit, axis=1) / np.arange(1, k + 1), 0.0)
    return _mask_without_relevant(relevance, at_hit.sum(axis=1) / np.clip(relevance.n_relevant, 1, k))


def ndcg(relevance: Relevance, k: int) -> Float64Array:
    """Discounted cumulative gain, each hit worth 1 / log₂(1 + position), over that of a perfect list.

    Binary relevance: every relevant item counts the same. Järvelin and Kekäläinen, "Cumulated Gain-Based Evaluation of
    IR Techniques", ACM TOIS 2002.
    """
    top = relevance.truncate(k)
    return _normalized_dcg(relevance, (top.gains > 0).astype(np.float64), (top.ideal > 0).astype(np.float64))


def graded_ndcg(relevance: Relevance, k: int) -> Float64Array:
    """NDCG with graded relevance: the gain is the weight in the ground truth, so a purchase of weight 3 counts three views."""
    top = relevance.truncate(k)
    return _normalized_dcg(relevance, top.gains, top.ideal)


def _normalized_dcg(relevance: Relevance, gains: Float64Array, ideal: Float64Array) -> Float64Array:
    discount = 1 / np.log2(np.arange(gains.shape[1]) + 2)
    best = ideal @ discount
    return _mask_without_relevant(
        relevance, np.divide(gains @ discount, best, out=np.zeros(len(gains)), where=best > 0)
    )


def _mask_without_relevant(relevance: Relevance, values: Any) -> Float64Array:
    return np.where(relevance.n_relevant > 0, values, np.nan)


RANKING_METRICS: tuple[tuple[str, Metric], ...] = (
    ("recall", recall),
    ("precision", precision),
    ("ndcg", ndcg),
    ("mrr", reciprocal_rank),
    ("map", average_precision),
    ("hit_rate", hit_rate),
)


def auc(scores: Float32Array, ground_truth: CSR, seen: CSR | None = None) -> Float64Array:
    """Probability that a relevant item is scored above another item, a tie counting half. O(B · N log N).

    Hanley and McNeil, Radiology 1982; computed from ranks (Mann and Whitney, 1947). NaN where there is no
    relevant item, or no other item.

    Args:
        scores: (B, N).
        ground_truth: (B, N) weights; an entry above 0 is relevant.
        seen: (B, N) items that are excluded; None = none.
    """
    n_items = ground_truth.shape[1]
    # Items scored −inf rank above seen ones, which have the lowest ranks of each row.
    ranked = np.maximum(np.nan_to_num(scores, nan=-np.inf), np.finfo(np.float32).min).astype(np.float64)
    hidden = np.zeros(len(scores), np.int64)
    if seen is not None:
        ranked[entry_rows(seen), seen.indices] = -np.inf
        hidden = np.diff(seen.indptr).astype(np.int64)
    ranks = scipy.stats.rankdata(ranked, axis=1)
    rows = entry_rows(ground_truth)
    counted = (ground_truth.data > 0) & np.isfinite(ranked[rows, ground_truth.indices])
    rows, items = rows[counted], ground_truth.indices[counted]
    n_relevant = np.bincount(rows, minlength=len(scores))
    total = np.bincount(rows, weights=ranks[rows, items] - hidden[rows], minlength=len(scores))
    pairs = n_relevant * (n_items - hidden - n_relevant)
    above = total - n_relevant * (n_relevant + 1) / 2
    return divide_or_nan(above, pairs)


def divide_or_nan(numerator: NDArray[Any], denominator: NDArray[Any]) -> Float64Array:
    """Element-wise quotient, NaN where the denominator is 0."""
    quotient: Float64Array = np.full(len(denominator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient
