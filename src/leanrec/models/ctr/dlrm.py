"""DLRM: dot products of all pairs of field embeddings as inputs of an MLP.

Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems", 2019.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from leanrec.kernels.layers.field_layers import (
    FieldBlock,
    FieldSizes,
    apply_mlp,
    dot_interactions,
    field_shapes,
    mlp_shapes,
)
from leanrec.kernels.layers.named_layers import NamedLayers
from leanrec.models.ctr.core.settings import CTRSettings
from leanrec.settings import setting
from leanrec.types import Float32Array

if TYPE_CHECKING:
    from leanrec.nn.fields import FieldNetwork

__all__ = ["DLRM"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DLRM(CTRSettings):
    """A bottom MLP maps the numbers to a vector, and a top MLP takes it and the dot products of all pairs of vectors.

    When to use: as `WideDeep`, where dot products of pairs are enough, for categorical fields and numbers.

    Cost per row: F² · D for the pairs, F² / 2 · hidden_sizes[0] + … for the top MLP; a query takes N rows, or K for
    given candidates.
    """

    bottom_sizes: tuple[int, ...] = setting(
        (64,), at_least=1, doc="Sizes of the hidden layers between the numbers and their vector; () = a linear layer."
    )
    concat_embeddings: bool = setting(
        False, doc="Feed the field vectors to the top MLP too, beside the vector of the numbers and the products."
    )

    def build_network(self, sides: tuple[FieldSizes, ...], n_tasks: int) -> "FieldNetwork":
        """The network with fresh weights, for training with torch. Raises SettingError if there are fewer than two vectors to multiply."""
        from leanrec.models.ctr.core.networks.dlrm import DLRMNetwork  # noqa: PLC0415 - torch is optional

        return DLRMNetwork(self, sides, n_tasks)

    def weight_shapes(self, sides: tuple[FieldSizes, ...], n_tasks: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights of that network, by name."""
        n_numbers, D = sum(side.numbers for side in sides), self.embedding_dim
        count = sum(side.n_fields for side in sides) + bool(n_numbers)
        n_direct = count if self.concat_embeddings else int(bool(n_numbers))
        bottom = mlp_shapes("bottom", n_numbers, self.bottom_sizes, D) if n_numbers else {}
        top = self.hidden_shapes("top", count * (count - 1) // 2 + n_direct * D, n_tasks)
        return field_shapes(sides, D) | bottom | top

    def predict_logits(self, layers: NamedLayers, rows: FieldBlock) -> Float32Array:
        """(R, T) logits, computed without torch."""
        vectors, has_numbers = rows.vectors, bool(rows.numbers.shape[1])
        if has_numbers:
            number = apply_mlp(layers, "bottom", np.ascontiguousarray(rows.numbers), len(self.bottom_sizes))
            vectors = np.concatenate([number[:, None], vectors], axis=1)
        direct = vectors if self.concat_embeddings else vectors[:, : int(has_numbers)]
        x = np.concatenate([direct.reshape(len(vectors), -1), dot_interactions(vectors)], axis=1)
        return self.apply_hidden(layers, "top", x)
