"""CPU time of a request with and without ids, log and traces, in one process and without a network.

    python benchmarks/tracing.py [--requests 20000]

Lists of iALS with 64 factors and 9,724 items go through the whole app: from the cache, and made anew for histories. Spans are sent to
an address at which nothing listens, by the thread that delivers them; its CPU time counts too. The goal is that traces of
1 % of the requests cost at most 5 %. Needs the extra ``otel``.
"""

import argparse
import asyncio
import itertools
import json
import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message

from leanrec.events import SQLiteEventStore
from leanrec.models import IALS
from leanrec.pipeline import Pipeline
from leanrec.serving import ServingSettings, create_app
from serving import make_data

_ENDPOINT = "http://127.0.0.1:9/v1/traces"
_ROUNDS = 5
_HEADERS = [(b"host", b"localhost"), (b"accept", b"application/json"), (b"user-agent", b"benchmark")]


async def ask(app: ASGIApp, queries: list[bytes], n_requests: int) -> float:
    """Seconds of CPU of this process for each request."""

    async def send(_: Message) -> None:
        pass

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    start = time.process_time()
    for query in itertools.islice(itertools.cycle(queries), n_requests):
        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/recommend",
            "raw_path": b"/recommend",
            "root_path": "",
            "query_string": query,
            "headers": _HEADERS,
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 1),
        }
        await app(scope, receive, send)
    return (time.process_time() - start) / n_requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    data = make_data(quick=False)
    pipeline = Pipeline.fit(IALS(embedding_dim=64, epochs=2), data)
    pipeline.warm_up()
    users = [f"user={user}&reasons=false".encode() for user in data.users.ids[:200].tolist()]
    variants = {
        "no traces": ServingSettings(),
        "1 % traced": ServingSettings(trace_endpoint=_ENDPOINT, trace_share=0.01),
        "100 % traced": ServingSettings(trace_endpoint=_ENDPOINT, trace_share=1.0),
    }
    with tempfile.TemporaryDirectory() as folder, SQLiteEventStore(Path(folder, "events.db")) as log:
        apps = {name: create_app(pipeline, log, settings) for name, settings in variants.items()}
        seconds: dict[str, list[float]] = {name: [] for name in apps}
        for round_number in range(_ROUNDS + 1):
            for name, app in apps.items():
                took = asyncio.run(ask(app, users, args.requests))
                if round_number:  # the first one fills the cache
                    seconds[name].append(took)
    medians = {name: statistics.median(took) for name, took in seconds.items()}
    plain = medians["no traces"]
    found = {
        name: {"microseconds": round(1e6 * each, 1), "more": f"{100 * (each / plain - 1):.1f} %"}
        for name, each in medians.items()
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
