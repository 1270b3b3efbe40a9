"""State of a pipeline: what is saved on disk, and the snapshot that a request works on."""

import copy
import dataclasses
import functools
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape, check_codes, find_sizes
from leanrec.kernels.csr import build_row
from leanrec.pipeline.catalog import Catalog
from leanrec.pipeline.lists.rules import RuleStage
from leanrec.pipeline.lists.sources import FittedSource, SourceStage
from leanrec.pipeline.scorers import pad_scorer
from leanrec.protocols import Context, Embedder, Explainable, ItemComparer, Scorer, SimilarityEmbedder
from leanrec.retrieval.approximate import ApproximateIndex
from leanrec.retrieval.stages import StagePipeline, build_stages, rank_and_fill
from leanrec.types import Float32Array, Int32Array, Queries, empty_csr

__all__ = ["SavedPipeline", "Snapshot"]


@dataclasses.dataclass(frozen=True, eq=False)
class SavedPipeline:
    """A pipeline on disk.

    Attributes:
        name: name of the model.
        fallback_name: name of the fallback.
        model: the fitted scorer.
        fallback: a scorer that needs no history, or None.
        data: events, ids and tables, with all that was recorded until saving.
        stale: (S,) int32 rows of users whose history is not the one that the model was fitted on.
        n_fitted_users: the first users of ``data``, whom the model was fitted on; None = all.
        n_fitted_items: the first items of ``data``, which a model that takes new items as it learns of them was fitted on; None = all.
        hidden: (H,) int32 rows of items that no list may show; None = no item is hidden.
        forgotten: (F,) int32 rows of users who were forgotten, whose ids belong to no user; None = no user was.
        sources: models with places of their own in each list.
        item_index: index of the first items of the model for approximate retrieval; None = exact search.
    """

    name: str
    fallback_name: str
    model: Any
    fallback: Any
    data: Dataset
    stale: Annotated[Int32Array, ArrayShape("S")]
    n_fitted_users: int | None = None
    n_fitted_items: int | None = None
    hidden: Annotated[Int32Array, ArrayShape("H")] | None = None
    forgotten: Annotated[Int32Array, ArrayShape("F")] | None = None
    sources: tuple[FittedSource, ...] = ()
    item_index: ApproximateIndex | None = None

    def check_state(self) -> None:
        """Raise DataError unless model and fallback score the users and items of the data."""
        check_codes("SavedPipeline.stale", self.stale, len(self.data.users))
        if self.hidden is not None:
            check_codes("SavedPipeline.hidden", self.hidden, len(self.data.items))
        if self.forgotten is not None:
            check_codes("SavedPipeline.forgotten", self.forgotten, len(self.data.users))
        if self.item_index is not None and self.item_index.n_items > len(self.data.items):
            raise DataError(f"SavedPipeline.item_index must have at most the {len(self.data.items)} items of the data.")
        n_fitted = len(self.data.users) if self.n_fitted_users is None else self.n_fitted_users
        others = (self.fallback, *(each.scorer for each in self.sources))
        for scorer in (self.model, *(each for each in others if each is not None)):
            if not isinstance(scorer, Scorer) or scorer.n_items > len(self.data.items):
                raise DataError(f"Model, fallback and sources must score the {len(self.data.items)} items of the data.")
            # A model may know none, and be without learned user vectors.
            known = [find_sizes(each).get("U", 0) for each in (scorer, *getattr(scorer, "parts", ()))]
            if not 0 <= n_fitted <= len(self.data.users) or any(0 < n < n_fitted for n in known):
                raise DataError(f"The model must know the {n_fitted} users of the fit. It knows {known}.")

    def queries(self, users: Int32Array) -> Queries:
        """Queries of user rows of ``data``, with what the model may use of each."""
        n_fitted = len(self.data.users) if self.n_fitted_users is None else self.n_fitted_users
        rows = np.where(users < n_fitted, users, np.int32(-1))
        return dataclasses.replace(self.data.queries(users), users=rows, is_stale=np.isin(users, self.stale))


