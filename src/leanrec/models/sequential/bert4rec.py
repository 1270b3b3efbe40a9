"""BERT4Rec: bidirectional Transformer trained to predict masked items.

Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer",
CIKM 2019. It needs many more epochs than SASRec: Petrov & Macdonald, "A Systematic Review and Replicability Study of
BERT4Rec", RecSys 2022; Klenitskiy & Vasilev, "Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?", RecSys 2023.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from leanrec.kernels.layers.attention import add_positions
from leanrec.kernels.layers.named_layers import NamedLayers, norm_shapes
from leanrec.kernels.layers.transformer import apply_block, apply_block_to_last, block_shapes
from leanrec.models.sequential.core.settings import SequentialSettings, check_heads
from leanrec.settings import setting
from leanrec.types import Float32Array, Int64Array

if TYPE_CHECKING:
    from leanrec.models.sequential.core.networks.base import SequentialNetwork

__all__ = ["BERT4Rec"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BERT4Rec(SequentialSettings):
    """Predicts masked items from those before and after; the next item is predicted at a mask token after the last.

    When to use: histories whose order matters, with time for many epochs.

    Cost: an epoch O(E · (mask_prob · N · D + n_layers · D · (12 D + L))) with the loss over all items, S instead of N
    with S sampled negatives. A query O(L · n_layers · D · (12 D + L) + N · D); the model 4 N D bytes and 48 n_layers D².
    """

    epochs: int = 60
    n_layers: int = setting(2, at_least=1, doc="Number of Transformer blocks.")
    n_heads: int = setting(2, at_least=1, doc="Number of attention heads; must divide ``embedding_dim``.")
    mask_prob: float = setting(0.2, between=(0.01, 0.99), doc="Share of the items that are masked.")
    last_item_prob: float = setting(
        0.1,
        between=(0, 1),
        doc="Share of the windows in which only the last item is masked, as it is at inference.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.embedding_dim, self.n_heads)

    def build_network(self, n_items: int) -> "SequentialNetwork":
        """The network with fresh weights, for training with torch."""
        from leanrec.models.sequential.core.networks.bert4rec import BERT4RecNetwork  # noqa: PLC0415 - torch is optional

        return BERT4RecNetwork(self, n_items)

    def weight_shapes(self, n_items: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights of the network, by name."""
        D = self.embedding_dim
        shapes: dict[str, tuple[int, ...]] = {
            "mask_token": (D,),
            "items.weight": (n_items, D),
            "positions.weight": (self.max_length + 1, D),
        }
        for block in range(self.n_layers):
            shapes |= block_shapes(f"blocks.{block}", D, 4 * D)
        return shapes | norm_shapes("norm", D)

    def encode(self, layers: NamedLayers, x: Float32Array, bounds: Int64Array) -> Float32Array:
        """(B, D) state at the mask token after the last item of each history."""
        x = np.insert(x, bounds[1:], layers["mask_token"], axis=0)
        bounds = bounds + np.arange(len(bounds))
        add_positions(x, layers["positions.weight"], bounds)
        *blocks, last = (layers.within(f"blocks.{block}") for block in range(self.n_layers))
        for block in blocks:
            x = apply_block(block, x, bounds, self.n_heads, causal=False)
        return layers.apply_norm("norm", apply_block_to_last(last, x, bounds, self.n_heads))
