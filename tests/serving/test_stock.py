"""Stock of items over HTTP: many items in one call, at once, kept, and apart from what was hidden by a decision."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from conftest import make_dataset
from contracts.server import run_server
from contracts.worker_server import start_workers, wait_for
from leanrec.client import Client
from leanrec.errors import RequestError
from leanrec.events import SQLiteEventStore
from leanrec.models import get_model
from leanrec.pipeline import Pipeline
from leanrec.serving.app import create_app


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Pipeline.fit(get_model("ease")(), make_dataset()).save(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SQLiteEventStore]:
    with SQLiteEventStore(tmp_path / "events.db") as log:
        yield log


@pytest.fixture
def client(model: Path, log: SQLiteEventStore) -> Iterator[httpx.Client]:
    with run_server(create_app(Pipeline.load(model), log)) as client:
        yield client


def list_ids(client: httpx.Client, user: str = "user-0", n: int = 5) -> list[Any]:
    answer = client.get("/recommend", params={"user": user, "n": n}).raise_for_status()
    return [each["id"] for each in answer.json()["items"]]


def change(client: httpx.Client, *items: dict[str, Any]) -> Any:
    return client.patch("/items", json={"items": items}).raise_for_status().json()


def test_items_leave_all_lists_at_once_and_come_back(client: httpx.Client) -> None:
    before = list_ids(client)
    assert change(client, *({"id": item, "in_stock": False} for item in before[:3])) == {"changed": 3, "unknown": []}
    assert list_ids(client)[:2] == before[3:]
    assert not set(list_ids(client, "user-3", 30)) & set(before[:3])
    change(client, {"id": before[0], "in_stock": True}, {"id": before[3], "in_stock": False})
    assert list_ids(client)[:2] == [before[0], before[4]]
    event = {"events": [{"user": "user-0", "item": before[1]}]}
    assert client.post("/events", json=event).json()["applied"] == 1  # a purchase may come later than the last piece
    assert client.get("/users/user-0").json()["events"][0]["id"] == before[1]


def test_an_item_that_is_hidden_by_a_decision_is_not_shown_by_new_stock(client: httpx.Client) -> None:
    item = list_ids(client)[0]
    assert client.patch(f"/items/{item}", json={"hidden": True}).json()["hidden"]
    change(client, {"id": item, "in_stock": False})
    change(client, {"id": item, "in_stock": True})
    assert item not in list_ids(client)
    assert client.patch(f"/items/{item}", json={"in_stock": True}).json()["hidden"]
    assert client.patch(f"/items/{item}", json={"hidden": False, "in_stock": False}).json()["hidden"]
    assert not client.patch(f"/items/{item}", json={"in_stock": True}).json()["hidden"]
    assert list_ids(client)[0] == item


def test_unknown_items_harm_no_others(client: httpx.Client) -> None:
    item = list_ids(client)[0]
    found = change(
        client, {"id": "none", "in_stock": False}, {"id": str(item), "in_stock": False}, {"id": 7, "hidden": True}
    )
    assert found == {"changed": 1, "unknown": ["none", 7]}
    assert item not in list_ids(client)
    refused = client.patch("/items", json={"items": [{"id": "none", "in_stock": True}, {"id": 7, "in_stock": True}]})
    assert (refused.status_code, "none" in refused.json()["error"]["message"]) == (404, True)


def test_of_two_changes_of_an_item_the_last_counts(client: httpx.Client) -> None:
    item = list_ids(client)[0]
    assert change(client, {"id": item, "in_stock": False}, {"id": str(item), "in_stock": True})["changed"] == 1
    assert list_ids(client)[0] == item


@pytest.mark.parametrize(
    "items", [[], [{"id": 100}], [{"id": 100, "in_stock": 1}], [{"id": 100, "in_stock": None}], [{"in_stock": True}]]
)
def test_a_wrong_change_is_refused_and_changes_nothing(client: httpx.Client, items: list[Any]) -> None:
    first = list_ids(client)[0]
    assert (
        client.patch("/items", json={"items": [*items, *[{"id": first, "stock": 0}][: len(items)]]}).status_code == 422
    )
    assert list_ids(client)[0] == first


def test_the_client_changes_more_items_than_a_request_takes(model: Path, log: SQLiteEventStore) -> None:
    with run_server(create_app(Pipeline.load(model), log)) as plain, Client(str(plain.base_url)) as client:
        known = [each["id"] for each in client.find_items(limit=40)["items"]]
        many = [{"id": f"new-{number}", "in_stock": False} for number in range(10_000)]
        found = client.change_items([{"id": known[0], "in_stock": False}, *many[1:], {"id": known[1], "hidden": True}])
        assert (found["changed"], len(found["unknown"])) == (2, 9_999)
        hidden = [each["id"] for each in client.find_items(limit=40)["items"] if each["hidden"]]
        assert hidden == known[:2]
        with pytest.raises(RequestError) as caught:
            client.change_items(many[:3])
        assert caught.value.status == 404


def test_it_holds_after_a_restart_and_for_the_next_version(model: Path, log: SQLiteEventStore) -> None:
    with run_server(create_app(Pipeline.load(model), log)) as client:
        gone, decided = list_ids(client)[:2]
        change(client, {"id": gone, "in_stock": False}, {"id": decided, "hidden": True, "in_stock": False})
    with run_server(create_app(Pipeline.fit(get_model("popularity")(), make_dataset()), log)) as client:
        assert not {gone, decided} & set(list_ids(client, n=40))
        change(client, {"id": gone, "in_stock": True}, {"id": decided, "in_stock": True})
        assert gone in list_ids(client, n=40)
        assert decided not in list_ids(client, n=40)


@pytest.mark.system
def test_all_workers_obey_and_a_kill_loses_nothing(model: Path, tmp_path: Path) -> None:
    path = shutil.copytree(model, tmp_path / "model")  # the log is beside it
    with start_workers(path) as server:
        first, second = (each["id"] for each in server.get("/recommend?user=user-0&n=2")["items"])
        change(server.client, {"id": first, "in_stock": False}, {"id": second, "hidden": True})
        change(server.client, {"id": second, "in_stock": False})

        def find_lists() -> list[set[Any]] | None:
            lists = [{each["id"] for each in made["items"]} for made in server.ask_each("/recommend?user=user-0&n=30")]
            return None if any({first, second} & each for each in lists) else lists

        assert len(wait_for(find_lists)) == 2
        change(server.client, {"id": second, "in_stock": True})
        assert len(wait_for(find_lists)) == 2
        for child in psutil.Process(server.process.pid).children(recursive=True):
            child.kill()
        server.process.kill()
        server.process.wait()
    with start_workers(path) as server:
        assert not {first, second} & {each["id"] for each in server.get("/recommend?user=user-0&n=30")["items"]}
        change(server.client, {"id": first, "in_stock": True}, {"id": second, "hidden": False})
        wait_for(lambda: all(made["items"][0]["id"] == first for made in server.ask_each("/recommend?user=user-0&n=2")))
