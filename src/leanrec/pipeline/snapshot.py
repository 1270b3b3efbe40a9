"""What a pipeline holds: on disk, and while it answers."""

import dataclasses
import functools
from typing import Any

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.pipeline.catalog import Catalogue
from leanrec.protocols import Embedder, Explainable, Scorer
from leanrec.types import Float32Array, Int32Array

__all__ = ["SavedPipeline", "State"]


@dataclasses.dataclass(frozen=True, eq=False)
class SavedPipeline:
    """What a pipeline is on disk.

    Attributes:
        name: of the model.
        fallback_name: of the fallback.
        model: the fitted scorer.
        fallback: a scorer that can answer anybody, or None.
        data: events, ids and tables, with all that was recorded until saving.
        stale: user rows with events that the model has not learnt from.
    """

    name: str
    fallback_name: str
    model: Any
    fallback: Any
    data: Dataset
    stale: Int32Array


@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """What one request sees: it stays whole while new items come in."""

    model: Scorer
    fallback: Scorer | None
    catalogue: Catalogue

    @functools.cached_property
    def directions(self) -> Float32Array | None:
        """(N, D) item embeddings of length 1, if the model has embeddings."""
        if not isinstance(self.model, Embedder):
            return None
        items = self.model.embed_items()
        lengths = np.linalg.norm(items, axis=1, keepdims=True)
        directions: Float32Array = (items / np.maximum(lengths, 1e-12)).astype(np.float32)
        return directions

    @functools.cached_property
    def explainer(self) -> Explainable | None:
        """The model, if it can say why."""
        return self.model if isinstance(self.model, Explainable) else None
