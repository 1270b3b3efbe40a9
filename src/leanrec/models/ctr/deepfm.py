"""DeepFM: a factorization machine and an MLP over shared field embeddings.

Guo, Tang, Ye, Li & He, "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017.
"""

import dataclasses

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.finiteness import require_finite
from leanrec.models.ctr.core.examples import LabeledRows
from leanrec.models.ctr.core.models import FieldModel, RowModel
from leanrec.models.ctr.core.settings import CTRSettings
from leanrec.models.ctr.core.training import fit_events, fit_rows
from leanrec.nn.fields import FieldNetwork, FieldSizes, WideAndDeepNetwork
from leanrec.run import Run

__all__ = ["DeepFM"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepFM(CTRSettings):
    """Sum of a linear part, the dot products of all pairs of field vectors, and an MLP over all of them.

    When to use: as `WideDeep`, where pairs of features matter.

    Cost per row: O(F · D) for the pairs, F · D · hidden_sizes[0] + hidden_sizes[0] · hidden_sizes[1] + … for the MLP;
    a query takes N rows, or K for given candidates.
    """

    def build_network(self, sides: tuple[FieldSizes, ...], n_tasks: int) -> FieldNetwork:
        """The network with fresh weights."""
        return WideAndDeepNetwork(
            sides,
            self.embedding_dim,
            self.hidden_sizes,
            n_tasks,
            fm=True,
            dropout=self.dropout,
            batch_norm=self.batch_norm,
        )

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