@dataclasses.dataclass(frozen=True, eq=False)
class Snapshot:
    """One version of model and catalog. It never changes, so a request sees the same items from start to end.

    Attributes:
        model: the scorer over the N items of the catalog; one that was fitted on fewer is padded.
        fallback: a scorer that needs no history, over the same items or the first of them; None = no fallback.
        catalog: the items.
        rating_range: lowest and highest rating of the data, or None.
        sources: models with places of their own in each list.
        item_index: index of the first items of the model for approximate retrieval; None = exact search. An updated model has
            none.
        padded_fallback: the fallback over all N items.
        stages: the stages of a request, with the index of the items. New with every version.
        source_stages: those that find the candidates of the sources.
        shown: (N,) bool, False for the items that are hidden from every list; None = no item is hidden.
        rule_stage: rules of all lists for users; None = there are none.
        n_learned_users: number of users that an updated model knows, in rows of the histories; 0 = only those of the fit.
        basis: the same object in snapshots that differ in updates of model and fallback alone.
    """

    model: Scorer
    fallback: Scorer | None
    catalog: Catalog
    rating_range: tuple[float, float] | None = None
    sources: tuple[FittedSource, ...] = ()
    item_index: ApproximateIndex | None = None
    padded_fallback: Scorer | None = dataclasses.field(init=False)
    stages: StagePipeline = dataclasses.field(init=False)
    source_stages: tuple[SourceStage, ...] = dataclasses.field(init=False)
    shown: NDArray[np.bool_] | None = dataclasses.field(init=False, default=None)
    rule_stage: RuleStage | None = dataclasses.field(init=False, default=None)
    n_learned_users: int = dataclasses.field(init=False, default=0)
    basis: object = dataclasses.field(init=False, default_factory=object)

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", pad_scorer(self.model, len(self.catalog)))
        padded = None if self.fallback is None else pad_scorer(self.fallback, len(self.catalog))
        object.__setattr__(self, "padded_fallback", padded)
        stages = build_stages(self.model, padded, self.rating_range, self.item_index)
        object.__setattr__(self, "stages", stages)
        object.__setattr__(self, "source_stages", self._build_source_stages(padded))

    def _build_source_stages(self, fallback: Scorer | None) -> tuple[SourceStage, ...]:
        built = [SourceStage.build(each, self.catalog, fallback, self.rating_range) for each in self.sources]
        return tuple(each for each in built if each is not None)

    def with_hidden(self, rows: Int32Array) -> "Snapshot":
        """A new snapshot of the same version in which these items are hidden. Indices and embeddings are shared. O(N)."""
        changed = copy.copy(self)
        shown = np.ones(len(self.catalog), np.bool_)
        shown[rows] = False
        object.__setattr__(changed, "shown", shown if len(rows) else None)
        object.__setattr__(changed, "basis", object())
        vars(changed).pop("popular", None)
        return changed

    def with_rules(self, rules: RuleStage | None) -> "Snapshot":
        """A new snapshot of the same version with these rules of lists. Indices and embeddings are shared. O(1)."""
        changed = copy.copy(self)
        vars(changed).update(rule_stage=rules, basis=object())
        return changed

    def with_updated(
        self, model: Scorer | None = None, fallback: Scorer | None = None, *, n_users: int = 0
    ) -> "Snapshot":
        """A new snapshot of the same version with an updated model or fallback; None = as before. Hidden items stay hidden.

        The index of the items is shared where the model stays. ``n_users`` is the number of users that the model knows now,
        in rows of the histories, if they have become more.
        """
        changed, n_items = copy.copy(self), len(self.catalog)
        vars(changed).pop("popular", None)
        vars(changed).update(n_learned_users=max(self.n_learned_users, n_users))
        if fallback is not None:
            padded = pad_scorer(fallback, n_items)
            stages = self.stages.with_fallback(padded)
            vars(changed).update(fallback=fallback, padded_fallback=padded, stages=stages)
            vars(changed).update(source_stages=self._build_source_stages(padded))
        if model is not None:
            model = pad_scorer(model, n_items)
            stages = build_stages(model, changed.padded_fallback, self.rating_range)
            vars(changed).update(model=model, stages=stages)
            for derived in ("unit_embeddings", "explainer"):
                vars(changed).pop(derived, None)
        return changed

    def warm_up(self) -> None:
        """Build what the first list would otherwise wait for."""
        if len(self.catalog):
            n_items = len(self.catalog)
            history = build_row(np.zeros(1, np.int32), np.ones(1, np.float32), n_items)
            query = Queries(np.array([-1], np.int32), history, sequences=(np.zeros(1, np.int32),))
            rank_and_fill(self.stages, query, 1, Context(shown=self.shown))
            self.stages.warm_up()
            for each in self.source_stages:
                each.retrieve(query, 1, Context(shown=self.shown))
            _ = self.unit_embeddings, self.popular

    def is_shown(self, rows: Int32Array) -> NDArray[np.bool_]:
        """(R,) whether items may be shown."""
        return np.ones(len(rows), np.bool_) if self.shown is None else self.shown[rows]

    @functools.cached_property
    def popular(self) -> tuple[Int32Array, Float32Array]:
        """The items that may be shown, in the order of the fallback without a user, and their scores. O(N log N) once."""
        n_items = len(self.catalog)
        if self.padded_fallback is None:
            return np.zeros(0, np.int32), np.zeros(0, np.float32)
        unknown = Queries(np.array([-1], np.int32), empty_csr(1, n_items), seen=empty_csr(1, n_items))
        scores = self.padded_fallback.score(unknown)[0]
        order = np.argsort(-scores, kind="stable").astype(np.int32)
        order = order[self.is_shown(order)]
        return order, scores[order]

    def compare_items(self, row: int) -> Float32Array | None:
        """(N,) cosine between the embeddings of all items and that of a row; None if the model has no embeddings."""
        if isinstance(self.model, ItemComparer):
            return self.model.compare_items(row)
        return None if self.unit_embeddings is None else self.unit_embeddings @ self.unit_embeddings[row]

    @functools.cached_property
    def unit_embeddings(self) -> Float32Array | None:
        """(N, D) item embeddings of length 1, 0 for items of which nothing is known.

        None if the model has no embeddings, or compares its items itself.
        """
        if not isinstance(self.model, Embedder) or isinstance(self.model, ItemComparer):
            return None
        model = self.model
        items = model.similarity_vectors() if isinstance(model, SimilarityEmbedder) else model.embed_items()
        lengths = np.linalg.norm(items, axis=1, keepdims=True)
        embeddings: Float32Array = (items / np.maximum(lengths, 1e-12)).astype(np.float32)
        return embeddings

    @functools.cached_property
    def explainer(self) -> Explainable | None:
        """The model, if it can explain its scores."""
        return self.model if isinstance(self.model, Explainable) else None
