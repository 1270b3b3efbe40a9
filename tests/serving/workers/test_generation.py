"""Generations of workers: versions that take over under load, and processes that are killed at any moment of a change."""

import json
import os
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import leanrec
from conftest import make_dataset
from contracts.certificates import make_certificate
from contracts.worker_server import WorkerServer, start_workers, wait_for
from leanrec.models import EASE, ItemKNN
from leanrec.online import VersionStore
from leanrec.pipeline import Pipeline
from leanrec.serving.workers.generation import run_from_file

pytestmark = pytest.mark.system


class Setting:
    """A server of a store of versions, and the lists of each version."""

    def __init__(self, server: WorkerServer, store: VersionStore, tls: tuple[Path, Path]) -> None:
        self.server, self.store, self.tls = server, store, tls
        self.expected = {
            each.id: [item.id for item in Pipeline.load(each.path).recommend("user-1", n=5).items]
            for each in store.versions()
        }

    def find_other(self) -> str:
        """The version that is not the current one."""
        current = self.store.current()
        assert current is not None
        return next(each for each in self.expected if each != current.id)

    def wait_until_served(self, version: str) -> list[int]:
        """Wait until one generation with two workers serves a version, and return the workers."""

        def find() -> list[int] | None:
            try:
                workers = self.server.find_workers()
                version_now = self.server.get("/health")["model_version"]
            except (ValueError, psutil.Error, httpx.HTTPError):  # several generations, or one that has just ended
                return None
            return workers if len(workers) == 2 and version_now == version else None

        found: list[int] = wait_for(find, 120)
        return found


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    folder = tmp_path_factory.mktemp("store")
    store = VersionStore.create(folder / "models")
    data = make_dataset()
    for estimator in (EASE(l2=20.0), ItemKNN()):
        store.promote(store.add(Pipeline.fit(estimator, data).save(folder / "model")).id)
    tls = make_certificate(folder)
    with start_workers(store.path, tls) as server:
        yield Setting(server, store, tls)


class Visitor(threading.Thread):
    """Clicks, and asks for lists of another user, until it is told to stop."""

    def __init__(self, setting: Setting, *, keeps_connection: bool) -> None:
        super().__init__()
        self.setting = setting
        limits = httpx.Limits() if keeps_connection else httpx.Limits(max_keepalive_connections=0)
        self.client = httpx.Client(
            base_url=setting.server.url, timeout=60, limits=limits, verify=setting.server.context
        )
        self.versions: list[str] = []
        self.wrong: list[Any] = []
        self.is_stopping = False

    def run(self) -> None:
        as_of = 0
        while not self.is_stopping:
            event = {"user": f"visitor {self.ident}", "item": 100 + len(self.versions) % 40}
            try:
                stored = self.client.post("/events", json={"events": [event]}).raise_for_status().json()
                answer = self.client.get("/recommend", params={"user": "user-1", "n": 5}).raise_for_status().json()
            except httpx.HTTPError as error:
                self.wrong.append(repr(error))
                continue
            version, items = answer["version"], [each["id"] for each in answer["items"]]
            self.versions.append(version)
            as_of = max(as_of, stored["as_of"])
            if items != self.setting.expected[version] or stored["applied"] != 1:
                self.wrong.append((stored, answer))
            time.sleep(0.01)  # else the clients take the processors from the version that is loaded


def visit(setting: Setting, n_visitors: int = 3) -> "list[Visitor]":
    visitors = [Visitor(setting, keeps_connection=bool(number % 2)) for number in range(n_visitors)]
    for each in visitors:
        each.start()
    return visitors


def stop(visitors: list[Visitor]) -> None:
    for each in visitors:
        each.is_stopping = True
    for each in visitors:
        each.join()
        each.client.close()


