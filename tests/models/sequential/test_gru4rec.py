"""GRU4Rec: the contract, and what makes it a model of order."""

from contracts.sequence import SequenceContract
from leanrec.models.sequential.gru4rec import GRU4Rec


class TestGRU4Rec(SequenceContract):
    estimator = GRU4Rec(width=16, length=12, epochs=12, batch=256, learning_rate=2e-2, dropout=0.1)
    learner = GRU4Rec(width=16, length=24, epochs=20, batch=256, learning_rate=1e-2, dropout=0.0)
