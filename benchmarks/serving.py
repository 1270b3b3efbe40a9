"""Latency of recommendations on the bundled sample: in the process, and over HTTP on a loopback connection.

    python benchmarks/serving.py [--model MODEL] [--requests 500]

p50 and p99 of each kind of request, and requests per second of four concurrent clients. Measured with and without
reasons, which take most of the time for models with long histories.
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

from leanrec.data import load_sample
from leanrec.events import UserEvent, to_events
from leanrec.models import get_model
from leanrec.pipeline import Pipeline

_SERVE = "import sys; from leanrec.serving.app import serve; serve(sys.argv[1], port=0)"
_CLIENTS = 4
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
    with start_server(pipeline) as url, httpx.Client(base_url=url, timeout=60) as client:
        probe.measure_latency(make_request(client), users, n_warmup=1)


def measure_many_clients(probe: Probe, model: str, requests: int) -> None:
    pipeline, users = fit_pipeline(model, requests)

    def send_all(url: str, chosen: np.ndarray) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            for user in chosen.tolist():
                http_plain(client)(user)

    with start_server(pipeline) as url:
        send_all(url, np.array(users[:1]))
        start = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(_CLIENTS) as pool:
            list(pool.map(functools.partial(send_all, url), np.array_split(users, _CLIENTS)))
        probe.record_quality(requests_per_second=len(users) / (time.perf_counter() - start))


@contextlib.contextmanager
def start_server(pipeline: Pipeline) -> Iterator[str]:
    """Start a server process with the pipeline; yields its URL."""
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


PROCESS = {
    "reasons": recommend_with_reasons,
    "no reasons": recommend_plain,
    "filtered": recommend_filtered,
    "record": record_click,
}
HTTP = {"reasons": http_with_reasons, "no reasons": http_plain, "event on disk": http_click}


def make_claim(args: argparse.Namespace) -> Claim:
    requests = 30 if args.quick else args.requests
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
        works[f"{model}, HTTP, {_CLIENTS} clients"] = functools.partial(measure_many_clients, **same)
    rows = [Comparison(what=name, ours=name, measure=it) for name in works for it in measures_of(name)]
    return Claim(
        name="serving",
        title="Latency of recommendations.",
        data=f"ml-latest-small, 610 users and 9,742 items; {requests} requests of each kind",
        contestants={name: Contestant(work) for name, work in works.items()},
        comparisons=rows,
    )


def measures_of(name: str) -> tuple[str, ...]:
    return ("requests_per_second",) if name.endswith("clients") else ("p50", "p99")


def main() -> None:
    options = harness.build_parser(__doc__)
    options.add_argument("--model", action="append", help="a model; repeatable (default ease)")
    options.add_argument("--requests", type=int, default=500)
    args = options.parse_args()
    harness.run_claim(make_claim(args), args)


if __name__ == "__main__":
    main()
