"""Interfaces between the stages: estimators, scorers, retrievers, rankers and explanations."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.table import Table
from leanrec.run import Run
from leanrec.types import CSR, Candidates, Float32Array, Int32Array, Queries

__all__ = [
    "Context",
    "Embedder",
    "Estimator",
    "Explainable",
    "Explanation",
    "ExplanationPath",
    "Extendable",
    "ItemComparer",
    "OffsetEmbedder",
    "Ranker",
    "RatingPredictor",
    "Retriever",
    "RowUpdatable",
    "RowwiseEmbedder",
    "Scorer",
    "Searcher",
    "SharedItemReader",
    "SimilarityEmbedder",
    "SparseScorer",
    "Stage",
    "Updatable",
    "rank_contributions",
]

# Up to this many contributions for each that is kept, one sort is faster than repeated searches for the largest.
_SORTED_RATIO = 8


@runtime_checkable
class Scorer(Protocol):
    """A fitted model: a frozen dataclass of arrays."""

    @property
    def n_items(self) -> int:
        """N, the number of items that can be scored."""
        ...

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Scores, higher is better: (B, N), or (B, K) for the given ``items`` (K,) or (B, K).

        A row of equal scores means that the model cannot score that user; retrieval then uses the fallback. A score of
        0 means that the model has no evidence for the item: such positions of a list are filled by the fallback too.
        """
        ...


@runtime_checkable
class Estimator(Protocol):
    """The settings of a model: a frozen dataclass with ``fit``."""

    def fit(self, data: Dataset, run: Run = ...) -> Scorer:
        """Fit a model with the seed, the threads and the budget of ``run``."""
        ...

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Upper estimate of the memory that ``fit`` needs in addition to the data, in bytes."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """A scorer whose score is a dot product, which exact and approximate search support."""

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D)."""
        ...

    def embed_items(self) -> Float32Array:
        """(N, D)."""
        ...


@runtime_checkable
class SimilarityEmbedder(Protocol):
    """An `Embedder` whose item embeddings hold more than similarity, such as a bias or a constant."""

    def similarity_vectors(self) -> Float32Array:
        """(N, D): the cosine of two rows is the similarity of the items; a row of zeros for an item without evidence."""
        ...


