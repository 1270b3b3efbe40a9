"""Scorers that wrap others and keep their powers."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.kernels.topk.selection import top_k
from leanrec.protocols import (
    Embedder,
    Explainable,
    Explanation,
    Extendable,
    ItemComparer,
    RatingPredictor,
    Scorer,
    Searcher,
    SimilarityEmbedder,
    SparseScorer,
    Updatable,
)
from leanrec.retrieval.wrappers import make_wrapper_class
from leanrec.run import Run
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["ConstantScores", "PaddedScorer", "pad_scorer", "unpad_scorer"]

_RUN = Run()


def pad_scorer(scorer: Scorer, n_items: int) -> Scorer:
    """A scorer over ``n_items`` items, of which ``scorer`` was fitted on the first; see ``PaddedScorer``."""
    if scorer.n_items == n_items:
        return scorer
    padded: Scorer = make_wrapper_class(PaddedScorer, _POWERS, scorer)(scorer, n_items)
    return padded


def unpad_scorer(scorer: Scorer) -> Scorer:
    """The scorer over the items that it was fitted on."""
    return scorer.scorer if isinstance(scorer, PaddedScorer) else scorer


@dataclasses.dataclass(frozen=True, eq=False)
class PaddedScorer:
    """A scorer for more items than it was fitted on; the new items come last. Make it with ``pad_scorer``.

    The score of new items is 1 below the lowest of the other scores and of 0. A row of equal scores stays one, so
    that a query without evidence is still recognized as such.

    Attributes:
        scorer: the wrapped scorer.
        n_items: N, more than ``scorer.n_items``.
    """

    scorer: Any
    n_items: int

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """(B, N) scores, or (B, K) for the given items."""
        known = self.scorer.score(self._narrow(queries))
        depth = self._depth(known)[:, None]
        new = np.where(depth > 0, -depth, known[:, :1] if known.shape[1] else 0).astype(np.float32)
        scores = np.concatenate([known, np.repeat(new, self._n_new, axis=1)], axis=1)
        if items is None:
            return scores
        return np.take_along_axis(scores, np.broadcast_to(items, (len(queries), np.shape(items)[-1])), 1)

    @property
    def _n_new(self) -> int:
        return self.n_items - int(self.scorer.n_items)

    def _narrow(self, queries: Queries) -> Queries:
        """The queries without the new items."""
        n = self.scorer.n_items
        sequences = queries.sequences
        return dataclasses.replace(
            queries,
            history=queries.history[:, :n],
            seen=None if queries.seen is None else queries.seen[:, :n],
            ratings=None if queries.ratings is None else queries.ratings[:, :n],
            sequences=None if sequences is None else tuple(items[items < n] for items in sequences),
        )

    @staticmethod
    def _depth(known: Float32Array) -> Float32Array:
        """(B,) how far below 0 the score of new items is; 0 for a row of equal scores."""
        lowest = known.min(axis=1, initial=0)
        is_flat = known.max(axis=1, initial=-np.inf) <= known.min(axis=1, initial=np.inf)
        return np.where(is_flat, 0, 1 - lowest).astype(np.float32)


class _PaddedEmbedder(PaddedScorer):
    """One more dimension: the depth of the new items in the queries, −1 in the new items."""

    def embed_queries(self, queries: Queries) -> Float32Array:
        narrow = self._narrow(queries)
        Q = self.scorer.embed_queries(narrow)
        return np.concatenate([Q, self._depth(self.scorer.score(narrow))[:, None]], axis=1, dtype=np.float32)

    def embed_items(self) -> Float32Array:
        V = self.scorer.embed_items()
        padded = np.zeros((self.n_items, V.shape[1] + 1), np.float32)
        padded[: len(V), :-1] = V
        padded[len(V) :, -1] = -1
        return padded


class _PaddedSimilarityEmbedder(PaddedScorer):
    """Nothing is known of new items."""

    def similarity_vectors(self) -> Float32Array:
        V = self.scorer.similarity_vectors()
        return np.concatenate([V, np.zeros((self._n_new, V.shape[1]), np.float32)])


class _PaddedItemComparer(PaddedScorer):
    """Nothing is known of new items."""

    def compare_items(self, row: int) -> Float32Array:
        if row >= self.scorer.n_items:
            return np.zeros(self.n_items, np.float32)
        return np.concatenate([self.scorer.compare_items(row), np.zeros(self._n_new, np.float32)])


class _PaddedSparseScorer(PaddedScorer):
    """One more column of the profile and row of the weights, as in ``_PaddedEmbedder``."""

    def profile(self, queries: Queries) -> CSR:
        narrow = self._narrow(queries)
        profile = self.scorer.profile(narrow)
        depth = self._depth(self.scorer.score(narrow))
        return _as_csr(sp.hstack([profile, sp.csr_array(depth[:, None])], format="csr"))

    def item_weights(self) -> CSR | None:
        return self._padded_weights

    @functools.cached_property
    def _padded_weights(self) -> CSR | None:
        weights = self.scorer.item_weights()
        if weights is None:
            return None
        new = sp.csr_array(np.full((1, self._n_new), -1, np.float32))
        return _as_csr(sp.block_array([[weights, None], [None, new]], format="csr"))


class _PaddedSearcher(PaddedScorer):
    """New items fill the end of the lists that the known ones do not fill."""

    def search(
        self, queries: Queries, k: int, *, seen: CSR | None = None, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Int32Array, Float32Array, NDArray[np.bool_]]:
        narrow, n = self._narrow(queries), self.scorer.n_items
        items, best, has_no_evidence = self.scorer.search(
            narrow, k, seen=None if seen is None else seen[:, :n], allowed=None if allowed is None else allowed[:n]
        )
        short = np.flatnonzero((items < 0).any(axis=1))
        if len(short):
            # All known items are listed, or left out: the scores of the new ones follow from the lowest of all.
            rest = None if allowed is None else np.concatenate([np.zeros(n, np.bool_), allowed[n:]])
            new = self.score(queries.take(short))
            new[:, :n] = -np.inf
            others, scores = top_k(new, k, seen=None if seen is None else seen[short], allowed=rest)
            for row, extra, values in zip(short.tolist(), others, scores, strict=True):
                at = int(np.count_nonzero(items[row] >= 0))
                items[row, at:], best[row, at:] = extra[: k - at], values[: k - at]
        return items, best, has_no_evidence


class _PaddedExplainable(PaddedScorer):
    """New items have an empty explanation."""

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        known = np.flatnonzero(items < self.scorer.n_items)
        explanations = [Explanation("history", np.zeros(0, np.int32), np.zeros(0, np.float32))] * len(items)
        of_known = self.scorer.explain(self._narrow(queries), items[known], top_k)
        for position, explanation in zip(known.tolist(), of_known, strict=True):
            explanations[position] = explanation
        return explanations


class _PaddedRatingPredictor(PaddedScorer):
    """New items have the lowest rating that is predicted for the query."""

    def predict(self, queries: Queries, items: Int32Array) -> Float32Array:
        narrow = self._narrow(queries)
        known = np.asarray(items)
        is_new = known >= self.scorer.n_items
        if is_new.any():
            known = np.where(is_new, self.scorer.score(narrow).argmin(axis=1), known).astype(np.int32)
        ratings: Float32Array = self.scorer.predict(narrow, known)
        return ratings


class _PaddedExtendable(PaddedScorer):
    """More items become more padding, because the content of the new items before them is not known."""

    def extend(self, items: Table) -> Scorer:
        return pad_scorer(self.scorer, self.n_items + len(items))


class _PaddedUpdatable(PaddedScorer):
    """The updated scorer knows the items of the data, and needs no padding for those."""

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = _RUN) -> Scorer:
        updated: Scorer = self.scorer.update(data, changed, run)
        return pad_scorer(updated, max(self.n_items, updated.n_items))


_POWERS: Mapping[type, type] = {
    Embedder: _PaddedEmbedder,
    SimilarityEmbedder: _PaddedSimilarityEmbedder,
    ItemComparer: _PaddedItemComparer,
    SparseScorer: _PaddedSparseScorer,
    Searcher: _PaddedSearcher,
    Explainable: _PaddedExplainable,
    RatingPredictor: _PaddedRatingPredictor,
    Extendable: _PaddedExtendable,
    Updatable: _PaddedUpdatable,
}


def _as_csr(matrix: Any) -> CSR:
    """float32, with sorted int32 indices."""
    csr: CSR = sp.csr_array(matrix, dtype=np.float32)
    csr.indices, csr.indptr = csr.indices.astype(np.int32), csr.indptr.astype(np.int32)
    csr.sum_duplicates()
    return csr


@dataclasses.dataclass(frozen=True, eq=False)
class ConstantScores:
    """A scorer that returns the same scores for every query.

    Attributes:
        scores: (1, N) float32.
    """

    scores: Float32Array

    @property
    def n_items(self) -> int:
        """N."""
        return int(self.scores.shape[1])

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:  # noqa: ARG002
        """(1, N) scores, or (1, K) for the given items."""
        return self.scores if items is None else self.scores[:, items]
