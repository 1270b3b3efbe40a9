"""LRURec: a linear recurrence in complex numbers, trained in parallel and carried on item by item.

Yue et al., "Linear Recurrent Units for Sequential Recommendation", WSDM 2024; Orvieto et al., "Resurrecting Recurrent
Neural Networks for Long Sequences", ICML 2023.
"""

import dataclasses
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset, Shape
from leanrec.data.splits.evaluation_set import Cases
from leanrec.models.sequential.core.next_item import NextItem, NextItemModel, fit_next_item
from leanrec.nn.dropout import dropout
from leanrec.nn.recurrence import recurrence
from leanrec.run import Run
from leanrec.settings import check_at_least

__all__ = ["LRURec"]

_SLOWEST, _QUICKEST = 0.99, 0.8


@dataclasses.dataclass(frozen=True, kw_only=True)
class LRURec(NextItem):
    """Linear recurrent units over the latest items of a history: no attention, so cost grows with L and not L².

    Cost: an epoch O(E · D · (N + layers · (16 D + log L))) with the loss over all items, S in the place of N with
    sampled ones. A query the same for L items of one history, then O(N · D); the model 4 N D bytes and 64 layers D².

    Attributes:
        layers: blocks of a recurrence and a two-layer network.
    """

    layers: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("layers", self.layers, 1)

    def fit_bytes(self, shape: Shape) -> int:
        """What every model of what comes next needs, and the inputs, states and inner cells of each block for a batch."""
        return super().fit_bytes(shape) + 4 * max(self.batch, self.length) * self.width * 30 * self.layers

    def network(self, n_items: int) -> nn.Module:
        """The recurrences with fresh weights."""
        return _LRURecNetwork(self, n_items)

    def fit(self, data: Dataset, run: Run = Run(), valid: Cases | None = None) -> NextItemModel:
        """Learn what comes next in the histories of ``data``."""
        return fit_next_item(self, data, run, valid)


class _LRURecNetwork(nn.Module):
    def __init__(self, settings: LRURec, n_items: int) -> None:
        super().__init__()
        width = settings.width
        self.dropout = settings.dropout
        self.items = nn.Embedding(n_items, width)
        nn.init.normal_(self.items.weight, std=width**-0.5)
        self.blocks = nn.ModuleList([_Block(width, settings.dropout) for _ in range(settings.layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002 - what is past the end comes later and changes nothing
        """(B, L) to (B, L, D)."""
        x = dropout(self.items(items.clamp(min=0)), self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out


class _Block(nn.Module):
    """A recurrence and a two-layer network, each normalised before and added to what came in."""

    def __init__(self, width: int, share: float) -> None:
        super().__init__()
        self.dropout = share
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.unit = _Unit(width, 2 * width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        # A fresh block hands on what comes in.
        for last in (self.unit.write, self.down):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        x = x + self._drop(self.unit(self.norm1(x)))
        return x + self._drop(self.down(self._drop(F.gelu(self.up(self.norm2(x))))))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


class _Unit(nn.Module):
    """h_t = λ h_{t−1} + γ B x_t and y_t = Re(C h_t): H numbers of state, λ = exp(−exp(ν) + i exp(θ)) inside the unit circle."""

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        # Lengths of λ evenly over a ring, as its area goes; angles evenly over the circle.
        squares = torch.rand(states) * (_SLOWEST**2 - _QUICKEST**2) + _QUICKEST**2
        self.nu = nn.Parameter((-0.5 * squares.log()).log())
        self.theta = nn.Parameter((2 * math.pi * torch.rand(states).clamp(min=1e-4)).log())
        self.gamma = nn.Parameter((1 - squares).sqrt().log())
        self.read = nn.Linear(width, 2 * states)
        self.write = nn.Linear(2 * states, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        decay = torch.polar((-self.nu.exp()).exp(), self.theta.exp())
        inputs = self.read(x).unflatten(2, (-1, 2)) * self.gamma.exp()[:, None]
        states = recurrence(torch.view_as_complex(inputs), decay)
        out: Tensor = self.write(torch.view_as_real(states).flatten(2))
        return out
