"""Exact retrieval: score all items and keep the top k."""

import copy
import dataclasses
import functools
import threading

import numpy as np

from leanrec.errors import SettingError
from leanrec.kernels.sparse import top_k_sparse
from leanrec.kernels.topk.inner_product import ItemIndex
from leanrec.kernels.topk.selection import ItemMask, empty_lists, top_k
from leanrec.protocols import Context, Embedder, Scorer, Searcher, SparseScorer
from leanrec.retrieval.ties import break_ties
from leanrec.types import CSR, Candidates, Float32Array, Int32Array, Queries

__all__ = ["ExactRetriever", "build_item_mask", "find_excluded"]

_BLOCK_BYTES = 64 * 2**20
_BUILDING = threading.Lock()


@dataclasses.dataclass(frozen=True)
class ExactRetriever:
    """Scores all N items in blocks of queries and keeps the k best of each.

    Where the model has no evidence for a query (its scores over all items are equal), the list comes from
    ``fallback``, and ``Candidates.fallback`` is True. Where it scores some items alike, the fallback decides their order
    and which of them are listed; those of score 0, for which the model has no evidence, count as filled in by the
    fallback: ``Candidates.n_from_model``. See ``break_ties``. Evaluation and serving use the same lists, so the lists that
    are evaluated are those that are served. Without a fallback, equal scores are in the order of rows.

    Cost: the model's O(B · N) scores, plus O(B · N) to select; about 64 MB of scores in memory, 128 MB with ties. The
    scores of a Searcher, an Embedder and a SparseScorer are materialized only for lists with ties at the end; for an Embedder
    a query vector of zeros means that the model has no evidence. The index of an Embedder's items is built by the first
    query and kept: use one retriever for as long as the model does not change.

    Attributes:
        scorer: the model.
        fallback: a model that can score any query, such as popularity; None leaves lists without evidence empty.
        context: the rules that apply unless a call passes others.
    """

    scorer: Scorer
    fallback: Scorer | None = None
    context: Context = Context()

    def with_fallback(self, fallback: Scorer | None) -> "ExactRetriever":
        """The same retriever, with its index, and another fallback."""
        changed = copy.copy(self)
        object.__setattr__(changed, "fallback", fallback)
        return changed

    def retrieve(self, queries: Queries, k: int, context: Context | None = None) -> Candidates:
        """Candidates (B, k). If fewer than k items may be recommended, −1 fills the end of the list.

        Raises SettingError for a negative k.
        """
        if k < 0:
            raise SettingError(f"k must be 0 or more. Got {k}.")
        rules = self.context if context is None else context
        n_items = self.scorer.n_items
        allowed = build_item_mask(rules, n_items)
        size = max(1, _BLOCK_BYTES // (4 * max(1, n_items)))
        if 0 < len(queries) <= size:
            # Slicing the matrices would cost more than it saves for a single request.
            return self._retrieve_block(queries, k, rules, allowed)
        starts = range(0, len(queries), size)
        blocks = [self._retrieve_block(queries.block(at, at + size), k, rules, allowed) for at in starts]
        if not blocks:
            return Candidates(*empty_lists(0, k), np.zeros(0, np.bool_))
        items, scores = (np.concatenate(parts) for parts in zip(*((b.items, b.scores) for b in blocks), strict=True))
        is_flat = np.concatenate([block.fallback for block in blocks if block.fallback is not None])
        n_ranked = [block.n_from_model for block in blocks if block.n_from_model is not None]
        return Candidates(items, scores, is_flat, np.concatenate(n_ranked) if n_ranked else None)

    def _retrieve_block(self, queries: Queries, k: int, context: Context, allowed: ItemMask | None) -> Candidates:
        seen = find_excluded(context, queries)
        # One position more than wanted shows whether the last one is tied with an item that is not listed.
        length = k if self.fallback is None else k + 1
        searcher, embedder, sparse = self._powers
        if searcher is not None:
            items, best, has_no_evidence = searcher.search(queries, length, seen=seen, allowed=allowed)
        elif embedder is not None:
            Q = embedder.embed_queries(queries)
            has_no_evidence = np.asarray(~Q.any(axis=1))
            items, best = self._search(Q, length, seen=seen, allowed=allowed)
        elif sparse is not None and (weights := sparse.item_weights()) is not None:
            profile = sparse.profile(queries)
            items, best, has_no_evidence = top_k_sparse(profile, weights, length, seen=seen, allowed=allowed)
        else:
            scores = self.scorer.score(queries)
            has_no_evidence = _find_constant_rows(scores)
            items, best = top_k(scores, length, seen=seen, allowed=allowed)
        if context.end_stage is not None:
            context.end_stage("retrieve")
        if self.fallback is None:
            items[has_no_evidence], best[has_no_evidence] = -1, -np.inf
            return Candidates(items, best, has_no_evidence)
        ranked = Candidates(items, best, has_no_evidence)
        return break_ties(ranked, queries, self.scorer, self.fallback, seen=seen, allowed=allowed)

    def search_exactly(
        self, Q: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """The k best items of an Embedder for query vectors (B, D), as `ItemIndex.top_k` gives them."""
        return self._get_index().top_k(Q, k, seen=seen, allowed=allowed)

    def _search(
        self, Q: Float32Array, k: int, *, seen: CSR | None, allowed: ItemMask | None
    ) -> tuple[Int32Array, Float32Array]:
        return self.search_exactly(Q, k, seen=seen, allowed=allowed)

    @functools.cached_property
    def _powers(self) -> tuple[Searcher | None, Embedder | None, SparseScorer | None]:
        """The model as each of the protocols, None where it is not one. Asking a protocol each time is slow."""
        scorer = self.scorer
        return (
            scorer if isinstance(scorer, Searcher) else None,
            scorer if isinstance(scorer, Embedder) else None,
            scorer if isinstance(scorer, SparseScorer) else None,
        )

    def _get_index(self) -> ItemIndex:
        """The index of the items. Concurrent first queries build it once; later ones do not wait for the lock."""
        index = vars(self).get("_index")
        if index is None:
            with _BUILDING:
                index = self._index
        return index

    @functools.cached_property
    def _index(self) -> ItemIndex:
        return ItemIndex.build(self._vectors)

    @functools.cached_property
    def _vectors(self) -> Float32Array:
        """(N, D) the vectors of an Embedder."""
        return np.ascontiguousarray(self.scorer.embed_items(), np.float32)  # type: ignore[attr-defined]  # only called for one


def build_item_mask(context: Context, n_items: int) -> ItemMask | None:
    """(N,) bool mask of the items that may be recommended; None = all."""
    if context.allow is None and context.deny is None:
        return context.shown  # not copied: a request without rules costs the same, however many items are hidden
    allowed = np.full(n_items, context.allow is None)
    if context.allow is not None:
        allowed[context.allow] = True
    if context.deny is not None:
        allowed[context.deny] = False
    return allowed if context.shown is None else allowed & context.shown


def find_excluded(context: Context, queries: Queries) -> CSR | None:
    """(B, N) the items that are left out for each query because the user has seen them; None = none."""
    if not context.exclude_seen:
        return None
    return queries.history if queries.seen is None else queries.seen


def _find_constant_rows(scores: Float32Array) -> np.ndarray:
    """(B,) whether all scores of a row are equal: the model has no preference for this query."""
    if not scores.shape[1]:
        return np.ones(len(scores), dtype=np.bool_)
    # The first columns rule out almost every row without a second pass over the block.
    first_columns = scores[:, :16]
    candidates = np.flatnonzero(first_columns.max(axis=1, initial=-np.inf) <= first_columns.min(axis=1, initial=np.inf))
    is_constant = np.zeros(len(scores), dtype=np.bool_)
    is_constant[candidates] = scores[candidates].max(axis=1) <= scores[candidates].min(axis=1)
    return is_constant
