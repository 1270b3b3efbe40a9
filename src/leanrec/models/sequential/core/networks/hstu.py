"""Network of HSTU: blocks of gated pointwise attention, computed in blocks of positions."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.models.sequential.core.networks.causal_blocks import CausalBlocks
from leanrec.nn.dropout import dropout

if TYPE_CHECKING:
    from leanrec.models.sequential.hstu import HSTU

__all__ = ["HSTUBlock", "HSTUNetwork"]

# Positions whose attention is computed at a time.
_BLOCK = 64


class HSTUBlock(nn.Module):
    """Gated attention with weights that are not normalized over the items."""

    def __init__(self, settings: "HSTU") -> None:
        super().__init__()
        width, self.n_heads = settings.embedding_dim, settings.n_heads
        self.dropout, self.max_length = settings.dropout, settings.max_length
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projection = nn.Linear(width, 4 * width)
        self.out = nn.Linear(width, width)
        self.distance = nn.Parameter(torch.zeros(settings.n_heads, settings.max_length))
        # A fresh block is the identity.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        gate, *rest = F.silu(self.projection(self.norm_in(x))).chunk(4, 2)
        attended = self.norm_out(self._attend(*rest)) * gate
        out: Tensor = x + self.out(dropout(attended, self.dropout, self.training))
        return out

    def _attend(self, values: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
        """(B, L, D): causal sum of the values, weighted by SiLU of the query-key match + a bias of the distance."""
        B, L, D = values.shape
        v, q, k = (each.view(B, L, self.n_heads, D // self.n_heads).transpose(1, 2) for each in (values, queries, keys))
        parts = []
        for start in range(0, L, _BLOCK):
            stop = min(L, start + _BLOCK)
            # Keys after the block are masked, so they are not computed.
            positions = torch.arange(stop, device=values.device)
            distance = positions[start:, None] - positions
            # Distances repeat: F.embedding adds up their gradients in a fixed order, an index in that of the threads.
            bias = F.embedding(distance.clamp(min=0), self.distance.T).movedim(2, 0)
            matches = q[:, :, start:stop] @ k[:, :, :stop].transpose(2, 3) + bias
            weights = F.silu(matches) * ((distance >= 0) / self.max_length)
            parts.append(weights @ v[:, :, :stop])
        return torch.cat(parts, 2).transpose(1, 2).reshape(B, L, D)


class HSTUNetwork(CausalBlocks):
    """The blocks with fresh weights."""

    def __init__(self, settings: "HSTU", n_items: int) -> None:
        super().__init__(settings, n_items, settings.n_layers, lambda: HSTUBlock(settings))
