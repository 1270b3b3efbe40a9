"""Item vectors from content, so that items without interactions have one too.

An item vector is a learned id embedding plus a learned projection of the content.
"""

import dataclasses
from typing import Annotated

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.errors import DataError
from leanrec.features.pipeline import FeatureSpec, FittedFeatures, default_text_feature
from leanrec.features.reduction import TruncatedSVD
from leanrec.field_checks import ArrayShape, check_array_shapes
from leanrec.run import Run
from leanrec.types import Float32Array

__all__ = ["CONTENT_DIMENSIONS", "ItemContent", "fit_features"]

# Largest number of dimensions of the reduced content.
CONTENT_DIMENSIONS = 128


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
