"""WideDeep: the contract."""

from contracts.ctr import CTRContract
from leanrec.models.ctr.wide_deep import WideDeep


class TestWideDeep(CTRContract):
    estimator = WideDeep(
        embedding_dim=8, hidden_sizes=(32,), epochs=8, batch_size=512, learning_rate=0.02, columns=("genres",)
    )
