"""SASRec: self-attention over the history tells what comes next.

Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018; with the loss over all items of Klenitskiy &
Vasilev, "Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?", RecSys 2023.
"""

import dataclasses

import torch
from torch import Tensor, nn

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import Cases
from leanrec.errors import SettingError
from leanrec.models.sequential.core.next_item import NextItem, NextItemModel, fit_next_item
from leanrec.nn.dropout import dropout
from leanrec.nn.transformer import TransformerBlock
from leanrec.run import Run
from leanrec.settings import check_at_least

__all__ = ["SASRec"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SASRec(NextItem):
    """A causal Transformer over the latest items of a history.

    Cost: an epoch O(E · (N · D + layers · D · (12 D + L))) with the loss over all items, S in the place of N with sampled ones.
    A query the same for L items of one history, then O(N · D); the model 4 N D bytes and 48 layers D².

    Attributes:
        layers: blocks of attention and a two-layer network.
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

    def network(self, n_items: int) -> nn.Module:
        """The Transformer with fresh weights."""
        return _SASRecNetwork(self, n_items)

    def fit(self, data: Dataset, run: Run = Run(), valid: Cases | None = None) -> NextItemModel:
        """Learn what comes next in the histories of ``data``."""
        return fit_next_item(self, data, run, valid)


class _SASRecNetwork(nn.Module):
    def __init__(self, settings: SASRec, n_items: int) -> None:
        super().__init__()
        width = settings.width
        self.dropout = settings.dropout
        self.items = nn.Embedding(n_items, width)
        self.places = nn.Embedding(settings.length, width)
        nn.init.normal_(self.items.weight, std=width**-0.5)
        nn.init.normal_(self.places.weight, std=0.01)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, settings.heads, 4 * width, settings.dropout) for _ in range(settings.layers)
        )
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
