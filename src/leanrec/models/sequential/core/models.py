"""Fitted sequential models: a query vector from the history, and scores as dot products with item vectors."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from leanrec.data.table import Table
from leanrec.field_checks import check_array_shapes
from leanrec.kernels.sparse import dot_scores
from leanrec.models.sequential.core.item_content import ItemContent
from leanrec.models.sequential.core.settings import SequentialSettings
from leanrec.nn.arrays import check_weights, load_arrays
from leanrec.protocols import Explanation, rank_contributions
from leanrec.training.histories import PackedHistories, leave_one_out, pad_histories, sum_score_drops
from leanrec.types import Float32Array, Int32Array, Queries

__all__ = ["SequentialContentModel", "SequentialModel", "encode_histories"]

# Cells of one padded batch at inference.
_BATCH_CELLS = 16_384


def encode_histories(network: nn.Module, settings: SequentialSettings, histories: PackedHistories) -> Float32Array:
    """(B, D) hidden state after each whole history; zeros for an empty one."""
    device = next(network.parameters()).device
    out = np.zeros((len(histories), cast(nn.Embedding, network.items).embedding_dim), np.float32)
    lengths = histories.lengths
    nonempty = np.flatnonzero(lengths)
    order = nonempty[np.argsort(lengths[nonempty], kind="stable")]
    while len(order):
        # The longest history of a batch sets its width, and so how many fit.
        block = order[-max(1, _BATCH_CELLS // int(lengths[order[-1]])) :]
        order = order[: -len(block)]
        batch = pad_histories(histories, histories.bounds[block], histories.bounds[block + 1])
        with torch.inference_mode():
            items, ends = settings.inference_inputs(batch.items.to(device), batch.lengths.to(device))
            out[block] = network(items, ends)[torch.arange(len(block)), ends - 1].float().cpu().numpy()
    return out


@dataclasses.dataclass(frozen=True, eq=False)
class SequentialModel:
    """A fitted sequential model.

    Attributes:
        settings: settings of the fit, which also build the network.
        weights: weights of the network by name; "items.weight" is (N, D).
    """

    settings: SequentialSettings
    weights: Mapping[str, NDArray[Any]]

    def check_state(self) -> None:
        """Raise DataError unless the weights are those of the network."""
        check_weights(lambda: self.settings.build_network(self.n_items), self.weights)

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.weights["items.weight"])

    @functools.cached_property
    def _network(self) -> nn.Module:
        return load_arrays(self.settings.build_network(self.n_items), self.weights)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D) hidden state after each history; zeros for an empty one."""
        histories = PackedHistories.from_queries(queries, self.settings.max_length)
        return encode_histories(self._network, self.settings, histories)

    def embed_items(self) -> Float32Array:
        """(N, D) item vectors."""
        return self.weights["items.weight"]

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Hidden states · item vectors: (B, N), or (B, K) for ``items``."""
        return dot_scores(self.embed_queries(queries), self.embed_items(), items)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """Items of the history by how much the scores of ``items`` drop without each. L + 1 passes through the network."""
        history = PackedHistories.from_queries(queries, self.settings.max_length).items
        states = encode_histories(self._network, self.settings, leave_one_out(history))
        return rank_contributions(*sum_score_drops(history, states @ self.embed_items()[items].T), top_k=top_k)


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
            {"projection": (0, self.weights["items.weight"].shape[1])},
        )

    def extend(self, items: Table) -> "SequentialContentModel":
        """The model with the M ``items`` added at the end. Raises ColumnError if they have no column of the fit."""
        vectors = np.concatenate([self.embed_items(), self.content.embed_items(items)])
        return dataclasses.replace(self, weights={**self.weights, "items.weight": vectors})
