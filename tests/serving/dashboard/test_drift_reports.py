"""Reports on the responses to lists for the dashboard."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leanrec.events import ServedList, SQLiteEventStore, UserEvent
from leanrec.online.refits.drift import MIN_LISTS, find_fall
from leanrec.serving.dashboard.drift_reports import DriftReports, print_report

N_LISTS = 6_000
# One of two lists gets a response, from the 4,000th on one of four; those of the version "b" all get one.
RESPONDED = np.array([at % (2 if at < 4_000 else 4) == 0 for at in range(N_LISTS)])


@pytest.fixture(scope="module")
def log_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of lists of the version "a", a second apart, and 40 of "b"; the newest of both are 100 lists that are too young."""
    path = tmp_path_factory.mktemp("log") / "events.db"
    with SQLiteEventStore(path) as log:
        events = []
        for at in range(N_LISTS + 100):
            time = 1000.0 + at + (1_801.0 if at >= N_LISTS else 0.0)
            log.append_served(ServedList(f"list-{at}", time, f"user-{at}", (1,), (0.2,), None, version="a", policy="a"))
            if at < N_LISTS and RESPONDED[at]:
                events.append(UserEvent(f"event-{at}", f"user-{at}", 1, "click", time + 1, 1.0, request=f"list-{at}"))
        for at in range(40):
            log.append_served(ServedList(f"other-{at}", 9.0, "user-1", (1,), (0.2,), None, version="b", policy="b"))
            events.append(UserEvent(f"event-of-{at}", "user-1", 1, "click", 10.0, 1.0, request=f"other-{at}"))
        log.append(events)
        log.flush()
    return path


def print_in_process(monkeypatch: pytest.MonkeyPatch, capsys: Any, path: Path, version: str) -> Any:
    """What the other process would print."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"log": str(path), "version": version})))
    monkeypatch.setattr(os, "nice", lambda _: None)
    print_report()
    return json.loads(capsys.readouterr().out)


def test_a_fall_is_reported_with_the_rates_before_and_after(log_path: Path) -> None:
    found = DriftReports(log_path).read("a")
    assert found.pop("made") > 1e9
    fall = find_fall(RESPONDED)
    assert fall is not None
    assert fall > 4_000
    assert found == {
        "version": "a",
        "lists": N_LISTS,
        "waiting": 100,
        "needed": MIN_LISTS,
        "first_rate": 0.5,
        "last_rate": 0.25,
        "fall": fall,
    }


def test_too_few_lists_have_no_rates(monkeypatch: pytest.MonkeyPatch, capsys: Any, log_path: Path) -> None:
    for version, waiting in (("b", 40), ("none", 0)):
        found = print_in_process(monkeypatch, capsys, log_path, version)
        assert (found["lists"], found["waiting"]) == (0, waiting)
        assert (found["first_rate"], found["last_rate"], found["fall"]) == (None, None, None)


def test_a_log_that_is_not_there_is_the_problem(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> None:
    found = print_in_process(monkeypatch, capsys, tmp_path / "events.db", "a")
    assert "events.db" in found["problem"]
