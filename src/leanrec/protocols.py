"""Interfaces between the stages: estimators, scorers, retrievers, rankers and explanations."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.table import Table
from leanrec.run import Run
from leanrec.types import CSR, Candidates, Events, Float32Array, Int32Array, Queries

__all__ = [
    "Context",
    "Embedder",
    "Estimator",
    "Explainable",
    "Explanation",
    "Extendable",
    "Path",
    "Ranker",
    "RatingPredictor",
    "Retriever",
    "Scorer",
    "SparseScorer",
    "Stage",
    "Updatable",
    "rank_contributions",
]


@runtime_checkable
class Scorer(Protocol):
    """What was learnt: a frozen dataclass of arrays."""

    @property
    def n_items(self) -> int:
        """N, the number of items that can be scored."""
        ...

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Scores, higher is better: (B, N), or (B, K) for the given ``items`` (K,) or (B, K).

        A row of equal scores means the model knows nothing about that asker; retrieval then falls back.
        """
        ...


@runtime_checkable
class Estimator(Protocol):
    """Settings, as a frozen dataclass, with ``fit``."""

    def fit(self, data: Dataset, run: Run = ...) -> Scorer:
        """Learn from the data under the conditions of ``run``."""
        ...

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Upper estimate of the memory that ``fit`` needs on top of the data, in bytes."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """A scorer whose score is a dot product, so that fast exact and approximate search apply."""

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D)."""
        ...

    def embed_items(self) -> Float32Array:
        """(N, D)."""
        ...


@runtime_checkable
class SparseScorer(Protocol):
    """A scorer whose score is a product of sparse matrices, so that lists come without a dense row of scores.

    Law: ``score(queries) == profile(queries) @ item_weights()``. The middle size M is N for item-item weights
    and may be another (the training users, say).
    """

    def profile(self, queries: Queries) -> CSR:
        """(B, M) float32: what each asker brings, without duplicates; an empty row where the history is empty."""
        ...

    def item_weights(self) -> CSR | None:
        """(M, N) float32, of either sign; held by the model, not made for the call. None: this fit's are dense."""
        ...


@runtime_checkable
class Updatable(Protocol):
    """A scorer that learns from new events without a refit."""

    def update(self, events: Events) -> Scorer:
        """A new scorer that also knows the (row-indexed) events. The old one keeps answering."""
        ...


@runtime_checkable
class Extendable(Protocol):
    """A scorer that can take in items that have content and no events."""

    def extend(self, items: Table) -> Scorer:
        """A scorer of N + M items: the M rows of ``items`` follow the old ones."""
        ...


@dataclasses.dataclass(frozen=True)
class ExplanationPath:
    """A way from an item of the history to the recommended one.

    Attributes:
        item: row of the item of the history.
        through: what both are tied to, in words: "actor: Al Pacino".
        weight: what passes over it to the score.
    """

    item: int
    through: str
    weight: float


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """Why an item was recommended.

    Attributes:
        reason: one sentence stem: "history", "content", "neighbors", "popularity", "factors".
        items: (R,) int32 rows of history items that speak for it, strongest first.
        weights: (R,) float32 what each adds to the score.
        features: words, genres or other content that speak for it, strongest first.
        paths: how items of the history lead to it, strongest first; empty where the model knows of no links.
    """

    reason: str
    items: Int32Array
    weights: Float32Array
    features: tuple[str, ...] = ()
    paths: tuple[ExplanationPath, ...] = ()


def rank_contributions(
    items: NDArray[Any],
    contributions: NDArray[Any],
    *,
    reason: str = "history",
    features: tuple[str, ...] = (),
    only_positive: bool = False,
) -> Explanation:
    """An ``Explanation`` from the contribution of each item to the score, largest first, equal ones in the given order.

    For ``explain`` of a model whose score is a sum over the history, say Σ history[i] · weight[i, item]:
    ``rank_contributions(history.indices, history.data * weights[history.indices, item])``. O(R log R).

    Args:
        items: (R,) rows of history items.
        contributions: (R,) what each adds to the score.
        reason: ``Explanation.reason``.
        features: ``Explanation.features``.
        only_positive: leave out items whose contribution is 0 or below.
    """
    order = np.argsort(-contributions, kind="stable")
    if only_positive:
        order = order[contributions[order] > 0]
    return Explanation(
        reason, items[order].astype(np.int32), contributions[order].astype(np.float32), features=features
    )


@runtime_checkable
class Explainable(Protocol):
    """A scorer that can say why."""

    def explain(self, queries: Queries, item: int) -> Explanation:
        """Why ``item`` for the one asker in ``queries`` (B = 1)."""
        ...


@runtime_checkable
class RatingPredictor(Protocol):
    """A scorer whose scores are ratings on the scale of the data."""

    def predict(self, queries: Queries, items: Int32Array) -> Float32Array:
        """(B,) the rating that asker b would give ``items[b]``, inside the range of the data."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """Rules of one request, the same for all its queries, that every stage must respect.

    Attributes:
        exclude_seen: leave out the items that the user has interacted with.
        allow: item rows that may be recommended; None = all.
        deny: item rows that must not be recommended; None = none.
    """

    exclude_seen: bool = True
    allow: Int32Array | None = None
    deny: Int32Array | None = None


@runtime_checkable
class Retriever(Protocol):
    """First stage of a pipeline: all items → K candidates."""

    def retrieve(self, queries: Queries, k: int, context: Context | None = None) -> Candidates:
        """The k best items for each query. None: the rules that the retriever was made with."""
        ...


class Stage(Protocol):
    """A later stage of a pipeline: candidates → candidates."""

    def __call__(self, queries: Queries, candidates: Candidates, context: Context) -> Candidates:
        """New lists of the same shape, which obey the rules of ``context``."""
        ...


@runtime_checkable
class Ranker(Protocol):
    """K candidates → the order to show."""

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """The same candidates, or fewer, in another order."""
        ...
