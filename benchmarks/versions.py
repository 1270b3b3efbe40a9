"""Changing the version of a served model under load: failed requests, latency, and memory.

    python benchmarks/versions.py [--workers 1] [--seconds 60] [--rate 500]
    python benchmarks/versions.py --swaps 1000 [--workers 2]

The server of a version store on as many cores as workers; lists are asked for at fixed times (open loop: latency counts from the time at
which a request should have been sent), first without a change and then while two versions are promoted in turn as fast as
the server takes them. iALS with 64 factors over 6,040 users and 9,724 items. With --swaps only changes: of versions over
100 users and 500 items, while two clients compare every list with that of the version that it names. Memory is the
proportional set size (PSS) of all processes, Linux only.
"""

import argparse
import collections
import contextlib
import functools
import http.client
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness
import httpx
import load
import numpy as np
import psutil
from harness import Claim, Comparison, Contestant, Probe
from soak import find_slope

from leanrec.data import Dataset
from leanrec.models import IALS
from leanrec.online import VersionStore
from leanrec.pipeline import Pipeline
from leanrec.run import Run
from serving import make_data

_SERVE = "import sys; from leanrec.serving import serve; serve(sys.argv[1], port=0, workers=int(sys.argv[2]))"
_N_WARMUP = 10  # changes before the memory is looked at


class ListChecker(threading.Thread):
    """Asks for the lists of one user, each on a connection of its own, and compares each with that of its version.

    Attributes:
        counts: lists by version.
        n_failed: requests without an answer of status 200.
        n_mixed: answers whose items are not those of the version that they name.
    """

    def __init__(self, url: str, user: object, expected: Mapping[str, Sequence[object]]) -> None:
        super().__init__()
        self._host, self._user, self._expected = url.partition("//")[2], user, expected
        self._stopping = threading.Event()
        self.counts: collections.Counter[str] = collections.Counter()
        self.n_failed = self.n_mixed = 0

    def run(self) -> None:
        while not self._stopping.wait(0.002):
            connection = http.client.HTTPConnection(self._host, timeout=60)
            try:
                connection.request("GET", f"/recommend?user={self._user}&n=10&reasons=false")
                answer = connection.getresponse()
                found = json.loads(answer.read())
                self.n_failed += answer.status != 200
                self.counts[found["version"]] += 1
                self.n_mixed += [each["id"] for each in found["items"]] != self._expected[found["version"]]
            except (OSError, ValueError, KeyError, http.client.HTTPException):
                self.n_failed += 1
            finally:
                connection.close()

    def stop(self) -> None:
        self._stopping.set()
        self.join()


@contextlib.contextmanager
def serve_versions(data: Dataset, workers: int, run: Run) -> Iterator[tuple[VersionStore, str, psutil.Process]]:
    """A server of a store with two versions, and its URL and process."""
    with tempfile.TemporaryDirectory() as folder:
        store = VersionStore.create(Path(folder, "models"))
        for l2 in (0.1, 0.2):
            model = IALS(embedding_dim=64, epochs=2, l2=l2)
            store.add(Pipeline.fit(model, data, run).save(Path(folder, "model")))
        store.promote(store.versions()[0].id)
        command = [sys.executable, "-c", _SERVE, str(store.path), str(workers)]
        with load.start_server(command, range(workers)) as (url, process):
            yield store, url, process


def change_version(store: VersionStore, url: str, wanted: str) -> None:
    """Promote a version, and wait until it answers new connections."""
    store.promote(wanted)
    while httpx.get(f"{url}/health", timeout=60).json()["model_version"] != wanted:
        time.sleep(0.02)


def measure_memory(server: psutil.Process) -> int:
    """Bytes of all processes of a server, shared pages counted once; of one that ends meanwhile, none."""
    n_bytes = 0
    for each in [server, *server.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            n_bytes += each.memory_full_info().pss
    return n_bytes


def find_growth(memory: list[int]) -> tuple[float, float, float]:
    """Bytes that each change adds, after the first ones, and their interval of 95 %."""
    late = memory[_N_WARMUP:]
    return find_slope(late, block=20) if len(late) > 2 else (0.0, 0.0, 0.0)


def measure_changes(probe: Probe, workers: int, rate: float, seconds: float, *, with_changes: bool) -> None:
    data = make_data(quick=probe.quick)
    rng = np.random.default_rng(1)
    with serve_versions(data, workers, probe.run) as (store, url, process), ThreadPoolExecutor(1) as thread:
        versions = [each.id for each in store.versions()]
        users = data.users.ids[rng.integers(len(data.users), size=5_000)].tolist()
        requests = [load.make_request("GET", url, f"/recommend?user={user}&reasons=false") for user in users]
        load.measure_open_loop(url, requests, rate=200, seconds=2)
        loading = thread.submit(load.measure_open_loop, url, requests, rate=rate, seconds=seconds)
        n_changes, memory = 0, []
        while not loading.done():
            if with_changes:
                change_version(store, url, versions[(n_changes + 1) % 2])
                n_changes += 1
                memory.append(measure_memory(process))
            time.sleep(0.05)
        found = loading.result()
    probe.times = {"p50": found.p50, "p99": found.p99, "calls": found.rate * seconds}
    probe.record_quality(failures=found.failed, changes=n_changes, bytes_per_change=find_growth(memory)[0])


def run_many_changes(workers: int, n_changes: int) -> None:
    """Change small versions so many times, and print what failed, what was mixed, and what the memory did."""
    data = make_data(quick=True)
    with serve_versions(data, workers, Run()) as (store, url, process):
        user = data.users.ids[0]
        expected = {
            each.id: [item.id for item in Pipeline.load(each.path).recommend(user, n=10, reasons=False).items]
            for each in store.versions()
        }
        checkers = [ListChecker(url, user, expected) for _ in range(2)]
        for each in checkers:
            each.start()
        memory, start = list[int](), time.perf_counter()
        for number in range(n_changes):
            change_version(store, url, list(expected)[(number + 1) % 2])
            memory.append(measure_memory(process))
        took = time.perf_counter() - start
        for each in checkers:
            each.stop()
    counts = sum((each.counts for each in checkers), collections.Counter[str]())
    growth, low, high = find_growth(memory)
    print(
        f"{workers} workers, {n_changes} changes in {took:.0f} s, {counts.total()} lists ({dict(counts)}): "
        f"{sum(each.n_failed for each in checkers)} failed, {sum(each.n_mixed for each in checkers)} mixed, "
        f"memory {memory[0] / 2**20:.0f} MiB at first, {memory[-1] / 2**20:.0f} at the end, {max(memory) / 2**20:.0f} "
        f"at most, {growth / 1024:+.1f} KiB a change ({low / 1024:+.1f} to {high / 1024:+.1f})"
    )


def make_claim(args: argparse.Namespace) -> Claim:
    seconds = 5.0 if args.quick else args.seconds
    works = {
        name: functools.partial(
            measure_changes, workers=args.workers, rate=args.rate, seconds=seconds, with_changes=with_changes
        )
        for name, with_changes in (("no change", False), ("changes", True))
    }
    what = f"{args.rate:g} lists a second, {args.workers} workers"
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
    options.add_argument("--workers", type=int, default=1, help="processes that answer")
    options.add_argument("--swaps", type=int, default=0, help="only change versions, so many times")
    args = options.parse_args()
    if args.swaps:
        run_many_changes(args.workers, args.swaps)
        return
    harness.run_claim(make_claim(args), args)


if __name__ == "__main__":
    main()
