"""Routes: their table, the check of parameters, and the threads in which they wait for the disk."""

import threading
from collections.abc import Iterator

import httpx
import pytest

from conftest import make_dataset
from contracts.server import run_server
from leanrec.events import SQLiteEventStore
from leanrec.models.linear.ease import EASE
from leanrec.pipeline import Pipeline
from leanrec.serving.app import create_app


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteEventStore]:
    with SQLiteEventStore(tmp_path_factory.mktemp("log") / "events.db") as log:
        yield log


@pytest.fixture(scope="module")
def client(log: SQLiteEventStore) -> Iterator[httpx.Client]:
    with run_server(create_app(Pipeline.fit(EASE(), make_dataset()), log)) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/items?serch=a", "A parameter must be one of search, limit. Got 'serch'."),
        ("/items?limit=5&limit=6", "limit must be given once. Got it 2 times."),
        ("/similar/100?user=1", "A parameter must be one of n. Got 'user'."),
    ],
)
def test_parameters_that_would_be_ignored_are_refused(client: httpx.Client, path: str, message: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error"]["message"]) == (422, message)


@pytest.mark.parametrize(
    "path", ["/health?now=1", "/livez?now=1&now=2", "/readyz?now=1", "/recommend?history=1&history=2"]
)
def test_probes_take_any_parameter_and_a_history_has_many_items(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_head_answers_as_get_does_without_a_body(client: httpx.Client) -> None:
    for path in ("/items", "/users/user-3", "/metrics"):
        head, get = client.head(path), client.get(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["content-type"] == get.headers["content-type"]


def test_the_list_of_a_head_request_is_not_logged(client: httpx.Client, log: SQLiteEventStore) -> None:
    log.flush()
    before = len(list(log.served_lists()))
    assert client.head("/recommend?history=100").status_code == 200
    assert client.get("/recommend?history=100").status_code == 200
    log.flush()
    assert len(list(log.served_lists())) == before + 1


def test_a_write_waits_in_a_thread_for_writes(
    client: httpx.Client, log: SQLiteEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []

    def set_hidden(*_: object, **__: object) -> list[object]:
        names.append(threading.current_thread().name)
        return []

    monkeypatch.setattr(log, "set_hidden", set_hidden)
    assert client.patch("/items/100", json={"hidden": True}).status_code == 200
    assert client.delete("/items/100").status_code == 200
    assert len(names) == 2
    assert all(name.startswith("leanrec-write") for name in names)
