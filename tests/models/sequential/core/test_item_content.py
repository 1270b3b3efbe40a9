"""Item vectors from content: the sum of id embedding and projected features."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from leanrec.data.dataset import Dataset
from leanrec.errors import DataError
from leanrec.models.sequential.core.item_content import add_content, fit_features, take_content
from leanrec.run import Run


def test_vectors_are_id_embeddings_plus_projected_content(dataset: Dataset) -> None:
    assert dataset.item_table is not None
    features = fit_features(dataset, "tfidf", Run(threads=1))
    items = nn.Embedding(len(dataset.items), 6)
    ids = items.weight.detach().clone()
    add_content(items, features, dataset.item_table)
    items.eval()
    with torch.no_grad():
        vectors = items.weight.numpy().copy()
    content = take_content(items, features)
    np.testing.assert_allclose(items.weight.detach().numpy(), vectors, rtol=1e-5)
    np.testing.assert_allclose(vectors - ids.numpy(), content.embed_items(dataset.item_table), rtol=1e-3, atol=1e-4)


def test_training_drops_some_id_embeddings(dataset: Dataset) -> None:
    assert dataset.item_table is not None
    torch.manual_seed(0)
    features = fit_features(dataset, "tfidf", Run(threads=1))
    items = nn.Embedding(len(dataset.items), 6)
    add_content(items, features, dataset.item_table)
    with torch.no_grad():
        full = items.eval().weight.clone()
        dropped = (items.train().weight - full).abs().sum(1) > 0
    assert 0.05 < dropped.float().mean() < 0.5


def test_item_table_is_required(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="item table"):
        fit_features(dataclasses.replace(dataset, item_table=None), "tfidf", Run(threads=1))
