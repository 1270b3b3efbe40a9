"""Network of DLRM: dot products of all pairs of fields as inputs of an MLP."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leanrec.errors import SettingError
from leanrec.kernels.layers.field_layers import FieldSizes
from leanrec.nn.fields import MLP, FieldNetwork, FieldVectors, dot_interactions

if TYPE_CHECKING:
    from leanrec.models.ctr.dlrm import DLRM

__all__ = ["DLRMNetwork"]


class DLRMNetwork(FieldNetwork):
    """A bottom MLP for the numbers, and a top MLP over the products."""

    def __init__(self, settings: "DLRM", sides: tuple[FieldSizes, ...], n_tasks: int) -> None:
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
