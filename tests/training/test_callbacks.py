"""Validation scores of each epoch are passed to callbacks, which may end the fit; tuning prunes by them."""

import dataclasses

import pytest

from conftest import make_dataset
from leanrec.callbacks import Callback
from leanrec.data.splits.split import split
from leanrec.evaluation.tuning.tuning import Search, tune
from leanrec.models.sequential.sasrec import SASRec
from leanrec.run import Run

TINY = {"embedding_dim": 8, "max_length": 10, "epochs": 4, "n_layers": 1, "n_heads": 1, "patience": 4}


@dataclasses.dataclass
class Recorder(Callback):
    """Keeps epochs and scores; raises after ``stop_after``."""

    stop_after: int | None = None
    calls: list[tuple[int, float]] = dataclasses.field(default_factory=list)

    def on_epoch_end(self, epoch: int, score: float) -> None:
        self.calls.append((epoch, score))
        if epoch == self.stop_after:
            raise EnoughError


def test_callbacks_get_the_score_of_each_epoch() -> None:
    recorder = Recorder()
    SASRec(**TINY).fit(make_dataset(), Run(threads=1, callbacks=(recorder,)))
    assert [epoch for epoch, _ in recorder.calls] == [0, 1, 2, 3]
    assert all(0 <= score <= 1 for _, score in recorder.calls)


def test_callbacks_are_not_called_without_a_validation_score() -> None:
    recorder = Recorder()
    silent = SASRec(**(TINY | {"patience": 0, "epochs": 1}))
    silent.fit(make_dataset(), Run(threads=1, callbacks=(recorder,)))
    assert recorder.calls == []


class EnoughError(Exception):
    """Raised by a callback."""


def test_an_exception_of_a_callback_ends_the_fit() -> None:
    recorder = Recorder(stop_after=1)
    with pytest.raises(EnoughError):
        SASRec(**TINY).fit(make_dataset(), Run(threads=1, callbacks=(recorder,)))
    assert [epoch for epoch, _ in recorder.calls] == [0, 1]


def test_search_prunes_a_bad_network() -> None:
    estimator = SASRec(**(TINY | {"embedding_dim": 16, "batch_size": 256, "patience": 0, "learning_rate": 0.01}))
    space = {"learning_rate": "0.00001,0.00002,0.01,0.02,0.03", "dropout": "0.05..0.2"}
    parts = split(make_dataset(n_users=400), "leave-one-out")
    found = tune(
        estimator, make_dataset(n_users=400), space=space, search=Search(trials=10), split=parts, run=Run(threads=1)
    )
    assert found.trials[0].n_epochs == 4
    assert found.estimator.patience == 4  # type: ignore[attr-defined]
    pruned = [trial for trial in found.trials if trial.status == "pruned" and "worse than other trials" in trial.reason]
    assert pruned
    assert min(trial.n_epochs for trial in pruned) < 4
    assert min(trial.settings["learning_rate"] for trial in pruned) < 0.001
