"""BERT4Rec: the contract, and what makes it a model of order."""

from contracts.sequence import SequenceContract
from leanrec.models.deep.bert4rec import BERT4Rec


class TestBERT4Rec(SequenceContract):
    estimator = BERT4Rec(width=16, length=12, epochs=12, batch=256, learning_rate=2e-2, dropout=0.1)
    learner = BERT4Rec(width=16, length=24, epochs=40, batch=512, learning_rate=1e-2, dropout=0.0, mask=0.3, latest=0.5)
    causal = False
