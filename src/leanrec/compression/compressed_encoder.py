"""Compressed encoders: a sequential model whose item table is kept in codes, for histories and for scores."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from leanrec.compression.coded_scorer import CodedScorer, sample_query_vectors
from leanrec.compression.methods import count_parts
from leanrec.compression.vectors.codec import VectorCodec
from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.errors import SettingError
from leanrec.kernels.layers.named_layers import NamedLayers
from leanrec.models.sequential.core.models import (
    ITEM_TABLE,
    SequentialContentModel,
    SequentialModel,
    encode_histories,
    explain_history,
)
from leanrec.protocols import Explanation, Extendable, Scorer
from leanrec.retrieval.wrappers import make_wrapper_class
from leanrec.run import Run
from leanrec.training.histories import PackedHistories
from leanrec.types import Float32Array, Int32Array, Queries

__all__ = ["CompressedEncoder", "EncoderCompression", "compress_encoder"]


def compress_encoder(
    model: SequentialModel, codec: VectorCodec, *, data: Dataset | None = None, seed: int = 0
) -> "CompressedEncoder":
    """The model with its item table in the codes of a codec; the layers stay as they are.

    Args:
        model: a fitted sequential model.
        codec: how vectors are coded.
        data: what the model was fitted on; from it a codec sees query vectors. None = it sees none.
        seed: of whatever is random in the codes.
    """
    queries = sample_query_vectors(model, data, seed)
    vectors = model.embed_items()
    codes = codec.encode(vectors, queries=queries, seed=seed)
    bare = dataclasses.replace(model, weights={**model.weights, ITEM_TABLE: vectors[:0].copy()})
    return CompressedEncoder(bare, codec, codes)


@dataclasses.dataclass(frozen=True, eq=False)
class CompressedEncoder(CodedScorer):
    """A sequential model with its item table in codes. Make it with `compress_encoder`.

    A query decodes the rows of its history, passes them through the layers, and searches the codes of all items.

    Cost: memory of the codes and of the layers; a query as the model's, with a scan of the codes.

    Attributes:
        model: the model without rows of the item table.
        codec: how new vectors are coded.
        items: the codes of the item table.
    """

    model: SequentialModel
    codec: Any
    items: Any

    def __new__(cls, model: SequentialModel, codec: Any = None, items: Any = None) -> Self:  # noqa: ARG004 - of __init__
        """An instance of the class with the powers of the model."""
        return object.__new__(make_wrapper_class(CompressedEncoder, _POWERS, model))

    @functools.cached_property
    def _layers(self) -> NamedLayers:
        return NamedLayers(self.model.weights)

    def _encode(self, histories: PackedHistories) -> Float32Array:
        return encode_histories(self.model.settings, self._layers, self.items.decode, histories)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D) state after each history, from the decoded rows of its items; zeros for an empty one."""
        return self._encode(PackedHistories.from_queries(queries, self.model.settings.max_length))

    def compare_items(self, row: int) -> Float32Array:
        """(N,) cosine of all items with that of a row; 0 for items of which nothing is known."""
        query, norms = self.items.decode(np.array([row])), self.items.norms
        return np.asarray(self.items.score(query)[0] / np.maximum(norms * norms[row], 1e-12))

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """Items of the history by how much the scores of ``items`` drop without each. L + 1 passes through the network."""
        history = PackedHistories.from_queries(queries, self.model.settings.max_length).items
        return explain_history(history, self._encode, self.items.decode(items), top_k)


class _CompressedExtendable(CompressedEncoder):
    """Codes the vectors of new items; the codes of the others stay."""

    def extend(self, items: Table) -> Scorer:
        if not isinstance(self.model, SequentialContentModel):
            raise SettingError(f"To add items, the model must be fitted with content. Got {type(self.model).__name__}.")
        return CompressedEncoder(self.model, self.codec, self.items.append(self.model.content.embed_items(items)))


_POWERS: Mapping[type, type] = {Extendable: _CompressedExtendable}


@dataclasses.dataclass(frozen=True)
class EncoderCompression:
    """Codes for the item table of a sequential model.

    Attributes:
        codec: how vectors are coded.
    """

    codec: Any

    def __str__(self) -> str:
        return str(self.codec)

    def estimate_bytes(self, model: Scorer) -> float:
        """Bytes of the codes and of the layers."""
        parts = count_parts(model)
        table = parts.pop(ITEM_TABLE)
        n_dims = table // 4 // max(model.n_items, 1)
        return float(sum(parts.values()) + self.codec.count_bytes(model.n_items, n_dims))

    def refine(self, model: Scorer) -> tuple["EncoderCompression", ...]:  # noqa: ARG002 - of the protocol
        """No slower method of the same size is known."""
        return ()

    def compress(self, model: Scorer, data: Dataset, run: Run = Run()) -> CompressedEncoder:
        """The model with its item table in codes. Raises SettingError for a model that is not sequential."""
        if not isinstance(model, SequentialModel):
            raise SettingError(f"The model must be sequential, such as sasrec. Got {type(model).__name__}.")
        return compress_encoder(model, self.codec, data=data, seed=run.seed)
