"""Stages of a request for a list: a retriever, then stages that change its candidates."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from leanrec.kernels.threads import single_query
from leanrec.protocols import Context, Embedder, RatingPredictor, Scorer, Stage
from leanrec.retrieval.approximate import ApproximateIndex, ApproximateRetriever
from leanrec.retrieval.exact import ExactRetriever
from leanrec.types import Candidates, Queries

__all__ = ["ClipRatings", "RankedItems", "StagePipeline", "build_stages", "rank_and_fill"]


@dataclasses.dataclass(frozen=True)
class StagePipeline:
    """A retriever followed by stages. Made once for each version of a model, and used by all requests.

    Attributes:
        retriever: finds the candidates. It may hold an index of the items.
        stages: applied in this order.
    """

    retriever: ExactRetriever
    stages: tuple[Stage, ...] = ()

    def run(self, queries: Queries, k: int, context: Context) -> Candidates:
        """Candidates (B, k) of all stages."""
        candidates = self.retriever.retrieve(queries, k, context)
        for stage in self.stages:
            candidates = stage(queries, candidates, context)
        return candidates

    def with_fallback(self, fallback: Scorer | None) -> "StagePipeline":
        """The same stages, with the index of the items, and another fallback."""
        return dataclasses.replace(self, retriever=self.retriever.with_fallback(fallback))

    def warm_up(self) -> None:
        """Build the index for exact search beside an approximate one. Nothing for a retriever without one."""
        if isinstance(self.retriever, ApproximateRetriever):
            self.retriever.warm_up()


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


def build_stages(
    model: Scorer,
    fallback: Scorer | None,
    rating_range: tuple[float, float] | None,
    item_index: ApproximateIndex | None = None,
) -> StagePipeline:
    """The stages for a model.

    Args:
        model: ranks the items.
        fallback: ranks them for queries without evidence, and items of equal score; None leaves such lists empty.
        rating_range: lowest and highest rating of the data; None = there are no ratings.
        item_index: index of the item vectors of the model; None = exact search.
    """
    stages: list[Stage] = []
    if rating_range is not None and isinstance(model, RatingPredictor):
        stages.append(ClipRatings(*rating_range))
    if item_index is None or not isinstance(model, Embedder):
        return StagePipeline(ExactRetriever(model, fallback), tuple(stages))
    return StagePipeline(ApproximateRetriever(model, fallback, index=item_index), tuple(stages))


@dataclasses.dataclass(frozen=True)
class RankedItems:
    """The list of one query, best item first.

    Attributes:
        rows: item rows.
        scores: score of each item.
        n_from_model: the model ranked this many items at the head of the list; the fallback ranked the others.
        from_fallback: the model had no evidence for the query, and the whole list is that of the fallback.
        sources: name of the source of each item, or "pin", and "" for one of this list; () = all are of this list. The others do
            not count in ``n_from_model``.
    """

    rows: tuple[int, ...]
    scores: tuple[float, ...]
    n_from_model: int
    from_fallback: bool
    sources: tuple[str, ...] = ()

    @property
    def own_ranks(self) -> Sequence[int]:
        """Ranks of the items that are not those of sources."""
        ranks = range(len(self.rows))
        return [rank for rank in ranks if not self.sources[rank]] if self.sources else ranks

    def name_sources(self) -> tuple[str, ...]:
        """Where each item comes from; see ``RecommendedItem.source``."""
        n_ranked = 0 if self.from_fallback else self.n_from_model
        names = ("model",) * n_ranked + ("fallback",) * (len(self.own_ranks) - n_ranked)
        if not self.sources:
            return names
        own = iter(names)
        return tuple([name or next(own) for name in self.sources])

    def find_ranks(self, source: str) -> list[int]:
        """Ranks of the items of a source."""
        return [rank for rank, name in enumerate(self.sources) if name == source]

    def split(self, n: int) -> tuple["RankedItems", dict[int, tuple[int, float, str]]]:
        """The own items, and row, score and source of the others among the first n items by their ranks."""
        if not self.sources:
            return self, {}
        placed = {
            rank: (self.rows[rank], self.scores[rank], name) for rank, name in enumerate(self.sources[:n]) if name
        }
        return dataclasses.replace(self.take(self.own_ranks), n_from_model=self.n_from_model), placed

    def insert(self, placed: Mapping[int, tuple[int, float, str]]) -> "RankedItems":
        """The list with row, score and source of other items at these ranks, from 0 on; the items of this one move down."""
        if not placed:
            return self
        own = iter(zip(self.rows, self.scores, ("",) * len(self.rows), strict=True))
        ranks = range(len(self.rows) + len(placed))
        parts = [placed[rank] if rank in placed else next(own) for rank in ranks]
        rows, scores, sources = zip(*parts, strict=True)
        return RankedItems(rows, scores, self.n_from_model, self.from_fallback, sources)

    def take(self, ranks: Sequence[int]) -> "RankedItems":
        """A list with the items of these ranks, from 0 on; ranks behind its end are left out. None of the fallback comes earlier."""
        kept = [rank for rank in ranks if rank < len(self.rows)]
        return RankedItems(
            tuple([self.rows[rank] for rank in kept]),
            tuple([self.scores[rank] for rank in kept]),
            min(len(kept), self.n_from_model),
            self.from_fallback,
        )


def rank_and_fill(stages: StagePipeline, query: Queries, n: int, context: Context) -> RankedItems:
    """The n best items for one query (B = 1), filled from the fallback where the model has no evidence.

    Cost: one query of the model, O(N) to select, one more query where scores are equal, and what the stages add.
    """
    with single_query():
        found = stages.run(query, n, context)
    rows, scores = found.items[0].tolist(), found.scores[0].tolist()
    if rows and min(rows) < 0:
        kept = [at for at, row in enumerate(rows) if row >= 0]
        rows, scores = [rows[at] for at in kept], [scores[at] for at in kept]
    n_from_model = len(rows) if found.n_from_model is None else int(found.n_from_model[0])
    from_fallback = found.fallback is not None and bool(found.fallback[0])
    return RankedItems(tuple(rows), tuple(scores), n_from_model, from_fallback)
