"""Network of BERT4Rec: bidirectional blocks, masked items in training and a mask token at inference."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from leanrec.models.sequential.core.networks.base import SequentialNetwork, TrainingInputs
from leanrec.nn.dropout import dropout
from leanrec.nn.transformer import TransformerBlock

if TYPE_CHECKING:
    from leanrec.models.sequential.bert4rec import BERT4Rec

__all__ = ["BERT4RecNetwork"]

# Code of a masked item; −1 is padding.
_MASK_TOKEN = -2


class BERT4RecNetwork(SequentialNetwork):
    """Bidirectional Transformer blocks over items and mask tokens."""

    def __init__(self, settings: "BERT4Rec", n_items: int) -> None:
        super().__init__()
        self.settings, width = settings, settings.embedding_dim
        self.dropout = settings.dropout
        self.items = nn.Embedding(n_items, width)
        self.positions = nn.Embedding(settings.max_length + 1, width)
        self.mask_token = nn.Parameter(torch.empty(width))
        for weight, size in (self.items.weight, width**-0.5), (self.positions.weight, 0.01), (self.mask_token, 0.01):
            nn.init.normal_(weight, std=size)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, settings.n_heads, 4 * width, settings.dropout, causal=False)
            for _ in range(settings.n_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) to (B, L, D). Positions count back from the end, so that the latest item always has position 0."""
        steps = torch.arange(items.shape[1], device=items.device)
        x = torch.where((items == _MASK_TOKEN)[:, :, None], self.mask_token, self.items(items.clamp(min=0)))
        x = x + self.positions((lengths[:, None] - 1 - steps).clamp_(min=0))
        x = dropout(x, self.dropout, self.training)
        is_item = steps < lengths[:, None]
        mask = None if bool(is_item.all()) else is_item
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.norm(x)
        return out

    def training_inputs(self, items: Tensor, lengths: Tensor, rng: np.random.Generator) -> TrainingInputs:
        """Mask some items, at least one per window; the masked items are the targets."""
        B, L = items.shape
        positions, ends = np.arange(L), lengths.cpu().numpy()[:, None]
        is_masked = rng.random((B, L), np.float32) < self.settings.mask_prob
        is_masked |= positions == (rng.random((B, 1)) * ends).astype(np.int64)
        is_last_only = rng.random((B, 1)) < self.settings.last_item_prob
        is_masked = np.where(is_last_only, positions == ends - 1, is_masked) & (positions < ends)
        mask = torch.from_numpy(is_masked).to(items.device)
        return TrainingInputs(items.masked_fill(mask, _MASK_TOKEN), lengths, items.masked_fill(~mask, -1))

    def inference_inputs(self, items: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Append a mask token after the last item."""
        padded = nn.functional.pad(items, (0, 1), value=-1)
        return padded.scatter_(1, lengths[:, None], _MASK_TOKEN), lengths + 1
