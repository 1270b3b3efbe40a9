"""GRU4Rec: gated recurrent network over the history.

Hidasi, Karatzoglou, Baltrunas & Tikk, "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016;
Hidasi & Karatzoglou, "Recurrent Neural Networks with Top-k Gains for Session-based Recommendations", CIKM 2018. With
full or sampled softmax instead of their ranking losses.
"""

import dataclasses

from torch import Tensor, nn

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.finiteness import require_finite
from leanrec.models.sequential.core.models import SequentialModel
from leanrec.models.sequential.core.settings import SequentialSettings
from leanrec.models.sequential.core.training import fit_sequential
from leanrec.nn.dropout import dropout
from leanrec.run import Run
from leanrec.settings import setting

__all__ = ["GRU4Rec"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GRU4Rec(SequentialSettings):
    """Gated recurrent units over the latest items of a history; input and output items share one table.

    When to use: histories whose order matters, above all short sessions.

    Cost: an epoch O(E · D · (N + 6 n_layers · D)) with the loss over all items, S instead of N with S sampled negatives.
    The L steps are sequential, which large batches compensate. A query O(n_layers · L · D² + N · D); the model 4 N D
    bytes and 24 n_layers D².
    """

    batch_size: int = 4096
    n_layers: int = setting(1, at_least=1, doc="Number of stacked GRU layers.")

    def build_network(self, n_items: int) -> nn.Module:
        """The recurrent network with fresh weights."""
        return _GRU4RecNetwork(self, n_items)

    @require_finite
    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> SequentialModel:
        """Train on the histories of ``data``.

        With ``patience`` the validation score is NDCG@10 on ``valid``; if that is None, on the latest item of 5 % of the
        users, which is then left out of training.
        """
        return fit_sequential(self, data, run, valid)


class _GRU4RecNetwork(nn.Module):
    def __init__(self, settings: GRU4Rec, n_items: int) -> None:
        super().__init__()
        width = settings.embedding_dim
        self.dropout = settings.dropout
        self.items = nn.Embedding(n_items, width)
        nn.init.normal_(self.items.weight, std=width**-0.5)
        self.units = nn.ModuleList([nn.GRU(width, width, batch_first=True) for _ in range(settings.n_layers)])
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        # The initial state is the vector of the latest item, which may be informative from the start; the GRUs add to it.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002 - causal, so padding on the right has no effect
        """(B, L) to (B, L, D)."""
        latest = dropout(self.items(items.clamp(min=0)), self.dropout, self.training)
        x = latest
        for unit in self.units:
            x = dropout(unit(x)[0], self.dropout, self.training)
        out: Tensor = self.norm(latest + self.out(x))
        return out
