"""GRU4Rec: gated recurrent network over the history.

Hidasi, Karatzoglou, Baltrunas & Tikk, "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016;
Hidasi & Karatzoglou, "Recurrent Neural Networks with Top-k Gains for Session-based Recommendations", CIKM 2018. With
full or sampled softmax instead of their ranking losses.
"""

import dataclasses
from typing import TYPE_CHECKING

from leanrec.kernels.layers.named_layers import NamedLayers, linear_shapes, norm_shapes
from leanrec.kernels.layers.recurrence import scan_gru
from leanrec.models.sequential.core.settings import SequentialSettings
from leanrec.settings import setting
from leanrec.types import Float32Array, Int64Array

if TYPE_CHECKING:
    from leanrec.models.sequential.core.networks.base import SequentialNetwork

__all__ = ["GRU4Rec"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GRU4Rec(SequentialSettings):
    """Gated recurrent units over the latest items of a history; input and output items share one table.

    When to use: histories whose order matters, above all short sessions.

    Cost: an epoch O(E · D · (N + 6 n_layers · D)) with the loss over all items, S instead of N with S sampled negatives.
    The L steps are sequential, which large batches compensate. A query O(n_layers · L · D² + N · D); the model 4 N D
    bytes and 24 n_layers D².
    """

    batch_size: int = 4096
    n_layers: int = setting(1, at_least=1, doc="Number of stacked GRU layers.")

    def build_network(self, n_items: int) -> "SequentialNetwork":
        """The network with fresh weights, for training with torch."""
        from leanrec.models.sequential.core.networks.gru4rec import GRU4RecNetwork  # noqa: PLC0415 - torch is optional

        return GRU4RecNetwork(self, n_items)

    def weight_shapes(self, n_items: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights of the network, by name."""
        D = self.embedding_dim
        shapes: dict[str, tuple[int, ...]] = {"items.weight": (n_items, D)}
        for unit in range(self.n_layers):
            for side in ("ih", "hh"):
                shapes |= {f"units.{unit}.weight_{side}_l0": (3 * D, D), f"units.{unit}.bias_{side}_l0": (3 * D,)}
        return shapes | linear_shapes("out", D, D) | norm_shapes("norm", D)

    def encode(self, layers: NamedLayers, x: Float32Array, bounds: Int64Array) -> Float32Array:
        """(B, D) state after the last item of each history. O(n_layers · T · D²)."""
        last = bounds[1:] - 1
        latest = x[last]
        for unit in (layers.within(f"units.{number}") for number in range(self.n_layers)):
            inputs = x @ unit.transpose("weight_ih_l0")
            inputs += unit["bias_ih_l0"]
            x = scan_gru(inputs, unit.transpose("weight_hh_l0"), unit["bias_hh_l0"], bounds)
        return layers.apply_norm("norm", latest + layers.apply_linear("out", x[last]))
