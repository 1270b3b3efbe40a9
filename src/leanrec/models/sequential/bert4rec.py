"""BERT4Rec: a Transformer that looks both ways fills in items that were hidden from it.

Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer",
CIKM 2019; with what Petrov & Macdonald, "A Systematic Review and Replicability Study of BERT4Rec", RecSys 2022, and
Klenitskiy & Vasilev, RecSys 2023, found of its training: it needs many more epochs than SASRec.
"""

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import Cases
from leanrec.errors import SettingError
from leanrec.models.sequential.core.next_item import Lesson, NextItem, NextItemModel, fit_next_item
from leanrec.nn.dropout import dropout
from leanrec.nn.transformer import TransformerBlock
from leanrec.run import Run
from leanrec.settings import check_at_least, check_between

__all__ = ["BERT4Rec"]

_HIDDEN = -2


@dataclasses.dataclass(frozen=True, kw_only=True)
class BERT4Rec(NextItem):
    """Learns to tell hidden items from those before and after; answers for a hidden one after the last.

    Cost: an epoch O(E · (mask · N · D + layers · D · (12 D + L))) with the loss over all items, S in the place of N with
    sampled ones. A query O(L · layers · D · (12 D + L) + N · D); the model 4 N D bytes and 48 layers D².

    Attributes:
        layers: blocks of attention and a two-layer network.
        heads: each looks at a part of the width.
        mask: share of the items that are hidden.
        latest: share of the stretches in which the latest item alone is hidden, as it is when the model answers.
    """

    epochs: int = 60
    layers: int = 2
    heads: int = 2
    mask: float = 0.2
    latest: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("layers", self.layers, 1)
        check_at_least("heads", self.heads, 1)
        check_between("mask", self.mask, 0.01, 0.99)
        check_between("latest", self.latest, 0, 1)
        if self.width % self.heads:
            raise SettingError(f"width must be a multiple of heads. Got width={self.width}, heads={self.heads}.")

    def network(self, n_items: int) -> nn.Module:
        """The Transformer with fresh weights."""
        return _BERT4RecNetwork(self, n_items)

    def lesson(self, items: Tensor, lengths: Tensor, rng: np.random.Generator) -> Lesson:
        """Some items are hidden, one at least of each stretch, and each hidden one is to be told."""
        B, L = items.shape
        places, ends = np.arange(L), lengths.cpu().numpy()[:, None]
        hidden = rng.random((B, L), np.float32) < self.mask
        hidden |= places == (rng.random((B, 1)) * ends).astype(np.int64)
        hidden = np.where(rng.random((B, 1)) < self.latest, places == ends - 1, hidden) & (places < ends)
        chosen = torch.from_numpy(hidden).to(items.device)
        return Lesson(items.masked_fill(chosen, _HIDDEN), lengths, items.masked_fill(~chosen, -1))

    def question(self, items: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """A hidden item after the last one."""
        longer = nn.functional.pad(items, (0, 1), value=-1)
        return longer.scatter_(1, lengths[:, None], _HIDDEN), lengths + 1

    def fit(self, data: Dataset, run: Run = Run(), valid: Cases | None = None) -> NextItemModel:
        """Learn to fill in what is hidden in the histories of ``data``."""
        return fit_next_item(self, data, run, valid)


class _BERT4RecNetwork(nn.Module):
    def __init__(self, settings: BERT4Rec, n_items: int) -> None:
        super().__init__()
        width = settings.width
        self.dropout = settings.dropout
        self.items = nn.Embedding(n_items, width)
        self.places = nn.Embedding(settings.length + 1, width)
        self.hidden = nn.Parameter(torch.empty(width))
        for weight, size in (self.items.weight, width**-0.5), (self.places.weight, 0.01), (self.hidden, 0.01):
            nn.init.normal_(weight, std=size)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, settings.heads, 4 * width, settings.dropout, causal=False)
            for _ in range(settings.layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) to (B, L, D). Places count back from the end, so that the latest item always has the same."""
        steps = torch.arange(items.shape[1], device=items.device)
        x = torch.where((items == _HIDDEN)[:, :, None], self.hidden, self.items(items.clamp(min=0)))
        x = x + self.places((lengths[:, None] - 1 - steps).clamp_(min=0))
        x = dropout(x, self.dropout, self.training)
        there = steps < lengths[:, None]
        mask = None if bool(there.all()) else there
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.norm(x)
        return out
