"""What one answer costs on the bundled sample: in the process, and over HTTP on a loopback connection.

    python benchmarks/serving.py [MODEL …] [--requests 500]

Prints p50 and p99 of each kind of request and the requests per second of four clients at once. Reasons are measured
on and off, since they are the larger part for models with long histories.
"""

import argparse
import concurrent.futures
import itertools
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np

from leanrec.data.samples import load_sample
from leanrec.feedback.reactions import Reaction, to_events
from leanrec.models import find
from leanrec.run import format_seconds
from leanrec.serving.pipeline import Pipeline

_SERVE = "import sys; from leanrec.serving.app import serve; serve(sys.argv[1], port=0)"
_CLIENTS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["ease"])
    parser.add_argument("--requests", type=int, default=500)
    asked = parser.parse_args()
    data = load_sample("ml-latest-small")
    for name in asked.models:
        pipeline = Pipeline.fit(find(name)(), data)
        users = list(itertools.islice(itertools.cycle(data.users.ids.tolist()), asked.requests))
        print(f"{name}, {len(data.users)} users, {len(data.items)} items, {asked.requests} requests")
        in_process(pipeline, users)
        with tempfile.TemporaryDirectory() as folder:
            over_http(pipeline.save(Path(folder, "model")), users)


def in_process(pipeline: Pipeline, users: list[int]) -> None:
    pipeline.warm()
    numbers = itertools.count()

    def record(user: int) -> None:
        at = next(numbers)
        pipeline.record(to_events([Reaction(str(at), user, 260, "click", 1_900_000_000 + at, 1.0)]))

    report("process, reasons", users, pipeline.recommend)
    report("process, no reasons", users, lambda user: pipeline.recommend(user, reasons=False))
    report("process, filtered", users, lambda user: pipeline.recommend(user, where={"genres": "Comedy"}, reasons=False))
    report("process, record", users, record)


def over_http(model: Path, users: list[int]) -> None:
    command = [sys.executable, "-c", _SERVE, str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            found = re.search(r"http://\S+:\d+", server.stdout.readline())
            assert found, "the server did not start"
            ask_over_http(found[0], users)
        finally:
            server.terminate()


def ask_over_http(url: str, users: list[int]) -> None:
    with httpx.Client(base_url=url, timeout=60) as client:

        def ask(user: int, reasons: str = "true") -> None:
            client.get("/recommend", params={"user": user, "reasons": reasons}).raise_for_status()

        def send(user: int) -> None:
            client.post("/events", json={"events": [{"user": user, "item": 260}]}).raise_for_status()

        report("HTTP, reasons", users, ask)
        report("HTTP, no reasons", users, lambda user: ask(user, "false"))
        report("HTTP, event on disk", users, send)
    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(_CLIENTS) as pool:
        list(pool.map(lambda part: crowd(url, part), np.array_split(users, _CLIENTS)))
    print(f"  {'HTTP, 4 clients':22}{len(users) / (time.perf_counter() - start):.0f} requests a second")


def crowd(url: str, users: np.ndarray) -> None:
    with httpx.Client(base_url=url, timeout=60) as client:
        for user in users.tolist():
            client.get("/recommend", params={"user": user, "reasons": "false"}).raise_for_status()


def report(label: str, users: list[int], work: Callable[[int], object]) -> None:
    work(users[0])
    took = []
    for user in users:
        start = time.perf_counter()
        work(user)
        took.append(time.perf_counter() - start)
    p50, p99 = np.quantile(took, [0.5, 0.99])
    print(f"  {label:22}p50 {format_seconds(p50)}, p99 {format_seconds(p99)}")


if __name__ == "__main__":
    main()
