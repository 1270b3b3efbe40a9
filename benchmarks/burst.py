"""A burst of ten times the usual load on a server over HTTP: what is answered in time meanwhile, and when all is usual again.

    python benchmarks/burst.py [--seconds 30] [--usual-seconds 5] [--connections 400]

The peak is what the same requests reach in a closed loop; the usual load is a quarter of it, and the burst ten times that.
Half of the lists are for users, half for histories, which no cache has, all with reasons; one request of ten is a single
event. Requests are sent at fixed times from one core, the server is on another. A request that finds none of the connections
free is not sent, as by a client with a pool. Goodput: lists a second with status 200 within half a second of the time at
which they should have been sent. /livez is asked every 20 ms by a process of its own. Needs two cores.
"""

import argparse
import asyncio
import collections
import dataclasses
import functools
import itertools
import json
import multiprocessing
import re
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import harness
import load
import numpy as np
from harness import Claim, Comparison, Contestant, Probe

from leanrec.data import Dataset
from leanrec.models import IALS
from leanrec.pipeline import Pipeline
from serving import make_data, start_leanrec

_TARGET = 0.25  # seconds: the default of a server
_IN_TIME = 2 * _TARGET
_HEADER_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_RUNG = re.compile(rb'"rung":"(\w+)"')


@dataclasses.dataclass(frozen=True)
class Answer:
    """What became of a request.

    Attributes:
        intended: when it should have been sent, in seconds from the start.
        seconds: from then to the answer.
        status: of the answer; 0 if it was not sent, for want of a connection.
        rung: of a list.
        kind: "list", "event" or "probe".
    """

    intended: float
    seconds: float
    status: int
    rung: str
    kind: str


class _Connection(asyncio.Protocol):
    """One request at a time over one connection."""

    def __init__(self, pool: "_Pool") -> None:
        self._pool, self._received, self._expected = pool, bytearray(), -1
        self._asked: tuple[float, str] = (0.0, "")
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pool.free.append(self)

    def ask(self, intended: float, request: bytes, kind: str) -> None:
        assert self._transport is not None
        self._asked = intended, kind
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if self._expected < 0 and (end := received.find(_HEADER_END)) >= 0:
            length = _LENGTH.search(received, 0, end)
            self._expected = end + len(_HEADER_END) + int(length[1] if length else 0)
        if 0 <= self._expected <= len(received):
            intended, kind = self._asked
            rung = _RUNG.search(received)
            self._pool.take(intended, int(received[9:12]), "" if rung is None else rung[1].decode(), kind)
            received.clear()
            self._expected = -1
            self._pool.free.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        if self in self._pool.free:
            self._pool.free.remove(self)


class _Pool:
    """Connections to a server, and the answers of all."""

    def __init__(self) -> None:
        self.free: collections.deque[_Connection] = collections.deque()
        self.answers: list[Answer] = []
        self.start = time.perf_counter()

    def take(self, intended: float, status: int, rung: str, kind: str) -> None:
        now = time.perf_counter() - self.start
        self.answers.append(Answer(intended, now - intended, status, rung, kind))

    async def open(self, url: str, connections: int) -> None:
        host, _, port = url.partition("//")[2].partition(":")
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: _Connection(self), host, int(port))

    async def send(self, requests: Sequence[tuple[bytes, str]], rate: float, seconds: float) -> None:
        """Send at fixed times."""
        start, total, sent = time.perf_counter(), int(rate * seconds), 0
        while sent < total:
            now = time.perf_counter()
            while sent < total and (due := start + sent / rate) <= now:
                request, kind = requests[sent % len(requests)]
                if self.free:
                    self.free.popleft().ask(due - self.start, request, kind)
                else:
                    self.answers.append(Answer(due - self.start, 0.0, 0, "", kind))
                sent += 1
            await asyncio.sleep(0 if start + sent / rate - now < 2e-3 else 1e-3)


async def send_burst(
    url: str,
    requests: Sequence[tuple[bytes, str]],
    rates: tuple[float, float],
    lengths: tuple[float, float],
    connections: int,
) -> tuple[list[Answer], float]:
    """The answers to usual load, burst and usual load, and the time at which the burst began."""
    pool, (usual, burst) = _Pool(), lengths
    await pool.open(url, connections)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(process, time.perf_counter)  # the process is there
        pool.start = time.perf_counter()
        probing = loop.run_in_executor(process, probe_liveness, url, pool.start, 2 * usual + burst + 5)
        await pool.send(requests, rates[0], usual)
        await pool.send(requests, rates[1], burst)
        await pool.send(requests, rates[0], usual + 5)
        probes = await probing
    await asyncio.sleep(1)
    return pool.answers + probes, usual


def probe_liveness(url: str, start: float, seconds: float) -> list[Answer]:
    """Ask for /livez every 20 ms, in a process of its own, so that what else is sent does not delay it."""

    async def probe() -> list[Answer]:
        pool = _Pool()
        await pool.open(url, 1)
        pool.start = start
        await pool.send([(load.make_request("GET", url, "/livez"), "probe")], 50, seconds)
        await asyncio.sleep(1)
        return pool.answers

    return asyncio.run(probe())


