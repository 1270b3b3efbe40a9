"""``leanrec refit``: from a store and its log to a proposal."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.events import SQLiteEventStore
from leanrec.events.user_events import UserEvent
from leanrec.models import get_model
from leanrec.online import VersionStore
from leanrec.pipeline import Pipeline


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store whose log has events on items that its current version does not know."""
    pipeline = Pipeline.fit(get_model("item_knn")(), make_dataset(160, 40, 8))
    made = VersionStore.create(tmp_path / "models")
    made.promote(made.add(pipeline.save(tmp_path / "model")).id)
    rng = np.random.default_rng(0)
    users = rng.integers(0, 160, 1_000)
    items = 300 + users % 4 + 4 * rng.integers(0, 20, 1_000)
    with SQLiteEventStore(tmp_path / "models.events.db") as log:
        log.bind(pipeline.data_origin)
        log.append(
            [
                UserEvent(str(at), f"user-{user}", int(item), "rating", 1_600_000_000 + at, 1.0)
                for at, (user, item) in enumerate(zip(users, items, strict=True))
            ]
        )
    return made.path


def test_a_refit_is_proposed_listed_and_can_be_tried(run: Any, store: Path) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    code, out, err = run("refit", store, "--min-users", 40, "--niceness", 0)
    assert code == 0, err
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    proposed = next(each for each in VersionStore(store).versions() if not each.is_current)
    assert f"Proposed {proposed.id} in place of" in out
    assert f"leanrec versions try {store} {proposed.id}" in err
    assert "proposed: ndcg@10 +0." in run("versions", "list", store)[1]
    assert run("versions", "try", store, proposed.id)[0] == 0
    _, out, _ = run("refit", store, "--niceness", 0)
    assert "Nothing was proposed (too soon)" in out


def test_what_is_measured_comes_as_json(run: Any, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(os, "nice", given.append)
    _, out, _ = run("refit", store, "--min-users", 40, "--metric", "recall@5", "--cold", "--json")
    told = json.loads(out)
    assert given == [10]
    assert (told["outcome"], told["judgment"]["metric"]) == ("proposed", "recall@5")
    assert told["attempt"]["is_warm"] is False


def test_without_drift_nothing_is_fitted(run: Any, store: Path) -> None:
    _, out, _ = run("refit", store, "--min-users", 40, "--on-drift", "--niceness", 0)
    assert "Nothing was proposed (no drift): The log has no list" in out


def test_advice_names_flags(run: Any, store: Path) -> None:
    code, _, err = run("refit", store, "--metric", "clicks")
    assert code == 2
    assert "--metric must be one of" in err
    assert "--judged-share must be a number from" in run("refit", store, "--judged-share", 2)[2]
    assert "--cooldown must be" in run("refit", store, "--cooldown", -1)[2]
    assert "--min-users must be" in run("refit", store, "--min-users", 0)[2]
