"""What all models of what comes next share, seen through SASRec, the plainest of them."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import make_dataset
from leanrec.budget import Budget
from leanrec.callbacks import ModelCheckpoint
from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.errors import ArtifactError, BudgetError, SettingError, TrainingWarning
from leanrec.models.sequential.core import next_item
from leanrec.models.sequential.core.next_item import SequentialModel
from leanrec.models.sequential.sasrec import SASRec
from leanrec.run import Run
from leanrec.types import CSR, Queries

ONE = Run(seed=2, threads=1)
SMALL = SASRec(width=16, layers=1, length=8, epochs=12, batch=256, learning_rate=2e-2, dropout=0.0)


def walks(n_items: int = 20, per_user: int = 12) -> Dataset:
    """Whoever touched item i touches item i + 1 next."""
    data = make_dataset(n_items=n_items)
    place = np.arange(len(data.events)) % 12
    item = ((data.events.user * 7 + place) % n_items).astype(np.int32)
    events = dataclasses.replace(data.events, item=item)
    return data.with_events(events.take(place < per_user))


def asked(n_items: int, *histories: list[int]) -> Queries:
    rows = [np.array(row, np.int32) for row in histories]
    history = np.zeros((len(rows), n_items), np.float32)
    for b, row in enumerate(rows):
        history[b, row] = 1
    return Queries(np.full(len(rows), -1, np.int32), CSR(history), sequences=tuple(rows))


def knows(model: SequentialModel) -> float:
    """Share of the items after which the next one is the best."""
    n = model.n_items
    scores = model.score(asked(n, *([(i - 1) % n, i] for i in range(n))))
    return float((scores.argmax(1) == (np.arange(n) + 1) % n).mean())


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"precision": "bfloat16"},
        {"recompute": True},
        {"accumulate": 2, "batch": 128},
        {"loss": "sampled_softmax", "negatives": 15},
        {"loss": "sampled_softmax", "negatives": 15, "draw": "popularity"},
        {"loss": "sampled_softmax", "draw": "batch"},
        {"loss": "bce", "negatives": 4},
        {"loss": "bce", "negatives": 4, "draw": "popularity", "epochs": 50},
        {"loss": "gbce", "negatives": 4},
        {"loss": "bpr", "negatives": 4},
        {"loss": "bpr", "negatives": 2, "harder": 4},
    ],
    ids=str,
)
def test_every_loss_learns_what_comes_next(change: dict[str, Any]) -> None:
    assert knows(dataclasses.replace(SMALL, **change).fit(walks(), ONE)) >= 0.8


def test_computing_again_changes_no_weight() -> None:
    settings = dataclasses.replace(SMALL, epochs=2, layers=2, dropout=0.2)
    plain = settings.fit(walks(), ONE)
    again = dataclasses.replace(settings, recompute=True).fit(walks(), ONE)
    for name, value in plain.weights.items():
        np.testing.assert_array_equal(again.weights[name], value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"harder": 2}, "harder must be 1 unless the loss is bce or bpr"),
        ({"loss": "gbce", "harder": 2}, "harder must be 1"),
        ({"loss": "gbce", "draw": "popularity"}, "draw must be 'uniform'"),
        ({"loss": "guess"}, "loss must be one of"),
        ({"draw": "batch"}, "draw must be one of"),
        ({"loss": "bpr", "draw": "batch"}, "draw must be one of"),
        ({"dropout": 1.0}, "dropout must be a number from 0 to 0.99"),
        ({"length": 0}, "length must be"),
        ({"negatives": 0}, "negatives must be"),
        ({"epochs": 0}, "epochs must be"),
        ({"schedule": "stairs"}, "schedule must be one of"),
        ({"precision": "float16"}, "precision must be one of"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        dataclasses.replace(SMALL, **change)


def test_histories_far_longer_than_the_limit_are_learnt_in_stretches() -> None:
    """Every item but the first of a stretch is a target; a limit of 3 still shows each pair."""
    short = dataclasses.replace(SMALL, length=3, epochs=20)
    assert knows(short.fit(walks(), ONE)) >= 0.8


def test_where_everybody_has_one_item_there_is_nothing_to_learn_and_an_answer() -> None:
    with pytest.warns(TrainingWarning, match="nothing to train on"):
        model = SMALL.fit(walks(per_user=1), ONE)
    scores = model.score(asked(20, [3], []))
    assert np.isfinite(scores).all()
    assert not scores[1].any()


@pytest.mark.parametrize("loss", ["cross_entropy", "sampled_softmax", "bce", "gbce", "bpr"])
def test_one_item_is_all_there_is(loss: str) -> None:
    data = walks()
    events = dataclasses.replace(data.events, item=np.zeros(len(data.events), np.int32))
    one = dataclasses.replace(data, events=events, items=Vocabulary(id_array([100]), "item"), item_table=None)
    model = dataclasses.replace(SMALL, loss=loss, negatives=3, epochs=2).fit(one.with_events(events), ONE)
    assert model.n_items == 1
    assert np.isfinite(model.score(asked(1, [0, 0]))).all()


def test_patience_looks_at_cases_that_are_given_or_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    scores = iter([0.3, 0.2, 0.1, 0.05, 0.9])
    monkeypatch.setattr(next_item, "mean_ndcg", lambda states, items, cases: (seen.append(len(cases)), next(scores))[1])
    data = walks()
    valid = EvaluationSet(asked(20, [1, 2], [4]), CSR(np.eye(2, 20, dtype=np.float32)))
    settings = dataclasses.replace(SMALL, patience=2)
    settings.fit(data, ONE, valid)
    assert seen == [2, 2, 2]
    seen.clear()
    scores = iter([0.3, 0.2, 0.1, 0.05, 0.9])
    settings.fit(data, ONE)
    # 5 % of 60 users.
    assert seen == [3, 3, 3]


def test_what_does_not_fit_is_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SASRec, "network", lambda *_: pytest.fail("a network was made"))
    with pytest.raises(
        BudgetError, match="SASRec of width 16 needs about .* of memory.*Choose a smaller width or batch"
    ):
        SMALL.fit(walks(), Run(budget=Budget(memory=10**6)))


@pytest.mark.parametrize("patience", [0, 3])
def test_a_fit_that_was_interrupted_goes_on_bit_for_bit(
    patience: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(SMALL, dropout=0.3, patience=patience, loss="sampled_softmax", negatives=9)
    expected = settings.fit(walks(), ONE)
    run = dataclasses.replace(ONE, callbacks=(ModelCheckpoint(tmp_path),))
    with monkeypatch.context() as patched:
        calls = 0
        whole = next_item._Objective.loss

        def loss(*given: Any) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls == 6:
                raise KeyboardInterrupt
            return whole(*given)

        patched.setattr(next_item._Objective, "loss", loss)
        with pytest.raises(KeyboardInterrupt):
            settings.fit(walks(), run)
    assert (tmp_path / "checkpoint.safetensors").is_file()
    found = settings.fit(walks(), run)
    assert list(found.weights) == list(expected.weights)
    for name, value in expected.weights.items():
        np.testing.assert_array_equal(found.weights[name], value)


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    run = dataclasses.replace(ONE, callbacks=(ModelCheckpoint(tmp_path),))
    settings = dataclasses.replace(SMALL, epochs=1)
    settings.fit(walks(), run)
    with pytest.raises(ArtifactError, match="its data were others"):
        settings.fit(make_dataset(n_items=20), run)


def test_time_that_is_over_gives_what_was_learnt_so_far() -> None:
    model = dataclasses.replace(SMALL, epochs=10_000).fit(walks(), Run(seed=2, threads=1, budget=Budget(fit_time=1.5)))
    assert np.isfinite(model.score(asked(20, [1, 2]))).all()


def test_the_memory_that_is_asked_for_grows_with_what_a_step_keeps() -> None:
    shape = walks().shape
    deep = dataclasses.replace(SMALL, layers=12, batch=2**16, width=64)
    plain, again = deep.fit_bytes(shape), dataclasses.replace(deep, recompute=True).fit_bytes(shape)
    # Twelve blocks of 24 numbers for each place and number of the width.
    assert plain - dataclasses.replace(deep, layers=6).fit_bytes(shape) >= 6 * 24 * 4 * 2**16 * 64
    assert again < plain / 3
    assert dataclasses.replace(SMALL, loss="sampled_softmax", draw="batch", batch=2**15).fit_bytes(shape) > 4 * 2**30
