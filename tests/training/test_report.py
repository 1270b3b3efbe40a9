"""A run hears how each epoch did, and may end the fit; a search listens."""

import pytest

from conftest import make_dataset
from leanrec.data.splits.split import split
from leanrec.evaluation.tuning.tuning import Search, tune
from leanrec.models.sequential.sasrec import SASRec
from leanrec.run import Run

TINY = {"width": 8, "length": 10, "epochs": 4, "layers": 1, "heads": 1, "patience": 4}


def test_each_epoch_is_told_with_its_score() -> None:
    told: list[tuple[int, float]] = []
    SASRec(**TINY).fit(make_dataset(), Run(threads=1, report=lambda epoch, score: told.append((epoch, score))))
    assert [epoch for epoch, _ in told] == [0, 1, 2, 3]
    assert all(0 <= score <= 1 for _, score in told)


def test_nothing_is_told_where_nothing_is_judged() -> None:
    told: list[int] = []
    silent = SASRec(**(TINY | {"patience": 0, "epochs": 1}))
    silent.fit(make_dataset(), Run(threads=1, report=lambda epoch, _: told.append(epoch)))
    assert told == []


class EnoughError(Exception):
    """The listener has heard enough."""


def test_what_the_listener_raises_ends_the_fit() -> None:
    told: list[int] = []

    def stop(epoch: int, _: float) -> None:
        told.append(epoch)
        if epoch == 1:
            raise EnoughError

    with pytest.raises(EnoughError):
        SASRec(**TINY).fit(make_dataset(), Run(threads=1, report=stop))
    assert told == [0, 1]


def test_a_search_gives_up_a_network_that_is_behind() -> None:
    usual = SASRec(**(TINY | {"width": 16, "batch": 256, "patience": 0, "learning_rate": 0.01}))
    space = {"learning_rate": "0.00001,0.00002,0.01,0.02,0.03", "dropout": "0.05..0.2"}
    parts = split(make_dataset(n_users=400), "leave-one-out")
    found = tune(
        usual, make_dataset(n_users=400), space=space, search=Search(trials=10), split=parts, run=Run(threads=1)
    )
    assert found.trials[0].epochs == 4
    assert found.estimator.patience == 4  # type: ignore[attr-defined]
    behind = [trial for trial in found.trials if trial.status == "pruned" and "behind the others" in trial.reason]
    assert behind
    assert min(trial.epochs for trial in behind) < 4
    assert min(trial.settings["learning_rate"] for trial in behind) < 0.001
