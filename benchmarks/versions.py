"""Changing the version of a served model under load: failed requests, latency, and memory.

    python benchmarks/versions.py [--seconds 60] [--rate 500]

The server of a version store on one core; lists are asked for at fixed times (open loop: latency counts from the time at
which a request should have been sent), first without a change and then while two versions are promoted in turn as fast as
the server takes them. iALS with 64 factors over 6,040 users and 9,724 items.
"""

import argparse
import functools
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness
import httpx
import load
import numpy as np
from harness import Claim, Comparison, Contestant, Probe

from leanrec.models import IALS
from leanrec.online import VersionStore
from leanrec.pipeline import Pipeline
from serving import make_data

_SERVE = "import sys; from leanrec.serving.app import serve; serve(sys.argv[1], port=0)"
_N_WARMUP = 10  # changes before the memory is looked at


def measure_changes(probe: Probe, rate: float, seconds: float, *, with_changes: bool) -> None:
    data = make_data(quick=probe.quick)
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        store = VersionStore.create(Path(folder, "models"))
        versions = [
            store.add(
                Pipeline.fit(IALS(embedding_dim=64, epochs=2, l2=l2), data, probe.run).save(Path(folder, "model"))
            )
            for l2 in (0.1, 0.2)
        ]
        store.promote(versions[0].id)
        with (
            load.start_server([sys.executable, "-c", _SERVE, str(store.path)]) as (url, process),
            httpx.Client(base_url=url, timeout=60) as client,
            ThreadPoolExecutor(1) as thread,
        ):
            users = data.users.ids[rng.integers(len(data.users), size=5_000)].tolist()
            requests = [load.make_request("GET", url, f"/recommend?user={user}&reasons=false") for user in users]
            load.measure_open_loop(url, requests, rate=200, seconds=2)
            loading = thread.submit(load.measure_open_loop, url, requests, rate=rate, seconds=seconds)
            n_changes, memory = 0, []
            while not loading.done():
                if with_changes:
                    wanted = versions[(n_changes + 1) % 2].id
                    store.promote(wanted)
                    while client.get("/health").json()["model_version"] != wanted:
                        time.sleep(0.02)
                    n_changes += 1
                    memory.append(process.memory_info().rss)
                time.sleep(0.05)
            found = loading.result()
    probe.times = {"p50": found.p50, "p99": found.p99, "calls": found.rate * seconds}
    late = np.array(memory[_N_WARMUP:], float)
    slope = np.polyfit(np.arange(len(late)), late, 1)[0] if len(late) > 2 else 0.0
    probe.record_quality(failures=found.failed, changes=n_changes, bytes_per_change=float(slope))


def make_claim(args: argparse.Namespace) -> Claim:
    seconds = 5.0 if args.quick else args.seconds
    works = {
        name: functools.partial(measure_changes, rate=args.rate, seconds=seconds, with_changes=with_changes)
        for name, with_changes in (("no change", False), ("changes", True))
    }
    what = f"{args.rate:g} lists a second"
    return Claim(
        name="versions",
        title="Versions of a model that take over under load.",
        data="simulated log of 6,040 users and 9,724 items",
        contestants={name: Contestant(work, threads=2) for name, work in works.items()},
        comparisons=[
            Comparison(what=what, ours="changes", measure="failures", at_most=0, lower_is_better=True),
            Comparison(what=what, ours="changes", measure="changes"),
            Comparison(what=what, ours="changes", peer="no change", measure="p99", at_most=2),
            Comparison(what=what, ours="changes", peer="no change", measure="p50"),
            Comparison(what=what, ours="changes", measure="bytes_per_change"),
        ],
    )


def main() -> None:
    options = harness.build_parser(__doc__)
    options.add_argument("--seconds", type=float, default=60, help="length of each load")
    options.add_argument("--rate", type=float, default=500, help="lists a second")
    args = options.parse_args()
    harness.run_claim(make_claim(args), args)


if __name__ == "__main__":
    main()
