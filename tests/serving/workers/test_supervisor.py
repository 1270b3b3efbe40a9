"""Several workers over one model: fresh, and nothing lost or doubled when processes are killed."""

import os
import re
import shutil
import signal
import socket
import threading
import types
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from conftest import make_dataset
from contracts.worker_server import WorkerServer, start_workers, wait_for
from leanrec.errors import SettingError, SourceError
from leanrec.events import SQLiteEventReader
from leanrec.models import get_model
from leanrec.pipeline import Pipeline
from leanrec.serving.workers import supervisor
from leanrec.serving.workers.supervisor import Supervisor, check_workers


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerServer]:
    model = Pipeline.fit(get_model("content")(), make_dataset()).save(tmp_path_factory.mktemp("served") / "model")
    with start_workers(model) as server:
        yield server


@pytest.mark.system
def test_an_event_that_one_worker_has_acknowledged_is_in_the_lists_of_the_other(server: WorkerServer) -> None:
    first, second = server.find_workers()
    for one, other in ((first, second), (second, first)):
        with server.only(one):
            item = server.get("/recommend?user=user-3&n=1")["items"][0]["id"]
            answer = server.click("user-3", item)
            assert (answer["stored"], answer["applied"]) == (1, 1)
            listed = server.get("/recommend?user=user-3&n=40")  # a client reads its own writes
            assert listed["as_of"] >= answer["as_of"]
            assert item not in [each["id"] for each in listed["items"]]
        with server.only(other):
            listed = wait_for(
                lambda seq=answer["as_of"]: (
                    (found := server.get("/recommend?user=user-3&n=40"))["as_of"] >= seq and found
                )
            )
            assert item not in [each["id"] for each in listed["items"]]


@pytest.mark.system
def test_new_items_and_hidden_ones_are_known_to_all(server: WorkerServer) -> None:
    item = {"id": 90_001, "content": {"title": "brand new"}}
    assert server.post("/items", {"items": [item]}) == {"added": 1, "corrected": 0, "unchanged": 0}
    assert server.post("/items", {"items": [item]}) == {"added": 0, "corrected": 0, "unchanged": 1}
    assert server.click("user-5", 90_001)["applied"] == 1
    for answer in server.ask_each("/items?search=brand"):
        assert [each["id"] for each in answer["items"]] == [90_001]
    for answer in server.ask_each("/users/user-5?limit=1"):
        assert answer["events"][0]["id"] == 90_001
    with pytest.raises(httpx.HTTPStatusError, match="422"):
        server.post("/items", {"items": [{"id": "text", "content": {"title": "wrong id"}}]})
    assert httpx.patch(f"{server.url}/items/90001", json={"hidden": True}, timeout=60).json()["hidden"] is True
    assert [answer["items"][0]["hidden"] for answer in server.ask_each("/items?search=brand")] == [True, True]


@pytest.mark.system
def test_metrics_of_any_worker_are_those_of_all(server: WorkerServer) -> None:
    for _ in range(3):
        server.ask_each("/health")
    total = 'leanrec_requests_total{method="GET",route="/health",status="200"} 6.0'
    # A worker tells the others of its requests once a second.
    wait_for(lambda: total in httpx.get(f"{server.url}/metrics", timeout=60).text)
    for worker in server.find_workers():
        with server.only(worker):
            text = httpx.get(f"{server.url}/metrics", timeout=60).text
        assert total in text
        assert "leanrec_lists_lost_total 0.0" in text
        assert re.search(r"leanrec_log_free_bytes [1-9]", text)
        assert 'outcome="stored"} 3.0' in text
        assert "leanrec_freshness_seconds_count 6.0" in text  # until both have each of the three
    assert httpx.get(f"{server.url}/readyz").status_code == 200


@pytest.mark.system
def test_a_forgotten_user_is_unknown_to_all(server: WorkerServer) -> None:
    server.click("user-9", 101)
    assert httpx.delete(f"{server.url}/users/user-9", timeout=60).json() == {"events": 1}
    os.kill(server.find_workers()[0], signal.SIGKILL)  # the next one has the memory of the start
    wait_for(lambda: len(server.find_workers()) == 2)
    for worker in server.find_workers():
        with server.only(worker):
            assert httpx.get(f"{server.url}/users/user-9", timeout=60).status_code == 404


class Client(threading.Thread):
    """Sends clicks of one user, each until it is acknowledged, until it is told to stop."""

    def __init__(self, server: WorkerServer, user: str) -> None:
        super().__init__()
        self.server, self.user = server, user
        self.acknowledged: list[str] = []
        self.is_stopping = False
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.is_stopping:
                step = len(self.acknowledged)
                event = {"id": f"{self.user}-{step}", "user": self.user, "item": 100 + step % 40, "time": 1e9 + step}
                wait_for(lambda event=event: self.send(event))
                self.acknowledged.append(event["id"])  # type: ignore[arg-type]
        except BaseException as error:
            self.error = error

    def send(self, event: dict[str, Any]) -> bool:
        """Whether the event is acknowledged. If not, the answer says when to send it again."""
        try:
            response = httpx.post(f"{self.server.url}/events", json={"events": [event]}, timeout=60)
        except httpx.TransportError:
            return False
        assert response.status_code in {200, 503}, response.text
        assert response.status_code == 200 or response.headers["Retry-After"]
        return response.status_code == 200


