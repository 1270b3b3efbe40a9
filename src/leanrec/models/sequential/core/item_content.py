"""Item vectors from content, so that items without interactions have one too.

An item vector is a learned id embedding plus a learned projection of the content. In training, id embeddings are dropped
at random, so that the content alone becomes a good vector (Volkovs, Yu & Poutanen, "DropoutNet: Addressing Cold
Start in Recommender Systems", NeurIPS 2017).
"""

import dataclasses
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.errors import DataError
from leanrec.features.pipeline import FeatureSpec, FittedFeatures, default_text_feature
from leanrec.features.reduction import TruncatedSVD
from leanrec.field_checks import ArrayShape, check_array_shapes
from leanrec.run import Run
from leanrec.types import Float32Array

__all__ = ["CONTENT_DIMENSIONS", "ItemContent", "add_content", "fit_features", "take_content"]

# Largest number of dimensions of the reduced content.
CONTENT_DIMENSIONS = 128
# Share of the items that train without their id embedding in a step.
_ID_DROPOUT = 0.25


@dataclasses.dataclass(frozen=True, eq=False)
class ItemContent:
    """Fitted features and the projection that was learned with the id embeddings.

    Attributes:
        features: of the item table.
        projection: (F, D).
    """

    features: FittedFeatures
    projection: Annotated[Float32Array, ArrayShape("F", "D")]

    def check_state(self) -> None:
        """Raise DataError unless each feature has a vector."""
        shape = (len(self.features.names), self.projection.shape[1])
        check_array_shapes("ItemContent", {"projection": self.projection}, {"projection": shape})

    def embed_items(self, items: Table) -> Float32Array:
        """(M, D) vectors from content alone; zeros without content. Raises ColumnError if no column of the fit is present."""
        return np.asarray(self.features.transform(items) @ self.projection, dtype=np.float32)


def fit_features(data: Dataset, text: str, run: Run) -> FittedFeatures:
    """Features of the items of ``data``, reduced to at most 128 dimensions; ``text`` is the feature of text columns.

    Raises DataError if there is no item table.
    """
    if data.item_table is None:
        raise DataError(
            f"content={text!r} needs an item table (titles, genres, text …). The data set has none; "
            "add one, or set content='none'."
        )
    return FeatureSpec(text=default_text_feature(text), reduce=TruncatedSVD(CONTENT_DIMENSIONS)).fit(
        data.item_table, run
    )


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
