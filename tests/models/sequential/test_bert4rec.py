"""BERT4Rec: the contract."""

from contracts.sequential import SequentialContract
from leanrec.models.sequential.bert4rec import BERT4Rec


class TestBERT4Rec(SequentialContract):
    estimator = BERT4Rec(embedding_dim=16, max_length=12, epochs=12, batch_size=256, learning_rate=2e-2, dropout=0.1)
    learner = BERT4Rec(
        embedding_dim=16,
        max_length=24,
        epochs=40,
        batch_size=512,
        learning_rate=1e-2,
        dropout=0.0,
        mask_prob=0.3,
        last_item_prob=0.5,
    )
    causal = False
