"""HSTU: the block of large recommendation models, attention that adds up instead of sharing out.

Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for Generative
Recommendations", ICML 2024. What differs: the bias knows how many items lie between two, not how much time, because
a query tells the order of its history alone; attention is computed for a stretch of places at a time.
"""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset, Shape
from leanrec.data.splits.evaluation_set import Cases
from leanrec.errors import SettingError
from leanrec.models.sequential.core.next_item import NextItem, NextItemModel, fit_next_item
from leanrec.nn.dropout import dropout
from leanrec.run import Run
from leanrec.settings import check_at_least

__all__ = ["HSTU"]

_STRETCH = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class HSTU(NextItem):
    """Hierarchical sequential transduction units over the latest items of a history.

    Attention weighs each item by SiLU of its match, not by a softmax over all of them: how often something was
    touched is kept, and what does not match counts nothing. A gate takes the place of the two-layer network of a Transformer, so a
    block costs 5 D² where that costs 12 D². Made larger by ``width``, ``layers`` and ``length``.

    Cost: an epoch O(E · D · (N + layers · (5 D + L))) with the loss over all items, S in the place of N with sampled ones.
    A query the same for L items of one history, then O(N · D); the model 4 N D bytes and 20 layers D².

    Attributes:
        layers: blocks.
        heads: each looks at a part of the width.
    """

    layers: int = 2
    heads: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("layers", self.layers, 1)
        check_at_least("heads", self.heads, 1)
        if self.width % self.heads:
            raise SettingError(f"width must be a multiple of heads. Got width={self.width}, heads={self.heads}.")

    def fit_bytes(self, shape: Shape) -> int:
        """What every model of what comes next needs, and the matches of all places of a batch with each other."""
        return super().fit_bytes(shape) + 4 * max(self.batch, self.length) * self.length * self.heads * self.layers * 4

    def network(self, n_items: int) -> nn.Module:
        """The blocks with fresh weights."""
        return _HSTUNetwork(self, n_items)

    def fit(self, data: Dataset, run: Run = Run(), valid: Cases | None = None) -> NextItemModel:
        """Learn what comes next in the histories of ``data``."""
        return fit_next_item(self, data, run, valid)


class _HSTUNetwork(nn.Module):
    def __init__(self, settings: HSTU, n_items: int) -> None:
        super().__init__()
        width = settings.width
        self.dropout = settings.dropout
        self.items = nn.Embedding(n_items, width)
        self.places = nn.Embedding(settings.length, width)
        nn.init.normal_(self.items.weight, std=width**-0.5)
        nn.init.normal_(self.places.weight, std=0.01)
        self.blocks = nn.ModuleList([_Block(settings) for _ in range(settings.layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) to (B, L, D). Places count back from the end, so that the latest item always has the same."""
        back = (lengths[:, None] - 1 - torch.arange(items.shape[1], device=items.device)).clamp_(min=0)
        x = self.items(items.clamp(min=0)) + self.places(back)
        x = dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out


class _Block(nn.Module):
    def __init__(self, settings: HSTU) -> None:
        super().__init__()
        width, self.heads = settings.width, settings.heads
        self.dropout, self.length = settings.dropout, settings.length
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.four = nn.Linear(width, 4 * width)
        self.out = nn.Linear(width, width)
        self.distance = nn.Parameter(torch.zeros(settings.heads, settings.length))
        # A fresh block hands on what comes in.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        gate, *rest = F.silu(self.four(self.norm_in(x))).chunk(4, 2)
        gathered = self.norm_out(self._gather(*rest)) * gate
        out: Tensor = x + self.out(dropout(gathered, self.dropout, self.training))
        return out

    def _gather(self, values: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
        """(B, L, D): the values of each place and those before, by SiLU of their match + bias of their distance."""
        B, L, D = values.shape
        v, q, k = (each.view(B, L, self.heads, D // self.heads).transpose(1, 2) for each in (values, queries, keys))
        parts = []
        for start in range(0, L, _STRETCH):
            stop = min(L, start + _STRETCH)
            # Later places are never seen, so they are not computed either, but for the corner of the stretch.
            places = torch.arange(stop, device=values.device)
            apart = places[start:, None] - places
            matches = q[:, :, start:stop] @ k[:, :, :stop].transpose(2, 3) + self.distance[:, apart.clamp(min=0)]
            weights = F.silu(matches) * ((apart >= 0) / self.length)
            parts.append(weights @ v[:, :, :stop])
        return torch.cat(parts, 2).transpose(1, 2).reshape(B, L, D)
