"""DLRM: dot products of all pairs of field embeddings as inputs of an MLP.

Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems", 2019.
"""

import dataclasses

import torch
from torch import Tensor

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import SettingError
from leanrec.finiteness import require_finite
from leanrec.models.ctr.core.examples import LabeledRows
from leanrec.models.ctr.core.models import FieldModel, RowModel
from leanrec.models.ctr.core.settings import CTRSettings
from leanrec.models.ctr.core.training import fit_events, fit_rows
from leanrec.nn.fields import MLP, FieldNetwork, FieldSizes, FieldVectors, dot_interactions
from leanrec.run import Run
from leanrec.settings import setting

__all__ = ["DLRM"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DLRM(CTRSettings):
    """A bottom MLP maps the numbers to a vector, and a top MLP takes it and the dot products of all pairs of vectors.

    When to use: as `WideDeep`, where dot products of pairs are enough, for categorical fields and numbers.

    Cost per row: F² · D for the pairs, F² / 2 · hidden_sizes[0] + … for the top MLP; a query takes N rows, or K for
    given candidates.
    """

    bottom_sizes: tuple[int, ...] = setting(
        (64,), at_least=1, doc="Sizes of the hidden layers between the numbers and their vector; () = a linear layer."
    )
    concat_embeddings: bool = setting(
        False, doc="Feed the field vectors to the top MLP too, beside the vector of the numbers and the products."
    )

    def build_network(self, sides: tuple[FieldSizes, ...], n_tasks: int) -> FieldNetwork:
        """The network with fresh weights. Raises SettingError if there are fewer than two vectors to multiply."""
        return _DLRMNetwork(self, sides, n_tasks)

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


class _DLRMNetwork(FieldNetwork):
    def __init__(self, settings: DLRM, sides: tuple[FieldSizes, ...], n_tasks: int) -> None:
        super().__init__(sides, settings.embedding_dim)
        self.bottom = MLP(self.n_numbers, settings.bottom_sizes, settings.embedding_dim) if self.n_numbers else None
        count = self.n_fields + bool(self.n_numbers)
        if count < 2:
            raise SettingError(
                f"DLRM must have two fields, or one field and numbers. Got {self.n_fields} fields and "
                f"{self.n_numbers} numbers; add columns, or choose WideDeep."
            )
        self.concat_embeddings = settings.concat_embeddings
        n_direct = count if self.concat_embeddings else int(bool(self.n_numbers))
        self.top = MLP(
            count * (count - 1) // 2 + n_direct * settings.embedding_dim,
            settings.hidden_sizes,
            n_tasks,
            dropout=settings.dropout,
            batch_norm=settings.batch_norm,
        )

    def predict_logits(self, rows: FieldVectors) -> Tensor:
        """(R, T) logits."""
        vectors = rows.vectors
        if self.bottom is not None:
            vectors = torch.cat([self.bottom(rows.numbers)[:, None], vectors], 1)
        direct = vectors if self.concat_embeddings else vectors[:, : int(self.bottom is not None)]
        logits: Tensor = self.top(torch.cat([direct.flatten(1), dot_interactions(vectors)], 1))
        return logits
