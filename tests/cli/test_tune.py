"""``leanrec tune``: search, storage and errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import make_dataset
from leanrec import artifacts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return artifacts.save(make_dataset(n_users=120), tmp_path_factory.mktemp("data") / "d")


def test_tune_reports_plots_and_saves_a_model(run: Any, folder: Path, tmp_path: Path) -> None:
    words = ("tune", "ease", folder, "--trials", 4, "--space", "l2=1..1000:log", "--set", "weighting=log")
    code, out, err = run(*words, "--split", "leave-one-out", "--out", tmp_path / "m", "--plot", tmp_path / "t.png")
    assert code == 0
    assert "of 4 trials of ease" in out
    assert "default" in out
    assert "Test part, evaluated once: ndcg@10" in out
    assert "weighting" not in out.splitlines()[1]
    assert "leanrec recommend" in err
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = run("recommend", tmp_path / "m", "--user", "user-1", "-n", 3, "--json")
    assert code == 0
    assert len(json.loads(out)["items"]) == 3


def test_storage_resumes_a_search(run: Any, folder: Path, tmp_path: Path) -> None:
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
        (("--space", "l2=9..1"), "the lower end must be below the upper end"),
        (("--metric", "ndgc@10"), "metric must be one of"),
        (("--timeout", "10"), "A duration must be a number and a unit"),
        (("--pruner", "hard"), "prune must be one of median, halving, none"),
        (("--metric", "rmse"), "rmse needs a model that predicts ratings"),
    ],
)
def test_invalid_options_are_one_message(run: Any, folder: Path, words: tuple[str, ...], message: str) -> None:
    code, out, err = run("tune", "ease", folder, "--split", "ratio", *words)
    assert (code, out) == (2, "")
    assert message in err.replace("\n", " ")
