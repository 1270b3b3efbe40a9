"""Network of SASRec: a causal Transformer."""

from typing import TYPE_CHECKING

from leanrec.models.sequential.core.networks.causal_blocks import CausalBlocks
from leanrec.nn.transformer import TransformerBlock

if TYPE_CHECKING:
    from leanrec.models.sequential.sasrec import SASRec

__all__ = ["SASRecNetwork"]


class SASRecNetwork(CausalBlocks):
    """The Transformer with fresh weights."""

    def __init__(self, settings: "SASRec", n_items: int) -> None:
        width = settings.embedding_dim
        super().__init__(
            settings,
            n_items,
            settings.n_layers,
            lambda: TransformerBlock(width, settings.n_heads, 4 * width, settings.dropout),
        )
