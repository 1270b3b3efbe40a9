"""DCN: the contract."""

from contracts.ctr import SPEC, CTRContract, check_network, crossed_table
from leanrec.models.ctr.core.training import mean_auc
from leanrec.models.ctr.dcn import DCN
from leanrec.run import Run


class TestDCN(CTRContract):
    estimator = DCN(
        embedding_dim=8, hidden_sizes=(32,), epochs=8, batch_size=512, learning_rate=0.02, columns=("genres",)
    )


def test_the_low_rank_mixture_learns_products_too() -> None:
    table = crossed_table(1500)
    examples = SPEC.fit(table).encode_labeled(table)
    settings = DCN(
        embedding_dim=8,
        hidden_sizes=(32,),
        epochs=30,
        batch_size=128,
        learning_rate=0.02,
        id_dropout=0,
        rank=8,
        n_experts=2,
    )
    model = settings.fit_rows(examples, Run(seed=1, threads=1))
    assert mean_auc(examples.labels, model.predict(examples.rows)) > 0.9


def test_the_low_rank_mixture_is_computed_as_by_its_network() -> None:
    check_network(DCN(embedding_dim=3, hidden_sizes=(4,), rank=2, n_experts=3))
