"""Several servers on one log in PostgreSQL, and a database that is away: what is answered, and what comes back by itself."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from conftest import make_dataset
from contracts.postgres import PostgresServer
from leanrec.integrations.postgres import PostgresEventStore
from leanrec.integrations.postgres.connection import ConnectionLimits
from leanrec.models import get_model
from leanrec.pipeline import Pipeline
from leanrec.serving.app import create_app

pytestmark = [pytest.mark.system, pytest.mark.postgres]

_FAST = ConnectionLimits(connect=0.5, statement=0.5, lock=0.5, idle=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Pipeline.fit(get_model("content")(), make_dataset()).save(tmp_path_factory.mktemp("model") / "model")


@contextlib.contextmanager
def serve(model: Path, url: str, limits: ConnectionLimits = ConnectionLimits()) -> Iterator[TestClient]:
    with PostgresEventStore(url, timeouts=limits) as log:
        app = create_app(Pipeline.load(model), log)
        with TestClient(app, base_url="http://localhost") as client:
            yield client


def wait_for(get: Callable[[], Any], expected: object) -> None:
    end = time.monotonic() + 20
    while (found := get()) != expected:
        assert time.monotonic() < end, f"{found} instead of {expected}"
        time.sleep(0.01)


def get_history(client: httpx.Client, user: str) -> list[Any]:
    answer = client.get(f"/users/{user}").json()
    return [each["id"] for each in answer.get("events", [])]


def send(client: httpx.Client, *events: tuple[str, int]) -> Any:
    return client.post("/events", json={"events": [{"user": user, "item": item} for user, item in events]})


def test_rules_and_stock_that_one_server_was_told_hold_for_the_other(model: Path, url: str) -> None:
    def get_policy(client: httpx.Client) -> str:
        return str(client.get("/recommend?user=user-1&n=3").json()["policy"])

    def get_first(client: httpx.Client) -> int:
        return int(client.get("/recommend?user=user-1&n=3").json()["items"][0]["id"])

    with serve(model, url) as one, serve(model, url) as two:
        before, plain = get_policy(one), get_first(one)
        pinned = next(each["id"] for each in one.get("/items?limit=40").json()["items"] if each["id"] != plain)
        rules = {"pins": [], "limits": [{"column": "genres", "n": 1}], "revision": 0}
        made = one.put("/list-rules", json=rules).raise_for_status().json()
        wait_for(lambda: get_policy(two), f"{before}+{made['policy']}")
        assert two.put("/list-rules", json=rules | {"pins": [{"item": pinned, "position": 1}]}).status_code == 409
        two.put("/list-rules", json=rules | {"limits": [], "revision": 1}).raise_for_status()
        wait_for(lambda: get_policy(one), before)
        one.patch("/items", json={"items": [{"id": plain, "in_stock": False}]}).raise_for_status()
        wait_for(lambda: get_first(two) != plain, expected=True)
        two.patch(f"/items/{plain}", json={"hidden": True}).raise_for_status()
        two.patch("/items", json={"items": [{"id": plain, "in_stock": True}]}).raise_for_status()
        assert get_first(two) != plain
        one.patch(f"/items/{plain}", json={"hidden": False}).raise_for_status()
        wait_for(lambda: get_first(two), plain)
    with serve(model, url) as again:
        assert (again.get("/list-rules").json()["revision"], get_first(again)) == (2, plain)


def test_each_server_applies_the_events_of_the_others_in_the_order_of_the_log(model: Path, url: str) -> None:
    with serve(model, url) as one, serve(model, url) as two:
        for number in range(6):
            answer = send((one, two)[number % 2], ("ada", 101 + number % 3), ("bob", 102)).json()
            assert (answer["stored"], answer["applied"], answer["as_of"]) == (2, 2, 2 * number + 2)
        for client in (one, two):
            wait_for(lambda client=client: client.post("/recommend", json={"user": "ada"}).json()["as_of"], 12)
        assert get_history(one, "ada") == get_history(two, "ada")
        assert len(get_history(one, "ada")) >= 3
        same = [client.post("/recommend", json={"user": "ada", "n": 5}).json()["items"] for client in (one, two)]
        assert same[0] == same[1]


def test_changes_of_items_and_users_reach_all_servers(model: Path, url: str) -> None:
    with serve(model, url) as one, serve(model, url) as two:
        send(one, ("ada", 101), ("bob", 101))
        wait_for(lambda: len(get_history(two, "ada")), 1)
        assert one.post("/items", json={"items": [{"id": 900, "content": {"title": "new"}}]}).status_code == 200
        assert send(two, ("bob", 900)).json()["stored"] == 1
        wait_for(lambda: len(get_history(two, "bob")), 2)
        assert one.delete("/items/102").status_code == 200
        only = {"user": "ada", "allow": [102], "n": 1}
        wait_for(lambda: two.post("/recommend", json=only).json()["items"], [])
        assert one.patch("/items/102", json={"hidden": False}).status_code == 200
        wait_for(lambda: len(two.post("/recommend", json=only).json()["items"]), 1)
        assert two.delete("/users/ada").status_code == 200
        wait_for(lambda: get_history(one, "ada"), [])
        send(two, ("ada", 103))
        wait_for(lambda: len(get_history(one, "ada")), 1)


def test_a_late_server_has_what_the_others_wrote(model: Path, url: str) -> None:
    with serve(model, url) as one:
        send(one, ("ada", 101), ("ada", 102))
        one.delete("/users/ada")
        send(one, ("ada", 103), ("bob", 101))
    with serve(model, url) as two:
        assert [len(get_history(two, user)) for user in ("ada", "bob")] == [1, 1]


@pytest.mark.parametrize("away", ["paused", "stopped"])
def test_lists_go_on_while_the_database_is_away(model: Path, url: str, server: PostgresServer, away: str) -> None:
    with serve(model, url, _FAST) as client:
        assert send(client, ("ada", 101)).status_code == 200
        assert client.get("/readyz").status_code == 200
        with server.paused() if away == "paused" else server.down():
            start = time.monotonic()
            answer = send(client, ("ada", 102))
            assert answer.status_code == 503
            assert answer.headers["Retry-After"]
            assert "ids" in answer.json()["error"]["hint"]
            assert time.monotonic() - start < 10  # the time-outs are seconds; without them it would wait for ever
            assert client.post("/recommend", json={"user": "ada"}).status_code == 200
            wait_for(lambda: client.get("/readyz").status_code, 503)
            assert "postgresql://leanrec@127.0.0.1" in client.get("/readyz").json()["status"]
            assert send(client, ("ada", 102)).status_code == 503
        wait_for(lambda: client.get("/readyz").status_code, 200)
        assert send(client, ("ada", 103)).status_code == 200
        log = PostgresEventStore(url)
        with log:
            assert len(list(log.served_lists())) == 1  # the list that was served meanwhile
            assert [each.item for each in log.user_events()][-1] == 103
