"""Caser: convolutions over the latest few items find patterns in their order.

Tang & Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding", WSDM 2018. What
differs: the vector of a user, which a new user would not have, is a projection of the mean of the history so far;
items that come in and out have the same vectors; and the state after every item is computed at once, as causal
convolutions, so that each window shares its work with its neighbours.
"""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset, Shape
from leanrec.data.splits.evaluation_set import Cases
from leanrec.models.sequential.core.next_item import NextItem, NextItemModel, fit_next_item
from leanrec.nn.dropout import dropout
from leanrec.run import Run
from leanrec.settings import check_at_least

__all__ = ["Caser"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caser(NextItem):
    """Horizontal filters see several items in a row, vertical ones weigh the items of the window by their places.

    Cost: an epoch O(E · D · (N + window² · horizontal + window · vertical)) with the loss over all items, S in the
    place of N with sampled ones. A query the same for L items of one history, then O(N · D); the model 4 N D bytes.

    Attributes:
        window: the latest items that the filters see; those before are known by their mean alone.
        horizontal: filters of each height from 1 to ``window``; each tells the best match in the window.
        vertical: weighted sums of the vectors in the window.
    """

    window: int = 6
    horizontal: int = 16
    vertical: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("window", self.window, 1)
        check_at_least("horizontal", self.horizontal, 1)
        check_at_least("vertical", self.vertical, 1)

    def fit_bytes(self, shape: Shape) -> int:
        """What every model of what comes next needs, and the windows of a batch with what the filters found in them."""
        found = self.width * (self.window + 3 * self.vertical) + 4 * self.horizontal * self.window
        return super().fit_bytes(shape) + 4 * max(self.batch, self.length) * found

    def network(self, n_items: int) -> nn.Module:
        """The convolutions with fresh weights."""
        return _CaserNetwork(self, n_items)

    def fit(self, data: Dataset, run: Run = Run(), valid: Cases | None = None) -> NextItemModel:
        """Learn what comes next in the histories of ``data``."""
        return fit_next_item(self, data, run, valid)


class _CaserNetwork(nn.Module):
    def __init__(self, settings: Caser, n_items: int) -> None:
        super().__init__()
        width, self.window = settings.width, settings.window
        self.dropout = settings.dropout
        self.items = nn.Embedding(n_items, width)
        nn.init.normal_(self.items.weight, std=width**-0.5)
        heights = range(1, self.window + 1)
        self.across = nn.ModuleList([nn.Conv1d(width, settings.horizontal, height) for height in heights])
        self.down = nn.Linear(self.window, settings.vertical, bias=False)
        self.mix = nn.Linear(settings.horizontal * self.window + settings.vertical * width, width)
        self.out = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)
        # At first a state is the mean of the history, whose vectors may know something already.
        with torch.no_grad():
            self.out.weight.copy_(torch.cat([torch.zeros(width, width), torch.eye(width)], 1))

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002 - what is past the end comes later and changes nothing
        """(B, L) to (B, L, D)."""
        x = self.items(items.clamp(min=0))
        # Before the first item there are zeros, as in the paper.
        filled = F.pad(x, (0, 0, self.window - 1, 0))
        patterns = dropout(torch.cat([self._across(filled), self._down(filled)], 2), self.dropout, self.training)
        so_far = x.cumsum(1) / torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        both = torch.cat([F.relu(self.mix(patterns)), dropout(so_far, self.dropout, self.training)], 2)
        out: Tensor = self.norm(self.out(both))
        return out

    def _across(self, filled: Tensor) -> Tensor:
        """(B, L, heights · filters): the best match of each filter in the window that ends at each item."""
        along = filled.transpose(1, 2)
        found = []
        for height, filters in enumerate(self.across, start=1):
            found.append(F.max_pool1d(F.relu(filters(along)), self.window - height + 1, stride=1))
        return torch.cat(found, 1).transpose(1, 2)

    def _down(self, filled: Tensor) -> Tensor:
        """(B, L, D · filters): the vectors of the window that ends at each item, weighted by their places."""
        weighted: Tensor = self.down(filled.unfold(1, self.window, 1))
        return weighted.flatten(2)
