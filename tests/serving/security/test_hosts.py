"""The check of the Host header."""

import socket
from collections.abc import Iterator

import httpx
import pytest

from conftest import make_dataset
from contracts.server import run_server
from leanrec.errors import SettingError
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.models.baselines.popularity import Popularity
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving.app import create_app
from leanrec.serving.serving_settings import ServingSettings


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    settings = ServingSettings(allowed_hosts=("Shop.example", "*.lan"))
    with (
        SQLiteEventStore(tmp_path_factory.mktemp("log") / "events.db") as log,
        run_server(create_app(Pipeline.fit(Popularity(), make_dataset()), log, settings)) as client,
    ):
        yield client


def ask(client: httpx.Client, text: bytes) -> bytes:
    """The answer to the bytes of a request."""
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=30) as connection:
        connection.sendall(text)
        parts = [connection.recv(65536)]
        while parts[-1]:
            parts.append(connection.recv(65536))
        return b"".join(parts)


REQUESTS = [
    ("GET", "/recommend?user=user-1", None),  # without the framework
    ("POST", "/recommend", {"user": "user-1"}),
    ("POST", "/events", {"events": [{"user": "user-1", "item": 100}]}),
    ("GET", "/users", None),
    ("GET", "/livez", None),
    ("GET", "/", None),
    ("GET", "/nowhere", None),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
def test_another_name_is_refused_on_every_route(client: httpx.Client, method: str, path: str, body: object) -> None:
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1"):
        answer = client.request(method, path, json=body, headers={"Host": host})
        assert answer.status_code == 421, host
        error = answer.json()["error"]
        assert host in error["message"]
        assert "allowed_hosts" in error["hint"]
    events = client.get("/users/user-1").json()["events"]
    assert len(events) == 12  # nothing was recorded


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:1",
        "localhost.",
        "127.0.0.1:80",
        "[::1]:8000",
        "shop.example",
        "SHOP.example.:443",
        "a.b.lan",
    ],
)
def test_names_of_this_server_are_answered(client: httpx.Client, host: str) -> None:
    for _ in range(2):  # the second time it is known
        assert client.get("/recommend?user=user-1", headers={"Host": host}).status_code == 200
        assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["", "a b", "localhost/x", "user@localhost", "localhost:port", "::1", "[::1", "lan"])
def test_what_is_no_name_of_this_server_is_refused(client: httpx.Client, host: str) -> None:
    answer = client.get("/health", headers={"Host": host})
    assert answer.status_code == (421 if host == "lan" else 400)
    assert set(answer.json()["error"]) == {"message", "location", "hint"}


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\nHost: \xff\r\nConnection: close\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /health HTTP/1.0\r\nHost: evil.example\r\n\r\n", b"421"),
    ],
)
def test_a_request_has_one_host(client: httpx.Client, text: bytes, status: bytes) -> None:
    assert ask(client, text).split()[1] == status


def test_refusals_are_counted(client: httpx.Client) -> None:
    client.get("/health", headers={"Host": "evil.example"})
    assert 'leanrec_requests_total{method="other",route="other",status="421"}' in client.get("/metrics").text


def test_any_name_is_answered_where_the_operator_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    pipeline = Pipeline.fit(Popularity(), make_dataset())
    with (
        SQLiteEventStore(tmp_path_factory.mktemp("log") / "events.db") as log,
        run_server(create_app(pipeline, log, ServingSettings(allowed_hosts=("*",)))) as client,
    ):
        assert client.get("/health", headers={"Host": "any.example"}).status_code == 200
        assert client.get("/health", headers={"Host": "no host"}).status_code == 400


@pytest.mark.parametrize("host", ["", "http://a.example", "a.example:80", "a.*", "a b", "[::1]"])
def test_a_setting_that_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(SettingError, match="allowed_hosts must be names or addresses without a port"):
        ServingSettings(allowed_hosts=(host,))
    assert ServingSettings(allowed_hosts=("fe80::1", "*.example.com")).allowed_hosts
