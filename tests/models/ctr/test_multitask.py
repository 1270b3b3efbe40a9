"""MultiTask: the contract, its tasks, and their combination to one score."""

import dataclasses

import numpy as np
import pytest
import torch

from conftest import make_dataset
from contracts.ctr import SPEC, CTRContract, check_network, crossed_table
from contracts.estimator import concat_events
from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.errors import SettingError
from leanrec.models.ctr.core.rows import QueryEncoder, encode_items
from leanrec.models.ctr.core.training import _compute_loss, _EventObjective, _PositiveEvents, mean_auc
from leanrec.models.ctr.multitask import MultiTask
from leanrec.run import Run


class TestMultiTask(CTRContract):
    estimator = MultiTask(
        embedding_dim=8, hidden_sizes=(32,), epochs=8, batch_size=512, learning_rate=0.02, columns=("genres",)
    )


def two_kinds() -> Dataset:
    """The events of the test data as views, and a purchase for each item with an even row."""
    data = make_dataset()
    events = dataclasses.replace(data.events, event_types=("view", "purchase", "never"), rating=None)
    bought = events.take(events.item % 2 == 0)
    bought = dataclasses.replace(bought, event_type=np.ones(len(bought), np.int8), time=bought.time + 60)
    return data.with_events(concat_events(events, bought))


def test_each_type_of_positive_event_is_a_task() -> None:
    data = two_kinds()
    assert MultiTask().task_names(data) == ("positive", "view", "purchase")
    log = _PositiveEvents.from_dataset(data, MultiTask().task_names(data))
    assert log.labels[:, :2].all()
    np.testing.assert_array_equal(log.labels[:, 2] == 1, log.item % 2 == 0)


def test_one_event_type_is_one_task() -> None:
    assert MultiTask(task_exponents=(2.0,)).task_names(make_dataset()) == ("positive",)


def test_event_types_are_predicted_for_events_only() -> None:
    data = two_kinds()
    settings = dataclasses.replace(TestMultiTask.estimator, columns=())
    objective = _EventObjective.from_dataset(
        settings,
        data,
        settings.task_names(data),
        QueryEncoder.from_dataset(data, None, settings.max_length),
        encode_items(data, None),
    )
    positions = np.arange(20)
    _, _, labels, _ = objective._sample_examples(objective.events, positions, np.random.default_rng(0))
    assert len(labels) > 20
    assert np.isfinite(labels[:20]).all()
    assert (labels[20:, 0] == 0).all()
    assert np.isnan(labels[20:, 1:]).all()


def test_task_exponents_move_recommendations_to_purchases() -> None:
    data = two_kinds()
    shares = []
    for importance in ((1.0, 0.0), (0.0, 1.0)):
        settings = dataclasses.replace(TestMultiTask.estimator, task_exponents=importance)
        scores = settings.fit(data, Run(seed=1, threads=1)).score(data.queries())
        best = np.argsort(-scores, axis=1)[:, :5]
        shares.append((best % 2 == 0).mean())
    assert shares[1] > shares[0] + 0.2


def test_score_is_the_log_of_a_weighted_product() -> None:
    logits = np.array([[0.7, 0.3, -1.0], [-0.4, 2.0, 0.5]], np.float32)
    any_event, one, other = (1 / (1 + np.exp(-logits))).T
    for settings, expected in (
        (MultiTask(task_exponents=(1, 2)), any_event * one * other**2),
        (MultiTask(), (any_event * one * any_event * other) ** 0.5),
        (MultiTask(task_exponents=(0, 0)), any_event),
    ):
        np.testing.assert_allclose(settings.combine_logits(logits), np.log(expected), rtol=1e-5)
    found = MultiTask(task_exponents=(3,)).combine_logits(logits[:, :1])
    np.testing.assert_allclose(found, np.log(any_event), rtol=1e-5)


@pytest.mark.parametrize("pairwise_terms", [True, False])
def test_a_shared_bottom_is_computed_as_by_its_network(*, pairwise_terms: bool) -> None:
    check_network(
        MultiTask(embedding_dim=3, hidden_sizes=(4,), sharing="bottom", pairwise_terms=pairwise_terms, tower_size=3)
    )


@pytest.mark.parametrize("sharing", ["experts", "bottom"])
def test_several_targets_of_a_table(sharing: str) -> None:
    table = crossed_table(1500)
    table = Table({**table.columns, "rare": table.columns["label"] * (table.columns["size"] > 2)})
    spec = dataclasses.replace(SPEC, targets=("label", "rare"))
    examples = spec.fit(table).encode_labeled(table)
    settings = MultiTask(
        embedding_dim=8,
        hidden_sizes=(32,),
        epochs=20,
        batch_size=128,
        learning_rate=0.02,
        id_dropout=0,
        sharing=sharing,
    )
    p = settings.fit_rows(examples, Run(seed=1, threads=1)).predict(examples.rows)
    assert p.shape == (1500, 2)
    assert mean_auc(examples.labels, p) > 0.9


def test_number_of_task_exponents_must_match_the_event_types() -> None:
    with pytest.raises(SettingError, match="view, purchase"):
        MultiTask(task_exponents=(1.0,)).fit(two_kinds())
    with pytest.raises(SettingError, match="task_exponents"):
        MultiTask(task_exponents=(-1.0, 0.0))


def test_task_weight_scales_the_loss_of_event_types() -> None:
    logits = torch.tensor([[0.5, -0.5, 1.0], [0.2, 0.0, 0.0]])
    labels = np.array([[1, 1, 0], [0, np.nan, np.nan]], np.float32)
    found = _compute_loss(_Fixed(logits), None, labels, None, MultiTask(task_weight=0.25).task_weights(3), 0.0)
    log_p, log_q = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
    expected = -(log_p[0, 0] + 0.25 * (log_p[0, 1] + log_q[0, 2]) + log_q[1, 0]) / 2
    torch.testing.assert_close(found, expected)


class _Fixed:
    """A network with constant logits."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.predict_logits = lambda _: logits
