"""A server of several processes for tests, and what a test does to them."""

import contextlib
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

__all__ = ["WorkerServer", "start_workers", "wait_for"]

_SERVE = """
import sys
from leanrec.serving.server import serve
from leanrec.serving.serving_settings import ServingSettings
model, port, log, *tls = sys.argv[1:]
settings = ServingSettings(tls_cert=tls[0], tls_key=tls[1]) if tls else ServingSettings()
serve(model, port=int(port), log_path=log or None, workers=2, settings=settings)
"""
_NO_KEEPALIVE = httpx.Limits(max_keepalive_connections=0)


class WorkerServer:
    """A running server of two workers."""

    def __init__(
        self, process: "subprocess.Popen[str]", url: str, log: Path | str, context: ssl.SSLContext | None = None
    ) -> None:
        self.process, self.url, self.log, self.context = process, url, log, context or True
        self.client = httpx.Client(base_url=url, timeout=60, verify=self.context, limits=_NO_KEEPALIVE)

    def get(self, path: str) -> Any:
        """The answer to a request on a connection of its own."""
        return self.client.get(path).raise_for_status().json()

    def post(self, path: str, body: object) -> Any:
        return self.client.post(path, json=body).raise_for_status().json()

    def click(self, user: str, item: object, **more: object) -> Any:
        return self.post("/events", {"events": [{"user": user, "item": item} | more]})

    def find_owner(self) -> int:
        """The process that has the lock of the log, or is connected to its database."""
        if isinstance(self.log, Path):
            found = wait_for(lambda: re.match(r"process (\d+)", Path(f"{self.log}.lock").read_text()))
            return int(found[1])
        port = urlsplit(self.log).port
        return int(wait_for(lambda: next(iter(self._find_connected(port)), 0)))

    def _find_connected(self, port: int | None) -> Iterator[int]:
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if sum(bool(each.raddr) and each.raddr.port == port for each in child.net_connections()) > 1:
                    yield child.pid

    def find_generations(self) -> list[int]:
        """The processes that load versions and start workers."""
        children = [child.pid for child in psutil.Process(self.process.pid).children()]
        return [pid for pid in children if pid != self.find_owner()]

    def find_workers(self) -> list[int]:
        (generation,) = self.find_generations()
        return [child.pid for child in psutil.Process(generation).children()]

    @contextlib.contextmanager
    def only(self, worker: int) -> Iterator[None]:
        """Let only one worker answer new connections."""
        others = [pid for pid in self.find_workers() if pid != worker]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)

    def ask_each(self, path: str) -> list[Any]:
        """The answers of all workers."""
        answers = []
        for worker in self.find_workers():
            with self.only(worker):
                answers.append(self.get(path))
        return answers


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until a condition holds, and return its value."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def start_workers(
    model: Path, tls: tuple[Path, Path] | None = None, port: int = 0, log: str = ""
) -> Iterator[WorkerServer]:
    """Serve a model, or the versions of a store, with two workers, by HTTPS if there is a certificate and its key."""
    command = [sys.executable, "-c", _SERVE, str(model), str(port), log, *map(str, tls or ())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        url = re.search(r"https?://127\.0\.0\.1:\d+", process.stdout.readline())
        assert url, process.stderr.read()
        context = None if tls is None else ssl.create_default_context(cafile=str(tls[0]))
        yield WorkerServer(process, url[0], log or Path(f"{model}.events.db"), context)
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
            child.kill()
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
