"""GRU4Rec: the contract, and what makes it a model of order."""

from contracts.sequential import SequentialContract
from leanrec.models.sequential.gru4rec import GRU4Rec


class TestGRU4Rec(SequentialContract):
    estimator = GRU4Rec(embedding_dim=16, max_length=12, epochs=12, batch_size=256, learning_rate=2e-2, dropout=0.1)
    learner = GRU4Rec(embedding_dim=16, max_length=24, epochs=20, batch_size=256, learning_rate=1e-2, dropout=0.0)
