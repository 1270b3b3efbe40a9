"""TLS handshakes: limited in time and number, and no byte after them is lost."""

import contextlib
import gc
import re
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from conftest import make_dataset
from contracts.certificates import make_certificate
from contracts.server import run_server
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.models.baselines.popularity import Popularity
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving import connections
from leanrec.serving.app import create_app
from leanrec.serving.connections import make_server_config

LOOPS = ["asyncio", "uvloop"]


@contextlib.contextmanager
def start(folder: Path, loop: str, seconds: float = 20.0) -> Iterator[httpx.Client]:
    """A client of a server with a certificate, 2 connections, and room for 3 more to be told so."""
    cert, key = make_certificate(folder)
    with SQLiteEventStore(folder / "events.db") as log, pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "_EXTRA_HANDSHAKES", 3)
        app = create_app(Pipeline.fit(Popularity(), make_dataset()), log)
        config = make_server_config(app, 2, seconds, (cert, key))
        config.loop = loop
        with run_server(app, config) as plain:
            url = str(plain.base_url).replace("http:", "https:")
            with httpx.Client(base_url=url, verify=ssl.create_default_context(cafile=str(cert))) as made:
                yield made


@pytest.fixture(params=LOOPS)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a server that takes its time."""
    with start(tmp_path, request.param) as made:
        yield made


@pytest.fixture(params=LOOPS)
def hasty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a server that ends handshakes after a second."""
    with start(tmp_path, request.param, 1.0) as made:
        yield made


def connect(client: httpx.Client, data: bytes = b"") -> socket.socket:
    connection = socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)
    if data:
        connection.sendall(data)
    return connection


def is_ended(connection: socket.socket) -> bool:
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(4096):
            pass
    return True


def count(client: httpx.Client, name: str) -> float:
    found = re.search(rf"^leanrec_connections_{name}_total (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])


def test_handshakes_that_do_not_end_are_cut_and_counted(hasty: httpx.Client) -> None:
    assert hasty.get("/livez").status_code == 200
    with connect(hasty) as first, connect(hasty, b"\x16\x03\x01\x02") as second:
        assert hasty.get("/livez").status_code == 200
        assert is_ended(first)
        assert is_ended(second)
    assert count(hasty, "timed_out") == 2


def test_what_is_no_handshake_ends_at_once(client: httpx.Client) -> None:
    with connect(client, b"GET / HTTP/1.1\r\n\r\n") as connection:
        assert is_ended(connection)
    assert (count(client, "timed_out"), count(client, "refused")) == (0, 0)


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01\x02", b"GET / HTTP/1.1\r\n\r\n"])
@pytest.mark.parametrize("is_reset", [False, True])
def test_clients_that_leave_at_once_leave_nothing_behind(
    client: httpx.Client, caplog: pytest.LogCaptureFixture, data: bytes, is_reset: bool
) -> None:
    assert client.get("/livez").status_code == 200
    for _ in range(8):  # more than there is room for
        with connect(client, data) as connection:
            if is_reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert client.get("/livez").status_code == 200
    assert (count(client, "timed_out"), count(client, "refused")) == (0, 0)
    gc.collect()  # a task whose error was not seen is reported at its end
    assert not caplog.records


def test_handshakes_count_among_the_connections(hasty: httpx.Client) -> None:
    assert hasty.get("/livez").status_code == 200  # stays open
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(connect(hasty)) for _ in range(7)]
        assert [is_ended(each) for each in waiting[4:]] == [True] * 3  # 1 + 4 connections are open
        assert count(hasty, "refused") == 3
        assert all(is_ended(each) for each in waiting)
    assert count(hasty, "timed_out") == 4


def test_connections_beyond_the_limit_are_told(client: httpx.Client) -> None:
    options = {"base_url": client.base_url, "verify": client._transport._pool._ssl_context}  # type: ignore[attr-defined]
    with httpx.Client(**options) as second, httpx.Client(**options) as third:
        assert [each.get("/livez").status_code for each in (client, second, third)] == [200, 200, 503]


def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(client: httpx.Client) -> None:
    context = client._transport._pool._ssl_context  # type: ignore[attr-defined]
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with connect(client) as connection:
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(65_536))
        session.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.sendall(outgoing.read())  # the last message of the handshake and the request at once
        answer, end = b"", time.monotonic() + 10
        while b"200 OK" not in answer:
            assert time.monotonic() < end
            incoming.write(connection.recv(65_536))
            with contextlib.suppress(ssl.SSLWantReadError):
                answer += session.read(65_536)


def test_a_plain_server_has_no_handshakes(tmp_path: Path) -> None:
    with SQLiteEventStore(tmp_path / "events.db") as log:
        app = create_app(Pipeline.fit(Popularity(), make_dataset()), log)
        config = make_server_config(app, 2, 1.0)
        config.load()
        assert isinstance(config, uvicorn.Config)
        assert issubclass(config.http_protocol_class, connections._LimitedProtocol)
