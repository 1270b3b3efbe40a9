"""WideDeep: the contract."""

from contracts.by_fields import CTRContract
from leanrec.models.ctr.wide_deep import WideDeep


class TestWideDeep(CTRContract):
    estimator = WideDeep(width=8, hidden=(32,), epochs=8, batch=512, learning_rate=0.02, columns=("genres",))
