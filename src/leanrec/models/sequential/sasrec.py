"""SASRec: causal self-attention over the history.

Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. With the full softmax loss of Klenitskiy &
Vasilev, "Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?", RecSys 2023.
"""

import dataclasses

from torch import nn

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.finiteness import require_finite
from leanrec.models.sequential.core.models import SequentialModel
from leanrec.models.sequential.core.networks import CausalBlocks
from leanrec.models.sequential.core.settings import SequentialSettings, check_heads
from leanrec.models.sequential.core.training import fit_sequential
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
        return CausalBlocks(
            self,
            n_items,
            self.n_layers,
            lambda: TransformerBlock(self.embedding_dim, self.n_heads, 4 * self.embedding_dim, self.dropout),
        )

    @require_finite
    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> SequentialModel:
        """Train on the histories of ``data``.

        With ``patience`` the validation score is NDCG@10 on ``valid``; if that is None, on the latest item of 5 % of the
        users, which is then left out of training.
        """
        return fit_sequential(self, data, run, valid)
