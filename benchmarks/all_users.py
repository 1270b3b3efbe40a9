"""Lists of all users, from a saved pipeline to a file, beside the search for the best items alone.

    python benchmarks/all_users.py [--repeats 1] [--quick]

A million users with ten events each, 100,000 items and 64 factors of random numbers: the search takes most of the work,
and the seconds of processor time say what the histories, the seen items, ids, titles and the file add to it.
"""

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from harness import Claim, Comparison, Contestant, Probe, main

from leanrec import ingest
from leanrec.data import Dataset, DatasetShape
from leanrec.models import BPR
from leanrec.pipeline import Pipeline
from leanrec.run import Run
from leanrec.types import Float32Array

USERS, ITEMS, WIDTH, K, EVENTS, BLOCK = 1_000_000, 100_000, 64, 10, 10, 4096


@dataclasses.dataclass(frozen=True)
class RandomVectors:
    """A model of random vectors in the form of BPR, which takes no time to fit."""

    def fit_bytes(self, shape: DatasetShape) -> int:
        return 8 * WIDTH * (shape.users + shape.items)

    def fit(self, data: Dataset, run: Run = Run()) -> Any:
        few, _ = ingest(pd.DataFrame({"user": [1, 2], "item": [1, 2]}))
        Q, V = make_vectors(len(data.users), len(data.items))
        fitted = BPR(embedding_dim=WIDTH, epochs=1).fit(few, run)
        return dataclasses.replace(fitted, users=Q[:, :-1].copy(), items=V, frequency=np.zeros(0, np.int64))


def find_sizes(probe: Probe) -> tuple[int, int]:
    return (20_000, 10_000) if probe.quick else (USERS, ITEMS)


def make_vectors(users: int, items: int) -> tuple[Float32Array, Float32Array]:
    """Vectors of users and items with a bias, as BPR has them: (U, D + 1) and (N, D + 1)."""
    rng = np.random.default_rng(0)
    Q, V = (rng.standard_normal((n, WIDTH + 1), dtype=np.float32) for n in (users, items))
    Q[:, -1] = 1
    return Q, V


def search_alone(probe: Probe) -> None:
    from leanrec.kernels.topk.inner_product import ItemIndex

    Q, V = make_vectors(*find_sizes(probe))
    with probe.warmup():
        ItemIndex.build(V[:1000]).top_k(Q[:100], K)
    with probe.timed():
        index = ItemIndex.build(V)
        for start in range(0, len(Q), BLOCK):
            index.top_k(Q[start : start + BLOCK], K)


def write_all(probe: Probe, suffix: str) -> None:
    users, items = find_sizes(probe)
    item = np.random.default_rng(1).integers(0, items, users * EVENTS)
    data, _ = ingest(pd.DataFrame({"user": np.repeat(np.arange(users), EVENTS), "item": item}))
    with tempfile.TemporaryDirectory() as folder:
        saved = Pipeline.fit(RandomVectors(), data, probe.run).save(Path(folder) / "model")
        del data
        with probe.warmup():
            Pipeline.load(saved).warm_up()
        with probe.timed():
            written = Pipeline.load(saved).recommend_all(Path(folder) / f"lists{suffix}", n=K, run=probe.run)
        probe.record_quality(lists=written.users, bytes=written.path.stat().st_size)


CONTESTANTS = {
    "search": Contestant(search_alone),
    "Parquet": Contestant(functools.partial(write_all, suffix=".parquet")),
    "CSV": Contestant(functools.partial(write_all, suffix=".csv")),
}
SIZE = f"{USERS:,} users × {ITEMS:,} items × {WIDTH}, k = {K}"


def make_comparisons() -> list[Comparison]:
    files = [name for name in CONTESTANTS if name != "search"]
    return [
        *(
            Comparison(what=f"lists to {name}, {SIZE}", ours=name, peer="search", measure="cpu", at_most=2.0)
            for name in files
        ),
        *(
            Comparison(what=f"lists to {name}, {SIZE}, memory above the start", ours=name, measure="added")
            for name in files
        ),
    ]


CLAIM = Claim(
    name="all_users",
    title="Lists of all users in one file.",
    data="Random normal vectors and random events",
    contestants=CONTESTANTS,
    comparisons=make_comparisons(),
)

if __name__ == "__main__":
    main(CLAIM, __doc__)
