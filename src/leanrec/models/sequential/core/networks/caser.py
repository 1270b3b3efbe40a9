"""Network of Caser: causal convolutions over the latest items, and the mean of the history so far."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.models.sequential.core.networks.base import SequentialNetwork
from leanrec.nn.dropout import dropout

if TYPE_CHECKING:
    from leanrec.models.sequential.caser import Caser

__all__ = ["CaserNetwork"]


class CaserNetwork(SequentialNetwork):
    """Horizontal and vertical filters over the window that ends at each item."""

    def __init__(self, settings: "Caser", n_items: int) -> None:
        super().__init__()
        width, self.window = settings.embedding_dim, settings.window
        self.dropout = settings.dropout
        self.items = nn.Embedding(n_items, width)
        nn.init.normal_(self.items.weight, std=width**-0.5)
        heights = range(1, self.window + 1)
        self.across = nn.ModuleList([nn.Conv1d(width, settings.n_horizontal, height) for height in heights])
        self.down = nn.Linear(self.window, settings.n_vertical, bias=False)
        self.mix = nn.Linear(settings.n_horizontal * self.window + settings.n_vertical * width, width)
        self.out = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)
        # The initial state is the mean of the history, whose vectors may be informative from the start.
        with torch.no_grad():
            self.out.weight.copy_(torch.cat([torch.zeros(width, width), torch.eye(width)], 1))

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002 - causal, so padding on the right has no effect
        """(B, L) to (B, L, D)."""
        x = self.items(items.clamp(min=0))
        # Zero padding before the first item, as in the paper.
        filled = F.pad(x, (0, 0, self.window - 1, 0))
        patterns = dropout(
            torch.cat([self._convolve_horizontal(filled), self._convolve_vertical(filled)], 2),
            self.dropout,
            self.training,
        )
        mean = x.cumsum(1) / torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        both = torch.cat([F.relu(self.mix(patterns)), dropout(mean, self.dropout, self.training)], 2)
        out: Tensor = self.norm(self.out(both))
        return out

    def _convolve_horizontal(self, filled: Tensor) -> Tensor:
        """(B, L, heights · filters): maximum of each horizontal filter over the window that ends at each item."""
        along = filled.transpose(1, 2)
        found = []
        for height, filters in enumerate(self.across, start=1):
            found.append(F.max_pool1d(F.relu(filters(along)), self.window - height + 1, stride=1))
        return torch.cat(found, 1).transpose(1, 2)

    def _convolve_vertical(self, filled: Tensor) -> Tensor:
        """(B, L, D · filters): weighted sums of the vectors of the window that ends at each item."""
        weighted: Tensor = self.down(filled.unfold(1, self.window, 1))
        return weighted.flatten(2)
