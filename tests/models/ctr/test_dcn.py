"""DCN: the contract."""

from contracts.by_fields import SPEC, CTRContract, crossed_table
from leanrec.models.ctr.core.training import mean_auc
from leanrec.models.ctr.dcn import DCN
from leanrec.run import Run


class TestDCN(CTRContract):
    estimator = DCN(width=8, hidden=(32,), epochs=8, batch=512, learning_rate=0.02, columns=("genres",))


def test_the_low_rank_mixture_learns_products_too() -> None:
    table = crossed_table(1500)
    examples = SPEC.fit(table).examples(table)
    settings = DCN(width=8, hidden=(32,), epochs=30, batch=128, learning_rate=0.02, forget=0, rank=8, experts=2)
    model = settings.fit_rows(examples, Run(seed=1, threads=1))
    assert mean_auc(examples.labels, model.predict(examples.rows)) > 0.9
