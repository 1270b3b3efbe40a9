"""Training of item vectors from content: a projection of the features beside the id embeddings.

In training, id embeddings are dropped at random, so that the content alone becomes a good vector (Volkovs, Yu &
Poutanen, "DropoutNet: Addressing Cold Start in Recommender Systems", NeurIPS 2017).
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from leanrec.data.table import Table
from leanrec.features.pipeline import FittedFeatures
from leanrec.models.sequential.core.item_content import ItemContent

__all__ = ["add_content", "take_content"]

# Share of the items that train without their id embedding in a step.
_ID_DROPOUT = 0.25


def add_content(items: nn.Embedding, features: FittedFeatures, table: Table) -> None:
    """Parametrize ``items.weight`` as the id embeddings + the projected content of ``table``."""
    content = torch.from_numpy(features.transform(table).toarray())
    parametrize.register_parametrization(items, "weight", _ContentParametrization(content, items.embedding_dim))


def take_content(items: nn.Embedding, features: FittedFeatures) -> ItemContent:
    """Undo ``add_content``, keeping the sums as plain weights. Returns the features and the projection."""
    projection: Tensor = items.parametrizations.weight[0].projection  # type: ignore[union-attr, index]
    parametrize.remove_parametrizations(items, "weight", leave_parametrized=True)
    return ItemContent(features, projection.detach().to("cpu", copy=True).numpy())


class _ContentParametrization(nn.Module):
    def __init__(self, content: Tensor, embedding_dim: int) -> None:
        super().__init__()
        # The content is part of the data, so checkpoints leave it out.
        self.register_buffer("content", content, persistent=False)
        self.content: Tensor
        self.projection = nn.Parameter(torch.empty(content.shape[1], embedding_dim))
        nn.init.normal_(self.projection, std=embedding_dim**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        if self.training:
            ids = ids.masked_fill(torch.rand(len(ids), 1, device=ids.device) < _ID_DROPOUT, 0)
        return ids + self.content @ self.projection
