"""Exact retrieval: every item is scored, the k best are kept."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from leanrec.errors import SettingError
from leanrec.kernels.topk import hide, top_k
from leanrec.protocols import Scorer
from leanrec.types import Candidates, Float32Array, Int32Array, Queries

__all__ = ["ExactRetriever"]

_BLOCK_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class ExactRetriever:
    """Scores all N items in blocks of queries and keeps the k best of each.

    Where the model knows nothing about an asker (its scores over all items are equal), the list comes from
    ``fallback``, and ``Candidates.fallback`` says so.

    Cost: the model's O(B · N) scores, plus O(B · N) to select; at most 64 MB of scores at a time.

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
        if not blocks:
            empty = np.zeros((0, k))
            return Candidates(empty.astype(np.int32), empty.astype(np.float32), np.zeros(0, np.bool_))
        items, scores, fallback = (np.concatenate(part) for part in zip(*blocks, strict=True))
        return Candidates(items, scores, fallback)

    def _blocks(self, queries: Queries) -> Iterator[Queries]:
        size = max(1, _BLOCK_BYTES // (4 * max(1, self.scorer.n_items)))
        for start in range(0, len(queries), size):
            yield queries.block(start, start + size)

    def _block(self, queries: Queries, k: int) -> tuple[Int32Array, Float32Array, np.ndarray]:
        scores = np.array(self.scorer.score(queries), dtype=np.float32, order="C")
        unknown = _flat_rows(scores)
        if unknown.any():
            scores[unknown] = -np.inf
            if self.fallback is not None:
                rows = np.flatnonzero(unknown)
                scores[rows] = self.fallback.score(_pick(queries, rows))
        self._apply_rules(scores, queries)
        items, best = top_k(scores, k)
        return items, best, unknown

    def _apply_rules(self, scores: Float32Array, queries: Queries) -> None:
        if self.exclude_seen:
            hide(scores, queries.history if queries.seen is None else queries.seen)
        if self.allow is not None:
            hidden = np.ones(scores.shape[1], dtype=np.bool_)
            hidden[self.allow] = False
            scores[:, hidden] = -np.inf
        if self.deny is not None:
            scores[:, self.deny] = -np.inf


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
