"""``leanrec doctor``: check the installation and this machine."""

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

import typer
from rich.text import Text

from leanrec.cli import output
from leanrec.cli.options import Json

__all__ = ["CheckResult", "doctor", "run_checks"]

_EXTRAS = {
    "plots": ("matplotlib",),
    "text": ("model2vec",),
    "sentiment": ("textblob",),
    "deep": ("torch", "safetensors"),
    "tune": ("optuna",),
    "ann": ("faiss",),
}


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """Result of one check.

    Attributes:
        name: what was checked.
        state: "ok", "note" (works with a limitation) or "problem".
        detail: what was found, and for a problem what to do.
    """

    name: str
    state: str
    detail: str


def doctor(as_json: Json = False) -> None:
    """Check libraries, cores, memory, disk and extras, and run a small example."""
    results = list(run_checks())
    if as_json:
        output.print_json([dataclasses.asdict(result) for result in results])
    else:
        styles = {"ok": "green", "note": "yellow", "problem": "bold red"}
        rows = [(Text(result.state, styles[result.state]), result.name, result.detail) for result in results]
        output.print_table("leanrec doctor", ("", "check", "result"), rows, left=3)
    if any(result.state == "problem" for result in results):
        raise typer.Exit(2)


def run_checks() -> Iterator[CheckResult]:
    """Check Python, libraries, cores, memory, disk and extras, then run a small example."""
    yield CheckResult("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")
    names = ("leanrec", "numpy", "scipy", "numba", "duckdb", "scikit-learn", "fastapi")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    yield CheckResult("libraries", "ok", versions)
    yield _check_machine()
    yield _check_disk()
    yield _check_sqlite()
    for extra, modules in _EXTRAS.items():
        is_installed = all(importlib.util.find_spec(name) is not None for name in modules)
        how = f'pip install "leanrec[{extra}]", or in a checkout: pip install ".[{extra}]"'
        detail = "installed" if is_installed else f"not installed; install it with: {how}"
        yield CheckResult(f"extra [{extra}]", "ok" if is_installed else "note", detail)
    yield from _check_torch()
    yield _check_blas()
    yield _check_pipeline()


def _check_machine() -> CheckResult:
    from leanrec.run import Run
    from leanrec.units import format_bytes

    run = Run()
    free = run.available_memory()
    state = "ok" if free > 10**9 else "note"
    return CheckResult(
        "machine",
        state,
        f"{run.n_threads()} of {os.cpu_count()} cores usable, {format_bytes(free)} of memory free",
    )


def _check_disk() -> CheckResult:
    from leanrec.units import format_bytes

    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    detail = f"{format_bytes(free)} free in {folder}, where large logs spill"
    return CheckResult(
        "disk",
        "ok" if free > 2 * 10**9 else "problem",
        detail if free > 2 * 10**9 else f"{detail}. Set TMPDIR to a folder on a larger disk.",
    )


def _check_sqlite() -> CheckResult:
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder, "probe.db"))
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        connection.close()
    if mode != "wal":
        return CheckResult(
            "event log",
            "problem",
            f"SQLite has no write-ahead log here (journal mode {mode!r}). Put the log on a local disk.",
        )
    return CheckResult("event log", "ok", f"SQLite {sqlite3.sqlite_version} with a write-ahead log")


def _check_torch() -> Iterator[CheckResult]:
    """The device of models that train with torch."""
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    from leanrec.units import format_bytes

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [torch.cuda.get_device_properties(i) for i in range(count)]
    named = ", ".join(
        f"cuda:{i} {device.name} ({format_bytes(device.total_memory)})" for i, device in enumerate(devices)
    )
    yield CheckResult("torch", "ok", f"{torch.__version__} on {named or 'the CPU; it sees no GPU'}")


def _check_blas() -> CheckResult:
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
    return CheckResult(
        "matrix product",
        "ok" if speed > 10 else "note",
        f"{speed:.0f} GFLOP/s in float32 ({', '.join(names)})",
    )


def _check_pipeline() -> CheckResult:
    """Fit on the bundled sample, recommend, record a click, recommend again."""
    from leanrec.data.datasets.bundled import load_sample
    from leanrec.models import get_model
    from leanrec.pipeline.pipeline import Pipeline
    from leanrec.run import Run
    from leanrec.units import format_seconds

    start = time.perf_counter()
    data = load_sample("ml-latest-small")
    pipeline = Pipeline.fit(get_model("item_knn")(), data, Run())
    user = data.users.ids[0].item()
    before = [item.id for item in pipeline.recommend(user, n=10).items]
    pipeline.record_event(user, before[0])
    after = [item.id for item in pipeline.recommend(user, n=10).items]
    if before[0] in after or before == after:
        return CheckResult(
            "pipeline", "problem", "a click did not change the next recommendations. Please report this."
        )
    took = format_seconds(time.perf_counter() - start)
    return CheckResult(
        "pipeline",
        "ok",
        f"fit, recommend, click and recommend again in {took} (includes compilation at the first run)",
    )
