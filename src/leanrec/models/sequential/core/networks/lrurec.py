"""Network of LRURec: linear recurrent units, computed in parallel over the sequence."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.models.sequential.core.networks.base import SequentialNetwork
from leanrec.nn.dropout import dropout
from leanrec.nn.recurrence import linear_recurrence

if TYPE_CHECKING:
    from leanrec.models.sequential.lrurec import LRURec

__all__ = ["LRURecNetwork"]

# Of the ring in which the initial eigenvalues lie.
_MAX_RADIUS, _MIN_RADIUS = 0.99, 0.8


class LRURecNetwork(SequentialNetwork):
    """Blocks of a linear recurrence and an MLP."""

    def __init__(self, settings: "LRURec", n_items: int) -> None:
        super().__init__()
        width = settings.embedding_dim
        self.dropout = settings.dropout
        self.items = nn.Embedding(n_items, width)
        nn.init.normal_(self.items.weight, std=width**-0.5)
        self.blocks = nn.ModuleList([_LRUBlock(width, settings.dropout) for _ in range(settings.n_layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002 - causal, so padding on the right has no effect
        """(B, L) to (B, L, D)."""
        x = dropout(self.items(items.clamp(min=0)), self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out


class _LRUBlock(nn.Module):
    """A linear recurrence and a two-layer MLP, each with pre-layer normalization and a residual."""

    def __init__(self, width: int, dropout_rate: float) -> None:
        super().__init__()
        self.dropout = dropout_rate
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.unit = _LinearRecurrentUnit(width, 2 * width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        # A fresh block is the identity.
        for last in (self.unit.write, self.down):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        x = x + self._drop(self.unit(self.norm1(x)))
        return x + self._drop(self.down(self._drop(F.gelu(self.up(self.norm2(x))))))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


class _LinearRecurrentUnit(nn.Module):
    """h_t = λ h_{t−1} + γ B x_t, y_t = Re(C h_t), with complex λ = exp(−exp(ν) + i exp(θ)) inside the unit circle."""

    def __init__(self, width: int, n_states: int) -> None:
        super().__init__()
        # λ uniform over the area of a ring.
        squares = torch.rand(n_states) * (_MAX_RADIUS**2 - _MIN_RADIUS**2) + _MIN_RADIUS**2
        self.nu = nn.Parameter((-0.5 * squares.log()).log())
        self.theta = nn.Parameter((2 * math.pi * torch.rand(n_states).clamp(min=1e-4)).log())
        self.gamma = nn.Parameter((1 - squares).sqrt().log())
        self.read = nn.Linear(width, 2 * n_states)
        self.write = nn.Linear(2 * n_states, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        decay = torch.polar((-self.nu.exp()).exp(), self.theta.exp())
        inputs = self.read(x).unflatten(2, (-1, 2)) * self.gamma.exp()[:, None]
        states = linear_recurrence(torch.view_as_complex(inputs), decay)
        out: Tensor = self.write(torch.view_as_real(states).flatten(2))
        return out