@pytest.mark.system
def test_killed_processes_lose_and_double_nothing(server: WorkerServer) -> None:
    before = SQLiteEventReader(server.log).last_seq
    clients = [Client(server, f"killed-{number}") for number in range(3)]
    for client in clients:
        client.start()
    for victim in ("worker", "owner", "worker", "owner"):
        n_clicks = [len(client.acknowledged) for client in clients]
        os.kill(server.find_owner() if victim == "owner" else server.find_workers()[0], signal.SIGKILL)
        for client, count in zip(clients, n_clicks, strict=True):
            wait_for(lambda client=client, count=count: client.error or len(client.acknowledged) > count + 3)
    for client in clients:
        client.is_stopping = True
    for client in clients:
        client.join()
    assert [client.error for client in clients] == [None] * len(clients)
    wait_for(lambda: len(server.find_workers()) == 2)
    stored = [each.id for each in SQLiteEventReader(server.log).user_events(after=before)]
    assert sorted(stored) == sorted(each for client in clients for each in client.acknowledged)
    for client in clients:
        for answer in server.ask_each(f"/users/{client.user}?limit=1000"):
            assert len(answer["events"]) == len(client.acknowledged)


@pytest.mark.system
def test_lists_go_on_while_no_process_writes_the_log(server: WorkerServer) -> None:
    owner = server.find_owner()
    os.kill(owner, signal.SIGSTOP)
    try:
        assert server.get("/recommend?user=user-1")["items"]
    finally:
        os.kill(owner, signal.SIGKILL)
    event = {"id": uuid.uuid4().hex, "user": "user-1", "item": 101}
    wait_for(lambda: httpx.post(f"{server.url}/events", json={"events": [event]}, timeout=60).status_code == 200)


@pytest.mark.system
def test_a_stopped_server_ends_all_its_processes_and_writes_the_lists(server: WorkerServer) -> None:
    request = server.get("/recommend?user=user-3")["request"]
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert len(children) == 4
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=60) == 0
    assert not any(child.is_running() for child in children)
    assert request in [each.request for each in SQLiteEventReader(server.log).served_lists()]
    told = server.process.stderr.read()  # type: ignore[union-attr]
    others = [line for line in told.splitlines() if not re.search("ended by signal 9|refused with status 503", line)]
    assert others == []


def test_the_number_of_workers_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    check_workers(8)
    with pytest.raises(SettingError, match="workers must be a number from 1 to 128"):
        check_workers(0)
    monkeypatch.delattr(os, "fork")
    check_workers(1)
    with pytest.raises(SettingError, match="cannot be forked"):
        check_workers(2)


def test_a_database_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [SourceError("It is away."), SourceError("It is away."), "the log", SourceError("Of a file.")]

    def open_store(*_: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, SourceError):
            raise answer
        return answer

    monkeypatch.setattr(supervisor, "open_store", open_store)
    monkeypatch.setattr(supervisor, "_AWAY_SECONDS", 0.01)
    reports: list[str] = []
    waiting = Supervisor.__new__(Supervisor)
    plan = types.SimpleNamespace(
        log_location="postgresql://db/log", retention=None, storage=None, report=reports.append
    )
    waiting._plan = plan  # type: ignore[assignment]
    waiting._lifeline, life = os.pipe()
    assert waiting._open_log() == "the log"
    assert reports == ["It is away. It is tried again every 0.01 s."]
    plan.log_location = Path("events.db")
    with pytest.raises(SourceError, match="Of a file"):
        waiting._open_log()
    plan.log_location, answers = "postgresql://db/log", [SourceError("It is away.")]
    os.close(life)  # the supervisor was killed
    assert waiting._open_log() is None
    os.close(waiting._lifeline)


@pytest.mark.system
def test_a_server_starts_at_once_at_the_address_of_one_that_was_killed(server: WorkerServer, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(server.log.with_name("model"), model)
    with start_workers(model) as killed:
        port = int(killed.url.rpartition(":")[2])
        event = killed.click("user-3", 103)
        children = psutil.Process(killed.process.pid).children(recursive=True)
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /health HT")  # a request that does not end
            killed.process.kill()
            killed.process.wait()
            with start_workers(model, port=port) as again:
                assert again.url == killed.url
                assert again.click("user-3", 103)["as_of"] > event["as_of"]
        wait_for(lambda: not any(each.is_running() for each in children))
