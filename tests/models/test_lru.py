"""LRURec: the contract, and what makes it a model of order."""

from contracts.sequence import SequenceContract
from leanrec.models.deep.lru import LRURec


class TestLRURec(SequenceContract):
    estimator = LRURec(width=16, length=12, epochs=12, batch=256, learning_rate=2e-2, dropout=0.1)
    learner = LRURec(width=16, length=24, epochs=20, batch=256, learning_rate=1e-2, dropout=0.0)
