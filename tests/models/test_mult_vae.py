"""Mult-VAE: the contract, slow twins of its loss and of its answers."""

import dataclasses

import numpy as np
import pytest
import torch

from contracts.estimator import EstimatorContract
from leanrec.data.dataset import Dataset
from leanrec.models.deep import mult_vae
from leanrec.models.deep.mult_vae import MultVAE
from leanrec.run import Run

SMALL = MultVAE(width=8, hidden=16, epochs=15, batch=32, learning_rate=0.02)
DEEPER = dataclasses.replace(SMALL, layers=2, decoder=8, beta=0.01, epochs=20, learning_rate=0.05)


class TestMultVAE(EstimatorContract):
    estimator = SMALL


class TestDeeper(EstimatorContract):
    estimator = DEEPER


def test_the_loss_in_stretches_and_its_gradients_are_those_of_a_dense_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mult_vae, "_STRETCH_BYTES", 0)  # stretches of 16 users
    rng = torch.Generator().manual_seed(0)
    hidden, table, bias = (
        torch.randn(shape, generator=rng, dtype=torch.float64, requires_grad=True) for shape in ((40, 3), (5, 3), (5,))
    )
    dense = torch.rand(40, 5, generator=rng) < 0.4
    bounds = torch.cat([torch.zeros(1, dtype=torch.int64), dense.sum(1).cumsum(0)])
    loss = mult_vae._Multinomial.apply(hidden, table, bias, dense.nonzero()[:, 1], bounds)
    fast = torch.autograd.grad(loss, (hidden, table, bias))
    slow_loss = -(torch.log_softmax(hidden @ table.T + bias, 1) * dense).sum() / dense.sum()
    slow = torch.autograd.grad(slow_loss, (hidden, table, bias))
    assert float(loss.detach()) == pytest.approx(float(slow_loss.detach()))
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b)


def test_answers_are_those_of_the_network(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = []
    make = mult_vae._model
    monkeypatch.setattr(mult_vae, "_model", lambda settings, net: networks.append(net) or make(settings, net))
    model = dataclasses.replace(DEEPER, dropout=0.0).fit(dataset, Run(seed=1, threads=1))
    X, net = dataset.interactions, networks[-1].eval()
    items, bounds = (torch.from_numpy(each.astype(np.int64)) for each in (X.indices, X.indptr))
    with torch.no_grad():
        slow = net.items(net.decode(net.encode(mult_vae._Batch(items, bounds))[0])).numpy()
    np.testing.assert_allclose(model.score(dataset.queries()), slow, rtol=1e-3, atol=1e-3)


def test_large_catalogues_step_by_rows(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mult_vae, "_MANY", 0)
    model = dataclasses.replace(SMALL, patience=3).fit(dataset, Run(threads=1))
    assert np.isfinite(model.score(dataset.queries())).all()
