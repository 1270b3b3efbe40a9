"""Messages to systemd, over a socket that stands for it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import make_dataset
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving.monitoring.service_manager import notify_manager, tell_alive


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_a_state_is_sent(manager: socket.socket) -> None:
    assert notify_manager("READY=1\nSTATUS=äh")
    assert manager.recv(100).decode() == "READY=1\nSTATUS=äh"


def test_an_address_may_be_abstract(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0leanrec-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@leanrec-{os.getpid()}")
        assert notify_manager("READY=1")
        assert listening.recv(100) == b"READY=1"


def test_without_a_manager_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify_manager("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not notify_manager("READY=1")


def test_only_the_process_that_is_watched_says_that_it_works(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    tell_alive()
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    tell_alive()
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    tell_alive()
    assert manager.recv(100) == b"WATCHDOG=1"
    manager.settimeout(0)
    with pytest.raises(BlockingIOError):
        manager.recv(100)


@pytest.mark.system
@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_tells_that_it_is_ready_works_and_stops(manager: socket.socket, tmp_path: Path, workers: int) -> None:
    model = Pipeline.fit(EASE(l2=20.0), make_dataset()).save(tmp_path / "model")
    code = f"import sys; from leanrec.serving import serve; serve(sys.argv[1], port=0, workers={workers})"
    environment = {name: value for name, value in os.environ.items() if name != "WATCHDOG_PID"}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(model)],
        stdout=subprocess.DEVNULL,
        env={**environment, "WATCHDOG_USEC": "3000000"},
    ) as process:
        try:
            while not (state := manager.recv(1000)).startswith(b"READY=1"):
                assert state == b"WATCHDOG=1"
            while manager.recv(1000) != b"WATCHDOG=1":
                pass
            os.kill(process.pid, signal.SIGTERM)
            while manager.recv(1000) != b"STOPPING=1":
                pass
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