@runtime_checkable
class RowwiseEmbedder(Protocol):
    """An `Embedder` that reads few rows of its tables for a query: those of the items of the history, and of the user.

    Its tables are the arrays declared as ``ArrayShape("N", …)`` with a row for each item, and ``ArrayShape("U", …)`` with
    one for each user of the fit. Invariant: the model of some rows, made from ``summarize()`` with `dataclasses.replace`,
    embeds and explains queries of these items and users as the whole one does. So tables can be kept in codes, of which a
    query decodes a few.
    """

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D)."""
        ...

    def embed_items(self) -> Float32Array:
        """(N, D)."""
        ...

    def summarize(self) -> "RowwiseEmbedder":
        """The model with sums over all rows, where it needs any, in fields of their own."""
        ...


@runtime_checkable
class SharedItemReader(Protocol):
    """A `RowwiseEmbedder` whose queries read some items beside those of their histories: the negatives of a fold-in."""

    def find_shared_items(self, queries: Queries, n_items: int) -> Int32Array:
        """(S,) rows that the queries read of all N items of the fit, in any order, also several times."""
        ...

    def with_shared_items(self, rows: Int32Array) -> "RowwiseEmbedder":
        """The model of some items, of which those of ``find_shared_items`` have these rows (S,)."""
        ...


@runtime_checkable
class OffsetEmbedder(Protocol):
    """A `RowwiseEmbedder` whose item embeddings hold offsets beside the vectors, which are added to the scores.

    Its table of items is what ``embed_items`` gives, in one array or put together of several.
    """

    @property
    def offset_columns(self) -> tuple[int, ...]:
        """Columns of the item embeddings that are offsets, or one number for all items."""
        ...

    def embed_items(self) -> Float32Array:
        """(N, D)."""
        ...

    def replace_items(self, vectors: Float32Array) -> "RowwiseEmbedder":
        """The model with other item embeddings (N, D), of as many items or of some."""
        ...


@runtime_checkable
class ItemComparer(Protocol):
    """A scorer that compares its items itself, such as a compressed model, whose items are never decoded as a whole."""

    def compare_items(self, row: int) -> Float32Array:
        """(N,) similarity of all items to that of a row, as a cosine; 0 for items of which nothing is known."""
        ...


@runtime_checkable
class RowUpdatable(Protocol):
    """An `Updatable` model of one vector for each item that can solve some of them and leave the others as they are."""

    def solve_items(self, data: Dataset, changed: Int32Array | None = None, run: Run = ...) -> Float32Array:
        """(C, D) vectors of the rows ``changed`` of the items of ``data``, or of all, in the axes of the model."""
        ...


@runtime_checkable
class SparseScorer(Protocol):
    """A scorer whose score is a product of sparse matrices, so that the top items can be found without dense scores.

    Invariant: ``score(queries) == profile(queries) @ item_weights()``. The inner size M is N for item-item weights,
    and may differ, as the number of training users does.
    """

    def profile(self, queries: Queries) -> CSR:
        """(B, M) float32: the sparse representation of each query, without duplicates; an empty row for an empty history."""
        ...

    def item_weights(self) -> CSR | None:
        """(M, N) float32, of either sign, part of the model and not computed by the call. None where they are dense."""
        ...


@runtime_checkable
class Searcher(Protocol):
    """A scorer that finds the best items itself, such as a compressed model, whose items are never decoded as a whole.

    Invariant: the lists are those of the scores that ``score`` gives, but for the order of equal ones. Other powers of
    such a scorer, ``embed_items`` for one, may cost the memory that it saves; retrieval does not use them.
    """

    def search(
        self, queries: Queries, k: int, *, seen: CSR | None = None, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Int32Array, Float32Array, NDArray[np.bool_]]:
        """The k best items of each query, best first.

        Args:
            queries: B queries.
            k: length of the lists, at least 0.
            seen: (B, N) entries to leave out; None = none.
            allowed: (N,) items that may be listed; None = all.

        Returns:
            items (B, k) int32, −1 past the end; scores (B, k) float32, −inf past the end; and (B,) whether there is no
            evidence for a query, so that all its scores are equal.
        """
        ...


@runtime_checkable
class Updatable(Protocol):
    """A fitted model whose item side follows a log that has grown, while it is served.

    It takes data and not events: what an event changes depends on the history before it, a rating that replaces an earlier
    one takes evidence away, and a user who is forgotten takes all of it away. So the order of the events, events
    that come twice and events that come late cannot make a difference.
    """

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = ...) -> Scorer:
        """A new model that knows ``data``. The old one does not change.

        Args:
            data: the data of the fit with histories that have changed, and with new users and items after the known ones.
            changed: (C,) rows of items with new events. The model may leave what it knows of other items as it is, and
                save time; what it then knows of these items is the same. None = follow the data everywhere.
            run: conditions of the work.
        """
        ...


@runtime_checkable
class Extendable(Protocol):
    """A scorer that can add items with content and without events."""

    def extend(self, items: Table) -> Scorer:
        """A scorer of N + M items: the M rows of ``items`` follow the existing ones."""
        ...


@dataclasses.dataclass(frozen=True)
class ExplanationPath:
    """A path in a graph from an item of the history to the recommended item.

    Attributes:
        item: row of the item of the history.
        through: what links the two, as text: "actor: Al Pacino".
        weight: contribution of the path to the score.
    """

    item: int
    through: str
    weight: float


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """Why an item was recommended.

    Attributes:
        reason: kind of explanation: "history", "content", "neighbors", "popularity", "factors", "friends", "attributes" (of the
            user, such as a row of the user table).
        items: (R,) int32 rows of the contributing items of the history, largest contribution first.
        weights: (R,) float32 contributions to the score.
        features: contributing words, genres or other content, strongest first.
        paths: paths from items of the history, strongest first; () for models without a graph of entities.
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
    features: Sequence[tuple[str, ...]] | None = None,
    only_positive: bool = False,
    top_k: int | None = None,
) -> list[Explanation]:
    """Explain K scores by what each item of the history adds to them, largest first; ties keep the given order.

    For ``explain`` of a model whose score is a sum over the history, say Σ history[i] · weight[i, item]:
    ``rank_contributions(history.indices, (history.data[:, None] * weights[history.indices][:, items]).T)``.
    O(K · R log R), or O(K · R · top_k).

    Args:
        items: (R,) rows of history items.
        contributions: (K, R) what each adds to each score.
        reason: ``Explanation.reason``.
        features: ``Explanation.features`` of each; None = none.
        only_positive: leave out items whose contribution is 0 or below.
        top_k: keep at most this many contributions, the largest; None = all.
    """
    rows, added = np.asarray(items, np.int32), np.asarray(contributions, np.float32)
    if top_k is None or len(rows) <= _SORTED_RATIO * top_k:
        order = np.argsort(-added, axis=1, kind="stable")[:, :top_k]
    else:
        order = _find_largest(added, top_k)
    weights = added[np.arange(len(added))[:, None], order]
    counts = [order.shape[1]] * len(added)
    if only_positive:
        counts = np.count_nonzero(weights > 0, axis=1).tolist()
    shared = [()] * len(added) if features is None else features
    return [
        Explanation(reason, ordered[:count], values[:count], names)
        for ordered, values, count, names in zip(rows[order], weights, counts, shared, strict=True)
    ]


def _find_largest(values: Float32Array, k: int) -> NDArray[np.intp]:
    """(K, k) positions of the k largest of R > k values of each row, largest first, equal ones in order. O(K · R · k)."""
    rest, rows = values.copy(), np.arange(len(values))
    order = np.empty((len(values), k), np.intp)
    for position in range(k):
        order[:, position] = rest.argmax(axis=1)
        rest[rows, order[:, position]] = -np.inf
    return order


@runtime_checkable
class Explainable(Protocol):
    """A scorer that can explain its recommendations."""

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """Explain the scores of ``items`` (K,) for the one user in ``queries`` (B = 1): an explanation for each.

        What does not depend on the item, such as the solution for a user, is computed once for all. With ``top_k``
        an explanation keeps only that many contributing items, the largest; features and paths are those of all.
        """
        ...


@runtime_checkable
class RatingPredictor(Protocol):
    """A scorer whose scores are ratings on the scale of the data."""

    def predict(self, queries: Queries, items: Int32Array) -> Float32Array:
        """(B,) predicted rating of user b for ``items[b]``, within the range of the data."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """Rules of one request, the same for all its queries, that every stage must respect.

    Attributes:
        exclude_seen: leave out the items that the user has interacted with.
        allow: item rows that may be recommended; None = all.
        deny: item rows that must not be recommended; None = none.
        shown: (N,) bool, False for the items that are hidden from every list; None = no item is hidden.
        end_stage: called with the name of a part of the work when it ends, to time it; None = not timed.
    """

    exclude_seen: bool = True
    allow: Int32Array | None = None
    deny: Int32Array | None = None
    shown: NDArray[np.bool_] | None = None
    end_stage: Callable[[str], None] | None = None


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
    """Later stage: reorders candidates."""

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """The same candidates, or fewer, in another order."""
        ...
