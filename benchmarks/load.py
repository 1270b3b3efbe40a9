"""Load on a server over loopback: a closed loop with wrk, and an open loop whose latency counts from the intended send time.

A closed loop waits for each answer, so a slow server is asked less often and its slow answers weigh too little. The open
loop sends at fixed times whatever the answers do, and measures from the time at which a request should have been sent.
"""

import asyncio
import collections
import contextlib
import dataclasses
import http.client
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil

__all__ = ["Latencies", "measure_closed_loop", "measure_open_loop", "measure_posts", "start_server"]

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_HEADER_END = b"\r\n\r\n"


@dataclasses.dataclass(frozen=True)
class Latencies:
    """Latencies of one load, in seconds.

    Attributes:
        rate: answers per second.
        p50, p99, p999: quantiles; NaN where they are not measured.
        failed: answers with a status other than 200, and requests without an answer.
        seconds: how long it lasted; NaN where it was given.
        late: share of requests that the generator itself sent more than a millisecond after their time.
        posts_p99: of the requests that write; NaN if there are none.
        others_p99: of the other requests; NaN if there are none.
    """

    rate: float
    p50: float
    p99: float
    p999: float = float("nan")
    failed: int = 0
    late: float = 0.0
    seconds: float = float("nan")
    posts_p99: float = float("nan")
    others_p99: float = float("nan")


