"""BERT4Rec: bidirectional Transformer trained to predict masked items.

Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer",
CIKM 2019. It needs many more epochs than SASRec: Petrov & Macdonald, "A Systematic Review and Replicability Study of
BERT4Rec", RecSys 2022; Klenitskiy & Vasilev, "Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?", RecSys 2023.
"""

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.finiteness import require_finite
from leanrec.models.sequential.core.models import SequentialModel
from leanrec.models.sequential.core.settings import SequentialSettings, TrainingInputs, check_heads
from leanrec.models.sequential.core.training import fit_sequential
from leanrec.nn.dropout import dropout
from leanrec.nn.transformer import TransformerBlock
from leanrec.run import Run
from leanrec.settings import setting

__all__ = ["BERT4Rec"]

# Code of a masked item; −1 is padding.
_MASK_TOKEN = -2


@dataclasses.dataclass(frozen=True, kw_only=True)
class BERT4Rec(SequentialSettings):
    """Predicts masked items from those before and after; the next item is predicted at a mask token after the last.

    When to use: histories whose order matters, with time for many epochs.

    Cost: an epoch O(E · (mask_prob · N · D + n_layers · D · (12 D + L))) with the loss over all items, S instead of N
    with S sampled negatives. A query O(L · n_layers · D · (12 D + L) + N · D); the model 4 N D bytes and 48 n_layers D².
    """

    epochs: int = 60
    n_layers: int = setting(2, at_least=1, doc="Number of Transformer blocks.")
    n_heads: int = setting(2, at_least=1, doc="Number of attention heads; must divide ``embedding_dim``.")
    mask_prob: float = setting(0.2, between=(0.01, 0.99), doc="Share of the items that are masked.")
    last_item_prob: float = setting(
        0.1,
        between=(0, 1),
        doc="Share of the windows in which only the last item is masked, as it is at inference.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.embedding_dim, self.n_heads)

    def build_network(self, n_items: int) -> nn.Module:
        """The Transformer with fresh weights."""
        return _BERT4RecNetwork(self, n_items)

    def training_inputs(self, items: Tensor, lengths: Tensor, rng: np.random.Generator) -> TrainingInputs:
        """Mask some items, at least one per window; the masked items are the targets."""
        B, L = items.shape
        positions, ends = np.arange(L), lengths.cpu().numpy()[:, None]
        is_masked = rng.random((B, L), np.float32) < self.mask_prob
        is_masked |= positions == (rng.random((B, 1)) * ends).astype(np.int64)
        is_last_only = rng.random((B, 1)) < self.last_item_prob
        is_masked = np.where(is_last_only, positions == ends - 1, is_masked) & (positions < ends)
        mask = torch.from_numpy(is_masked).to(items.device)
        return TrainingInputs(items.masked_fill(mask, _MASK_TOKEN), lengths, items.masked_fill(~mask, -1))

    def inference_inputs(self, items: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Append a mask token after the last item."""
        padded = nn.functional.pad(items, (0, 1), value=-1)
        return padded.scatter_(1, lengths[:, None], _MASK_TOKEN), lengths + 1

    @require_finite
    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> SequentialModel:
        """Train to predict masked items in the histories of ``data``.

        With ``patience`` the validation score is NDCG@10 on ``valid``; if that is None, on the latest item of 5 % of the
        users, which is then left out of training.
        """
        return fit_sequential(self, data, run, valid)


class _BERT4RecNetwork(nn.Module):
    def __init__(self, settings: BERT4Rec, n_items: int) -> None:
        super().__init__()
        width = settings.embedding_dim
        self.dropout = settings.dropout
        self.items = nn.Embedding(n_items, width)
        self.positions = nn.Embedding(settings.max_length + 1, width)
        self.mask_token = nn.Parameter(torch.empty(width))
        for weight, size in (self.items.weight, width**-0.5), (self.positions.weight, 0.01), (self.mask_token, 0.01):
            nn.init.normal_(weight, std=size)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, settings.n_heads, 4 * width, settings.dropout, causal=False)
            for _ in range(settings.n_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) to (B, L, D). Positions count back from the end, so that the latest item always has position 0."""
        steps = torch.arange(items.shape[1], device=items.device)
        x = torch.where((items == _MASK_TOKEN)[:, :, None], self.mask_token, self.items(items.clamp(min=0)))
        x = x + self.positions((lengths[:, None] - 1 - steps).clamp_(min=0))
        x = dropout(x, self.dropout, self.training)
        is_item = steps < lengths[:, None]
        mask = None if bool(is_item.all()) else is_item
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.norm(x)
        return out
