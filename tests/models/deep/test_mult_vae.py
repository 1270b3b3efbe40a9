"""Mult-VAE: the contract, and a fit until the validation score falls."""

import dataclasses

import numpy as np

from contracts.estimator import EstimatorContract, OddDataContract
from leanrec.data.dataset import Dataset
from leanrec.models.deep.mult_vae import MultVAE
from leanrec.run import Run

SMALL = MultVAE(embedding_dim=8, hidden_dim=16, epochs=15, batch_size=32, learning_rate=0.02)
DEEPER = dataclasses.replace(SMALL, n_layers=2, decoder_dim=8, beta=0.01, epochs=20, learning_rate=0.05)


class TestMultVAE(EstimatorContract, OddDataContract):
    estimator = SMALL


class TestDeeper(EstimatorContract):
    estimator = DEEPER


def test_stops_by_patience(dataset: Dataset) -> None:
    model = dataclasses.replace(SMALL, patience=3).fit(dataset, Run(threads=1))
    assert np.isfinite(model.score(dataset.queries())).all()
