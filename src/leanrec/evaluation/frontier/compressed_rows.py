"""Rows of compressed models: smaller versions of a fitted model, made in seconds and never fitted again."""

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from leanrec import artifacts
from leanrec.compression.methods import CompressionMethod, count_parts
from leanrec.compression.proposals import propose_quick
from leanrec.data.dataset import Dataset
from leanrec.evaluation.frontier.cost import LatencyProtocol, MeasuredModel, measure_latency, resident_bytes
from leanrec.protocols import Scorer
from leanrec.run import Run

__all__ = ["SHARES", "compress_measured"]

# Shares of the bytes of the model that its smaller versions take at most.
SHARES = (1 / 3, 1 / 8, 1 / 16, 1 / 32)
# Smaller models cost nothing that is worth saving.
_MIN_BYTES = 2**20
_LATENCY = LatencyProtocol(n_requests=300, max_seconds=0.5, batch_size=64)


def compress_measured(
    base: MeasuredModel, data: Dataset, fallback: Scorer, folder: Path, run: Run
) -> Iterator[tuple[CompressionMethod, MeasuredModel]]:
    """Smaller versions of a measured model, each with its cost: one for each share of the bytes that a method reaches.

    The cost of the fit is that of the model and the time of the compression. Nothing for a model below a megabyte, or of a
    kind without a method.
    """
    size = sum(count_parts(base.model).values())
    if size < _MIN_BYTES:
        return
    made: set[str] = set()
    for share in SHARES:
        method = propose_quick(base.model, share * size)
        if method is None or str(method) in made:
            continue
        made.add(str(method))
        yield method, _measure(base, method, data, fallback, folder, run)


def _measure(
    base: MeasuredModel, method: CompressionMethod, data: Dataset, fallback: Scorer, folder: Path, run: Run
) -> MeasuredModel:
    start, cpu = time.perf_counter(), time.process_time()
    smaller = method.compress(base.model, data, run)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    with tempfile.TemporaryDirectory(dir=folder) as name:
        n_bytes = artifacts.size_of(artifacts.save(smaller, Path(name) / "model"))
    active = np.flatnonzero(np.diff(data.indptr)).astype(np.int32)
    users = run.rng().permutation(active)[: _LATENCY.n_requests]
    requests = measure_latency(smaller, data, users, fallback=fallback, run=run, latency=_LATENCY)
    cost = dataclasses.replace(
        base.cost,
        **dataclasses.asdict(requests),
        fit_seconds=base.cost.fit_seconds + seconds,
        fit_cpu_seconds=base.cost.fit_cpu_seconds + cpu_seconds,
        model_bytes=resident_bytes(smaller),
        artifact_bytes=n_bytes,
    )
    return MeasuredModel(smaller, cost, ())
