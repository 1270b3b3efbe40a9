"""HSTU: pointwise (SiLU) attention without softmax normalization.

Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for Generative
Recommendations", ICML 2024. What differs: the attention bias depends on the distance in items, not in time,
because queries have ordered histories without timestamps; attention is computed in blocks of positions.
"""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.finiteness import require_finite
from leanrec.models.sequential.core.models import SequentialModel
from leanrec.models.sequential.core.networks import CausalBlocks
from leanrec.models.sequential.core.settings import SequentialSettings, check_heads
from leanrec.models.sequential.core.training import fit_sequential
from leanrec.nn.dropout import dropout
from leanrec.run import Run
from leanrec.settings import setting

__all__ = ["HSTU"]

# Positions whose attention is computed at a time.
_BLOCK = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class HSTU(SequentialSettings):
    """Hierarchical sequential transduction units over the latest items of a history.

    The attention weight of an item is SiLU of its match, without normalization over the items, so the intensity of an
    interest is preserved. A gate replaces the MLP of a Transformer block: a block costs 5 D² instead of 12 D². Scale it
    by ``embedding_dim``, ``n_layers`` and ``max_length``.

    When to use: histories whose order matters, with larger models and longer histories than `SASRec`.

    Cost: an epoch O(E · D · (N + n_layers · (5 D + L))) with the loss over all items, S instead of N with S sampled
    negatives, and 16 L · n_heads · n_layers bytes an item of a batch. A query the same for L items of one history,
    then O(N · D); the model 4 N D bytes and 20 n_layers D².
    """

    n_layers: int = setting(2, at_least=1, doc="Number of blocks.")
    n_heads: int = setting(1, at_least=1, doc="Number of attention heads; must divide ``embedding_dim``.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.embedding_dim, self.n_heads)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Memory of every sequential model, plus the attention weights of a batch."""
        positions = max(self.batch_size, self.max_length)
        return super().fit_bytes(shape) + 16 * positions * self.max_length * self.n_heads * self.n_layers

    def build_network(self, n_items: int) -> nn.Module:
        """The blocks with fresh weights."""
        return CausalBlocks(self, n_items, self.n_layers, lambda: _HSTUBlock(self))

    @require_finite
    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> SequentialModel:
        """Train on the histories of ``data``.

        With ``patience`` the validation score is NDCG@10 on ``valid``; if that is None, on the latest item of 5 % of the
        users, which is then left out of training.
        """
        return fit_sequential(self, data, run, valid)


class _HSTUBlock(nn.Module):
    def __init__(self, settings: HSTU) -> None:
        super().__init__()
        width, self.n_heads = settings.embedding_dim, settings.n_heads
        self.dropout, self.max_length = settings.dropout, settings.max_length
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projection = nn.Linear(width, 4 * width)
        self.out = nn.Linear(width, width)
        self.distance = nn.Parameter(torch.zeros(settings.n_heads, settings.max_length))
        # A fresh block is the identity.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        gate, *rest = F.silu(self.projection(self.norm_in(x))).chunk(4, 2)
        attended = self.norm_out(self._attend(*rest)) * gate
        out: Tensor = x + self.out(dropout(attended, self.dropout, self.training))
        return out

    def _attend(self, values: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
        """(B, L, D): causal sum of the values, weighted by SiLU of the query-key match + a bias of the distance."""
        B, L, D = values.shape
        v, q, k = (each.view(B, L, self.n_heads, D // self.n_heads).transpose(1, 2) for each in (values, queries, keys))
        parts = []
        for start in range(0, L, _BLOCK):
            stop = min(L, start + _BLOCK)
            # Keys after the block are masked, so they are not computed.
            positions = torch.arange(stop, device=values.device)
            distance = positions[start:, None] - positions
            # Distances repeat: F.embedding adds up their gradients in a fixed order, an index in that of the threads.
            bias = F.embedding(distance.clamp(min=0), self.distance.T).movedim(2, 0)
            matches = q[:, :, start:stop] @ k[:, :, :stop].transpose(2, 3) + bias
            weights = F.silu(matches) * ((distance >= 0) / self.max_length)
            parts.append(weights @ v[:, :, :stop])
        return torch.cat(parts, 2).transpose(1, 2).reshape(B, L, D)
