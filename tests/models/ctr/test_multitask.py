"""MultiTask: the contract, its tasks and how they become one score."""

import dataclasses

import numpy as np
import pytest
import torch

from conftest import make_dataset
from contracts.by_fields import SPEC, CTRContract, crossed_table
from contracts.estimator import concat_events
from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.errors import SettingError
from leanrec.models.ctr.core.rows import QueryEncoder, encode_items
from leanrec.models.ctr.core.training import _EventObjective, _Log, _loss, mean_auc
from leanrec.models.ctr.multitask import MultiTask
from leanrec.run import Run


class TestMultiTask(CTRContract):
    estimator = MultiTask(width=8, hidden=(32,), epochs=8, batch=512, learning_rate=0.02, columns=("genres",))


def two_kinds() -> Dataset:
    """Everybody views what the made data says, and buys of it what has an even row."""
    data = make_dataset()
    events = dataclasses.replace(data.events, event_types=("view", "purchase", "never"))
    bought = events.take(events.item % 2 == 0)
    bought = dataclasses.replace(bought, event_type=np.ones(len(bought), np.int8), time=bought.time + 60)
    return data.with_events(concat_events(events, bought))


def test_each_kind_of_positive_event_is_a_task() -> None:
    data = two_kinds()
    assert MultiTask().tasks(data) == ("positive", "view", "purchase")
    log = _Log.of(data, MultiTask().tasks(data))
    assert log.labels[:, :2].all()
    np.testing.assert_array_equal(log.labels[:, 2] == 1, log.item % 2 == 0)


def test_one_kind_is_one_task() -> None:
    assert MultiTask(importance=(2.0,)).tasks(make_dataset()) == ("positive",)


def test_the_kind_is_asked_of_events_alone() -> None:
    data = two_kinds()
    settings = dataclasses.replace(TestMultiTask.estimator, columns=())
    objective = _EventObjective.of(
        settings, data, settings.tasks(data), QueryEncoder.of(data, None, settings.length), encode_items(data, None)
    )
    places = np.arange(20)
    _, _, labels, _ = objective._examples(objective.log, places, np.random.default_rng(0))
    assert len(labels) > 20
    assert np.isfinite(labels[:20]).all()
    assert (labels[20:, 0] == 0).all()
    assert np.isnan(labels[20:, 1:]).all()


def test_importance_moves_the_list_to_what_is_bought() -> None:
    data = two_kinds()
    shares = []
    for importance in ((1.0, 0.0), (0.0, 1.0)):
        settings = dataclasses.replace(TestMultiTask.estimator, importance=importance)
        scores = settings.fit(data, Run(seed=1, threads=1)).score(data.queries())
        best = np.argsort(-scores, axis=1)[:, :5]
        shares.append((best % 2 == 0).mean())
    assert shares[1] > shares[0] + 0.2


def test_the_score_is_the_logarithm_of_a_weighted_product() -> None:
    logits = torch.tensor([[0.7, 0.3, -1.0], [-0.4, 2.0, 0.5]])
    p = torch.sigmoid(logits)
    touched, one, other = p.T
    torch.testing.assert_close(MultiTask(importance=(1, 2)).combined(logits), torch.log(touched * one * other**2))
    torch.testing.assert_close(MultiTask().combined(logits), torch.log((touched * one * touched * other) ** 0.5))
    torch.testing.assert_close(MultiTask(importance=(0, 0)).combined(logits), torch.log(touched))
    torch.testing.assert_close(MultiTask(importance=(3,)).combined(logits[:, :1]), torch.log(touched))


@pytest.mark.parametrize("sharing", ["experts", "bottom"])
def test_several_targets_of_a_table(sharing: str) -> None:
    table = crossed_table(1500)
    table = Table({**table.columns, "rare": table.columns["label"] * (table.columns["size"] > 2)})
    spec = dataclasses.replace(SPEC, targets=("label", "rare"))
    examples = spec.fit(table).examples(table)
    settings = MultiTask(width=8, hidden=(32,), epochs=20, batch=128, learning_rate=0.02, forget=0, sharing=sharing)
    p = settings.fit_rows(examples, Run(seed=1, threads=1)).predict(examples.rows)
    assert p.shape == (1500, 2)
    assert mean_auc(examples.labels, p) > 0.9


def test_importance_must_fit_the_kinds() -> None:
    with pytest.raises(SettingError, match="view, purchase"):
        MultiTask(importance=(1.0,)).fit(two_kinds())
    with pytest.raises(SettingError, match="importance"):
        MultiTask(importance=(-1.0, 0.0))


def test_the_loss_of_a_kind_weighs_less() -> None:
    logits = torch.tensor([[0.5, -0.5, 1.0], [0.2, 0.0, 0.0]])
    labels = np.array([[1, 1, 0], [0, np.nan, np.nan]], np.float32)
    found = _loss(_Fixed(logits), None, labels, None, MultiTask(kinds=0.25).task_weights(3), 0.0)
    log_p, log_q = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
    expected = -(log_p[0, 0] + 0.25 * (log_p[0, 1] + log_q[0, 2]) + log_q[1, 0]) / 2
    torch.testing.assert_close(found, expected)


class _Fixed:
    """A network that says the same of all rows."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.judge = lambda _: logits
