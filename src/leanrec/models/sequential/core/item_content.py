"""Vectors of items from what is known of them, so that an item that nobody has touched has one too.

The vector of an item is its own, learnt one plus a learnt projection of its content. In training an item's own vector
is left out now and then, so that the content learns to stand alone (Volkovs, Yu & Poutanen, "DropoutNet: Addressing Cold
Start in Recommender Systems", NIPS 2017).
"""

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.errors import DataError
from leanrec.features.pipeline import Features, FeatureSpec, text_feature
from leanrec.features.reduction import SVD
from leanrec.run import Run
from leanrec.types import Float32Array

__all__ = ["CONTENT_DIMENSIONS", "ItemContent", "add_content", "fit_features", "take_content"]

CONTENT_DIMENSIONS = 128
_OWN_LEFT_OUT = 0.25


@dataclasses.dataclass(frozen=True, eq=False)
class ItemContent:
    """Fitted features and the projection that was learnt with the items' own vectors.

    Attributes:
        features: of the item table.
        projection: (F, D).
    """

    features: Features
    projection: Float32Array

    def vectors(self, items: Table) -> Float32Array:
        """(M, D) of items by their content alone; zeros where nothing is known. Raises ColumnError."""
        return np.asarray(self.features.transform(items) @ self.projection, dtype=np.float32)


def fit_features(data: Dataset, text: str, run: Run) -> Features:
    """The features of the items of ``data`` in at most 128 dimensions; ``text`` says what a column of text gives.

    Raises DataError where there is no item table.
    """
    if data.item_table is None:
        raise DataError(
            f"content={text!r} must have an item table (titles, genres, text …). This data set has none; "
            "give one with the events, or set content='none'."
        )
    return FeatureSpec(text=text_feature(text), reduce=SVD(CONTENT_DIMENSIONS)).fit(data.item_table, run)


def add_content(items: nn.Embedding, features: Features, table: Table) -> None:
    """From now on ``items.weight`` is the items' own vectors + the projected content of ``table``."""
    content = torch.from_numpy(features.transform(table).toarray())
    parametrize.register_parametrization(items, "weight", _WithContent(content, items.embedding_dim))


def take_content(items: nn.Embedding, features: Features) -> ItemContent:
    """Undo ``add_content``, with the sums as plain weights; the projection."""
    projection: Tensor = items.parametrizations.weight[0].projection  # type: ignore[union-attr, index]
    parametrize.remove_parametrizations(items, "weight", leave_parametrized=True)
    return ItemContent(features, projection.detach().to("cpu", copy=True).numpy())


class _WithContent(nn.Module):
    def __init__(self, content: Tensor, width: int) -> None:
        super().__init__()
        # Learnt weights alone belong into checkpoints; the content follows from the data.
        self.register_buffer("content", content, persistent=False)
        self.content: Tensor
        self.projection = nn.Parameter(torch.empty(content.shape[1], width))
        nn.init.normal_(self.projection, std=width**-0.5)

    def forward(self, own: Tensor) -> Tensor:
        if self.training:
            own = own.masked_fill(torch.rand(len(own), 1, device=own.device) < _OWN_LEFT_OUT, 0)
        return own + self.content @ self.projection
