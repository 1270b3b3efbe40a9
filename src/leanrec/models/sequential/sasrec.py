"""SASRec: causal self-attention over the history.

Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. With the full softmax loss of Klenitskiy &
Vasilev, "Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?", RecSys 2023.
"""

import dataclasses

import torch
from torch import Tensor, nn

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.finiteness import require_finite
from leanrec.models.sequential.core.models import SequentialModel
from leanrec.models.sequential.core.settings import SequentialSettings, check_heads
from leanrec.models.sequential.core.training import fit_sequential
from leanrec.nn.dropout import dropout
from leanrec.nn.transformer import TransformerBlock
from leanrec.run import Run
from leanrec.settings import setting

__all__ = ["SASRec"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SASRec(SequentialSettings):
    """A causal Transformer over the latest items of a history.

    When to use: histories whose order matters; self-attention over the latest items.

    Cost: an epoch O(E · (N · D + n_layers · D · (12 D + L))) with the loss over all items, S instead of N with S sampled
    negatives. A query the same for L items of one history, then O(N · D); the model 4 N D bytes and 48 n_layers D².
    """

    n_layers: int = setting(2, at_least=1, doc="Number of Transformer blocks.")
    n_heads: int = setting(1, at_least=1, doc="Number of attention heads; must divide ``embedding_dim``.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.embedding_dim, self.n_heads)

    def build_network(self, n_items: int) -> nn.Module:
        """The Transformer with fresh weights."""
        return _SASRecNetwork(self, n_items)

    @require_finite
    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> SequentialModel:
        """Train on the histories of ``data``."""
        return fit_sequential(self, data, run, valid)


class _SASRecNetwork(nn.Module):
    def __init__(self, settings: SASRec, n_items: int) -> None:
        super().__init__()
        width = settings.embedding_dim
        self.dropout = settings.dropout
        self.items = nn.Embedding(n_items, width)
        self.positions = nn.Embedding(settings.max_length, width)
        nn.init.normal_(self.items.weight, std=width**-0.5)
        nn.init.normal_(self.positions.weight, std=0.01)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, settings.n_heads, 4 * width, settings.dropout) for _ in range(settings.n_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) to (B, L, D). Positions count back from the end, so that the latest item always has position 0."""
        back = (lengths[:, None] - 1 - torch.arange(items.shape[1], device=items.device)).clamp_(min=0)
        x = self.items(items.clamp(min=0)) + self.positions(back)
        x = dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out