def test_versions_take_over_without_a_failed_or_mixed_answer(setting: Setting) -> None:
    before, wanted = setting.server.find_workers(), setting.find_other()
    visitors = visit(setting)
    wait_for(lambda: all(each.versions for each in visitors))
    setting.store.promote(wanted)
    assert not set(setting.wait_until_served(wanted)) & set(before)
    counts = [len(each.versions) for each in visitors]
    wait_for(lambda: all(len(each.versions) > count + 3 for each, count in zip(visitors, counts, strict=True)))
    stop(visitors)
    assert [each.wrong for each in visitors] == [[]] * 3
    assert {version for each in visitors for version in each.versions} == set(setting.expected)
    # What was acknowledged by any worker of any generation is known to all.
    for each in visitors:
        for answer in setting.server.ask_each(f"/users/visitor {each.ident}?limit=1000"):
            assert len(answer["events"]) == min(len(each.versions), 1000)


@pytest.mark.parametrize("victim", ["loading", "new", "old"])
def test_a_process_that_is_killed_in_a_change_leaves_a_server(setting: Setting, victim: str) -> None:
    wanted, server = setting.find_other(), setting.server
    (old,) = server.find_generations()
    setting.store.promote(wanted)
    new = wait_for(lambda: [each for each in server.find_generations() if each != old])[0]
    if victim == "new":
        wait_for(lambda: psutil.Process(new).children())
    os.kill(old if victim == "old" else new, signal.SIGKILL)
    assert server.get("/recommend?user=user-1&n=5")["version"] in setting.expected
    setting.wait_until_served(wanted)
    assert server.click("user-5", 101)["applied"] == 1
    assert len(psutil.Process(server.process.pid).children(recursive=True)) == 4


def test_workers_answer_while_the_process_that_started_them_is_replaced(setting: Setting) -> None:
    (generation,) = setting.server.find_generations()
    visitors = visit(setting)
    os.kill(generation, signal.SIGKILL)
    current = setting.store.current()
    assert current is not None
    wait_for(
        lambda: generation not in setting.server.find_generations() and len(setting.server.find_generations()) == 1
    )
    setting.wait_until_served(current.id)
    stop(visitors)
    assert [each.wrong for each in visitors] == [[]] * 3


def test_a_version_that_cannot_be_served_is_reported_and_the_old_one_goes_on(setting: Setting, tmp_path: Path) -> None:
    other = Pipeline.fit(ItemKNN(), make_dataset(seed=1)).save(tmp_path / "other")
    current, bad = setting.store.current(), setting.store.add(other).id
    assert current is not None
    before = setting.server.find_workers()
    setting.store.promote(bad)
    reports = setting.server.process.stderr
    assert reports is not None
    line = next(line for line in reports if bad in line)
    assert f"Version {bad} cannot be served, so {current.id} goes on" in line
    assert "belongs to other data" in line
    assert setting.wait_until_served(current.id) == before
    setting.store.promote(current.id)


def test_a_hangup_renews_all_processes_and_the_certificate(setting: Setting, tmp_path: Path) -> None:
    # Near the end of this file, since each generation after it starts Python anew, which takes seconds.
    server, old = setting.server, ssl.create_default_context(cafile=str(setting.tls[0]))
    assert isinstance(server.context, ssl.SSLContext)
    visitors = visit(setting)
    before, current = server.find_workers(), setting.store.current()
    assert current is not None
    made = make_certificate(tmp_path)
    server.context.load_verify_locations(made[0])  # the visitors trust both
    for new, each in zip(made, setting.tls, strict=True):
        new.replace(each)
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: not any(psutil.pid_exists(each) for each in before), 240)
    setting.wait_until_served(current.id)
    stop(visitors)
    assert [each.wrong for each in visitors] == [[]] * 3
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE"):
        httpx.get(f"{server.url}/livez", verify=old)


def test_all_processes_end_with_their_supervisor(setting: Setting) -> None:
    children = psutil.Process(setting.server.process.pid).children(recursive=True)
    setting.server.process.kill()
    wait_for(lambda: not any(child.is_running() for child in children), 120)


def test_a_generation_of_another_release_does_not_start(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    run_from_file(str(tmp_path / "plan"), "0.0.1", str(writing))
    told = json.loads(os.read(reading, 4096))
    assert told["error"] == "WorkerError"
    assert f"must have leanrec 0.0.1, which the server has. They have {leanrec.__version__}" in told["reason"]
    for pipe in (reading, writing):
        os.close(pipe)
