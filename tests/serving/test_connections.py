"""Limits of connections: half-sent requests, too many connections, clients that do not read, and a lack of descriptors."""

import asyncio
import contextlib
import errno
import re
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from conftest import make_dataset
from contracts.certificates import make_certificate
from contracts.server import run_server
from leanrec.errors import SettingError
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.models.baselines.popularity import Popularity
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving.app import create_app
from leanrec.serving.connections import check_certificate, make_server_config, quiet_accept_errors
from leanrec.serving.prometheus import ServingMetrics
from leanrec.serving.serving_settings import ServingSettings

HALF = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Part: "
TIMEOUT = 0.4


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with SQLiteEventStore(tmp_path_factory.mktemp("log") / "events.db") as log:
        app = create_app(Pipeline.fit(Popularity(), make_dataset()), log)
        with run_server(app, make_server_config(app, 150, TIMEOUT)) as client:
            yield client


def connect(client: httpx.Client, text: bytes = b"") -> socket.socket:
    connection = socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)
    if text:
        connection.sendall(text)
    return connection


def read_all(connection: socket.socket) -> bytes:
    """What arrives until the server closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def count(client: httpx.Client, name: str) -> float:
    found = re.search(rf"^leanrec_connections_{name}_total (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])


def test_two_hundred_half_sent_requests_end_and_those_beyond_the_limit_are_refused(client: httpx.Client) -> None:
    assert client.get("/livez").status_code == 200
    refused, ended = count(client, "refused"), count(client, "timed_out")
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(client, HALF)) for _ in range(200)]
        assert client.get("/livez").status_code == 200  # a connection that was there
        answers = [read_all(each) for each in connections]
    statuses = [answer.split()[1] if answer else b"" for answer in answers]
    assert statuses.count(b"408") >= 140
    assert set(statuses[:140]) == {b"408"}
    assert set(statuses) <= {b"408", b"503", b""}  # the last: closed before it was read
    assert count(client, "refused") - refused == 200 - statuses.count(b"408")
    assert count(client, "timed_out") - ended == statuses.count(b"408")
    with httpx.Client(base_url=client.base_url) as other:
        assert other.get("/livez").status_code == 200


@pytest.mark.parametrize(
    "text",
    [b"", b"\r\n", b"GET", b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{"],
    ids=["nothing", "blank", "method", "body"],
)
def test_a_request_must_arrive_in_time(client: httpx.Client, text: bytes) -> None:
    with connect(client, text) as connection:
        answer = read_all(connection)
    assert answer[:12] in ({b"HTTP/1.1 408"} if text.strip() else {b""})
    if answer:
        assert b'"location":"request"' in answer


def test_a_request_byte_by_byte_ends_too_also_after_another_one(client: httpx.Client) -> None:
    with connect(client, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        start = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < start + 20:
                connection.sendall(b"\r\n" if time.monotonic() < start + TIMEOUT / 2 else HALF[:1])
                time.sleep(TIMEOUT / 20)
        assert time.monotonic() < start + 20


def test_a_slow_request_within_the_time_is_answered(client: httpx.Client) -> None:
    with connect(client) as connection:
        for part in (HALF, b"value\r\n", b"\r\n"):
            time.sleep(TIMEOUT / 10)
            connection.sendall(part)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_an_answer_that_is_not_taken_ends(client: httpx.Client) -> None:
    ended = count(client, "timed_out")
    request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((client.base_url.host, client.base_url.port))
        connection.settimeout(0.2)
        with contextlib.suppress(OSError):
            for _ in range(2_000):
                connection.sendall(request)
        start = time.monotonic()
        while count(client, "timed_out") == ended and time.monotonic() < start + 20:
            time.sleep(0.05)
    assert count(client, "timed_out") == ended + 1


@pytest.mark.parametrize("setting", [{"max_connections": 0}, {"request_timeout": 0.0}])
def test_limits_are_checked(setting: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(setting))} must be"):
        ServingSettings(**setting)  # type: ignore[arg-type]


def test_connections_without_a_descriptor_are_counted_and_other_errors_reported() -> None:
    metrics = ServingMetrics()
    reported: list[object] = []
    loop = asyncio.new_event_loop()
    loop.default_exception_handler = reported.append  # type: ignore[method-assign,assignment]
    quiet_accept_errors(loop, metrics)
    contexts = [
        {"message": "accept", "exception": OSError(errno.EMFILE, "")},
        {"message": "a defect", "exception": KeyError()},
    ]
    for context in contexts:
        loop.call_exception_handler(context)
    loop.close()
    assert reported == contexts[1:]
    assert b"leanrec_connections_refused_total 1.0" in metrics.render()


def test_answers_come_by_https(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    check_certificate(cert, key)
    with pytest.raises(SettingError, match="tls_cert must be a file with a certificate"):
        check_certificate(cert, None)
    with pytest.raises(SettingError, match="Got only the key"):
        ServingSettings(tls_key=key)
    with SQLiteEventStore(tmp_path / "events.db") as log:
        app = create_app(Pipeline.fit(Popularity(), make_dataset()), log)
        with run_server(app, make_server_config(app, 10, 5.0, (cert, key))) as plain:
            url = str(plain.base_url).replace("http:", "https:")
            with httpx.Client(base_url=url, verify=ssl.create_default_context(cafile=str(cert))) as client:
                assert client.get("/recommend?user=user-1").status_code == 200


@pytest.mark.system
def test_a_lack_of_descriptors_gives_no_traceback(tmp_path: Path) -> None:
    model = Pipeline.fit(Popularity(), make_dataset()).save(tmp_path / "model")
    command = "import sys; from leanrec.serving import serve; serve(sys.argv[1], port=0)"
    process = subprocess.Popen(
        [sys.executable, "-c", command, str(model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)),  # noqa: PLW1509 - one thread
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().split(" at ")[1].split()[0]
        with httpx.Client(base_url=url, timeout=30) as client, contextlib.ExitStack() as stack:
            assert client.get("/livez").status_code == 200
            connections = [stack.enter_context(connect(client, HALF)) for _ in range(200)]
            assert client.get("/recommend?user=user-1").status_code == 200
            assert count(client, "refused") >= 72
            for each in connections:
                each.close()
            with httpx.Client(base_url=url, timeout=30) as other:
                assert other.get("/recommend?user=user-1").status_code == 200
    finally:
        process.terminate()
        _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (0, "")
