"""Network of the two-tower model: the scores of the model against it."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from leanrec.data.dataset import Dataset
from leanrec.models.deep.core.networks.two_tower import _sum_features, _TwoTowerNetwork
from leanrec.models.deep.two_tower import FeatureRows, TwoTower, _build_model
from leanrec.nn.arrays import to_arrays


@pytest.mark.parametrize("hidden_dim", [0, 6])
def test_model_scores_equal_those_of_the_network(hidden_dim: int, dataset: Dataset) -> None:
    """Every weight differs from its initial value; users and items have features, but for some."""
    settings = dataclasses.replace(TwoTower(embedding_dim=8), hidden_dim=hidden_dim)
    X, rng = dataset.interactions, np.random.default_rng(2)
    rows = FeatureRows(
        *(sp.random_array((n, 5), density=0.3, rng=rng, dtype=np.float32).tocsr() for n in X.shape[::-1])
    )
    torch.manual_seed(3)
    network = _TwoTowerNetwork(settings, rows).eval()
    for name, weight in network.named_parameters():
        if hidden_dim or not name.startswith(("query.", "item.")):  # a tower without hidden units is never trained
            weight.data += 0.2 * torch.randn_like(weight)
    everything, ones = torch.arange(X.shape[1]), torch.ones(X.shape[1], 1)
    with torch.no_grad():
        inputs, history = (
            network.embed_items(everything, rows.items, ones, history=is_history) for is_history in (False, True)
        )
        lengths = torch.from_numpy(np.diff(X.indptr).astype(np.float32))
        pooled = torch.from_numpy(X.toarray() != 0).float() @ history
        pooled = pooled * (lengths[:, None] + 1) ** -settings.pooling_exponent
        pooled = pooled + _sum_features(rows.users, network.user_features.weight)
        slow = (network.query(pooled) @ network.item(inputs).T / settings.temperature).numpy()
    model = _build_model(settings, None, rows, to_arrays(network))
    np.testing.assert_allclose(model.score(dataset.queries()), slow, atol=1e-4 * np.ptp(slow))
