"""Computation that Wide & Deep and DeepFM share: a linear part, an MLP, and in DeepFM all pairs of fields."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from leanrec.kernels.layers.field_layers import FieldBlock, FieldSizes, field_shapes, pairwise_products
from leanrec.kernels.layers.named_layers import NamedLayers, linear_shapes
from leanrec.models.ctr.core.settings import CTRSettings
from leanrec.types import Float32Array

if TYPE_CHECKING:
    from leanrec.nn.fields import FieldNetwork

__all__ = ["WideAndDeepSettings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WideAndDeepSettings(CTRSettings):
    """Settings of a linear part over all values and an MLP over the field vectors. The last cell of a vector is its linear weight."""

    # Whether the dot products of all pairs of field vectors are added.
    HAS_PAIRS: ClassVar[bool]

    def build_network(self, sides: tuple[FieldSizes, ...], n_tasks: int) -> "FieldNetwork":
        """The network with fresh weights, for training with torch."""
        from leanrec.nn.fields import WideAndDeepNetwork  # noqa: PLC0415 - torch is optional

        return WideAndDeepNetwork(
            sides,
            self.embedding_dim,
            self.hidden_sizes,
            n_tasks,
            fm=self.HAS_PAIRS,
            dropout=self.dropout,
            batch_norm=self.batch_norm,
        )

    def weight_shapes(self, sides: tuple[FieldSizes, ...], n_tasks: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights of that network, by name."""
        n_numbers = sum(side.numbers for side in sides)
        width = sum(side.n_fields for side in sides) * self.embedding_dim + n_numbers
        linear = linear_shapes("linear", n_numbers, 1, bias=False) if n_numbers else {}
        return field_shapes(sides, self.embedding_dim + 1) | linear | self.hidden_shapes("deep", width, n_tasks)

    def predict_logits(self, layers: NamedLayers, rows: FieldBlock) -> Float32Array:
        """(R, T) logits, computed without torch."""
        vectors, weights = rows.vectors[..., :-1], rows.vectors[..., -1]
        out = self.apply_hidden(layers, "deep", FieldBlock(vectors, rows.numbers).flatten())
        out += weights.sum(axis=1, keepdims=True)
        if rows.numbers.shape[1]:
            out += layers.apply_linear("linear", np.ascontiguousarray(rows.numbers))
        if self.HAS_PAIRS:
            out += pairwise_products(vectors).sum(axis=1, keepdims=True)
        return out
