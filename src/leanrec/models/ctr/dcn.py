"""DCN-V2: cross layers for explicit feature interactions of bounded degree, in parallel to an MLP.

Wang, Shivanna, Cheng, Jain, Lin, Hong & Chi, "DCN V2: Improved Deep & Cross Network and Practical Lessons for
Web-scale Learning to Rank Systems", WWW 2021.
"""

import dataclasses

import torch
from torch import Tensor, nn

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.finiteness import require_finite
from leanrec.models.ctr.core.examples import LabeledRows
from leanrec.models.ctr.core.models import FieldModel, RowModel
from leanrec.models.ctr.core.settings import CTRSettings
from leanrec.models.ctr.core.training import fit_events, fit_rows
from leanrec.nn.fields import MLP, CrossLayers, FieldNetwork, FieldSizes, FieldVectors
from leanrec.run import Run
from leanrec.settings import setting

__all__ = ["DCN"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DCN(CTRSettings):
    """Cross layers and an MLP in parallel over the field vectors, then one linear layer.

    When to use: as `WideDeep`, where products of several features matter.

    Cost per row with X = F · D: n_cross_layers · X², or n_cross_layers · n_experts · 2 · X · rank, plus
    X · hidden_sizes[0] + … for the MLP; a query takes N rows, or K for given candidates.
    """

    n_cross_layers: int = setting(3, at_least=1, doc="Number of cross layers; each adds one degree of interactions.")
    rank: int = setting(0, at_least=0, doc="Rank of the matrices of the cross layers; 0 = full rank.")
    n_experts: int = setting(
        1, at_least=1, doc="Low-rank matrices per cross layer, mixed by a gate; used with a rank only."
    )

    def build_network(self, sides: tuple[FieldSizes, ...], n_tasks: int) -> FieldNetwork:
        """The network with fresh weights."""
        return _DCNNetwork(self, sides, n_tasks)

    @require_finite
    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> FieldModel:
        """Train on positive events against sampled items without interaction.

        With ``patience`` the validation score is NDCG@10 on 300 queries of ``valid``; if that is None, on the latest item of 5 % of the
        users, which is then left out of training.
        """
        return fit_events(self, data, run, valid)

    def fit_rows(self, examples: LabeledRows, run: Run = Run(), valid: LabeledRows | None = None) -> RowModel:
        """Train on labeled rows.

        With ``patience`` the validation score is the mean AUC of the tasks on ``valid``; if that is None, on a random tenth
        of the rows, which is then left out of training. Raises DataError if there are no rows.
        """
        return fit_rows(self, examples, run, valid)


class _DCNNetwork(FieldNetwork):
    def __init__(self, settings: DCN, sides: tuple[FieldSizes, ...], n_tasks: int) -> None:
        super().__init__(sides, settings.embedding_dim)
        width = self.n_fields * settings.embedding_dim + self.n_numbers
        self.cross = CrossLayers(width, settings.n_cross_layers, settings.rank, settings.n_experts)
        self.deep = MLP(width, settings.hidden_sizes, dropout=settings.dropout, batch_norm=settings.batch_norm)
        self.out = nn.Linear(width + self.deep.out_features, n_tasks)

    def predict_logits(self, rows: FieldVectors) -> Tensor:
        """(R, T) logits."""
        x = torch.cat([rows.vectors.flatten(1), rows.numbers], 1)
        logits: Tensor = self.out(torch.cat([self.cross(x), self.deep(x)], 1))
        return logits
