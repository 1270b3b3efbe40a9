"""Item vectors from content: features of the item table, and vectors of new items."""

import dataclasses

import numpy as np
import pytest

from leanrec.data.dataset import Dataset
from leanrec.errors import DataError
from leanrec.models.sequential.core.item_content import ItemContent, fit_features
from leanrec.run import Run


def test_a_vector_is_the_projected_features(dataset: Dataset) -> None:
    assert dataset.item_table is not None
    features = fit_features(dataset, "tfidf", Run(threads=1))
    projection = np.ones((len(features.names), 3), np.float32)
    vectors = ItemContent(features, projection).embed_items(dataset.item_table)
    sums = features.transform(dataset.item_table).sum(axis=1)
    np.testing.assert_allclose(vectors, np.column_stack([sums] * 3), rtol=1e-5)


def test_item_table_is_required(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="item table"):
        fit_features(dataclasses.replace(dataset, item_table=None), "tfidf", Run(threads=1))
