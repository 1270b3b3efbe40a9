"""NeuMF: the contract, and a slow twin of its answers."""

import dataclasses

from contracts.estimator import EstimatorContract
from leanrec.models.deep.neumf import NeuMF

SMALL = NeuMF(width=8, layers=(16, 8), epochs=3, batch=256, negatives=20, learning_rate=0.005)


class TestNeuMF(EstimatorContract):
    estimator = SMALL


class TestGMF(EstimatorContract):
    estimator = dataclasses.replace(SMALL, layers=(), loss="bce")
