"""Network of NeuMF: the scores of the model against it."""

import dataclasses

import numpy as np
import pytest
import torch

from leanrec.data.dataset import Dataset
from leanrec.models.deep.core.fold_in import FoldIn
from leanrec.models.deep.core.networks.neumf import _NeuMFNetwork
from leanrec.models.deep.neumf import NeuMF, _build_model
from leanrec.nn.arrays import to_arrays
from leanrec.run import Run


@pytest.mark.parametrize("hidden_sizes", [(), (16,), (16, 8, 4)], ids=str)
def test_model_scores_equal_those_of_the_network(hidden_sizes: tuple[int, ...], dataset: Dataset) -> None:
    """Every weight differs from its initial value."""
    settings = dataclasses.replace(NeuMF(embedding_dim=8), hidden_sizes=hidden_sizes)
    X = dataset.interactions
    fold_in = FoldIn.fit(X, 8, settings.l2, settings.unobserved_weight, Run(threads=1))
    torch.manual_seed(3)
    network = _NeuMFNetwork(settings, fold_in, X).eval()
    for weight in network.parameters():
        weight.data += 0.2 * torch.randn_like(weight)
    n_users, items = X.shape[0], torch.arange(X.shape[1])
    with torch.no_grad():
        users = network.transform_users(torch.from_numpy(fold_in.encode(X)))
        slow, of_pairs = (
            each.numpy() for each in network(users, items, torch.arange(n_users), items[:1].repeat(n_users))
        )
    scores = _build_model(settings, fold_in, to_arrays(network)).score(dataset.queries())
    np.testing.assert_allclose(scores, slow, atol=1e-4 * np.ptp(slow))
    np.testing.assert_allclose(of_pairs, slow[:, 0], atol=1e-4 * np.ptp(slow))
