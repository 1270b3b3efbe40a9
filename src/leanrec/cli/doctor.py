"""``leanrec doctor``: does this machine have what leanrec needs, and does the loop turn here?"""

import dataclasses
import importlib.metadata
import importlib.util
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Finding", "examine"]

_EXTRAS = {
    "plots": ("matplotlib",),
    "text": ("model2vec",),
    "sentiment": ("textblob",),
    "deep": ("torch", "safetensors"),
    "tune": ("optuna",),
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: the thing.
        state: "ok", "note" (works, but worth knowing) or "problem".
        detail: what was found, and for a problem what to do.
    """

    what: str
    state: str
    detail: str


def examine() -> Iterator[Finding]:
    """Look at Python, libraries, cores, memory, disk and extras, then go once round a small loop."""
    yield Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")
    yield _versions()
    yield _machine()
    yield _disk()
    yield _sqlite()
    yield from _extras()
    yield from _torch()
    yield _blas()
    yield _loop()


def _versions() -> Finding:
    names = ("leanrec", "numpy", "scipy", "numba", "duckdb", "scikit-learn", "fastapi")
    return Finding("libraries", "ok", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names))


def _machine() -> Finding:
    from leanrec.run import Run, format_bytes

    run = Run()
    free = run.available()
    state = "ok" if free > 10**9 else "note"
    return Finding(
        "machine",
        state,
        f"{run.n_threads()} of {os.cpu_count()} cores usable, {format_bytes(free)} of memory free",
    )


def _disk() -> Finding:
    from leanrec.run import format_bytes

    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    detail = f"{format_bytes(free)} free in {folder}, where large logs spill"
    return Finding(
        "disk",
        "ok" if free > 2 * 10**9 else "problem",
        detail if free > 2 * 10**9 else f"{detail}. Set TMPDIR to a larger disk.",
    )


def _sqlite() -> Finding:
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder, "probe.db"))
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        connection.close()
    if mode != "wal":
        return Finding("event log", "problem", f"SQLite here answers {mode!r} to WAL. Put the log on a local disk.")
    return Finding("event log", "ok", f"SQLite {sqlite3.sqlite_version} with a write-ahead log")


def _extras() -> Iterator[Finding]:
    for extra, modules in _EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        how = f'pip install "leanrec[{extra}]", or in a checkout: pip install ".[{extra}]"'
        detail = f"not installed; bring it with: {how}" if missing else "installed"
        yield Finding(f"extra [{extra}]", "note" if missing else "ok", detail)


def _torch() -> Iterator[Finding]:
    """What models that train by gradients would run on."""
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    from leanrec.run import format_bytes

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cards = [torch.cuda.get_device_properties(i) for i in range(count)]
    named = ", ".join(f"cuda:{i} {card.name} ({format_bytes(card.total_memory)})" for i, card in enumerate(cards))
    yield Finding("torch", "ok", f"{torch.__version__} on {named or 'the CPU; it sees no GPU'}")


def _blas() -> Finding:
    import numpy as np
    import threadpoolctl

    size = 1500
    square = np.random.default_rng(0).random((size, size), dtype=np.float32)
    square @ square
    start = time.perf_counter()
    square @ square
    speed = 2 * size**3 / (time.perf_counter() - start) / 1e9
    pools = threadpoolctl.threadpool_info()
    names = sorted({f"{pool['internal_api']} {pool.get('architecture', '')}".strip() for pool in pools})
    return Finding(
        "matrix product",
        "ok" if speed > 10 else "note",
        f"{speed:.0f} GFLOP/s in float32 ({', '.join(names)})",
    )


def _loop() -> Finding:
    """Fit on the bundled sample, ask, click, ask again."""
    from leanrec.data.datasets.bundled import load_sample
    from leanrec.models import get_model
    from leanrec.pipeline.pipeline import Pipeline
    from leanrec.run import Run, format_seconds

    start = time.perf_counter()
    data = load_sample("ml-latest-small")
    pipeline = Pipeline.fit(get_model("item_knn")(), data, Run())
    user = data.users.ids[0].item()
    before = [shown.id for shown in pipeline.recommend(user, n=10).items]
    pipeline.react(user, before[0])
    after = [shown.id for shown in pipeline.recommend(user, n=10).items]
    if before[0] in after or before == after:
        return Finding("the loop", "problem", "a click did not change the next answer. Please report this.")
    took = format_seconds(time.perf_counter() - start)
    return Finding(
        "the loop",
        "ok",
        f"fit, answer, click and changed answer in {took} (compiling included at the first run)",
    )
