"""What one answer costs on the bundled sample: in the process, and over HTTP on a loopback connection.

    python benchmarks/serving.py [--model MODEL] [--requests 500]

p50 and p99 of each kind of request, and the requests per second of four clients at once. Reasons are measured on and
off, since they are the larger part for models with long histories.
"""

import argparse
import concurrent.futures
import contextlib
import functools
import itertools
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import harness
import httpx
import numpy as np
from harness import Claim, Comparison, Contestant, Probe

from leanrec.data.datasets.bundled import load_sample
from leanrec.events.user_events import Reaction, to_events
from leanrec.models import get_model
from leanrec.pipeline.pipeline import Pipeline

_SERVE = "import sys; from leanrec.serving.app import serve; serve(sys.argv[1], port=0)"
_CLIENTS = 4
Ask = Callable[[int], object]


def fitted(model: str, requests: int) -> tuple[Pipeline, list[int]]:
    """A pipeline on the sample, and the users who ask, round and round."""
    data = load_sample("ml-latest-small")
    pipeline = Pipeline.fit(get_model(model)(), data)
    return pipeline, list(itertools.islice(itertools.cycle(data.users.ids.tolist()), requests))


def reasons(pipeline: Pipeline) -> Ask:
    return pipeline.recommend


def no_reasons(pipeline: Pipeline) -> Ask:
    return lambda user: pipeline.recommend(user, reasons=False)


def filtered(pipeline: Pipeline) -> Ask:
    return lambda user: pipeline.recommend(user, where={"genres": "Comedy"}, reasons=False)


def record(pipeline: Pipeline) -> Ask:
    numbers = itertools.count()

    def work(user: int) -> None:
        at = next(numbers)
        pipeline.record(to_events([Reaction(str(at), user, 260, "click", 1_900_000_000 + at, 1.0)]))

    return work


def in_process(probe: Probe, model: str, requests: int, kind: Callable[[Pipeline], Ask]) -> None:
    pipeline, users = fitted(model, requests)
    pipeline.warm()
    probe.latency(kind(pipeline), users, warm=1)


def http_reasons(client: httpx.Client) -> Ask:
    return lambda user: client.get("/recommend", params={"user": user}).raise_for_status()


def http_no_reasons(client: httpx.Client) -> Ask:
    return lambda user: client.get("/recommend", params={"user": user, "reasons": "false"}).raise_for_status()


def http_event(client: httpx.Client) -> Ask:
    def send(user: int) -> None:
        client.post("/events", json={"events": [{"user": user, "item": 260}]}).raise_for_status()

    return send


def over_http(probe: Probe, model: str, requests: int, kind: Callable[[httpx.Client], Ask]) -> None:
    pipeline, users = fitted(model, requests)
    with server(pipeline) as url, httpx.Client(base_url=url, timeout=60) as client:
        probe.latency(kind(client), users, warm=1)


def many_clients(probe: Probe, model: str, requests: int) -> None:
    pipeline, users = fitted(model, requests)

    def part(url: str, some: np.ndarray) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            for user in some.tolist():
                http_no_reasons(client)(user)

    with server(pipeline) as url:
        part(url, np.array(users[:1]))
        start = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(_CLIENTS) as pool:
            list(pool.map(functools.partial(part, url), np.array_split(users, _CLIENTS)))
        probe.reached(requests_a_second=len(users) / (time.perf_counter() - start))


@contextlib.contextmanager
def server(pipeline: Pipeline) -> Iterator[str]:
    """Address of a server process that answers with the pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _SERVE, str(pipeline.save(Path(folder, "model")))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                found = re.search(r"http://\S+:\d+", process.stdout.readline())
                assert found, "the server did not start"
                yield found[0]
            finally:
                process.terminate()


PROCESS = {"reasons": reasons, "no reasons": no_reasons, "filtered": filtered, "record": record}
HTTP = {"reasons": http_reasons, "no reasons": http_no_reasons, "event on disk": http_event}


def make_claim(asked: argparse.Namespace) -> Claim:
    requests = 30 if asked.quick else asked.requests
    works: dict[str, Callable[[Probe], None]] = {}
    for model in asked.model or ["ease"]:
        same = {"model": model, "requests": requests}
        works |= {f"{model}, process, {n}": functools.partial(in_process, kind=it, **same) for n, it in PROCESS.items()}
        works |= {f"{model}, HTTP, {n}": functools.partial(over_http, kind=it, **same) for n, it in HTTP.items()}
        works[f"{model}, HTTP, {_CLIENTS} clients"] = functools.partial(many_clients, **same)
    rows = [Comparison(what=name, ours=name, measure=it) for name in works for it in measures(name)]
    return Claim(
        name="serving",
        title="What one answer costs.",
        data=f"ml-latest-small, 610 users and 9,742 items; {requests} requests of each kind",
        contestants={name: Contestant(work) for name, work in works.items()},
        comparisons=rows,
    )


def measures(name: str) -> tuple[str, ...]:
    return ("requests_a_second",) if name.endswith("clients") else ("p50", "p99")


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--model", action="append", help="a model; repeatable (default ease)")
    options.add_argument("--requests", type=int, default=500)
    asked = options.parse_args()
    harness.run(make_claim(asked), asked)


if __name__ == "__main__":
    main()
