"""Stages of a recommendation request: a retriever, then stages that change its candidates."""

import dataclasses
import time

import numpy as np

from leanrec.pipeline.scorers import single_query
from leanrec.protocols import Context, RatingPredictor, Retriever, Scorer, Stage
from leanrec.retrieval.exact import ExactRetriever, allowed_items, seen_items
from leanrec.types import Candidates, Int32Array, Queries

__all__ = ["ClipRatings", "FillFromFallback", "RankedItems", "StagePipeline", "build_stages", "rank_and_fill"]


@dataclasses.dataclass(frozen=True)
class StagePipeline:
    """A retriever followed by stages. Made once for each version of a model, and used by all requests.

    Attributes:
        retriever: finds the candidates. It may hold an index of the items.
        stages: applied in this order.
    """

    retriever: Retriever
    stages: tuple[Stage, ...] = ()

    def run(self, queries: Queries, k: int, context: Context) -> Candidates:
        """Candidates (B, k) of all stages."""
        candidates = self.retriever.retrieve(queries, k, context)
        for stage in self.stages:
            candidates = stage(queries, candidates, context)
        return candidates


@dataclasses.dataclass(frozen=True)
class FillFromFallback:
    """Replaces the items with score 0 at the end of a list by the best items of the fallback.

    Score 0 means that the model has no evidence for an item. Only items with score 0 are filled in, so a list holds
    the items that the model ranks and then the items that the fallback prefers among the others. Lists that come from
    the fallback as a whole, and lists with negative scores, stay as they are. Sets ``Candidates.n_from_model``.

    Cost: O(B · N) and one more ``score`` of model and fallback for each list with zeros; else O(B · K).

    Attributes:
        scorer: the model.
        fallback: a scorer over the same items.
    """

    scorer: Scorer
    fallback: Scorer

    def __call__(self, queries: Queries, candidates: Candidates, context: Context) -> Candidates:
        """The lists with their zeros replaced."""
        filled = candidates.items >= 0
        counts = filled.sum(axis=1)
        fixed = np.where(filled, candidates.scores, 0).min(axis=1, initial=0) < 0
        if candidates.fallback is not None:
            fixed |= candidates.fallback
        n_from_model = np.where(fixed, counts, (filled & (candidates.scores > 0)).sum(axis=1)).astype(np.int32)
        items = candidates.items
        for row in np.flatnonzero(n_from_model < counts).tolist():
            items = items.copy() if items is candidates.items else items
            query = queries if len(queries) == 1 else queries.block(row, row + 1)
            head, length = n_from_model[row], counts[row]
            items[row, head:length] = self._rank_zeros(query, context)[: length - head]
        return dataclasses.replace(candidates, items=items, n_from_model=n_from_model)

    def _rank_zeros(self, query: Queries, context: Context) -> Int32Array:
        """Rows of the items with score 0 that may be recommended, in the order of the fallback."""
        zeros = np.asarray(self.scorer.score(query)[0] == 0)
        allowed, seen = allowed_items(context, len(zeros)), seen_items(context, query)
        if allowed is not None:
            zeros &= allowed
        if seen is not None:
            zeros[seen.indices] = False
        rows = np.flatnonzero(zeros).astype(np.int32)
        return rows[np.argsort(-self.fallback.score(query)[0, rows], kind="stable")]


@dataclasses.dataclass(frozen=True)
class ClipRatings:
    """Clips the scores of a model that predicts ratings to the range of the data, except in lists of the fallback.

    Attributes:
        low: lowest rating.
        high: highest rating.
    """

    low: float
    high: float

    def __call__(self, queries: Queries, candidates: Candidates, context: Context) -> Candidates:  # noqa: ARG002
        """The lists with clipped scores."""
        clipped = candidates.items >= 0
        if candidates.fallback is not None:
            clipped &= ~candidates.fallback[:, None]
        scores = np.where(clipped, candidates.scores.clip(self.low, self.high), candidates.scores)
        return dataclasses.replace(candidates, scores=scores)


def build_stages(model: Scorer, fallback: Scorer | None, rating_range: tuple[float, float] | None) -> StagePipeline:
    """The stages for a model.

    Args:
        model: ranks the items.
        fallback: ranks them for queries and items without evidence; None leaves those out or in the model's order.
        rating_range: lowest and highest rating of the data; None = there are no ratings.
    """
    stages: list[Stage] = []
    if fallback is not None:
        stages.append(FillFromFallback(model, fallback))
    if rating_range is not None and isinstance(model, RatingPredictor):
        stages.append(ClipRatings(*rating_range))
    return StagePipeline(ExactRetriever(model, fallback), tuple(stages))


@dataclasses.dataclass(frozen=True)
class RankedItems:
    """The list of one query, best item first.

    Attributes:
        rows: item rows.
        scores: score of each item.
        n_from_model: the model ranked this many items at the head of the list; the fallback ranked the others.
        from_fallback: the model had no evidence for the query, and the whole list is that of the fallback.
    """

    rows: tuple[int, ...]
    scores: tuple[float, ...]
    n_from_model: int
    from_fallback: bool


def rank_and_fill(stages: StagePipeline, query: Queries, n: int, context: Context) -> RankedItems:
    """The n best items for one query (B = 1), filled from the fallback where the model has no evidence.

    Cost: one query of the model, O(N) to select, and what the stages add.
    """
    now = dataclasses.replace(query, time=np.array([int(time.time())], np.int64))
    with single_query():
        found = stages.run(now, n, context)
    kept = found.items[0] >= 0
    rows, scores = found.items[0][kept].tolist(), found.scores[0][kept].tolist()
    n_from_model = len(rows) if found.n_from_model is None else int(found.n_from_model[0])
    from_fallback = found.fallback is not None and bool(found.fallback[0])
    return RankedItems(tuple(rows), tuple(scores), n_from_model, from_fallback)
