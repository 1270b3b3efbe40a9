"""Mult-VAE: the contract, and scores of the model against those of the network."""

import dataclasses

import numpy as np
import pytest
import torch

from contracts.estimator import EstimatorContract, OddDataContract
from leanrec.data.dataset import Dataset
from leanrec.models.deep import mult_vae
from leanrec.models.deep.mult_vae import MultVAE
from leanrec.run import Run

SMALL = MultVAE(embedding_dim=8, hidden_dim=16, epochs=15, batch_size=32, learning_rate=0.02)
DEEPER = dataclasses.replace(SMALL, n_layers=2, decoder_dim=8, beta=0.01, epochs=20, learning_rate=0.05)


class TestMultVAE(EstimatorContract, OddDataContract):
    estimator = SMALL


class TestDeeper(EstimatorContract):
    estimator = DEEPER


def test_model_scores_equal_those_of_the_network(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = []
    make = mult_vae._build_model
    monkeypatch.setattr(mult_vae, "_build_model", lambda settings, net: networks.append(net) or make(settings, net))
    model = dataclasses.replace(DEEPER, dropout=0.0).fit(dataset, Run(seed=1, threads=1))
    X, net = dataset.interactions, networks[-1].eval()
    items, bounds = (torch.from_numpy(each.astype(np.int64)) for each in (X.indices, X.indptr))
    with torch.no_grad():
        slow = net.items(net.decode(net.encode(mult_vae._Batch(items, bounds))[0])).numpy()
    np.testing.assert_allclose(model.score(dataset.queries()), slow, rtol=1e-3, atol=1e-3)


def test_large_catalogs_have_sparse_gradients(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mult_vae, "_SPARSE_FROM", 0)
    model = dataclasses.replace(SMALL, patience=3).fit(dataset, Run(threads=1))
    assert np.isfinite(model.score(dataset.queries())).all()
