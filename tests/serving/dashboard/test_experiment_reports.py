"""Reports of experiments for the dashboard."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import make_dataset
from leanrec.events import ServedList, SQLiteEventStore, UserEvent
from leanrec.events.sqlite_reader import SQLiteEventReader
from leanrec.models import get_model
from leanrec.online import VersionStore
from leanrec.online.experiments import report_experiment
from leanrec.pipeline import Pipeline
from leanrec.serving.dashboard.experiment_reports import ExperimentReports, print_report


@pytest.fixture(scope="module")
def log_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 60 users in two arms, half of whom act, from second 1000 on."""
    path = tmp_path_factory.mktemp("log") / "events.db"
    with SQLiteEventStore(path) as log:
        for at in range(60):
            arm = ("control", "candidate")[at % 2]
            log.append_served(
                ServedList(
                    f"list-{at}", 1000.0 + at, f"user-{at}", (1, 2), (0.2, 0.1), None, version=arm, policy=arm, arm=arm
                )
            )
            if at % 4 < 2:
                log.append([UserEvent(f"event-{at}", f"user-{at}", 1, "click", 1200.0, 1.0)])
        log.flush()
    return path


def print_in_process(monkeypatch: pytest.MonkeyPatch, capsys: Any, path: Path, trial: dict[str, Any] | None) -> Any:
    """What the other process would print."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"log": str(path), "trial": trial})))
    monkeypatch.setattr(os, "nice", lambda _: None)
    print_report()
    return json.loads(capsys.readouterr().out)


def test_the_report_is_that_of_the_log(log_path: Path) -> None:
    found = ExperimentReports(log_path, None).read()
    expected = report_experiment(SQLiteEventReader(log_path)).to_dict()
    assert found["arms"] == json.loads(json.dumps(expected["arms"]))
    assert found["comparisons"][0]["verdict"] == expected["comparisons"][0]["verdict"] == "undecided"
    assert found["comparisons"][0]["difference"]["low"] == pytest.approx(
        expected["comparisons"][0]["difference"]["low"]
    )
    assert [each["users"] for each in found["arms"]] == [30, 30]
    assert (found["trial"], "problem" in found) == (None, False)
    assert found["made"] > 1e9


def test_a_trial_limits_the_time(monkeypatch: pytest.MonkeyPatch, capsys: Any, log_path: Path) -> None:
    trial = {
        "version": "b",
        "started": "1970-01-01T00:16:50+00:00",
        "ended": "1970-01-01T00:17:10+00:00",
    }  # 1010 to 1030
    found = print_in_process(monkeypatch, capsys, log_path, trial)
    assert [each["users"] for each in found["arms"]] == [10, 10]
    running = print_in_process(monkeypatch, capsys, log_path, trial | {"ended": None})
    assert [each["users"] for each in running["arms"]] == [25, 25]


def test_numbers_that_json_does_not_have_are_null(monkeypatch: pytest.MonkeyPatch, capsys: Any, log_path: Path) -> None:
    trial = {"version": "b", "started": "1970-01-01T00:17:30+00:00", "ended": None}  # 1050: too few users
    comparison = print_in_process(monkeypatch, capsys, log_path, trial)["comparisons"][0]
    assert (comparison["verdict"], comparison["difference"]["low"]) == ("too little data", None)


def test_a_log_without_an_experiment_says_so(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> None:
    with SQLiteEventStore(tmp_path / "events.db"):
        pass
    found = print_in_process(monkeypatch, capsys, tmp_path / "events.db", None)
    assert found == {"problem": "The log must have lists of an experiment. None of its lists has an arm."}


def test_the_last_trial_of_users_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = VersionStore.create(tmp_path / "models")
    for number, name in enumerate(("popularity", "item_knn", "ease")):
        Pipeline.fit(get_model(name)(), make_dataset()).save(tmp_path / f"model-{number}")
        version = store.add(tmp_path / f"model-{number}")
        if number == 0:
            store.promote(version.id)
        else:
            tried = store.start_trial(version.id, 0.1, is_shadow=number == 2)
            store.stop_trial("enough")
            if number == 1:
                expected = tried
    asked: list[Any] = []
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda _, **options: asked.append(json.loads(options["input"])) or subprocess.CompletedProcess([], 0, b"{}"),
    )
    found = ExperimentReports(tmp_path / "events.db", store).read()
    assert asked[0]["trial"] == found["trial"]
    assert (found["trial"]["version"], found["trial"]["started"]) == (expected.version, expected.started)
    assert found["trial"]["ended"] is not None
