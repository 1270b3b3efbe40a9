"""State of a pipeline: what is saved on disk, and the snapshot that a request works on."""

import dataclasses
import functools
from typing import Any

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.pipeline.catalog import Catalog
from leanrec.pipeline.scorers import pad_scorer
from leanrec.pipeline.stages import StagePipeline, build_stages
from leanrec.protocols import Embedder, Explainable, Scorer, SimilarityEmbedder
from leanrec.types import Float32Array, Int32Array

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
        stale: (S,) int32 rows of users with events that the model was not fitted on.
    """

    name: str
    fallback_name: str
    model: Any
    fallback: Any
    data: Dataset
    stale: Int32Array


@dataclasses.dataclass(frozen=True, eq=False)
class Snapshot:
    """One version of model and catalog. It never changes, so a request sees the same items from start to end.

    Attributes:
        model: the fitted scorer over the N items of the catalog.
        fallback: a scorer that needs no history, over the same items or the first of them; None = no fallback.
        catalog: the items.
        rating_range: lowest and highest rating of the data, or None.
        padded_fallback: the fallback over all N items.
        stages: the stages of a request, with the index of the items. New with every snapshot.
    """

    model: Scorer
    fallback: Scorer | None
    catalog: Catalog
    rating_range: tuple[float, float] | None = None
    padded_fallback: Scorer | None = dataclasses.field(init=False)
    stages: StagePipeline = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        padded = None if self.fallback is None else pad_scorer(self.fallback, len(self.catalog))
        object.__setattr__(self, "padded_fallback", padded)
        object.__setattr__(self, "stages", build_stages(self.model, padded, self.rating_range))

    @functools.cached_property
    def unit_embeddings(self) -> Float32Array | None:
        """(N, D) item embeddings of length 1, 0 for items of which nothing is known; None if the model has no embeddings."""
        if not isinstance(self.model, Embedder):
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
