"""DLRM: the contract."""

from contracts.by_fields import ByFieldsContract
from leanrec.models.deep.dlrm import DLRM


class TestDLRM(ByFieldsContract):
    estimator = DLRM(width=8, hidden=(32,), epochs=8, batch=512, learning_rate=0.02)
