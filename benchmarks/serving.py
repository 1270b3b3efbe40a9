"""Serving over HTTP beside a plain FastAPI and implicit server, and the latency of single requests.

    python benchmarks/serving.py [--model MODEL] [--requests 500] [--seconds 5] [--open-loop-seconds 10]
    python benchmarks/serving.py --events [--seconds 5]

Closed loop: 16 connections of wrk on one core and the server on another; 6,040 users, 9,724 items and 64 factors for
both servers. leanrec also logs each list durably, counts, and leaves out what the user has seen. Open loop: 2,000
requests a second at fixed times while 200 events a second are written; latency counts from the time at which a request
should have been sent. Single requests on the bundled sample, in the process and over HTTP, with and without reasons.
With --events, only events: batches of 500 and single ones over four connections, each on disk before it is answered.
Needs wrk (Debian: wrk) and two cores.
"""

import argparse
import contextlib
import functools
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import harness
import httpx
import load
import numpy as np
import psutil
from harness import Claim, Comparison, Contestant, Probe
from scipy import sparse

from leanrec import ingest
from leanrec.data import Dataset, load_sample
from leanrec.events import UserEvent, to_events
from leanrec.models import IALS, get_model
from leanrec.pipeline import Pipeline

_SERVE = "import sys; from leanrec.serving import serve; serve(sys.argv[1], port=0)"
# The cost of a list that is made, which the cache hides from a load that asks for the same users again and again.
_SERVE_WITHOUT_CACHE = f"from leanrec.pipeline import pipeline; pipeline._MAX_CACHED_LISTS = 0; {_SERVE}"
_RATE, _EVENT_RATE = 2_000, 200
SendRequest = Callable[[int], object]


def fit_pipeline(model: str, requests: int) -> tuple[Pipeline, list[int]]:
    """A pipeline on the sample, and the users of the requests, in a cycle."""
    data = load_sample("ml-latest-small")
    pipeline = Pipeline.fit(get_model(model)(), data)
    return pipeline, list(itertools.islice(itertools.cycle(data.users.ids.tolist()), requests))


def recommend_with_reasons(pipeline: Pipeline) -> SendRequest:
    return pipeline.recommend


def recommend_plain(pipeline: Pipeline) -> SendRequest:
    return lambda user: pipeline.recommend(user, reasons=False)


def recommend_filtered(pipeline: Pipeline) -> SendRequest:
    return lambda user: pipeline.recommend(user, where={"genres": "Comedy"}, reasons=False)


def record_click(pipeline: Pipeline) -> SendRequest:
    counter = itertools.count()

    def work(user: int) -> None:
        number = next(counter)
        pipeline.record_events(to_events([UserEvent(str(number), user, 260, "click", 1_900_000_000 + number, 1.0)]))

    return work


def measure_in_process(
    probe: Probe, model: str, requests: int, make_request: Callable[[Pipeline], SendRequest]
) -> None:
    pipeline, users = fit_pipeline(model, requests)
    pipeline.warm_up()
    probe.measure_latency(make_request(pipeline), users, n_warmup=1)


def http_with_reasons(client: httpx.Client) -> SendRequest:
    return lambda user: client.get("/recommend", params={"user": user}).raise_for_status()


def http_plain(client: httpx.Client) -> SendRequest:
    return lambda user: client.get("/recommend", params={"user": user, "reasons": "false"}).raise_for_status()


def http_click(client: httpx.Client) -> SendRequest:
    def send(user: int) -> None:
        client.post("/events", json={"events": [{"user": user, "item": 260}]}).raise_for_status()

    return send


def measure_over_http(
    probe: Probe, model: str, requests: int, make_request: Callable[[httpx.Client], SendRequest]
) -> None:
    pipeline, users = fit_pipeline(model, requests)
    with start_leanrec(pipeline) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        probe.measure_latency(make_request(client), users, n_warmup=1)


