"""Training of item vectors from content: the sum of id embedding and projected features."""

import numpy as np
import torch
from torch import nn

from leanrec.data.dataset import Dataset
from leanrec.models.sequential.core.content_training import add_content, take_content
from leanrec.models.sequential.core.item_content import fit_features
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
