"""DCN-V2: cross layers for explicit feature interactions of bounded degree, in parallel to an MLP.

Wang, Shivanna, Cheng, Jain, Lin, Hong & Chi, "DCN V2: Improved Deep & Cross Network and Practical Lessons for
Web-scale Learning to Rank Systems", WWW 2021.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from leanrec.kernels.layers.field_layers import FieldBlock, FieldSizes, apply_cross_layers, cross_shapes, field_shapes
from leanrec.kernels.layers.named_layers import NamedLayers, linear_shapes
from leanrec.models.ctr.core.settings import CTRSettings
from leanrec.settings import setting
from leanrec.types import Float32Array

if TYPE_CHECKING:
    from leanrec.nn.fields import FieldNetwork

__all__ = ["DCN"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DCN(CTRSettings):
    """Cross layers and an MLP in parallel over the field vectors, then one linear layer.

    When to use: as `WideDeep`, where products of several features matter.

    Cost per row with X = F · D: n_cross_layers · X², or n_cross_layers · n_experts · 2 · X · rank, plus
    X · hidden_sizes[0] + … for the MLP; a query takes N rows, or K for given candidates.
    """

    n_cross_layers: int = setting(3, at_least=1, doc="Number of cross layers; each adds one degree of interactions.")
    rank: int = setting(0, at_least=0, doc="Rank of the matrices of the cross layers; 0 = full rank.")
    n_experts: int = setting(
        1, at_least=1, doc="Low-rank matrices per cross layer, mixed by a gate; used with a rank only."
    )

    def build_network(self, sides: tuple[FieldSizes, ...], n_tasks: int) -> "FieldNetwork":
        """The network with fresh weights, for training with torch."""
        from leanrec.models.ctr.core.networks.dcn import DCNNetwork  # noqa: PLC0415 - torch is optional

        return DCNNetwork(self, sides, n_tasks)

    def weight_shapes(self, sides: tuple[FieldSizes, ...], n_tasks: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights of that network, by name."""
        width = sum(side.n_fields * self.embedding_dim + side.numbers for side in sides)
        return (
            field_shapes(sides, self.embedding_dim)
            | cross_shapes("cross", width, self.n_cross_layers, self.rank, self.n_experts)
            | self.hidden_shapes("deep", width)
            | linear_shapes("out", width + self.hidden_sizes[-1], n_tasks)
        )

    def predict_logits(self, layers: NamedLayers, rows: FieldBlock) -> Float32Array:
        """(R, T) logits, computed without torch."""
        x = rows.flatten()
        crossed = apply_cross_layers(layers, "cross", x, self.n_cross_layers, self.rank)
        deep = self.apply_hidden(layers, "deep", x, has_output=False)
        return layers.apply_linear("out", np.concatenate([crossed, deep], axis=1))
