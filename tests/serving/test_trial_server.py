"""A server that tries versions: a bad one costs no answer, and a user keeps the same side in all processes and after a restart."""

import contextlib
import dataclasses
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from conftest import make_dataset
from leanrec import artifacts
from leanrec.models.linear.ease import EASE
from leanrec.models.neighbors.item_knn import ItemKNN
from leanrec.online import VersionStore
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.snapshot import SavedPipeline

pytestmark = pytest.mark.system

USERS = [f"user-{number}" for number in range(30)]
_SERVE = "import sys; from leanrec.serving.app import serve; serve(sys.argv[1], port=0, workers=int(sys.argv[2]))"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two versions of the same data, and one that lists nothing."""
    folder, data = tmp_path_factory.mktemp("models"), make_dataset()
    paths = [Pipeline.fit(each, data).save(folder / str(at)) for at, each in enumerate((EASE(l2=20.0), ItemKNN()))]
    empty = artifacts.load(paths[1], SavedPipeline)
    hidden = dataclasses.replace(empty, hidden=np.arange(len(data.items), dtype=np.int32))
    provenance = artifacts.read_manifest(paths[1])["provenance"]
    return [*paths, artifacts.save(hidden, folder / "empty", provenance=provenance)]


@contextlib.contextmanager
def start(store: VersionStore, workers: int) -> Iterator[httpx.Client]:
    """A client of a server of the store, with a connection for each request, so that all workers answer."""
    command = [sys.executable, "-c", _SERVE, str(store.path), str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert url
        with httpx.Client(base_url=url[0], timeout=60, limits=httpx.Limits(max_keepalive_connections=0)) as client:
            yield client
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
            child.kill()
        process.kill()
        process.wait()
        process.stdout.close()


def ask(client: httpx.Client, user: str, **more: object) -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/recommend", params={"user": user, "n": 5, **more}).raise_for_status().json()
    return answer


def ask_until(client: httpx.Client, condition: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The answers to all users in turn, until one of a whole turn meets a condition."""
    end, answers = time.monotonic() + 60, []
    while time.monotonic() < end:
        turn = [ask(client, user) for user in USERS]
        answers += turn
        if any(map(condition, turn)):
            return answers
    raise AssertionError(answers[-1])


@pytest.mark.parametrize("workers", [1, 2])
def test_versions_are_tried(saved: list[Path], tmp_path: Path, workers: int) -> None:
    store = VersionStore.create(tmp_path / "models")
    first, second, empty = (store.add(each).id for each in saved)
    store.promote(first)
    lists = {
        version: {
            user: [item.id for item in Pipeline.load(store.find(version).path).recommend(user, n=5).items]
            for user in USERS
        }
        for version in (first, second)
    }

    def check(answers: list[dict[str, Any]]) -> None:
        for answer in answers:
            assert [item["id"] for item in answer["items"]] == lists[answer["version"]][answer["user"]]

    with start(store, workers) as client:
        bad = store.start_trial(empty, 0.5)
        answers = ask_until(client, lambda _: store.trial() is None)
        assert {answer["version"] for answer in answers} == {first}
        check(answers)
        ended = store.trials()[-1]
        assert (ended.version, ended.outcome) == (empty, "aborted")
        assert "lists could not be made" in (ended.reason or "")
        assert {answer["arm"] for answer in answers} > {"candidate"}

        trial = store.start_trial(second, 0.3)
        assert trial.salt != bad.salt
        check(ask_until(client, lambda answer: answer["version"] == second))
        time.sleep(0.5)  # the workers of the generation before have ended
        turns = [{user: ask(client, user) for user in USERS} for _ in range(2)]
        arms = {user: answer["arm"] for user, answer in turns[0].items()}
        assert set(arms.values()) == {"control", "candidate", None}
        for turn in turns:
            check(list(turn.values()))
            assert {user: answer["arm"] for user, answer in turn.items()} == arms
            for user, answer in turn.items():
                assert answer["version"] == (second if arms[user] == "candidate" else first)

        if workers > 1:
            store.promote(second)
            check(ask_until(client, lambda answer: answer["version"] == second and answer["arm"] is None))
            store.rollback()
            ask_until(client, lambda answer: answer["version"] == first)
            time.sleep(0.5)  # the workers of the generation before have ended
            answers = [ask(client, user) for user in USERS]
            assert {(answer["version"], answer["arm"]) for answer in answers} == {(first, None)}
            return
    with start(store, workers) as client:
        ask_until(client, lambda answer: answer["arm"] is not None)  # it is loaded while the current version answers
        assert {user: ask(client, user)["arm"] for user in USERS} == arms
