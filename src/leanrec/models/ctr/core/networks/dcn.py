"""Network of DCN-V2: cross layers in parallel to an MLP."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from leanrec.kernels.layers.field_layers import FieldSizes
from leanrec.nn.fields import MLP, CrossLayers, FieldNetwork, FieldVectors

if TYPE_CHECKING:
    from leanrec.models.ctr.dcn import DCN

__all__ = ["DCNNetwork"]


class DCNNetwork(FieldNetwork):
    """Cross layers and an MLP in parallel, then one linear layer."""

    def __init__(self, settings: "DCN", sides: tuple[FieldSizes, ...], n_tasks: int) -> None:
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
