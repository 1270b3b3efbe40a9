"""Fitted sequential models: a query vector from the history, and scores as dot products with item vectors."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.table import Table
from leanrec.errors import DataError
from leanrec.field_checks import check_array_shapes
from leanrec.kernels.csr import concat_ranges
from leanrec.kernels.layers.named_layers import NamedLayers
from leanrec.kernels.sparse import dot_scores
from leanrec.kernels.threads import run_in_threads
from leanrec.models.sequential.core.item_content import ItemContent
from leanrec.models.sequential.core.settings import SequentialSettings
from leanrec.protocols import Explanation, rank_contributions
from leanrec.training.histories import PackedHistories, leave_one_out, sum_score_drops
from leanrec.types import Float32Array, Int32Array, Int64Array, Queries

__all__ = ["ITEM_TABLE", "SequentialContentModel", "SequentialModel", "encode_histories", "explain_history"]

# Name of the item vectors (N, D) among the weights.
ITEM_TABLE = "items.weight"
# Rows of histories that are encoded at a time: their activations stay in the cache.
_BATCH_ROWS = 4_096


def encode_histories(
    settings: SequentialSettings,
    layers: NamedLayers,
    look_up: Callable[[Int32Array], Float32Array],
    histories: PackedHistories,
) -> Float32Array:
    """(B, D) state after each history of at most ``max_length`` items; zeros for an empty one.

    ``look_up`` gives a new array of the vectors of some items.
    """
    if len(histories) == 1 and len(histories.items):
        return settings.encode(layers, look_up(histories.items), histories.bounds)
    out = np.zeros((len(histories), layers[ITEM_TABLE].shape[1]), np.float32)

    def encode_batch(rows: Int64Array) -> None:
        lengths = histories.lengths[rows]
        cells = concat_ranges(histories.bounds[rows], lengths)
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        out[rows] = settings.encode(layers, look_up(histories.items[cells]), bounds)

    run_in_threads(encode_batch, _split_rows(histories.lengths))
    return out


def _split_rows(lengths: Int64Array) -> list[Int64Array]:
    """The rows with items, in batches of about ``_BATCH_ROWS`` items."""
    rows = np.flatnonzero(lengths)
    ends = np.cumsum(lengths[rows])
    cuts = np.searchsorted(ends, np.arange(_BATCH_ROWS, ends[-1] if len(ends) else 0, _BATCH_ROWS)) + 1
    return [batch for batch in np.split(rows, np.unique(cuts)) if len(batch)]


def explain_history(
    history: Int32Array,
    encode: Callable[[PackedHistories], Float32Array],
    vectors: Float32Array,
    top_k: int | None,
) -> list[Explanation]:
    """Items of a history by how much the scores of the items with the ``vectors`` (K, D) drop without each."""
    scores = encode(leave_one_out(history)) @ vectors.T
    return rank_contributions(*sum_score_drops(history, scores), top_k=top_k)


@dataclasses.dataclass(frozen=True, eq=False)
class SequentialModel:
    """A fitted sequential model. It needs no torch.

    Attributes:
        settings: settings of the fit, which also compute the states.
        weights: weights of the network by name; "items.weight" is (N, D).
    """

    settings: SequentialSettings
    weights: Mapping[str, NDArray[Any]]

    def check_state(self) -> None:
        """Raise DataError unless the weights are those of the network."""
        shapes = self.settings.weight_shapes(self.n_items)
        check_array_shapes("The weights of the network", self.weights, shapes)
        for name, array in self.weights.items():
            if name not in shapes or array.dtype != np.float32:
                raise DataError(
                    f"The weights must have the names of the network and be float32. Got {name!r} of {array.dtype}."
                )

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.weights[ITEM_TABLE])

    @functools.cached_property
    def _layers(self) -> NamedLayers:
        return NamedLayers(self.weights)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D) state after each history; zeros for an empty one."""
        return self.encode_histories(PackedHistories.from_queries(queries, self.settings.max_length))

    def encode_histories(self, histories: PackedHistories) -> Float32Array:
        """(B, D) state after each history of at most ``max_length`` items; zeros for an empty one."""
        return encode_histories(self.settings, self._layers, self.embed_items().__getitem__, histories)

    def embed_items(self) -> Float32Array:
        """(N, D) item vectors."""
        return self.weights[ITEM_TABLE]

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """States · item vectors: (B, N), or (B, K) for ``items``."""
        return dot_scores(self.embed_queries(queries), self.embed_items(), items)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """Items of the history by how much the scores of ``items`` drop without each. L + 1 passes through the network."""
        history = PackedHistories.from_queries(queries, self.settings.max_length).items
        return explain_history(history, self.encode_histories, self.embed_items()[items], top_k)


@dataclasses.dataclass(frozen=True, eq=False)
class SequentialContentModel(SequentialModel):
    """A fitted sequential model that accepts new items by their content.

    Attributes:
        content: gives part of each item vector, and all of the vector of a new item.
    """

    content: ItemContent

    def check_state(self) -> None:
        """Raise DataError unless the content has vectors of the size of the items."""
        super().check_state()
        check_array_shapes(
            "SequentialContentModel",
            {"projection": self.content.projection[:0]},
            {"projection": (0, self.weights[ITEM_TABLE].shape[1])},
        )

    def extend(self, items: Table) -> "SequentialContentModel":
        """The model with the M ``items`` added at the end. Raises ColumnError if they have no column of the fit."""
        vectors = np.concatenate([self.embed_items(), self.content.embed_items(items)])
        return dataclasses.replace(self, weights={**self.weights, ITEM_TABLE: vectors})