@contextlib.contextmanager
def start_leanrec(pipeline: Pipeline, code: str = _SERVE) -> Iterator[tuple[str, psutil.Process]]:
    """Start a server process of leanrec with the pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", code, str(pipeline.save(Path(folder, "model")))]
        with load.start_server(command) as started:
            yield started


@contextlib.contextmanager
def start_peer(interactions: sparse.csr_array, python: str) -> Iterator[tuple[str, psutil.Process]]:
    """Start the plain server on the same interactions."""
    with tempfile.TemporaryDirectory() as folder:
        sparse.save_npz(Path(folder, "log.npz"), sparse.csr_matrix(interactions))
        command = [python, str(Path(__file__).with_name("serving_peer.py")), "--interactions", f"{folder}/log.npz"]
        with load.start_server(command) as started:
            yield started


def make_data(*, quick: bool) -> Dataset:
    """A simulated log of the size of MovieLens-1M with a long tail of items: 6,040 users, 9,724 items, a million rows."""
    users, items, rows = (100, 500, 5_000) if quick else (6_040, 9_724, 1_000_000)
    rng = np.random.default_rng(0)
    item = rng.permutation(items)[(rng.random(rows) ** 2.5 * items).astype(int)]
    log = np.column_stack([rng.integers(0, users, rows), item, 1_600_000_000 + np.arange(rows)])
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "log.csv"), Path(folder, "items.csv")
        np.savetxt(paths[0], log, "%d", ",", header="user_id,item_id,timestamp", comments="")
        titles = "".join(f"{number},Title of item {number}\n" for number in range(items))
        paths[1].write_text(f"item_id,title\n{titles}")
        return ingest(paths[0], items=paths[1]).data


def measure_closed_loop(probe: Probe, server: str, seconds: float, python: str) -> None:
    data = make_data(quick=probe.quick)
    users = np.random.default_rng(1).choice(np.arange(len(data.users)), 5_000)
    if server == "peer":
        started, paths = start_peer(data.interactions, python), [f"/recommend?user={row}" for row in users]
    else:
        model = IALS(embedding_dim=64, epochs=5)
        code = _SERVE_WITHOUT_CACHE if server == "no cache" else _SERVE
        started = start_leanrec(Pipeline.fit(model, data, probe.run), code)
        paths = [f"/recommend?user={data.users.ids[row]}&reasons={str(server == 'reasons').lower()}" for row in users]
    with started as (url, process):
        load.measure_closed_loop(url, paths, seconds=1)
        before = sum(process.cpu_times()[:2])
        found = load.measure_closed_loop(url, paths, seconds=seconds)
        cpu = (sum(process.cpu_times()[:2]) - before) / (found.rate * seconds)
    if found.failed:
        raise RuntimeError(f"{found.failed} requests failed")
    probe.record_quality(requests_per_second=found.rate, cpu_per_request=cpu)
    probe.times = {"p50": found.p50, "p99": found.p99, "calls": found.rate * seconds}


def measure_open_loop(probe: Probe, seconds: float) -> None:
    data = make_data(quick=probe.quick)
    rng = np.random.default_rng(1)
    pipeline = Pipeline.fit(IALS(embedding_dim=64, epochs=5), data, probe.run)
    with start_leanrec(pipeline) as (url, _):

        def make_request(position: int) -> bytes:
            user = int(data.users.ids[rng.integers(len(data.users))])
            if position % (_RATE // _EVENT_RATE):
                return load.make_request("GET", url, f"/recommend?user={user}&reasons=false")
            event = {"user": user, "item": int(data.items.ids[rng.integers(len(data.items))]), "event_type": "click"}
            return load.make_request("POST", url, "/events", json.dumps({"events": [event]}).encode())

        requests = [make_request(position) for position in range(20_000)]
        load.measure_open_loop(url, requests, rate=200, seconds=2)
        found = load.measure_open_loop(url, requests, rate=_RATE, seconds=seconds)
    probe.times = {"p50": found.p50, "p99": found.p99, "calls": found.rate * seconds}
    probe.record_quality(p999=found.p999, failures=found.failed, late_share=found.late)
    probe.add_note(
        f"of the open loop, p99 of lists {1e3 * found.others_p99:.1f} ms and of events {1e3 * found.posts_p99:.1f} ms: an event "
        f"waits for one or two writes to the disk, which take {1e3 * measure_disk():.1f} ms each (median)"
    )


def measure_disk(n_writes: int = 50) -> float:
    """Median seconds until a page is safe on the disk of temporary files."""
    took = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(n_writes):
            file.write(bytes(4096))
            start = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - start)
    return float(np.median(took))


def measure_events(probe: Probe, batch: int, seconds: float) -> None:
    """Send batches over four connections, each of which waits for its answer."""
    data = make_data(quick=probe.quick)
    rng = np.random.default_rng(1)
    users, items = data.users.ids.tolist(), data.items.ids.tolist()

    def make_body(number: int) -> bytes:
        pairs = zip(rng.choice(len(users), batch).tolist(), rng.choice(len(items), batch).tolist(), strict=True)
        events = [{"id": f"c-{number}-{at}", "user": users[u], "item": items[i]} for at, (u, i) in enumerate(pairs)]
        return json.dumps({"events": events}).encode()

    bodies = list(map(make_body, range(200_000 // batch)))
    pipeline = Pipeline.fit(IALS(embedding_dim=64, epochs=2), data, probe.run)
    with start_leanrec(pipeline) as (url, process):
        load.measure_posts(url, "/events", bodies[:8], seconds=1)
        before = sum(process.cpu_times()[:2])
        found = load.measure_posts(url, "/events", bodies[8:], seconds=seconds)
        cpu = sum(process.cpu_times()[:2]) - before
    if found.failed:
        raise RuntimeError(f"{found.failed} requests failed")
    n_events = found.rate * found.seconds * batch
    probe.times = {"p50": found.p50, "p99": found.p99, "calls": found.rate * found.seconds}
    probe.record_quality(events_per_second=found.rate * batch, cpu_per_thousand=cpu / n_events * 1000)


PROCESS = {
    "reasons": recommend_with_reasons,
    "no reasons": recommend_plain,
    "filtered": recommend_filtered,
    "record": record_click,
}
HTTP = {"reasons": http_with_reasons, "no reasons": http_plain, "event on disk": http_click}


def make_events_claim(args: argparse.Namespace) -> Claim:
    seconds = 1.0 if args.quick else args.seconds
    works = {size: functools.partial(measure_events, batch=size, seconds=seconds) for size in (500, 1)}
    many, single = (f"events, {size} a request" for size in works)
    return Claim(
        name="events",
        title="Events over HTTP, on disk before they are answered.",
        data="simulated log of 6,040 users and 9,724 items; four connections, random users and items, ids of the client",
        contestants={f"events, {size} a request": Contestant(work, threads=2) for size, work in works.items()},
        comparisons=[
            Comparison(what=many, ours=many, measure="events_per_second", at_least=15_000),
            Comparison(what=many, ours=many, measure="cpu_per_thousand"),
            Comparison(what=many, ours=many, measure="p99"),
            Comparison(what=single, ours=single, measure="events_per_second", at_least=1_500),
            Comparison(what=single, ours=single, measure="cpu_per_thousand"),
            Comparison(what=single, ours=single, measure="p99", at_most=15e-3),
        ],
    )


def make_claim(args: argparse.Namespace) -> Claim:
    requests, seconds = (30, 1.0) if args.quick else (args.requests, args.seconds)
    works: dict[str, Callable[[Probe], None]] = {}
    for model in args.model or ["ease"]:
        same = {"model": model, "requests": requests}
        works |= {
            f"{model}, process, {n}": functools.partial(measure_in_process, make_request=it, **same)
            for n, it in PROCESS.items()
        }
        works |= {
            f"{model}, HTTP, {n}": functools.partial(measure_over_http, make_request=it, **same)
            for n, it in HTTP.items()
        }
    rows = [Comparison(what=name, ours=name, measure=it) for name in works for it in ("p50", "p99")]
    loops = {
        f"closed loop, {server}": functools.partial(
            measure_closed_loop, server=server, seconds=seconds, python=args.peer_python
        )
        for server in ("plain", "no cache", "reasons", "peer")
    }
    works |= loops
    ours, peer = "closed loop, plain", "closed loop, peer"
    rows += [
        Comparison(what="16 connections", ours=ours, peer=peer, measure="requests_per_second", at_least=2),
        Comparison(what="16 connections", ours=ours, peer=peer, measure="p99", at_most=0.5),
        Comparison(what="16 connections", ours=ours, peer=peer, measure="cpu_per_request"),
        Comparison(what="without the cache", ours="closed loop, no cache", peer=peer, measure="requests_per_second"),
        Comparison(what="without the cache", ours="closed loop, no cache", peer=peer, measure="p99"),
        Comparison(what="with reasons", ours="closed loop, reasons", peer=peer, measure="requests_per_second"),
    ]
    if not args.quick:
        name = f"open loop, {_RATE:,} a second"
        works[name] = functools.partial(measure_open_loop, seconds=args.open_loop_seconds)
        goals = {"p50": 1.5e-3, "p99": 5e-3, "p999": 15e-3}
        rows += [Comparison(what=name, ours=name, measure=it, at_most=goal) for it, goal in goals.items()]
    return Claim(
        name="serving",
        title="Recommendations over HTTP, and the latency of single requests.",
        data=f"ml-latest-small, {requests} requests of each kind; simulated log of 6,040 users and 9,724 items for the loops",
        contestants={name: Contestant(work, threads=2 if "loop" in name else 0) for name, work in works.items()},
        comparisons=rows,
    )


def main() -> None:
    options = harness.build_parser(__doc__)
    options.add_argument("--model", action="append", help="a model for single requests; repeatable (default ease)")
    options.add_argument("--requests", type=int, default=500)
    options.add_argument("--seconds", type=float, default=5, help="length of a closed loop")
    options.add_argument("--open-loop-seconds", type=float, default=10, help="length of the open loop")
    options.add_argument("--peer-python", default=sys.executable, help="a Python that has implicit and fastapi")
    options.add_argument("--events", action="store_true", help="measure only events")
    args = options.parse_args()
    harness.run_claim(make_events_claim(args) if args.events else make_claim(args), args)


if __name__ == "__main__":
    main()
