"""``leanrec evaluate --folds``."""

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


def test_every_fold_is_shown(run: Any, folder: Path) -> None:
    words = ("evaluate", folder, "-m", "popularity", "-m", "ease", "--folds", 3)
    code, out, err = run(*words)
    assert code == 0
    assert "ndcg@10 in 3 folds, time" in out
    assert "fold 3" in out
    assert "ease is better than popularity" in out
    assert "Training events" in err
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
def test_folds_exclude_options_of_the_split(run: Any, folder: Path, words: tuple[str, ...], message: str) -> None:
    code, _, err = run("evaluate", folder, "-m", "popularity", "--folds", 3, *words)
    assert code == 2
    assert message in err
