"""Network of Mult-VAE: the scores of the model against it, and gradients of large tables."""

import dataclasses

import numpy as np
import pytest
import torch

from leanrec.data.dataset import Dataset
from leanrec.models.deep.core.networks import mult_vae
from leanrec.models.deep.core.networks.mult_vae import train_mult_vae
from leanrec.models.deep.mult_vae import MultVAE, _build_model
from leanrec.nn.arrays import to_arrays
from leanrec.run import Run

SMALL = MultVAE(embedding_dim=8, hidden_dim=16, epochs=15, batch_size=32, learning_rate=0.02)


@pytest.mark.parametrize("deeper", [{}, {"n_layers": 2, "decoder_dim": 8}], ids=["one layer", "more layers"])
def test_model_scores_equal_those_of_the_network(deeper: dict[str, int], dataset: Dataset) -> None:
    """Every weight differs from its initial value."""
    settings = dataclasses.replace(SMALL, dropout=0.0, **deeper)
    torch.manual_seed(3)
    network = mult_vae._MultVAENetwork(settings, len(dataset.items)).eval()
    for weight in network.parameters():
        weight.data += 0.2 * torch.randn_like(weight)
    X = dataset.interactions
    items, bounds = (torch.from_numpy(each.astype(np.int64)) for each in (X.indices, X.indptr))
    with torch.no_grad():
        slow = network.items(network.decode(network.encode(mult_vae._Batch(items, bounds))[0])).numpy()
    model = _build_model(settings, to_arrays(network))
    np.testing.assert_allclose(model.score(dataset.queries()), slow, atol=1e-4 * np.ptp(slow))


def test_large_catalogs_have_sparse_gradients(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mult_vae, "_SPARSE_FROM", 0)
    network_weights = train_mult_vae(
        dataclasses.replace(SMALL, epochs=3), dataset, Run(threads=1), None, lambda weights: weights
    )
    assert all(np.isfinite(array).all() for array in network_weights.values())
