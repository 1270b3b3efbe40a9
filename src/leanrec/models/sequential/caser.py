"""Caser: horizontal and vertical convolutions over the latest items.

Tang & Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding", WSDM 2018. What
differs: the user vector is a projection of the mean of the history so far, so that new users have one; input and output
items share their vectors; and the states after all items are computed at once, as causal convolutions.
"""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.finiteness import require_finite
from leanrec.models.sequential.core.models import SequentialModel
from leanrec.models.sequential.core.settings import SequentialSettings
from leanrec.models.sequential.core.training import fit_sequential
from leanrec.nn.dropout import dropout
from leanrec.run import Run
from leanrec.settings import setting

__all__ = ["Caser"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caser(SequentialSettings):
    """Horizontal filters span several consecutive items; vertical filters are weighted sums over the window.

    When to use: histories in which patterns over a few consecutive items matter.

    Cost: an epoch O(E · D · (N + window² · n_horizontal + (window + D) · n_vertical)) with the loss over all items, S
    instead of N with S sampled negatives. A query the same for L items of one history, then O(N · D); the model 4 N D bytes.
    """

    window: int = setting(
        6, at_least=1, doc="Number of latest items that the filters cover; earlier items enter by their mean only."
    )
    n_horizontal: int = setting(
        16, at_least=1, doc="Horizontal filters of each height from 1 to ``window``, max-pooled over the window."
    )
    n_vertical: int = setting(4, at_least=1, doc="Vertical filters: weighted sums of the vectors in the window.")

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Memory of every sequential model, plus the windows of a batch and their filter outputs."""
        cells = self.embedding_dim * (self.window + 3 * self.n_vertical) + 4 * self.n_horizontal * self.window
        return super().fit_bytes(shape) + 4 * max(self.batch_size, self.max_length) * cells

    def build_network(self, n_items: int) -> nn.Module:
        """The convolutions with fresh weights."""
        return _CaserNetwork(self, n_items)

    @require_finite
    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> SequentialModel:
        """Train on the histories of ``data``.

        With ``patience`` the validation score is NDCG@10 on ``valid``; if that is None, on the latest item of 5 % of the
        users, which is then left out of training.
        """
        return fit_sequential(self, data, run, valid)


class _CaserNetwork(nn.Module):
    def __init__(self, settings: Caser, n_items: int) -> None:
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
