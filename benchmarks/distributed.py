"""Training by several workers: seconds of an epoch, and the memory that each needs where the item table is dealt over them.

    python benchmarks/distributed.py [--items 1000000] [--workers 2] [--quick]

SASRec on simulated histories. One process with all threads beside as many workers as --workers, which share the threads; then
sampled softmax over a large catalogue with the whole table in one process, and with its rows dealt over the workers. The memory
is what a worker adds to what it held before the fit; "told" is what leanrec says before it starts.
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

from leanrec.data.dataset import Dataset
from leanrec.data.vocabulary import Vocabulary
from leanrec.run import Run, measure
from leanrec.types import Events

LENGTH = 50
TABLE = {"loss": "sampled_softmax", "start": "random", "negatives": 512, "batch": 2048, "layers": 1}


def histories(users: int, items: int) -> Dataset:
    """Everybody walks a few steps from where they started; every item is there, touched or not."""
    rng = np.random.default_rng(0)
    steps = rng.integers(1, 4, (users, LENGTH)).cumsum(1)
    item = ((rng.integers(0, items, (users, 1)) + steps) % items).astype(np.int32).ravel()
    user, time_ = np.repeat(np.arange(users, dtype=np.int32), LENGTH), np.tile(np.arange(LENGTH, dtype=np.int64), users)
    events = Events(
        user=user, item=item, time=time_, kind=np.zeros(len(user), np.int8), weight=np.ones(len(user), np.float32)
    )
    return Dataset(
        events=events, users=Vocabulary(np.arange(users), "user"), items=Vocabulary(np.arange(items), "item")
    )


def fit(job: dict[str, Any]) -> dict[str, float]:
    """One fit in this process, as one worker or alone: seconds, memory, and what was said of it before."""
    from leanrec.models.sequential.sasrec import SASRec
    from leanrec.training.sharded_embedding import part_of

    data = histories(job["users"], job["items"])
    estimator = SASRec(length=LENGTH, **job["settings"])
    run = Run(threads=job["threads"], shard=job["shard"])
    # Whoever comes first pays for what torch and Numba load.
    dataclasses.replace(estimator, epochs=1).fit(histories(20, 50), run)
    start = time.process_time()
    with measure() as meter:
        estimator.fit(data, run)
    told = estimator.fit_bytes(part_of(data.shape, run))
    return {"wall": meter.cost.wall, "cpu": time.process_time() - start, "peak": meter.cost.peak, "told": told}


def together(probe: Probe, workers: int, job: dict[str, Any]) -> None:
    job = job | {"threads": max(1, probe.threads // workers)}
    with tempfile.TemporaryDirectory() as folder:
        launcher = (
            ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(workers)] if workers > 1 else []
        )
        command = [sys.executable, *launcher, str(Path(__file__).resolve()), "--worker", folder, json.dumps(job)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(Path(folder).glob("*.json"))]
    probe.wall, probe.cpu = [max(each["wall"] for each in found)], [sum(each["cpu"] for each in found)]
    probe.reached(worker_bytes=max(each["peak"] for each in found), told_bytes=found[0]["told"])


def worker(folder: str, job: str) -> None:
    from leanrec.training.data_parallel import Workers

    Path(folder, f"{Workers.now().rank}.json").write_text(json.dumps(fit(json.loads(job))), encoding="utf-8")


def make_claim(asked: argparse.Namespace) -> Claim:
    quick, n = asked.quick, asked.workers
    data = {"users": 300 if quick else 4000, "items": 300 if quick else 3000, "shard": False}
    equal = data | {"settings": {"epochs": 1, "batch": 2048, "accumulate": n}}
    large = {"users": 300 if quick else 2000, "items": 20_000 if quick else asked.items, "shard": False}
    large |= {"settings": TABLE | {"epochs": 1}}
    many = equal | {"settings": equal["settings"] | {"accumulate": 1}}
    jobs = {
        "one process": (1, equal),
        "workers": (n, many),
        "whole table": (1, large),
        "dealt table": (n, large | {"shard": True}),
    }
    return Claim(
        name="distributed",
        title=f"One process beside {n} workers on the same cores.",
        data=f"simulated histories of {LENGTH} items",
        contestants={
            name: Contestant(functools.partial(together, workers=w, job=job)) for name, (w, job) in jobs.items()
        },
        comparisons=[
            Comparison(what="an epoch of SASRec, the same steps", ours="workers", peer="one process"),
            Comparison(
                what=f"memory of a worker, {large['items']:,} items × 64",
                ours="dealt table",
                peer="whole table",
                measure="worker_bytes",
            ),
            Comparison(what="seconds of the same", ours="dealt table", peer="whole table"),
        ],
    )


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:4])
        return
    options = harness.parser(__doc__)
    options.add_argument("--items", type=int, default=1_000_000, help="rows of the large table")
    options.add_argument("--workers", type=int, default=2)
    asked = options.parse_args()
    harness.run(make_claim(asked), asked)


if __name__ == "__main__":
    main()
