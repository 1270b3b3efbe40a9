"""Faults around a server: a disk that hangs, a clock that goes back, and a user who never stops clicking."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from conftest import make_dataset
from contracts.server import run_server
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving import event_requests, routes
from leanrec.serving.app import create_app


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Pipeline.fit(EASE(l2=20.0), make_dataset()).save(tmp_path_factory.mktemp("model") / "model")


@contextlib.contextmanager
def served(saved: Path, log_path: Path) -> Iterator[httpx.Client]:
    with SQLiteEventStore(log_path) as log, run_server(create_app(Pipeline.load(saved), log)) as client:
        client.timeout = httpx.Timeout(60)
        yield client


def list_items(client: httpx.Client, user: str, n: int = 10) -> list[int]:
    answer = client.get("/recommend", params={"user": user, "n": n}).raise_for_status()
    return [item["id"] for item in answer.json()["items"]]


def test_a_disk_that_hangs_stops_no_list_and_no_probe(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_MAX_WRITING_SECONDS", 0.2)
    with served(saved, tmp_path / "log.db") as client:
        first = list_items(client, "user-1")[0]
        answers: list[httpx.Response] = []

        def click() -> None:
            body = {"events": [{"id": "c", "user": "user-1", "item": first}]}
            answers.append(httpx.post(f"{client.base_url}/events", json=body, timeout=60))

        # Another connection that holds the file stands for a disk that does not answer.
        with contextlib.closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            clicking = threading.Thread(target=click)
            clicking.start()
            while client.get("/readyz").status_code == 200:
                time.sleep(0.02)
            assert client.get("/livez").status_code == 200
            assert first in list_items(client, "user-1")
            assert not answers, "nothing is acknowledged that is not on disk"
            other.execute("ROLLBACK")
        clicking.join()
        assert answers[0].json()["applied"] == 1
        assert client.get("/readyz").status_code == 200
        assert first not in list_items(client, "user-1")


def test_a_clock_that_goes_back_loses_and_reorders_nothing(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1_900_000_000.0]
    monkeypatch.setattr(event_requests.time, "time", lambda: clock[0])
    acted: list[int] = []
    with served(saved, tmp_path / "log.db") as client:
        for step in (0.0, -3600.0, -86_400.0, 2 * 86_400.0, -1.0):
            clock[0] += step
            item = list_items(client, "guest" if acted else "user-1")[0]
            answer = client.post("/events", json={"events": [{"user": "guest", "item": item}]}).raise_for_status()
            acted.append(item)
            assert answer.json()["as_of"] == len(acted)
            assert not set(acted) & set(list_items(client, "guest", 40))
        before = list_items(client, "guest")
    with served(saved, tmp_path / "log.db") as client:
        assert list_items(client, "guest") == before
        history = client.get("/users/guest").json()["events"]
    assert sorted(each["id"] for each in history) == sorted(acted)


def test_a_bot_changes_no_list_but_its_own(saved: Path, tmp_path: Path) -> None:
    with served(saved, tmp_path / "log.db") as client:
        others = [list_items(client, f"user-{number}") for number in range(10)]
        for start in range(0, 20_000, 1000):
            events = [
                {"id": f"{start + step}", "user": "bot", "item": 100 + (start + step) % 40} for step in range(1000)
            ]
            assert client.post("/events", json={"events": events}).raise_for_status().json()["stored"] == 1000
        assert [list_items(client, f"user-{number}") for number in range(10)] == others
        assert client.get("/recommend?user=bot").status_code == 200
        assert len(client.get("/users/bot?limit=1000").json()["events"]) == 1000
