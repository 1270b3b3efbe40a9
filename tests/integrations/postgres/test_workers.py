"""Servers of several processes on one log in PostgreSQL: killed processes and a database that is away lose and double nothing."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import make_dataset
from contracts.postgres import PostgresServer
from contracts.worker_server import WorkerServer, start_workers, wait_for
from leanrec.events.locations import open_reader
from leanrec.models import get_model
from leanrec.pipeline import Pipeline

pytestmark = [pytest.mark.system, pytest.mark.postgres]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Pipeline.fit(get_model("content")(), make_dataset()).save(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def log(server: PostgresServer) -> str:
    return server.create_database()


@pytest.fixture(scope="module")
def servers(model: Path, log: str) -> Iterator[tuple[WorkerServer, WorkerServer]]:
    """Two servers of two workers each on one log, as on two machines."""
    with start_workers(model, log=log) as one, start_workers(model, log=log) as two:
        yield one, two


def get_histories(servers: tuple[WorkerServer, WorkerServer], user: str) -> list[list[Any]]:
    """What each of the four workers has of a user."""
    found = []
    for each in servers:
        for worker in each.find_workers():
            with each.only(worker):
                answer = each.client.get(f"/users/{user}").json()
                found.append([event["id"] for event in answer.get("events", [])])
    return found


def test_every_worker_of_every_server_follows_the_log(servers: tuple[WorkerServer, WorkerServer]) -> None:
    one, two = servers
    for number in range(6):
        answer = servers[number % 2].click("ada", 101 + number % 3)
        assert (answer["stored"], answer["applied"], answer["rejected"]) == (1, 1, [])
    histories = wait_for(lambda: [each for each in [get_histories(servers, "ada")] if all(map(len, each))])[0]
    assert wait_for(lambda: get_histories(servers, "ada") == [[103, 102, 101, 103, 102, 101]] * 4), histories
    assert one.post("/items", {"items": [{"id": 900, "content": {"title": "new"}}]})["added"] == 1
    two.click("bob", 900)  # its item may come later
    wait_for(lambda: get_histories(servers, "bob") == [[900]] * 4)
    one.client.delete("/items/102").raise_for_status()
    only = {"user": "bob", "allow": [102], "n": 1}
    wait_for(lambda: not any(two.post("/recommend", only)["items"] for _ in range(6)))
    two.client.delete("/users/ada").raise_for_status()
    wait_for(lambda: get_histories(servers, "ada") == [[]] * 4)
    two.click("ada", 103)
    wait_for(lambda: get_histories(servers, "ada") == [[103]] * 4)
    assert "leanrec_log_free_bytes NaN" in one.client.get("/metrics").text


class Sender(threading.Thread):
    """Sends each event until it is confirmed, as a client does."""

    def __init__(self, server: WorkerServer, name: str) -> None:
        super().__init__()
        self.server, self.name, self.confirmed, self.is_stopping = server, name, list[str](), False

    def run(self) -> None:
        while not self.is_stopping:
            event = {
                "user": self.name,
                "item": 101 + len(self.confirmed) % 3,
                "id": f"{self.name}{len(self.confirmed)}",
            }
            with contextlib.suppress(httpx.TransportError):
                answer = self.server.client.post("/events", json={"events": [event]})
                if answer.status_code == 200:
                    self.confirmed.append(str(event["id"]))
                    continue
                assert answer.status_code == 503, answer.text
            time.sleep(0.02)


def test_killed_processes_and_a_crash_of_the_database_lose_and_double_nothing(
    servers: tuple[WorkerServer, WorkerServer], server: PostgresServer, log: str
) -> None:
    before = len(open_reader(log))
    senders = [Sender(each, name) for each, name in zip(servers, ("kim", "lee"), strict=True)]

    def wait_for_more() -> None:
        counts = [len(each.confirmed) for each in senders]
        wait_for(lambda: all(len(each.confirmed) > n + 5 for each, n in zip(senders, counts, strict=True)), 60)

    for each in senders:
        each.start()
    try:
        for find in (lambda: servers[0].find_workers()[0], servers[1].find_owner, servers[0].find_owner):
            wait_for_more()
            os.kill(find(), signal.SIGKILL)
        wait_for_more()
        owner = servers[1].find_owner()
        with server.down():
            os.kill(owner, signal.SIGKILL)
        wait_for_more()
    finally:
        for each in senders:
            each.is_stopping = True
        for each in senders:
            each.join()
    stored = [each.id for each in open_reader(log).user_events()][before:]
    assert len(set(stored)) == len(stored)
    assert {name for each in senders for name in each.confirmed} <= set(stored)
    assert len(stored) <= sum(len(each.confirmed) for each in senders) + len(senders)
    for each in senders:
        expected = [event.item for event in open_reader(log).user_events() if event.user == each.name]
        wait_for(lambda each=each, expected=expected: _have_all(servers, each.name, expected))


def _have_all(servers: tuple[WorkerServer, WorkerServer], user: str, items: list[Any]) -> bool:
    histories = get_histories(servers, user)
    return all(each[::-1] == items[-len(each) :] and each for each in histories)


def test_lists_go_on_within_their_time_while_the_database_stands_still(
    servers: tuple[WorkerServer, WorkerServer], server: PostgresServer, log: str
) -> None:
    one = servers[0]
    with server.paused():
        start = time.monotonic()
        refused = one.client.post("/events", json={"events": [{"user": "mia", "item": 101, "id": "m"}]})
        assert refused.status_code == 503
        assert time.monotonic() - start < 15  # the time-outs are seconds; without them it would wait for ever
        start = time.monotonic()
        assert one.post("/recommend", {"user": "kim"})["items"]
        assert time.monotonic() - start < 5
        wait_for(lambda: one.client.get("/readyz").status_code == 503)
    wait_for(lambda: one.client.post("/events", json={"events": [{"user": "mia", "item": 101, "id": "m"}]}).is_success)
    wait_for(lambda: get_histories(servers, "mia") == [[101]] * 4)
    assert [each.id for each in open_reader(log).user_events()].count("m") == 1
