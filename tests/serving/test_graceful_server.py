"""The end of a server: requests that have been sent, or come late on a connection that was accepted, are answered."""

import asyncio
import contextlib
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from contracts.certificates import make_certificate
from leanrec.serving import connections, graceful_server
from leanrec.serving.connections import make_server_config
from leanrec.serving.graceful_server import GracefulServer
from leanrec.serving.prometheus import ServingMetrics

REQUEST = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"


def make_config(tls: tuple[Path, Path] | None = None) -> uvicorn.Config:
    app = FastAPI()
    app.state.metrics = ServingMetrics()

    @app.get("/fast")
    async def get_fast() -> str:
        return "fast"

    @app.get("/slow")
    async def get_slow() -> str:
        await asyncio.sleep(0.3)
        return "slow"

    return make_server_config(app, 100, 20, tls)


class Running:
    """A server in a thread, which the test ends."""

    def __init__(self, address: tuple[str, int], server: GracefulServer, thread: threading.Thread) -> None:
        self.address, self.server, self.thread = address, server, thread

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=30)


@contextlib.contextmanager
def started(tls: tuple[Path, Path] | None = None) -> Iterator[Running]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = GracefulServer(make_config(tls))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    address = listener.getsockname()
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Running(address, server, thread)
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(GracefulServer, "late_seconds", 8.0)
    with started() as running:
        yield running


def ask(connection: socket.socket, path: bytes = b"fast") -> bytes:
    connection.sendall(REQUEST % path)
    return connection.recv(65_536)


def test_connections_that_were_accepted_are_answered_when_they_write_late(running: Running) -> None:
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(running.connect()) for _ in range(10)]
        running.server.should_exit = True
        with pytest.raises(ConnectionError):  # noqa: PT012 - until nothing is accepted any more
            while True:
                with running.connect() as other:
                    other.sendall(REQUEST % b"fast")
                    assert other.recv(65_536)
        answers = [ask(each) for each in connections]
        assert [answer.split()[1] for answer in answers] == [b"200"] * 10
        assert all(b"connection: close" in answer for answer in answers)
        assert [each.recv(1) for each in connections] == [b""] * 10


def test_requests_in_progress_and_half_sent_ones_are_answered(running: Running) -> None:
    with running.connect() as slow, running.connect() as half, running.connect() as again:
        assert b"200 OK" in ask(again)
        slow.sendall(REQUEST % b"slow")
        half.sendall((REQUEST % b"fast")[:20])
        time.sleep(0.05)
        running.server.should_exit = True
        time.sleep(0.15)
        half.sendall((REQUEST % b"fast")[20:])
        for each in (slow, half):
            answer = each.recv(65_536)
            assert b"200 OK" in answer
            assert b"connection: close" in answer


def test_idle_connections_end_at_once_and_silent_ones_later(running: Running) -> None:
    with running.connect() as idle, running.connect() as silent:
        assert b"connection: close" not in ask(idle)
        running.server.late_seconds = 0.8
        running.server.should_exit = True
        assert idle.recv(1) == b""
        assert running.server.server_state.connections
        assert silent.recv(1) == b""
    running.thread.join(30)
    assert not running.thread.is_alive()


def test_idle_clients_that_do_not_answer_the_end_of_tls_hold_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GracefulServer, "late_seconds", 0.1)
    monkeypatch.setattr(connections, "_FAREWELL_SECONDS", 0.1)
    certificate, key = make_certificate(tmp_path)
    context = ssl.create_default_context(cafile=str(certificate))
    with started((certificate, key)) as running, contextlib.ExitStack() as stack:
        idle, _ = (
            stack.enter_context(context.wrap_socket(running.connect(), server_hostname="127.0.0.1")) for _ in range(2)
        )
        assert b"200 OK" in ask(idle)
        running.server.should_exit = True
        running.thread.join(8)  # the server gives up after ten seconds
        assert not running.thread.is_alive()


def test_a_replaced_server_answers_the_next_request_of_an_idle_connection(running: Running) -> None:
    with running.connect() as idle:
        ask(idle)
        running.server.is_replaced = True
        running.server.should_exit = True
        time.sleep(0.4)
        assert b"connection: close" in ask(idle)
        assert idle.recv(1) == b""


def test_a_hangup_is_survived_unless_the_terminal_was_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    terminals = iter([True, True, True, False])
    monkeypatch.setattr(graceful_server, "has_terminal", lambda: next(terminals))
    before = signal.signal(signal.SIGTERM, lambda *_: told.append("ended"))
    try:
        for _ in range(2):
            with graceful_server.survive_hangup(told.append):
                signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "restart it instead" in told[0]
    assert told[1:] == ["ended"]
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with graceful_server.survive_hangup(told.append):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert len(told) == 2
