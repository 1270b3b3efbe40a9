"""Exact retrieval: every item is scored, the k best are kept."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from leanrec.errors import SettingError
from leanrec.kernels.sparse import top_k_sparse
from leanrec.kernels.topk.inner_product import ItemIndex
from leanrec.kernels.topk.selection import top_k
from leanrec.protocols import Embedder, Scorer, SparseScorer
from leanrec.types import Candidates, Float32Array, Int32Array, Queries

__all__ = ["ExactRetriever"]

_BLOCK_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class ExactRetriever:
    """Scores all N items in blocks of queries and keeps the k best of each.

    Where the model knows nothing about an asker (its scores over all items are equal), the list comes from
    ``fallback``, and ``Candidates.fallback`` says so.

    Cost: the model's O(B · N) scores, plus O(B · N) to select; at most 64 MB of scores at a time. The scores of
    an Embedder and of a SparseScorer are never written out; for an Embedder a query vector of zeros means that
    the model knows nothing.

    Attributes:
        scorer: the model.
        fallback: a model that can answer anybody, usually popularity; None leaves such lists empty.
        exclude_seen: leave out what the asker has already touched.
        allow: item rows that may be shown; None = all.
        deny: item rows that must not be shown.
    """

    scorer: Scorer
    fallback: Scorer | None = None
    exclude_seen: bool = True
    allow: Int32Array | None = None
    deny: Int32Array | None = None

    def retrieve(self, queries: Queries, k: int) -> Candidates:
        """Candidates (B, k). A k above the number of items that may be shown leaves −1 at the end of the list."""
        if k < 0:
            raise SettingError(f"k must be 0 or more. Got {k}.")
        blocks = [self._block(block, k) for block in self._blocks(queries)]
        if len(blocks) == 1:
            return blocks[0]
        if not blocks:
            empty = np.zeros((0, k))
            return Candidates(empty.astype(np.int32), empty.astype(np.float32), np.zeros(0, np.bool_))
        parts = zip(*((part.items, part.scores, part.fallback) for part in blocks), strict=True)
        return Candidates(*(np.concatenate(part) for part in parts))

    def _blocks(self, queries: Queries) -> Iterator[Queries]:
        size = max(1, _BLOCK_BYTES // (4 * max(1, self.scorer.n_items)))
        if 0 < len(queries) <= size:
            # A single request is not worth the cutting of its matrices.
            yield queries
            return
        for start in range(0, len(queries), size):
            yield queries.block(start, start + size)

    def _block(self, queries: Queries, k: int) -> Candidates:
        seen = (queries.history if queries.seen is None else queries.seen) if self.exclude_seen else None
        if isinstance(self.scorer, Embedder):
            Q = self.scorer.embed_queries(queries)
            unknown = np.asarray(~Q.any(axis=1))
            items, best = self._index.top_k(Q, k, seen=seen, allowed=self._allowed)
        elif isinstance(self.scorer, SparseScorer) and (weights := self.scorer.item_weights()) is not None:
            profile = self.scorer.profile(queries)
            items, best, unknown = top_k_sparse(profile, weights, k, seen=seen, allowed=self._allowed)
        else:
            scores = self.scorer.score(queries)
            unknown = _flat_rows(scores)
            items, best = top_k(scores, k, seen=seen, allowed=self._allowed)
        if unknown.any():
            self._fall_back(queries, np.flatnonzero(unknown), items, best)
        return Candidates(items, best, unknown)

    def _fall_back(self, queries: Queries, rows: np.ndarray, items: Int32Array, best: Float32Array) -> None:
        """Replace the lists of ``rows``: by those of the fallback, or by empty ones."""
        if self.fallback is None:
            items[rows], best[rows] = -1, -np.inf
            return
        some = _pick(queries, rows)
        seen = (some.history if some.seen is None else some.seen) if self.exclude_seen else None
        scores = self.fallback.score(some)
        items[rows], best[rows] = top_k(scores, items.shape[1], seen=seen, allowed=self._allowed)

    @functools.cached_property
    def _index(self) -> ItemIndex:
        return ItemIndex.build(self.scorer.embed_items())  # type: ignore[attr-defined]  # asked only of an Embedder

    @functools.cached_property
    def _allowed(self) -> np.ndarray | None:
        """(N,) bool, or None where every item may be shown."""
        if self.allow is None and self.deny is None:
            return None
        allowed = np.full(self.scorer.n_items, self.allow is None)
        if self.allow is not None:
            allowed[self.allow] = True
        if self.deny is not None:
            allowed[self.deny] = False
        return allowed


def _flat_rows(scores: Float32Array) -> np.ndarray:
    """(B,) whether all finite scores of a row are equal: the model has no preference for this asker."""
    if not scores.shape[1]:
        return np.ones(len(scores), dtype=np.bool_)
    # A look at a few columns settles almost every row without a second pass over the block.
    few = scores[:, :16]
    maybe = np.flatnonzero(few.max(axis=1, initial=-np.inf) <= few.min(axis=1, initial=np.inf))
    flat = np.zeros(len(scores), dtype=np.bool_)
    flat[maybe] = scores[maybe].max(axis=1) <= scores[maybe].min(axis=1)
    return flat


def _pick(queries: Queries, rows: np.ndarray) -> Queries:
    return Queries(
        users=queries.users[rows],
        history=queries.history[rows],
        seen=None if queries.seen is None else queries.seen[rows],
        ratings=None if queries.ratings is None else queries.ratings[rows],
        time=None if queries.time is None else queries.time[rows],
        last=None if queries.last is None else tuple(queries.last[row] for row in rows),
    )
