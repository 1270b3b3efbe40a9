"""SASRec: causal self-attention over the history.

Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. With the full softmax loss of Klenitskiy &
Vasilev, "Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?", RecSys 2023.
"""

import dataclasses
from typing import TYPE_CHECKING

from leanrec.kernels.layers.attention import add_positions
from leanrec.kernels.layers.named_layers import NamedLayers, norm_shapes
from leanrec.kernels.layers.transformer import apply_block, apply_block_to_last, block_shapes
from leanrec.models.sequential.core.settings import SequentialSettings, check_heads
from leanrec.settings import setting
from leanrec.types import Float32Array, Int64Array

if TYPE_CHECKING:
    from leanrec.models.sequential.core.networks.base import SequentialNetwork

__all__ = ["SASRec"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SASRec(SequentialSettings):
    """A causal Transformer over the latest items of a history.

    When to use: histories whose order matters; self-attention over the latest items.

    Cost: an epoch O(E · (N · D + n_layers · D · (12 D + L))) with the loss over all items, S instead of N with S sampled
    negatives. A query the same for L items of one history, then O(N · D); the model 4 N D bytes and 48 n_layers D².
    """

    n_layers: int = setting(2, at_least=1, doc="Number of Transformer blocks.")
    n_heads: int = setting(1, at_least=1, doc="Number of attention heads; must divide ``embedding_dim``.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.embedding_dim, self.n_heads)

    def build_network(self, n_items: int) -> "SequentialNetwork":
        """The network with fresh weights, for training with torch."""
        from leanrec.models.sequential.core.networks.sasrec import SASRecNetwork  # noqa: PLC0415 - torch is optional

        return SASRecNetwork(self, n_items)

    def weight_shapes(self, n_items: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights of the network, by name."""
        D = self.embedding_dim
        shapes: dict[str, tuple[int, ...]] = {"items.weight": (n_items, D), "positions.weight": (self.max_length, D)}
        for block in range(self.n_layers):
            shapes |= block_shapes(f"blocks.{block}", D, 4 * D)
        return shapes | norm_shapes("norm", D)

    def encode(self, layers: NamedLayers, x: Float32Array, bounds: Int64Array) -> Float32Array:
        """(B, D) state after the last item of each history. The last block computes one row of each."""
        add_positions(x, layers["positions.weight"], bounds)
        *blocks, last = (layers.within(f"blocks.{block}") for block in range(self.n_layers))
        for block in blocks:
            x = apply_block(block, x, bounds, self.n_heads)
        return layers.apply_norm("norm", apply_block_to_last(last, x, bounds, self.n_heads))
