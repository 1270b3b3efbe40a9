"""Caser: the contract."""

from contracts.sequential import SequentialContract
from leanrec.models.sequential.caser import Caser


class TestCaser(SequentialContract):
    estimator = Caser(embedding_dim=16, max_length=12, epochs=12, batch_size=256, learning_rate=2e-2, dropout=0.1)
    learner = Caser(embedding_dim=16, max_length=24, epochs=20, batch_size=256, learning_rate=1e-2, dropout=0.0)