async def find_peak(url: str, requests: Sequence[tuple[bytes, str]], seconds: float, connections: int = 64) -> float:
    """Answers a second of a closed loop."""
    pool, waiting = _Pool(), itertools.cycle(requests)
    await pool.open(url, connections)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        while pool.free:
            request, kind = next(waiting)
            pool.free.popleft().ask(0.0, request, kind)
        await asyncio.sleep(0)
    return sum(each.status == 200 for each in pool.answers) / seconds


def make_requests(url: str, data: Dataset, count: int) -> list[tuple[bytes, str]]:
    """Lists and single events of random users and items."""
    rng = np.random.default_rng(1)
    users, items = data.users.ids.tolist(), data.items.ids.tolist()

    def make_request(position: int) -> tuple[bytes, str]:
        user = users[rng.integers(len(users))]
        some = [items[row] for row in rng.integers(len(items), size=10)]
        if position % 10 == 0:
            body = {"events": [{"user": user, "item": some[0]}]}
            return load.make_request("POST", url, "/events", json.dumps(body).encode()), "event"
        if position % 2:
            return load.make_request("GET", url, f"/recommend?user={user}"), "list"
        return load.make_request("POST", url, "/recommend", json.dumps({"history": some}).encode()), "list"

    return [make_request(position) for position in range(count)]


def find_recovery(answers: Sequence[Answer], end: float) -> float:
    """Seconds after the end of the burst from which on every list is full and in time, and every event stored.

    Events may wait for a disk; that is not counted.
    """
    unusual = [
        each.intended + each.seconds
        for each in answers
        if each.kind != "probe"
        and each.intended + each.seconds >= end
        and (each.status != 200 or (each.kind == "list" and (each.rung != "full" or each.seconds > _TARGET)))
    ]
    return max(unusual, default=end) - end


def measure_burst(probe: Probe, usual_seconds: float, seconds: float, connections: int) -> None:
    data = make_data(quick=probe.quick)
    pipeline = Pipeline.fit(IALS(embedding_dim=64, epochs=2), data, probe.run)
    with start_leanrec(pipeline) as (url, _):
        requests = make_requests(url, data, 20_000)
        asyncio.run(find_peak(url, requests, 1))
        peak = asyncio.run(find_peak(url, requests, min(5.0, seconds)))
        rates, lengths = (peak / 4, 2.5 * peak), (usual_seconds, seconds)
        answers, start = asyncio.run(send_burst(url, requests, rates, lengths, connections))
    during = [each for each in answers if start + min(1.0, seconds / 3) <= each.intended < start + seconds]
    lists, events = ([each for each in during if each.kind == kind] for kind in ("list", "event"))
    good = [each for each in lists if each.status == 200 and each.seconds <= _IN_TIME]
    lasted = seconds - min(1.0, seconds / 3)
    probes = [each.seconds for each in answers if each.kind == "probe" and start <= each.intended < start + seconds]
    probe.times = {
        "p50": float(np.median([each.seconds for each in good])),
        "p99": float(np.quantile([each.seconds for each in lists if each.status == 200], 0.99)),
        "calls": float(len(during)),
    }
    rungs = collections.Counter(each.rung for each in good)
    probe.record_quality(
        peak=peak,
        goodput_share=len(good) / lasted / (0.9 * peak),  # nine of ten requests are lists
        not_sent_share=sum(each.status == 0 for each in during) / len(during),
        refused_lists=sum(each.status == 503 for each in lists) / len(lists),
        refused_events=sum(each.status in {429, 503} for each in events) / len(events),
        liveness_p99=float(np.quantile(probes, 0.99)),
        recovery_seconds=find_recovery(answers, start + seconds),
        full_share=rungs["full"] / max(1, len(good)),
        popular_share=rungs["popular"] / max(1, len(good)),
    )


def main() -> None:
    options = harness.build_parser(__doc__)
    options.add_argument("--seconds", type=float, default=30, help="length of the burst")
    options.add_argument("--usual-seconds", type=float, default=5, help="of usual load before the burst")
    options.add_argument("--connections", type=int, default=400)
    args = options.parse_args()
    harness.run_claim(make_claim(args), args)


def make_claim(args: argparse.Namespace) -> Claim:
    seconds, usual = (3.0, 2.0) if args.quick else (args.seconds, args.usual_seconds)
    work = functools.partial(measure_burst, usual_seconds=usual, seconds=seconds, connections=args.connections)
    name = f"burst of {seconds:g} s"
    goals = {"goodput_share": 0.85}
    limits = {"liveness_p99": 50e-3, "recovery_seconds": 5.0, "refused_events": 0.0}
    rows = [Comparison(what=name, ours=name, measure=it, at_least=goal) for it, goal in goals.items()]
    rows += [Comparison(what=name, ours=name, measure=it, at_most=goal) for it, goal in limits.items()]
    others = ("p99", "peak", "refused_lists", "not_sent_share", "full_share", "popular_share")
    rows += [Comparison(what=name, ours=name, measure=it) for it in others]
    return Claim(
        name="burst",
        title="A burst of ten times the usual load.",
        data="simulated log of 6,040 users and 9,724 items; iALS with 64 factors, lists with reasons, one event of ten requests",
        contestants={name: Contestant(work, threads=2)},
        comparisons=rows,
    )


if __name__ == "__main__":
    main()
