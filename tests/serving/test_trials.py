"""Trials over HTTP: whose list comes from which version, what is logged, and what a bad version costs."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import make_dataset
from contracts.server import run_server
from leanrec.events import SQLiteEventStore
from leanrec.models import get_model
from leanrec.online import LivePipeline, VersionTrial
from leanrec.pipeline import Pipeline
from leanrec.serving.app import create_app

USERS = [f"user-{number}" for number in range(60)]
MODELS = {"control": "popularity", "candidate": "item_knn"}


@pytest.fixture(scope="module")
def pipelines() -> list[Pipeline]:
    """The current version and another one."""
    return [Pipeline.fit(get_model(name)(), make_dataset()) for name in MODELS.values()]


@contextlib.contextmanager
def serve_trial(
    pipelines: list[Pipeline], folder: Path, share: float = 0.5, *, is_shadow: bool = False
) -> Iterator[tuple[httpx.Client, LivePipeline, SQLiteEventStore]]:
    """A client of an app with a trial."""
    with SQLiteEventStore(folder / "events.db") as log:
        live = LivePipeline(pipelines[0], log)
        live.start_trial(pipelines[1], VersionTrial(2, "v2", share, is_shadow, "salt", "2026-11-30T12:00:00"))
        with run_server(create_app(live, log)) as client:
            yield client, live, log
        live.stop_trial()


def test_every_path_serves_and_logs_the_arm_of_the_user(pipelines: list[Pipeline], tmp_path: Path) -> None:
    with serve_trial(pipelines, tmp_path) as (client, _, log):
        answers: list[dict[str, Any]] = []
        arms: dict[str, str] = {}
        for user in USERS[:20]:
            path = f"/recommend?user={user}"
            answers += [client.get(each).json() for each in (path, path, f"{path}&trace=true")]
            answers.append(client.post("/recommend", json={"user": user, "deny": [100]}).json())
            answers.append(client.post("/recommend", json={"user": user, "history": [101]}).json())
            assert {each["arm"] for each in answers[-5:]} == {answers[-1]["arm"]}
            arms[user] = answers[-1]["arm"]
            item = answers[-5]["items"][0]["id"]
            explained = client.get("/explain", params={"user": user, "item": item}).json()
            version = pipelines[list(MODELS).index(arms[user])]
            assert tuple(explained["reasons"]) == version.explain(user, item).reasons
        logged = {each.request: each for each in log.served_lists()}
        text = client.get("/metrics").text
    assert set(arms.values()) == set(MODELS)
    for answer in answers:
        served = logged[answer["request"]]
        assert answer["model"] == MODELS[answer["arm"]]
        assert (served.arm, served.version, served.policy) == (answer["arm"], answer["version"], answer["policy"])
    for arm, count in Counter(answer["arm"] for answer in answers).items():
        assert f'leanrec_trial_lists_total{{arm="{arm}"}} {count}.0' in text


def test_the_versions_are_told(pipelines: list[Pipeline], tmp_path: Path) -> None:
    with serve_trial(pipelines, tmp_path) as (client, live, _):
        for user in USERS:
            client.get("/recommend", params={"user": user})
        told = client.get("/versions").json()
        assert told["model"] == "popularity"
        assert (told["trial"]["model"], told["trial"]["share"], told["trial"]["verdict"]) == ("item_knn", 0.5, None)
        arms = told["trial"]["arms"]
        assert arms["control"]["users"] + arms["candidate"]["users"] == 60
        assert arms["candidate"]["failures"] == 0
        assert arms["candidate"]["p50_ms"] > 0
        live.stop_trial()
        assert client.get("/versions").json()["trial"] is None


def test_a_version_that_fails_costs_no_answer(
    pipelines: list[Pipeline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    with serve_trial(pipelines, tmp_path) as (client, live, log):
        assert live.trial is not None
        monkeypatch.setattr(live.trial.pipeline, "recommend", fail)
        monkeypatch.setattr(live.trial.pipeline, "find_cached", fail)
        answers = [client.get("/recommend", params={"user": user}) for user in USERS]
        assert {each.status_code for each in answers} == {200}
        assert {each.json()["model"] for each in answers} == {"popularity"}
        verdict = client.get("/versions").json()["trial"]["verdict"]
        assert verdict["guard"] == "failures"
        logged = Counter(each.arm for each in log.served_lists())
        assert logged["candidate"] == 2  # who was to get the version is logged, whatever came
        assert logged[None] > 30  # after the verdict nobody takes part
        monkeypatch.undo()


def test_a_shadow_serves_and_logs_nothing(pipelines: list[Pipeline], tmp_path: Path) -> None:
    with serve_trial(pipelines, tmp_path, 1.0, is_shadow=True) as (client, _, log):
        answers = [client.get("/recommend", params={"user": user}).json() for user in USERS[:8]]
        end = time.monotonic() + 60
        while (told := client.get("/versions").json()["trial"]["shadow"])["compared"] < 8 and time.monotonic() < end:
            time.sleep(0.02)
        assert {(each["model"], each["arm"]) for each in answers} == {("popularity", None)}
        assert (told["compared"], told["failed"], told["dropped"]) == (8, 0, 0)
        assert 0 <= told["overlap"] <= 1
        assert sorted(each.request for each in log.served_lists()) == sorted(each["request"] for each in answers)
        assert 'leanrec_shadow_lists_total{outcome="compared"} 8.0' in client.get("/metrics").text
