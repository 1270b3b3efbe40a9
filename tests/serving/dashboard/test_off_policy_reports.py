"""Estimates of what a version would have earned, for the dashboard."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import make_dataset
from leanrec.events import ServedList, SQLiteEventStore, UserEvent
from leanrec.events.sqlite_reader import SQLiteEventReader
from leanrec.models import get_model
from leanrec.online import VersionStore
from leanrec.online.experiments import replay_policy
from leanrec.online.versions import Version
from leanrec.pipeline import Pipeline
from leanrec.serving.dashboard.off_policy_reports import OffPolicyReports, print_report


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Version:
    folder = tmp_path_factory.mktemp("models")
    path = Pipeline.fit(get_model("ease")(), make_dataset(n_users=30, n_items=60, per_user=6)).save(folder / "ease")
    return VersionStore.create(folder / "store").add(path)


@pytest.fixture(scope="module")
def log_path(version: Version, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 60 lists that explored, every second of which got a click on its first item."""
    pipeline, path = Pipeline.load(version.path), tmp_path_factory.mktemp("log") / "events.db"
    start = float(pipeline.fitted_data.events.time.max()) + 10
    with SQLiteEventStore(path) as log:
        log.bind(pipeline.data_origin)
        for number in range(60):
            user = pipeline.fitted_user_ids[number % 30]
            made = pipeline.recommend(user, n=4, explore=0.3, trace=True, reasons=False)
            items, scores = zip(*((item.id, item.score) for item in made.items), strict=True)
            log.append_served(
                ServedList(made.request, start + number, user, items, scores, propensities=made.propensities)
            )
            if number % 2:
                log.append([UserEvent(f"{number}+", "x", items[0], "click", start + number, 1.0, request=made.request)])
        log.flush()
    return path


def test_the_estimates_are_those_of_the_log(version: Version, log_path: Path) -> None:
    found = OffPolicyReports(log_path).read(version)
    replayed = replay_policy(SQLiteEventReader(log_path), Pipeline.load(version.path))
    assert (found["version"], found["lists"], found["skipped"]) == (version.id, 60, {})
    for each, expected in zip(found["estimates"], replayed.estimate_values(), strict=True):
        assert each["method"] == expected.method
        assert (each["value"], each["low"], each["effective_n"]) == pytest.approx(
            (expected.value, expected.low, expected.effective_n)
        )
    assert [each["method"] for each in found["estimates"]] == ["snips", "ips", "dr"]


def test_a_log_that_tells_nothing_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, version: Version, tmp_path: Path
) -> None:
    with SQLiteEventStore(tmp_path / "events.db") as log:
        log.bind(Pipeline.load(version.path).data_origin)
    asked = {"log": str(tmp_path / "events.db"), "path": str(version.path)}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(asked)))
    monkeypatch.setattr(os, "nice", lambda _: None)
    print_report()
    problem = json.loads(capsys.readouterr().out)["problem"]
    assert problem.startswith("The log must have drawn lists that can be used (it has no lists).")
