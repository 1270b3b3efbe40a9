"""Data-parallel training: seconds of an epoch, and memory of each worker with a sharded item embedding.

    python benchmarks/distributed.py [--items 1000000] [--workers 2] [--quick]

SASRec on simulated histories. One process with all threads beside --workers processes that share the threads; then
sampled softmax over a large catalog with the whole embedding in one process, and sharded over the workers. Memory
is what a worker adds during the fit; "estimated" is what leanrec estimates before it starts.
"""

import argparse
import dataclasses
import functools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Claim, Comparison, Contestant, Probe

from leanrec.data import Dataset, Vocabulary
from leanrec.run import Distributed, Run, measure
from leanrec.types import Events

LENGTH = 50
TABLE = {"loss": "sampled_softmax", "init": "random", "n_negatives": 512, "batch_size": 2048, "n_layers": 1}


def simulate_histories(users: int, items: int) -> Dataset:
    """Histories that walk round the items from a random start; the catalog also holds items without events."""
    rng = np.random.default_rng(0)
    steps = rng.integers(1, 4, (users, LENGTH)).cumsum(1)
    item = ((rng.integers(0, items, (users, 1)) + steps) % items).astype(np.int32).ravel()
    user, time_ = (
        np.repeat(np.arange(users, dtype=np.int32), LENGTH),
        np.tile(np.arange(LENGTH, dtype=np.int64), users),
    )
    events = Events(
        user=user, item=item, time=time_, event_type=np.zeros(len(user), np.int8), weight=np.ones(len(user), np.float32)
    )
    return Dataset(
        events=events, users=Vocabulary(np.arange(users), "user"), items=Vocabulary(np.arange(items), "item")
    )


def make_estimator(job: dict[str, Any]) -> Any:
    """SASRec with the settings of a job."""
    from leanrec.models import SASRec

    return SASRec(**{"max_length": LENGTH, **job["settings"]})


def fit_and_measure(job: dict[str, Any]) -> dict[str, float]:
    """One fit in this process, as one worker or alone: seconds, memory, and the estimate of the memory."""
    from leanrec.training.sharded_embedding import shape_per_worker

    data = simulate_histories(job["users"], job["items"])
    estimator = make_estimator(job)
    run = Run(threads=job["threads"], distributed=Distributed(shard_items=job["shard"]))
    # The first fit also loads torch and compiles kernels.
    dataclasses.replace(estimator, epochs=1).fit(simulate_histories(20, 50), run)
    start = time.process_time()
    with measure() as meter:
        estimator.fit(data, run)
    estimated = estimator.fit_bytes(shape_per_worker(data.shape, run))
    return {
        "wall": meter.cost.wall,
        "cpu": time.process_time() - start,
        "peak": meter.cost.peak,
        "estimated": estimated,
    }


def launch_workers(probe: Probe, workers: int, job: dict[str, Any]) -> None:
    job = job | {"threads": max(1, probe.threads // workers)}
    with tempfile.TemporaryDirectory() as folder:
        launcher = (
            ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(workers)] if workers > 1 else []
        )
        command = [sys.executable, *launcher, str(Path(__file__).resolve()), "--worker", folder, json.dumps(job)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(Path(folder).glob("*.json"))]
    probe.wall, probe.cpu = [max(each["wall"] for each in found)], [sum(each["cpu"] for each in found)]
    probe.record_quality(worker_bytes=max(each["peak"] for each in found), estimated_bytes=found[0]["estimated"])


def run_worker(folder: str, job: str) -> None:
    from leanrec.training import WorkerGroup

    Path(folder, f"{WorkerGroup.current().rank}.json").write_text(
        json.dumps(fit_and_measure(json.loads(job))), encoding="utf-8"
    )


def make_claim(args: argparse.Namespace) -> Claim:
    quick, n = args.quick, args.workers
    data = {"users": 300 if quick else 4000, "items": 300 if quick else 3000, "shard": False}
    settings = {"epochs": 1, "batch_size": 2048}
    equal = data | {"settings": settings | {"gradient_accumulation": n}}
    large = {"users": 300 if quick else 2000, "items": 20_000 if quick else args.items, "shard": False}
    large |= {"settings": TABLE | {"epochs": 1}}
    many = data | {"settings": settings | {"gradient_accumulation": 1}}
    jobs = {
        "one process": (1, equal),
        "workers": (n, many),
        "whole table": (1, large),
        "sharded table": (n, large | {"shard": True}),
    }
    return Claim(
        name="distributed",
        title=f"One process compared with {n} workers on the same cores.",
        data=f"simulated histories of {LENGTH} items",
        contestants={
            name: Contestant(functools.partial(launch_workers, workers=w, job=job)) for name, (w, job) in jobs.items()
        },
        comparisons=[
            Comparison(what="an epoch of SASRec, the same steps", ours="workers", peer="one process"),
            Comparison(
                what=f"memory of a worker, {large['items']:,} items × 64",
                ours="sharded table",
                peer="whole table",
                measure="worker_bytes",
            ),
            Comparison(what="seconds of the same", ours="sharded table", peer="whole table"),
        ],
    )


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        run_worker(*sys.argv[2:4])
        return
    options = harness.build_parser(__doc__)
    options.add_argument("--items", type=int, default=1_000_000, help="rows of the large table")
    options.add_argument("--workers", type=int, default=2)
    args = options.parse_args()
    harness.run_claim(make_claim(args), args)


if __name__ == "__main__":
    main()
