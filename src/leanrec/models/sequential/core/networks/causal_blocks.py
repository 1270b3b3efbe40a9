"""Networks of position embeddings and causal blocks, shared by models with attention."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from leanrec.models.sequential.core.networks.base import SequentialNetwork
from leanrec.models.sequential.core.settings import SequentialSettings
from leanrec.nn.dropout import dropout

__all__ = ["CausalBlocks"]


class CausalBlocks(SequentialNetwork):
    """Item and position embeddings, causal blocks, and a final layer normalization.

    Args:
        settings: settings of the model.
        n_items: N.
        n_blocks: number of blocks.
        make_block: a fresh block, (B, L, D) to (B, L, D), in which a position depends on itself and earlier ones only.
    """

    def __init__(
        self, settings: SequentialSettings, n_items: int, n_blocks: int, make_block: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        width = settings.embedding_dim
        self.dropout = settings.dropout
        self.items = nn.Embedding(n_items, width)
        self.positions = nn.Embedding(settings.max_length, width)
        nn.init.normal_(self.items.weight, std=width**-0.5)
        nn.init.normal_(self.positions.weight, std=0.01)
        self.blocks = nn.ModuleList(make_block() for _ in range(n_blocks))
        self.norm = nn.LayerNorm(width)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) to (B, L, D). Positions count back from the end, so that the latest item always has position 0."""
        back = (lengths[:, None] - 1 - torch.arange(items.shape[1], device=items.device)).clamp_(min=0)
        x = self.items(items.clamp(min=0)) + self.positions(back)
        x = dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out
