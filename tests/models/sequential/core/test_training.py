"""Training of sequential models, tested with SASRec."""

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
from leanrec.errors import ArtifactError, BudgetError, TrainingWarning
from leanrec.models.sequential.core import training
from leanrec.models.sequential.core.models import SequentialModel
from leanrec.models.sequential.sasrec import SASRec
from leanrec.run import Run
from leanrec.types import CSR, Queries

ONE = Run(seed=2, threads=1)
SMALL = SASRec(embedding_dim=16, n_layers=1, max_length=8, epochs=12, batch_size=256, learning_rate=2e-2, dropout=0.0)


def walks(n_items: int = 20, per_user: int = 12) -> Dataset:
    """Histories in which item i + 1 follows item i."""
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
        {"activation_checkpointing": True},
        {"gradient_accumulation": 2, "batch_size": 128},
        {"loss": "sampled_softmax", "n_negatives": 15},
        {"loss": "sampled_softmax", "n_negatives": 15, "sampler": "popularity"},
        {"loss": "sampled_softmax", "sampler": "batch"},
        {"loss": "bce", "n_negatives": 4},
        {"loss": "bce", "n_negatives": 4, "sampler": "popularity", "epochs": 50},
        {"loss": "gbce", "n_negatives": 4},
        {"loss": "bpr", "n_negatives": 4},
        {"loss": "bpr", "n_negatives": 2, "hard_negative_factor": 4},
    ],
    ids=str,
)
def test_every_loss_learns_the_next_item(change: dict[str, Any]) -> None:
    assert knows(dataclasses.replace(SMALL, **change).fit(walks(), ONE)) >= 0.8


def test_activation_checkpointing_does_not_change_weights() -> None:
    settings = dataclasses.replace(SMALL, epochs=2, n_layers=2, dropout=0.2)
    plain = settings.fit(walks(), ONE)
    again = dataclasses.replace(settings, activation_checkpointing=True).fit(walks(), ONE)
    for name, value in plain.weights.items():
        np.testing.assert_array_equal(again.weights[name], value)


def test_long_histories_are_learned_in_windows() -> None:
    """Every item but the first of a window is a target; windows of 3 still contain each pair."""
    short = dataclasses.replace(SMALL, max_length=3, epochs=20)
    assert knows(short.fit(walks(), ONE)) >= 0.8


def test_histories_of_one_item_still_give_scores() -> None:
    with pytest.warns(TrainingWarning, match="no training examples"):
        model = SMALL.fit(walks(per_user=1), ONE)
    scores = model.score(asked(20, [3], []))
    assert np.isfinite(scores).all()
    assert not scores[1].any()


@pytest.mark.parametrize("loss", ["cross_entropy", "sampled_softmax", "bce", "gbce", "bpr"])
def test_catalog_of_one_item(loss: str) -> None:
    data = walks()
    events = dataclasses.replace(data.events, item=np.zeros(len(data.events), np.int32), rating=None)
    one = dataclasses.replace(data, events=events, items=Vocabulary(id_array([100]), "item"), item_table=None)
    model = dataclasses.replace(SMALL, loss=loss, n_negatives=3, epochs=2).fit(one.with_events(events), ONE)
    assert model.n_items == 1
    assert np.isfinite(model.score(asked(1, [0, 0]))).all()


def test_patience_uses_given_or_held_out_validation_data(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    scores = iter([0.3, 0.2, 0.1, 0.05, 0.9])
    monkeypatch.setattr(training, "mean_ndcg", lambda states, items, cases: (seen.append(len(cases)), next(scores))[1])
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


def test_memory_limit_is_checked_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SASRec, "build_network", lambda *_: pytest.fail("a network was built"))
    with pytest.raises(
        BudgetError,
        match="SASRec with embedding_dim=16 needs about .* of memory.*Lower embedding_dim or batch_size",
    ):
        SMALL.fit(walks(), Run(budget=Budget(memory=10**6)))


@pytest.mark.filterwarnings("ignore:.*the validation score was")
@pytest.mark.parametrize("patience", [0, 3])
def test_interrupted_fit_resumes_bit_for_bit(patience: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dataclasses.replace(SMALL, dropout=0.3, patience=patience, loss="sampled_softmax", n_negatives=9)
    expected = settings.fit(walks(), ONE)
    run = dataclasses.replace(ONE, callbacks=(ModelCheckpoint(tmp_path),))
    with monkeypatch.context() as patched:
        calls = 0
        whole = training.NextItemObjective.loss

        def loss(*given: Any) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls == 6:
                raise KeyboardInterrupt
            return whole(*given)

        patched.setattr(training.NextItemObjective, "loss", loss)
        with pytest.raises(KeyboardInterrupt):
            settings.fit(walks(), run)
    assert (tmp_path / "checkpoint.safetensors").is_file()
    found = settings.fit(walks(), run)
    assert list(found.weights) == list(expected.weights)
    for name, value in expected.weights.items():
        np.testing.assert_array_equal(found.weights[name], value)


def test_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    run = dataclasses.replace(ONE, callbacks=(ModelCheckpoint(tmp_path),))
    settings = dataclasses.replace(SMALL, epochs=1)
    settings.fit(walks(), run)
    with pytest.raises(ArtifactError, match="it was trained on other data"):
        settings.fit(make_dataset(n_items=20), run)


def test_time_budget_keeps_what_was_learned_so_far() -> None:
    model = dataclasses.replace(SMALL, epochs=10_000).fit(walks(), Run(seed=2, threads=1, budget=Budget(fit_time=1.5)))
    assert np.isfinite(model.score(asked(20, [1, 2]))).all()
