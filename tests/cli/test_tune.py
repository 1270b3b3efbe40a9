"""``leanrec tune`` and ``leanrec evaluate --folds``, as somebody types them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import make_dataset
from leanrec import artifacts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return artifacts.save(make_dataset(n_users=120), tmp_path_factory.mktemp("data") / "d")


def test_tunes_reports_draws_and_saves_a_model_that_answers(run: Any, folder: Path, tmp_path: Path) -> None:
    words = ("tune", "ease", folder, "--trials", 4, "--space", "l2=1..1000:log", "--set", "weighting=log")
    code, out, err = run(*words, "--split", "leave-one-out", "--out", tmp_path / "m", "--plot", tmp_path / "t.png")
    assert code == 0
    assert "of 4 trials of ease" in out
    assert "usual" in out
    assert "On the test part, asked this once: ndcg@10" in out
    assert "weighting" not in out.splitlines()[1]
    assert "leanrec recommend" in err
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = run("recommend", tmp_path / "m", "--user", "user-1", "-n", 3, "--json")
    assert code == 0
    assert len(json.loads(out)["items"]) == 3


def test_json_is_one_document_and_a_store_goes_on(run: Any, folder: Path, tmp_path: Path) -> None:
    words = ("tune", "item_knn", folder, "--split", "leave-one-out", "--storage", tmp_path / "s", "--json", "--trials")
    code, out, _ = run(*words, 2)
    first = json.loads(out)
    assert code == 0
    assert len(first["trials"]) == 2
    _, out, _ = run(*words, 5)
    more = json.loads(out)
    assert [trial["settings"] for trial in more["trials"][:2]] == [trial["settings"] for trial in first["trials"]]
    assert len(more["trials"]) == 5
    code, _, err = run(*words, 5, "--metric", "recall@5")
    assert code == 2
    assert "holds another search" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--space", "l3=1..2"), "EASE has no setting 'l3'"),
        (("--space", "l2=9..1"), "the lower end must be below the higher"),
        (("--metric", "ndgc@10"), "metric must be one of"),
        (("--timeout", "10"), "A duration must be a number and a unit"),
        (("--pruner", "hard"), "prune must be one of median, halving, none"),
        (("--metric", "rmse"), "rmse needs a model that predicts ratings"),
    ],
)
def test_what_makes_no_sense_is_one_line(run: Any, folder: Path, words: tuple[str, ...], message: str) -> None:
    code, out, err = run("tune", "ease", folder, "--split", "ratio", *words)
    assert (code, out) == (2, "")
    assert message in err.replace("\n", " ")


def test_folds_are_shown_one_by_one(run: Any, folder: Path) -> None:
    words = ("evaluate", folder, "-m", "popularity", "-m", "ease", "--folds", 3)
    code, out, err = run(*words)
    assert code == 0
    assert "ndcg@10 in 3 folds, time" in out
    assert "fold 3" in out
    assert "ease is better than popularity" in out
    assert "Events to train on" in err
    _, out, _ = run(*words, "--split", "cold-users", "--json")
    report = json.loads(out)
    assert report["how"] == "users"
    folds = report["models"]["ease"]["folds"]
    means = [fold["metrics"]["ndcg@10"]["mean"] for fold in folds]
    assert report["models"]["ease"]["metrics"]["ndcg@10"]["spread"] == pytest.approx(np.std(means, ddof=1))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--split", "ratio"), "--folds goes with --split auto, time, cold-users, random"),
        (("--auc",), "leave out --auc"),
        (("--part", "valid"), "leave out --auc, --part"),
    ],
)
def test_folds_make_their_own_parts(run: Any, folder: Path, words: tuple[str, ...], message: str) -> None:
    code, _, err = run("evaluate", folder, "-m", "popularity", "--folds", 3, *words)
    assert code == 2
    assert message in err
