"""A server that tries versions: a bad one costs no answer, and a user keeps the same side in all processes and after a restart."""

import collections
import contextlib
import dataclasses
import re
import signal
import ssl
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
from contracts.certificates import make_certificate
from leanrec import artifacts
from leanrec.models.linear.ease import EASE
from leanrec.models.neighbors.item_knn import ItemKNN
from leanrec.online import VersionStore
from leanrec.online.experiments import Experiment
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.snapshot import SavedPipeline
from leanrec.serving.security.api_keys import add_key

pytestmark = pytest.mark.system

USERS = [f"user-{number}" for number in range(20)]
_SERVE = "import sys; from leanrec.serving import serve; serve(sys.argv[1], port=0)"


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
def run(command: list[str], how: signal.Signals, **options: Any) -> Iterator[httpx.Client]:
    """A client of a server that a command starts. ``how``: what ends it. ``options``: of the client."""
    process = subprocess.Popen(
        [sys.executable, "-c", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        url = re.search(r"https?://127\.0\.0\.1:\d+", process.stdout.readline())
        assert url
        with httpx.Client(base_url=url[0], timeout=60, **options) as client:
            yield client
        process.send_signal(how)
        assert process.wait(60) == (0 if how == signal.SIGTERM else -how)
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
            child.kill()
        process.kill()
        process.wait()
        process.stdout.close()


def run_production(store: VersionStore, folder: Path) -> contextlib.AbstractContextManager[httpx.Client]:
    """A server as in production: settings in a file, keys, HTTPS and two workers, which take turns."""
    certificate, private = make_certificate(folder)
    key = add_key(folder / "keys.toml", "shop", "client")
    config = folder / "serve.toml"
    config.write_text(
        f"""
        model = "{store.path}"
        port = 0
        workers = 2
        keys = "{folder / "keys.toml"}"
        tls-cert = "{certificate}"
        tls-key = "{private}"
        log-format = "json"
        """
    )
    return run(
        ["from leanrec.cli import main; main()", "serve", "--config", str(config)],
        signal.SIGTERM,
        limits=httpx.Limits(max_keepalive_connections=0),
        verify=ssl.create_default_context(cafile=str(certificate)),
        headers={"Authorization": f"Bearer {key}"},
    )


def ask(client: httpx.Client, user: str, **more: object) -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/recommend", params={"user": user, "n": 5, **more}).raise_for_status().json()
    return answer


def ask_until(client: httpx.Client, condition: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """The answers to all users, again and again until those of one turn meet a condition."""
    end, answers = time.monotonic() + 60, list[dict[str, Any]]()
    while time.monotonic() < end:
        turn = [ask(client, user) for user in USERS]
        answers += turn
        if condition(turn):
            return answers
        time.sleep(0.1)  # the server has other work
    raise AssertionError(answers[-1])


def find_arms(answers: list[dict[str, Any]]) -> dict[str, str | None]:
    return {answer["user"]: answer["arm"] for answer in answers}


def find_versions(answers: list[dict[str, Any]]) -> set[tuple[str, str | None]]:
    return {(answer["version"], answer["arm"]) for answer in answers}


@pytest.fixture
def store(saved: list[Path], tmp_path: Path) -> VersionStore:
    """A store of the three versions, the first of which is current."""
    made = VersionStore.create(tmp_path / "models")
    ids = [made.add(each).id for each in saved]
    made.promote(ids[0])
    return made


class Lists:
    """The lists of the versions, to which those of a server are compared."""

    def __init__(self, store: VersionStore) -> None:
        loaded = {version.id: Pipeline.load(version.path) for version in store.versions()}
        self._lists = {
            (version, user): [item.id for item in pipeline.recommend(user, n=5).items]
            for version, pipeline in loaded.items()
            for user in USERS
        }

    def check(self, answers: list[dict[str, Any]]) -> None:
        for answer in answers:
            assert [item["id"] for item in answer["items"]] == self._lists[answer["version"], answer["user"]]


def try_good_version(client: httpx.Client, store: VersionStore, lists: Lists) -> dict[str, str | None]:
    """Try the second version, and return the arms of the users."""
    first, second, _ = store.versions()
    trial = store.start_trial(second.id, 0.3)
    experiment = Experiment(trial.salt, 0.6, ("control", "candidate"))
    arms = {user: experiment.assign(user) for user in USERS}
    assert set(arms.values()) == {"control", "candidate", None}
    lists.check(ask_until(client, lambda turn: find_arms(turn) == arms))
    answers = [ask(client, user) for user in USERS]
    assert find_arms(answers) == arms
    for answer in answers:
        assert answer["version"] == (second.id if answer["arm"] == "candidate" else first.id)
    lists.check(answers)
    return arms


def test_versions_are_tried_aborted_promoted_and_taken_back(store: VersionStore, tmp_path: Path) -> None:
    first, second, empty = store.versions()
    lists = Lists(store)
    with run([_SERVE, str(store.path)], signal.SIGKILL) as client:
        store.start_trial(empty.id, 0.5)
        answers = ask_until(client, lambda _: store.trial() is None)
        assert find_versions(answers) > {(first.id, "candidate")}
        assert {answer["version"] for answer in answers} == {first.id}
        lists.check(answers)
        ended = store.trials()[-1]
        assert (ended.version, ended.outcome) == (empty.id, "aborted")
        assert "lists could not be made" in (ended.reason or "")
        arms = try_good_version(client, store, lists)
    # Another server, of several processes, goes on with the trial.
    with run_production(store, tmp_path) as client:
        lists.check(ask_until(client, lambda turn: find_arms(turn) == arms))
        record = store.get_record(store.trials()[-1])
        sides = collections.Counter(arms.values())
        ask_until(client, lambda _: record.count_lists()["users candidate"] == sides["candidate"])
        store.promote(second.id)
        lists.check(ask_until(client, lambda turn: find_versions(turn) == {(second.id, None)}))
        store.rollback()
        ask_until(client, lambda turn: find_versions(turn) == {(first.id, None)})
        assert try_good_version(client, store, lists) != arms  # the next trial has other users
        store.stop_trial("enough", "ann")
        ask_until(client, lambda turn: find_versions(turn) == {(first.id, None)})
