"""GRU4Rec: a recurrent network reads the history item by item.

Hidasi, Karatzoglou, Baltrunas & Tikk, "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016;
Hidasi & Karatzoglou, "Recurrent Neural Networks with Top-k Gains for Session-based Recommendations", CIKM 2018, with
the loss over all or over sampled items instead of their ranking losses.
"""

import dataclasses

from torch import Tensor, nn

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import Cases
from leanrec.models.sequential.core.next_item import NextItem, NextItemModel, fit_next_item
from leanrec.nn.dropout import dropout
from leanrec.run import Run
from leanrec.settings import check_at_least

__all__ = ["GRU4Rec"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GRU4Rec(NextItem):
    """Gated recurrent units over the latest items of a history; the same table holds the items that come in and out.

    Cost: an epoch O(E · D · (N + 6 layers · D)) with the loss over all items, S in the place of N with sampled ones,
    in L steps one after the other: large batches hide that. A query O(layers · L · D² + N · D); the model 4 N D bytes
    and 24 layers D².

    Attributes:
        layers: units on top of each other.
    """

    batch: int = 4096
    layers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("layers", self.layers, 1)

    def network(self, n_items: int) -> nn.Module:
        """The recurrent network with fresh weights."""
        return _GRU4RecNetwork(self, n_items)

    def fit(self, data: Dataset, run: Run = Run(), valid: Cases | None = None) -> NextItemModel:
        """Learn what comes next in the histories of ``data``."""
        return fit_next_item(self, data, run, valid)


class _GRU4RecNetwork(nn.Module):
    def __init__(self, settings: GRU4Rec, n_items: int) -> None:
        super().__init__()
        width = settings.width
        self.dropout = settings.dropout
        self.items = nn.Embedding(n_items, width)
        nn.init.normal_(self.items.weight, std=width**-0.5)
        self.units = nn.ModuleList([nn.GRU(width, width, batch_first=True) for _ in range(settings.layers)])
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        # At first a state is the latest item, whose vector may know something already; the units add to it.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002 - what is past the end comes later and changes nothing
        """(B, L) to (B, L, D)."""
        latest = dropout(self.items(items.clamp(min=0)), self.dropout, self.training)
        x = latest
        for unit in self.units:
            x = dropout(unit(x)[0], self.dropout, self.training)
        out: Tensor = self.norm(latest + self.out(x))
        return out
