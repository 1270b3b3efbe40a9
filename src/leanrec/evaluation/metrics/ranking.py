"""Metrics of a ranked list: one value for each query.

Every metric is a function of a ``Judged`` block and a cut-off k. It gives float64 (B,), NaN where the query
has no answer. Higher is better and 1 is the best there is (for recall, if k reaches the number of answers,
and for precision, if the answers reach k). Cost O(B · K) each.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from leanrec.data.splits.evaluation_set import pair_keys
from leanrec.errors import DataError, SettingError
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = [
    "RANKING",
    "Float64Array",
    "Judged",
    "Metric",
    "auc",
    "average_precision",
    "divide",
    "graded_ndcg",
    "hit_rate",
    "judge",
    "ndcg",
    "precision",
    "recall",
    "reciprocal_rank",
]

Float64Array: TypeAlias = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """Lists, with what truth says of each place.

    Attributes:
        gains: (B, K) weight in truth of the item at each place, 0 if it is no answer or the place is empty.
        ideal: (B, K) the largest weights of truth, descending, 0 past the end: the gains of a perfect list.
        relevant: (B,) number of answers.
    """

    gains: Float64Array
    ideal: Float64Array
    relevant: Int64Array

    @property
    def depth(self) -> int:
        """K, the deepest cut-off that can be asked for."""
        return int(self.gains.shape[1])

    def cut(self, k: int) -> "Judged":
        """The first k places. Raises SettingError if the lists have fewer."""
        if not 1 <= k <= self.depth:
            raise SettingError(f"k must be from 1 to {self.depth}, the length of the lists. Got {k}.")
        return Judged(self.gains[:, :k], self.ideal[:, :k], self.relevant)


Metric: TypeAlias = Callable[[Judged, int], Float64Array]


def judge(items: Int32Array, truth: CSR) -> Judged:
    """Look lists up in truth. O((B · K + entries) · log entries).

    Args:
        items: (B, K) rows of items, best first, −1 past the end.
        truth: (B, N) weights; an entry above 0 is an answer. Columns must be sorted.

    Raises:
        DataError: a list holds an item twice, or an item outside 0 … N − 1, or the shapes differ.
    """
    _check(items, truth)
    keys, rows = pair_keys(truth), np.arange(len(items), dtype=np.int64)[:, None]
    asked = np.where(items < 0, -1, rows * truth.shape[1] + items)
    at = np.searchsorted(keys, asked)
    found = np.append(keys, -2)[at] == asked
    weights = np.maximum(np.append(truth.data, 0), 0).astype(np.float64)
    return Judged(
        gains=np.where(found, weights[at], 0.0),
        ideal=_ideal(truth, items.shape[1]),
        relevant=np.bincount(_rows(truth)[truth.data > 0], minlength=len(items)).astype(np.int64),
    )


def _check(items: Int32Array, truth: CSR) -> None:
    if items.ndim != 2 or len(items) != truth.shape[0]:
        raise DataError(f"Lists must have the shape ({truth.shape[0]}, K) of the queries. Got {items.shape}.")
    if items.size and (items.max() >= truth.shape[1] or items.min() < -1):
        raise DataError(
            f"Lists must hold item rows from 0 to {truth.shape[1] - 1}, or -1 past the end. "
            f"Got {items.min()} to {items.max()}."
        )
    ordered = np.sort(items, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        row, place = np.argwhere(twice)[0]
        raise DataError(f"A list must not hold an item twice. List {row} repeats item {ordered[row, place]}.")


def _rows(matrix: CSR) -> Int64Array:
    """(entries,) the row of each entry."""
    return np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))


def _ideal(truth: CSR, depth: int) -> Float64Array:
    rows = _rows(truth)
    order = np.lexsort((-truth.data, rows))
    place = np.arange(len(rows)) - truth.indptr[:-1][rows]
    near = place < depth
    ideal = np.zeros((truth.shape[0], depth))
    ideal[rows[near], place[near]] = np.maximum(truth.data[order][near], 0)
    return ideal


def recall(judged: Judged, k: int) -> Float64Array:
    """Share of the answers that are among the first k: hits / answers."""
    return _per_query(judged, (judged.cut(k).gains > 0).sum(axis=1) / np.maximum(judged.relevant, 1))


def precision(judged: Judged, k: int) -> Float64Array:
    """Share of the first k places that hold an answer: hits / k, also where a list is shorter."""
    return _per_query(judged, (judged.cut(k).gains > 0).mean(axis=1))


def hit_rate(judged: Judged, k: int) -> Float64Array:
    """1 where at least one answer is among the first k, otherwise 0."""
    return _per_query(judged, (judged.cut(k).gains > 0).any(axis=1).astype(np.float64))


def reciprocal_rank(judged: Judged, k: int) -> Float64Array:
    """1 / place of the first answer, 0 if none is among the first k. The mean is MRR (Voorhees, TREC-8)."""
    hit = judged.cut(k).gains > 0
    return _per_query(judged, np.where(hit.any(axis=1), 1 / (1 + hit.argmax(axis=1)), 0.0))


def average_precision(judged: Judged, k: int) -> Float64Array:
    """Sum of the precision at each hit, over min(k, answers): 1 for a perfect list. The mean is MAP.

    Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, chapter 8.4, cut at k.
    """
    hit = judged.cut(k).gains > 0
    at_hit = np.where(hit, np.cumsum(hit, axis=1) / np.arange(1, k + 1), 0.0)
    return _per_query(judged, at_hit.sum(axis=1) / np.clip(judged.relevant, 1, k))


def ndcg(judged: Judged, k: int) -> Float64Array:
    """Discounted gain of the hits, each worth 1 / log₂(1 + place), over that of a perfect list.

    Binary gains: every answer counts the same. Järvelin and Kekäläinen, "Cumulated Gain-Based Evaluation of
    IR Techniques", ACM TOIS 2002.
    """
    cut = judged.cut(k)
    return _discounted(judged, (cut.gains > 0).astype(np.float64), (cut.ideal > 0).astype(np.float64))


def graded_ndcg(judged: Judged, k: int) -> Float64Array:
    """NDCG whose gain is the weight in truth: a purchase of weight 3 is worth three views of weight 1."""
    cut = judged.cut(k)
    return _discounted(judged, cut.gains, cut.ideal)


def _discounted(judged: Judged, gains: Float64Array, ideal: Float64Array) -> Float64Array:
    discount = 1 / np.log2(np.arange(gains.shape[1]) + 2)
    best = ideal @ discount
    return _per_query(judged, np.divide(gains @ discount, best, out=np.zeros(len(gains)), where=best > 0))


def _per_query(judged: Judged, values: Any) -> Float64Array:
    return np.where(judged.relevant > 0, values, np.nan)


RANKING: tuple[tuple[str, Metric], ...] = (
    ("recall", recall),
    ("precision", precision),
    ("ndcg", ndcg),
    ("mrr", reciprocal_rank),
    ("map", average_precision),
    ("hitrate", hit_rate),
)


def auc(scores: Float32Array, truth: CSR, seen: CSR | None = None) -> Float64Array:
    """Probability that an answer is scored above an item that is none, a tie counting half. O(B · N log N).

    Hanley and McNeil, Radiology 1982; computed from ranks (Mann and Whitney, 1947). NaN where there is no
    answer, or nothing else.

    Args:
        scores: (B, N).
        truth: (B, N) weights; an entry above 0 is an answer.
        seen: (B, N) items that are left out of the question; None = none.
    """
    n_items = truth.shape[1]
    # Items the model rules out rank above seen ones, which are then the lowest ranks of each row.
    ranked = np.maximum(np.nan_to_num(scores, nan=-np.inf), np.finfo(np.float32).min).astype(np.float64)
    hidden = np.zeros(len(scores), np.int64)
    if seen is not None:
        ranked[_rows(seen), seen.indices] = -np.inf
        hidden = np.diff(seen.indptr).astype(np.int64)
    ranks = scipy.stats.rankdata(ranked, axis=1)
    rows = _rows(truth)
    counted = (truth.data > 0) & np.isfinite(ranked[rows, truth.indices])
    rows, items = rows[counted], truth.indices[counted]
    relevant = np.bincount(rows, minlength=len(scores))
    total = np.bincount(rows, weights=ranks[rows, items] - hidden[rows], minlength=len(scores))
    pairs = relevant * (n_items - hidden - relevant)
    above = total - relevant * (relevant + 1) / 2
    return divide(above, pairs)


def divide(numerator: NDArray[Any], denominator: NDArray[Any]) -> Float64Array:
    """Quotients, NaN where the denominator is 0."""
    quotient: Float64Array = np.full(len(denominator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient
