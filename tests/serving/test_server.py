"""The server in a separate process: restarts, kills and concurrent clients."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import make_dataset
from leanrec.errors import ArtifactError, SettingError, SourceError
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.models.linear.ease import EASE
from leanrec.models.neighbors.item_knn import ItemKNN
from leanrec.online import VersionStore
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving import server as server_module
from leanrec.serving.server import serve

pytestmark = pytest.mark.system

_SERVE = "import sys; from leanrec.serving import serve; serve(sys.argv[1], port=0)"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Pipeline.fit(EASE(l2=20.0), make_dataset()).save(tmp_path_factory.mktemp("served") / "model")


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    """The model at its own path, and so with its own event log."""
    (tmp_path / "model").symlink_to(saved)
    return tmp_path / "model"


class Server:
    """A running server and a client of it."""

    def __init__(self, process: "subprocess.Popen[str]", client: httpx.Client) -> None:
        self.process, self.client = process, client

    def list_for(self, user: str) -> list[Any]:
        items: list[Any] = self.client.get("/recommend", params={"user": user}).raise_for_status().json()["items"]
        return items

    def click(self, user: str, item: object, **more: object) -> dict[str, Any]:
        body = {"events": [{"user": user, "item": item} | more]}
        result: dict[str, Any] = self.client.post("/events", json=body).raise_for_status().json()
        return result

    def stop(self, how: signal.Signals) -> int:
        os.kill(self.process.pid, how)
        return self.process.wait(timeout=60)


@contextlib.contextmanager
def started(model: Path) -> Iterator[Server]:
    command = [sys.executable, "-c", _SERVE, str(model)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        first_line = process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", first_line)
        assert url, first_line + process.stderr.read()
        with httpx.Client(base_url=url[0], timeout=60) as client:
            yield Server(process, client)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_a_stored_event_survives_a_kill_and_is_applied(model: Path) -> None:
    with started(model) as server:
        before = server.list_for("user-3")
        clicked = before[0]["id"]
        assert server.click("user-3", clicked, id="c1")["applied"] == 1
        server.stop(signal.SIGKILL)
    with started(model) as server:
        after = server.list_for("user-3")
        assert clicked not in [item["id"] for item in after]
        assert server.client.get("/users/user-3?limit=1").json()["events"][0]["id"] == clicked
        assert server.click("user-3", clicked, id="c1")["duplicates"] == 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_server_writes_waiting_lists_and_exits_with_zero(model: Path, how: signal.Signals) -> None:
    with started(model) as server:
        request = server.client.get("/recommend?user=user-3").json()["request"]
        assert server.stop(how) == 0
        assert server.process.stderr.read() == ""  # type: ignore[union-attr]
    with SQLiteEventStore(Path(f"{model}.events.db")) as log:
        assert request in [each.request for each in log.served_lists()]


def test_many_clients_request_and_click_at_once(model: Path) -> None:
    errors: list[BaseException] = []

    def visit(server: Server, number: int) -> None:
        try:
            with httpx.Client(base_url=server.client.base_url, timeout=60) as client:
                mine = Server(server.process, client)
                for step in range(15):
                    item = 100 + (step * 7 + number) % 40
                    assert mine.click(f"guest-{number}", item, id=f"{number}-{step}")["applied"] == 1
                    assert item not in [each["id"] for each in mine.list_for(f"guest-{number}")]
                    mine.list_for(f"user-{number}")
        except BaseException as error:
            errors.append(error)

    with started(model) as server:
        threads = [threading.Thread(target=visit, args=(server, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        metrics = server.client.get("/metrics").text
        assert 'leanrec_events_total{outcome="stored"} 120.0' in metrics
        assert "leanrec_lists_lost_total 0.0" in metrics
        assert server.client.get("/health").json()["users"] == 68
        server.stop(signal.SIGKILL)
    with SQLiteEventStore(Path(f"{model}.events.db")) as log:
        assert len(log) == 120


def test_wrong_arguments_raise_before_anything_is_served(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a leanrec artifact"):
        serve(tmp_path / "nowhere")
    with pytest.raises(SettingError, match="port must be a number from 0 to 65535"):
        serve(model, port=99_999)
    with pytest.raises(SettingError, match=r"Cannot listen at no\.such\.host\.invalid"):
        serve(model, host="no.such.host.invalid")
    (tmp_path / "log").write_text("text, and enough of it to be no database at all " * 50)
    with pytest.raises(SourceError, match="cannot be used"):
        serve(model, port=0, log_path=tmp_path / "log")


def test_an_address_is_waited_for_but_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = socket.create_server(("127.0.0.1", 0))
    port = holder.getsockname()[1]
    threading.Timer(0.2, holder.close).start()
    with server_module._open_socket("127.0.0.1", port, is_open=False) as listener:  # of a server that is about to end
        assert listener.getsockname() == ("127.0.0.1", port)
    monkeypatch.setattr(server_module, "_ADDRESS_SECONDS", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as holder,
        pytest.raises(SettingError, match=r"in use\. Choose another address, or port 0"),
    ):
        server_module._open_socket("127.0.0.1", holder.getsockname()[1], is_open=False)


def test_a_port_in_use_raises(model: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as holder,
        pytest.raises(SettingError, match="port 0 for any that is free"),
    ):
        serve(model, port=holder.getsockname()[1], log_path=model.parent / "other.db")


def test_versions_change_under_load_without_a_failed_or_mixed_answer(tmp_path: Path) -> None:
    store = VersionStore.create(tmp_path / "models")
    data = make_dataset()
    first, second = (
        store.add(Pipeline.fit(estimator, data).save(tmp_path / "model")) for estimator in (EASE(l2=20.0), ItemKNN())
    )
    with pytest.raises(ArtifactError, match="promote one first"):
        serve(store.path, port=0)
    store.promote(first.id)
    expected = {
        version.id: [item.id for item in Pipeline.load(version.path).recommend("user-1", n=5).items]
        for version in (first, second)
    }
    assert expected[first.id] != expected[second.id]
    answers: list[tuple[str, str, list[object]]] = []
    statuses: set[int] = set()
    stopped = threading.Event()

    def ask(url: httpx.URL) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not stopped.is_set():
                answer = client.get("/recommend", params={"user": "user-1", "n": 5})
                statuses.add(answer.status_code)
                found = answer.json()
                answers.append((found["model"], found["version"], [item["id"] for item in found["items"]]))

    with started(store.path) as server:
        threads = [threading.Thread(target=ask, args=(server.client.base_url,)) for _ in range(3)]
        for each in threads:
            each.start()
        for turn in range(6):
            wanted = (second, first)[turn % 2].id
            store.promote(wanted)
            server.click(f"late {turn}", 101)
            while not answers or answers[-1][1] != wanted:
                time.sleep(0.01)
        stopped.set()
        for each in threads:
            each.join()
        assert statuses == {200}
        assert {(model, version) for model, version, _ in answers} == {("ease", first.id), ("item_knn", second.id)}
        assert all(items == expected[version] for _, version, items in answers)
        assert [len(server.client.get(f"/users/late {turn}").json()["events"]) for turn in range(6)] == [1] * 6
        assert server.client.get("/health").json()["model_version"] == first.id
        assert server.stop(signal.SIGTERM) == 0
