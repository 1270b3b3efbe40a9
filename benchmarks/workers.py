"""Several workers over one model: memory, cost of lists and events, and how soon one worker shows what another was told.

    python benchmarks/workers.py [--items 1000000] [--users 1000000] [--workers 1 2 8] [--seconds 5] [--events 200]

The data have text as ids of users and items, titles, and three events a user; the model is iALS with 64 factors. Memory is
the proportional set size (PSS) of all processes of a server after the load, Linux only: a page that k processes
share counts 1/k for each. The goal is that 8 workers need at most 1.3 times the memory of one process. The load of wrk
shares the cores with the server. Freshness counts from the answer to an event until a list of another worker reflects it.
"""

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import load
import numpy as np
import psutil

from leanrec.data import Dataset, Table, Vocabulary
from leanrec.models import IALS
from leanrec.pipeline import Pipeline
from leanrec.types import Events

_TEXT = np.dtypes.StringDType()
_SERVE = "import sys; from leanrec.serving import serve; serve(sys.argv[1], port=0, workers=int(sys.argv[2]))"


def make_data(n_users: int, n_items: int, per_user: int = 3) -> Dataset:
    """Random events of users and items with text as ids."""
    rng = np.random.default_rng(1)
    n_events = n_users * per_user
    events = Events(
        user=np.repeat(np.arange(n_users, dtype=np.int32), per_user),
        item=rng.integers(0, n_items, n_events).astype(np.int32),
        time=1_700_000_000 + np.arange(n_events, dtype=np.int64),
        event_type=np.zeros(n_events, np.int8),
        weight=np.ones(n_events, np.float32),
        event_types=("click",),
    )
    titles = np.array([f"The item with the number {number}" for number in range(n_items)], _TEXT)
    return Dataset(
        events=events,
        users=Vocabulary(np.array([f"customer-{number:08d}" for number in range(n_users)], _TEXT), "user"),
        items=Vocabulary(np.array([f"article-{number:08d}" for number in range(n_items)], _TEXT), "item"),
        item_table=Table({"title": titles}),
        source="random",
    ).with_events(events)


def measure_memory(server: psutil.Process) -> int:
    """Bytes of all processes of a server, shared pages counted once."""
    return sum(each.memory_full_info().pss for each in [server, *server.children(recursive=True)])


def measure_cpu(server: psutil.Process) -> float:
    """Seconds of processor of all processes of a server so far."""
    return sum(sum(each.cpu_times()[:2]) for each in [server, *server.children(recursive=True)])


def connect_to_each(server: psutil.Process, url: str) -> Iterator[http.client.HTTPConnection]:
    """A connection to each of two workers."""
    found: dict[int, http.client.HTTPConnection] = {}
    while len(found) < 2:
        connection = http.client.HTTPConnection(url.partition("//")[2], timeout=60)
        connection.request("GET", "/livez")
        connection.getresponse().read()
        port = connection.sock.getsockname()[1]
        for worker in server.children(recursive=True):
            if any(each.raddr and each.raddr.port == port for each in worker.net_connections("tcp")):
                found.setdefault(worker.pid, connection)
    yield from found.values()


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: object = None) -> dict[str, int]:
    content = None if body is None else json.dumps(body)
    connection.request(method, path, content, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found: dict[str, int] = json.loads(answer.read())
    assert answer.status == 200, found
    return found


def measure_freshness(server: psutil.Process, url: str, n_events: int) -> list[float]:
    """Seconds from the answer of one worker until the other shows the event, for each event."""
    one, other = connect_to_each(server, url)
    took = []
    for number in range(n_events):
        event = {"user": f"customer-{number:08d}", "item": f"article-{number:08d}"}
        as_of = ask(one, "POST", "/events", {"events": [event]})["as_of"]
        start = time.perf_counter()
        while ask(other, "GET", "/recommend?user=customer-00000000&n=1&reasons=false")["as_of"] < as_of:
            pass
        took.append(time.perf_counter() - start)
    return took


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--items", type=int, default=1_000_000)
    options.add_argument("--users", type=int, default=1_000_000)
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2, 8])
    options.add_argument("--seconds", type=float, default=5, help="length of a load")
    options.add_argument("--events", type=int, default=200, help="events of the freshness")
    args = options.parse_args()
    cores = range(psutil.cpu_count() or 1)
    rng = np.random.default_rng(2)
    paths = [
        f"/recommend?user=customer-{user:08d}&n=10&reasons=false"
        for user in rng.integers(0, args.users, 20_000).tolist()
    ]
    bodies = [
        json.dumps({"events": [{"user": f"customer-{user:08d}", "item": f"article-{item:08d}"}]}).encode()
        for user, item in zip(*(rng.integers(0, n, 20_000).tolist() for n in (args.users, args.items)), strict=True)
    ]
    memory: dict[int, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        model = Pipeline.fit(IALS(epochs=1), make_data(args.users, args.items)).save(Path(folder, "model"))
        print(f"{args.users:,} users, {args.items:,} items, fitted in {time.perf_counter() - start:.0f} s", flush=True)
        for n_workers in args.workers:
            command = [sys.executable, "-c", _SERVE, str(model), str(n_workers)]
            start = time.perf_counter()
            with load.start_server(command, cores) as (url, server):
                started = time.perf_counter() - start
                before = measure_cpu(server)
                loaded = load.measure_closed_loop(url, paths, connections=16, seconds=args.seconds)
                cpu = measure_cpu(server) - before
                memory[n_workers] = measure_memory(server)
                print(
                    f"{n_workers} workers: start {started:.1f} s, PSS {memory[n_workers] / 2**20:,.0f} MiB, "
                    f"{loaded.rate:,.0f} requests/s, p50 {loaded.p50 * 1e3:.1f} ms, p99 {loaded.p99 * 1e3:.1f} ms, "
                    f"{cpu / (loaded.rate * args.seconds) * 1e6:,.0f} µs of processor a request, {loaded.failed} failed",
                    flush=True,
                )
                before = measure_cpu(server)
                posted = load.measure_posts(url, "/events", bodies, connections=1, seconds=args.seconds)
                cpu = (measure_cpu(server) - before) / (posted.rate * posted.seconds)
                print(
                    f"  single events: p50 {posted.p50 * 1e3:.1f} ms, p99 {posted.p99 * 1e3:.1f} ms, {cpu * 1e6:,.0f} µs of processor "
                    f"an event, {posted.failed} failed",
                    flush=True,
                )
                if n_workers > 1:
                    took = measure_freshness(server, url, args.events)
                    p50, p99 = statistics.median(took), float(np.quantile(took, 0.99))
                    print(f"  freshness across workers: p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms", flush=True)
    if 1 in memory:
        for n_workers in args.workers:
            print(f"memory of {n_workers} workers: {memory[n_workers] / memory[1]:.2f} × that of one")


if __name__ == "__main__":
    main()
