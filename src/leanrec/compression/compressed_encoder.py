"""Compressed encoders: a sequential model whose item table and layers are kept in codes."""

import dataclasses
import functools
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Self

import numpy as np

from leanrec.compression.coded_network import LAYER_BITS, WHOLE_BITS, CodedNetwork, count_layers
from leanrec.compression.coded_scorer import CodedScorer, sample_query_vectors
from leanrec.compression.methods import count_parts
from leanrec.compression.vectors.codec import VectorCodec, VectorCodes
from leanrec.compression.vectors.product import ProductCodec
from leanrec.compression.vectors.scalar import ScalarCodec
from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.errors import MissingExtraError, SettingError
from leanrec.kernels.layers.named_layers import NamedLayers
from leanrec.models.sequential.core.models import (
    SequentialContentModel,
    SequentialModel,
    encode_histories,
    explain_history,
)
from leanrec.protocols import Explanation, Extendable, Scorer
from leanrec.retrieval.wrappers import make_wrapper_class
from leanrec.run import Run
from leanrec.settings import check_at_least, check_between
from leanrec.training.histories import PackedHistories
from leanrec.types import Float32Array, Int32Array, Queries

__all__ = ["CompressedEncoder", "EncoderCompression", "compress_encoder"]

_EPOCHS = 1


def compress_encoder(
    model: SequentialModel,
    codec: VectorCodec,
    *,
    data: Dataset | None = None,
    layer_bits: int = LAYER_BITS,
    seed: int = 0,
) -> "CompressedEncoder":
    """The model with its item table in the codes of a codec, and with coded layers. Nothing is trained.

    Args:
        model: a fitted sequential model.
        codec: how vectors are coded.
        data: what the model was fitted on; from it a codec sees query vectors. None = it sees none.
        layer_bits: bits of each number in the matrices of the layers, 1 to 8; 32 = they stay as they are.
        seed: of whatever is random in the codes.
    """
    codes = _encode_items(model, codec, data, seed)
    return CompressedEncoder(CodedNetwork.encode(model, layer_bits), codec, codes)


def _encode_items(model: SequentialModel, codec: VectorCodec, data: Dataset | None, seed: int) -> VectorCodes:
    return codec.encode(model.embed_items(), queries=sample_query_vectors(model, data, seed), seed=seed)


@dataclasses.dataclass(frozen=True, eq=False)
class CompressedEncoder(CodedScorer):
    """A sequential model with its item table and its layers in codes. Make it with `compress_encoder`.

    A query decodes the rows of its history, passes them through the layers, and searches the codes of all items.

    Cost: memory of the codes and of the layers, which are decoded once; a query as the model's, with a scan of the codes.

    Attributes:
        network: the layers.
        codec: how new vectors are coded.
        items: the codes of the item table.
    """

    network: CodedNetwork
    codec: Any
    items: Any

    def __new__(cls, network: CodedNetwork, codec: Any = None, items: Any = None) -> Self:  # noqa: ARG004 - of __init__
        """An instance of the class with the powers of the model."""
        return object.__new__(make_wrapper_class(CompressedEncoder, _POWERS, network.decode()))

    @functools.cached_property
    def model(self) -> SequentialModel:
        """The model without rows of the item table."""
        return self.network.decode()

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
        return CompressedEncoder(self.network, self.codec, self.items.append(self.model.content.embed_items(items)))


_POWERS: Mapping[type, type] = {Extendable: _CompressedExtendable}


@dataclasses.dataclass(frozen=True)
class EncoderCompression:
    """Codes for the item table and the layers of a sequential model.

    Attributes:
        codec: how vectors are coded.
        layer_bits: bits of each number in the matrices of the layers, 1 to 8; 32 = they stay as they are.
        epochs: passes over the data in which layers and codes are trained on together, to rank as the uncompressed model does; for
            scalar and product codes, and with torch. 0 = the codes of the fitted vectors.
    """

    codec: Any
    layer_bits: int = LAYER_BITS
    epochs: int = 0

    def __post_init__(self) -> None:
        if self.layer_bits != WHOLE_BITS:
            check_between("layer_bits", self.layer_bits, 1, 8)
        check_at_least("epochs", self.epochs, 0)
        if self.epochs and not isinstance(self.codec, (ScalarCodec, ProductCodec)):
            raise SettingError(
                f"With epochs the codec must be a ScalarCodec or a ProductCodec. Got {self.codec}. Set epochs=0."
            )

    def __str__(self) -> str:
        layers = f", layers of {self.layer_bits} bits" * (self.layer_bits != LAYER_BITS)
        return f"{self.codec}{layers}{f', trained for {self.epochs} epochs' * bool(self.epochs)}"

    def estimate_bytes(self, model: Scorer) -> float:
        """Bytes of the codes and of the layers."""
        sequential: Any = model
        n_items, n_dims = sequential.embed_items().shape
        content = 0 if not isinstance(model, SequentialContentModel) else sum(count_parts(model.content).values())
        return float(
            count_layers(sequential.settings, self.layer_bits) + self.codec.count_bytes(n_items, n_dims) + content
        )

    def refine(self, model: Scorer) -> tuple["EncoderCompression", ...]:  # noqa: ARG002 - of the protocol
        """The same product codes trained for an epoch, where torch is installed."""
        if self.epochs or not isinstance(self.codec, ProductCodec) or find_spec("torch") is None:
            return ()
        return (dataclasses.replace(self, epochs=_EPOCHS),)

    def compress(self, model: Scorer, data: Dataset, run: Run = Run()) -> CompressedEncoder:
        """The model with its item table in codes.

        Raises:
            SettingError: for a model that is not sequential.
            MissingExtraError: with ``epochs``, without torch.
        """
        if not isinstance(model, SequentialModel):
            raise SettingError(f"The model must be sequential, such as sasrec. Got {type(model).__name__}.")
        codes: Any = _encode_items(model, self.codec, data, run.seed)
        if self.epochs:
            try:
                from leanrec.compression.encoder_tuning import tune_encoder  # noqa: PLC0415 - torch is optional
            except ImportError as error:
                raise MissingExtraError.from_import_error("Training of codes", error) or error from error
            model, codes = tune_encoder(model, codes, data, epochs=self.epochs, run=run.restart(callbacks=()))
        return CompressedEncoder(CodedNetwork.encode(model, self.layer_bits), self.codec, codes)