@contextlib.contextmanager
def start_server(command: Sequence[str], cores: Sequence[int] = (0,)) -> Iterator[tuple[str, psutil.Process]]:
    """Start a server process pinned to cores; yields its URL, read from its first line, and the process."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: _pin(cores))  # noqa: PLW1509
    with process:
        assert process.stdout is not None
        try:
            found = re.search(r"http://\S+:\d+", process.stdout.readline())
            assert found, "the server did not start"
            yield found[0], psutil.Process(process.pid)
        finally:
            process.terminate()


def measure_closed_loop(
    url: str, paths: Sequence[str], *, connections: int = 16, seconds: float = 5, core: int = 1
) -> Latencies:
    """Ask with so many connections of wrk, each waiting for its answer; the paths are asked in turn."""
    with tempfile.TemporaryDirectory() as folder:
        listed, script = Path(folder, "paths.txt"), Path(folder, "paths.lua")
        listed.write_text("\n".join(paths))
        script.write_text(_make_lua(listed))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", str(script), url]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=lambda: _pin([core]),
        )
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert rate, done.stdout
    return Latencies(
        float(rate[1]),
        _read_quantile(done.stdout, 50),
        _read_quantile(done.stdout, 99),
        failed=int(failed[1] if failed else 0),
    )


def measure_posts(
    url: str, path: str, bodies: Sequence[bytes], *, connections: int = 4, seconds: float = 5
) -> Latencies:
    """Post the bodies in turn over so many connections, each waiting for its answer, until they or the seconds end."""
    host, took, failed = url.partition("//")[2], [], []
    waiting, end = iter(bodies), time.perf_counter() + seconds
    taking = threading.Lock()

    def post_in_turn() -> None:
        connection = http.client.HTTPConnection(host)
        while (start := time.perf_counter()) < end:
            with taking:
                body = next(waiting, None)
            if body is None:
                break
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            took.append(time.perf_counter() - start)
            if answer.status != 200:
                failed.append(answer.status)
        connection.close()

    threads = [threading.Thread(target=post_in_turn) for _ in range(connections)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lasted = time.perf_counter() - start
    p50, p99, p999 = np.quantile(took, [0.5, 0.99, 0.999]).tolist()
    return Latencies(len(took) / lasted, p50, p99, p999, len(failed), seconds=lasted)


def measure_open_loop(
    url: str, requests: Sequence[bytes], *, rate: float, seconds: float, connections: int = 64
) -> Latencies:
    """Send ``rate`` requests a second, given as whole HTTP requests, in turn, at fixed times.

    A request waits for a free connection; that wait counts, because the latency runs from the intended time.
    """
    return asyncio.run(_send_at_rate(url, requests, rate, seconds, connections))


def make_request(method: str, url: str, path: str, body: bytes = b"") -> bytes:
    """An HTTP request as bytes."""
    host = url.partition("//")[2]
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + _HEADER_END + body


class _Connections:
    """Connections to a server, and the latency of what was asked over them.

    Attributes:
        took: seconds of each answer, from the time at which its request should have been sent.
        posted: whether each of them is the answer of a POST.
        n_failed: number of answers with a status other than 200.
        answered: set once there are as many answers as requests.
    """

    def __init__(self, url: str, n_requests: int) -> None:
        self._host, _, self._port = url.partition("//")[2].partition(":")
        self._free: collections.deque[_Connection] = collections.deque()  # in turn, since a server closes what is idle
        self._waiting: collections.deque[tuple[float, bytes]] = collections.deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.took: list[float] = []
        self.posted: list[bool] = []
        self.n_failed = 0
        self._n_requests, self.answered = n_requests, asyncio.Event()

    async def open(self) -> None:
        """Open one more connection."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(self), self._host, int(self._port))
        self._give_back(connection)

    def send(self, intended: float, request: bytes) -> None:
        """Send a request over a free connection, or as soon as there is one."""
        if self._free:
            self._free.popleft().send(intended, request)
        else:
            self._waiting.append((intended, request))

    def close(self) -> None:
        """Open no more connections."""
        self._is_closed = True

    def take_answer(self, connection: "_Connection", status: int) -> None:
        """Note an answer, and use its connection again."""
        self.took.append(time.perf_counter() - connection.intended)
        self.posted.append(connection.is_post)
        self.n_failed += status != 200
        if len(self.took) == self._n_requests:
            self.answered.set()
        self._give_back(connection)

    def replace(self, connection: "_Connection") -> None:
        """Open another connection for one that the server has closed. A request that was under way on it gets no answer."""
        if connection in self._free:
            self._free.remove(connection)
        if not self._is_closed:
            task = asyncio.get_running_loop().create_task(self.open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _give_back(self, connection: "_Connection") -> None:
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._free.append(connection)


class _Connection(asyncio.Protocol):
    """One request at a time over one connection."""

    def __init__(self, connections: _Connections) -> None:
        self._connections, self._received, self._expected = connections, bytearray(), -1
        self._transport: asyncio.Transport | None = None
        self.intended, self.is_post = 0.0, False

    def send(self, intended: float, request: bytes) -> None:
        """Send a request that should have been sent at some time."""
        self.intended, self.is_post = intended, request.startswith(b"POST")
        assert self._transport is not None
        self._transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if self._expected < 0 and (end := received.find(_HEADER_END)) >= 0:
            length = re.search(rb"content-length: (\d+)", bytes(received[:end]), re.IGNORECASE)
            self._expected = end + len(_HEADER_END) + int(length[1] if length else 0)
        if 0 <= self._expected <= len(received):
            status = int(received[9:12])
            received.clear()
            self._expected = -1
            self._connections.take_answer(self, status)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._connections.replace(self)


async def _send_at_rate(
    url: str, requests: Sequence[bytes], rate: float, seconds: float, n_connections: int
) -> Latencies:
    total = int(rate * seconds)
    connections = _Connections(url, total)
    await asyncio.gather(*(connections.open() for _ in range(n_connections)))
    late = sent = 0
    start = time.perf_counter() + 0.05
    while sent < total:
        now = time.perf_counter()
        while sent < total and (intended := start + sent / rate) <= now:
            late += now - intended > 1e-3
            connections.send(intended, requests[sent % len(requests)])
            sent += 1
        await asyncio.sleep(0 if start + sent / rate - now < 2e-3 else 1e-3)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(connections.answered.wait(), timeout=10)
    connections.close()
    took, posted = np.array(connections.took), np.array(connections.posted, np.bool_)
    p50, p99, p999 = np.quantile(took, [0.5, 0.99, 0.999]).tolist()
    n_failed = connections.n_failed + total - len(took)
    posts, others = (float(np.quantile(part, 0.99)) if len(part) else np.nan for part in (took[posted], took[~posted]))
    return Latencies(len(took) / seconds, p50, p99, p999, n_failed, late / total, posts_p99=posts, others_p99=others)


def _make_lua(listed: Path) -> str:
    return f"""
local paths, position = {{}}, 0
for line in io.lines({str(listed)!r}) do paths[#paths + 1] = line end
request = function()
  position = position % #paths + 1
  return wrk.format("GET", paths[position])
end
"""


def _read_quantile(text: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
    return float(found[1]) * _UNITS[found[2]] if found else float("nan")


def _pin(cores: Sequence[int]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
