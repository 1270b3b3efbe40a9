"""Scaling of the time and memory of a fit: 0.1 M to 100 M interactions, 10 k to 1 M items, 1 to 2 threads.

    python benchmarks/scaling.py [--full] [--quick] [--model NAME] [--limit SECONDS]

The data is simulated. A cell that would take longer than the limit by extrapolation from the smaller ones is not run, and
is marked on the page; --full allows ten minutes per cell instead of half a minute.
"""

import argparse
import dataclasses
import functools
import itertools
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import harness
import machine
import numpy as np
import scipy.sparse as sp
from harness import Claim, Contestant, Measured, Probe

from leanrec import artifacts
from leanrec.data import Dataset, Simulation
from leanrec.models import list_models
from leanrec.settings import parse_settings
from leanrec.units import format_seconds

# One epoch is enough: the growth with the data is the same for a model that has not converged.
MODELS: dict[str, dict[str, str]] = {
    "popularity": {},
    "item_knn": {},
    "local_regression": {},
    "pure_svd": {},
    "ials": {"epochs": "1"},
    "slim": {"n_neighbors": "100"},
    "sansa": {},
    "ease": {},
}
PER_USER = 50
# Environment variable with the folder that the processes share.
FOLDER = "LEANREC_SCALING_FOLDER"
AXES = ("events", "items", "threads")
QUICK_LIMIT, LIMIT, FULL_LIMIT = 10.0, 30.0, 600.0


@dataclasses.dataclass(frozen=True)
class Cell:
    """One fit to measure: a model at one size."""

    model: str
    axis: str
    events: int
    items: int
    threads: int

    @property
    def size(self) -> int:
        """The value of the cell on its axis."""
        return int(getattr(self, self.axis))

    @property
    def name(self) -> str:
        return f"{self.model}, {self.events:,} events, {self.items:,} items, {self.threads} threads"


def plan_cells(model: str, threads: int, quick: bool) -> list[Cell]:
    """The cells of a model, smallest first on each axis."""
    events = [10**4, 10**5] if quick else [10**5, 10**6, 10**7, 10**8]
    items = [10**3, 10**4] if quick else [10**4, 10**5, 10**6]
    default_events, default_items = (10**4, 10**3) if quick else (10**6, 10**4)
    by_events = [Cell(model, "events", each, default_items, threads) for each in events]
    by_items = [Cell(model, "items", default_events, each, threads) for each in items]
    return [
        *by_events,
        *by_items,
        *(Cell(model, "threads", default_events, default_items, each) for each in range(1, threads + 1)),
    ]


def store_dataset(events: int, items: int) -> Path:
    """Folder of a simulated data set and its matrix, written at the first call."""
    folder = Path(os.environ[FOLDER], f"{events}-{items}")
    if not (folder / "manifest.json").exists():
        log = Simulation(users=max(100, events // PER_USER), items=items, events=events)
        data = log.dataset()
        matrix = data.interactions
        for part in ("data", "indices", "indptr"):
            np.save(folder.with_name(f"{folder.name}-{part}.npy"), getattr(matrix, part))
        artifacts.save(data, folder)
    return folder


def load_dataset(folder: Path) -> Dataset:
    """The data set in memory with its matrix, so that building it is no part of the fit."""
    data: Dataset = artifacts.load(folder)
    columns: dict[str, Any] = {name: np.array(each) for name, each in data.events.columns().items()}
    events = dataclasses.replace(data.events, **columns)
    data = dataclasses.replace(data, events=events)
    parts = [np.load(folder.with_name(f"{folder.name}-{part}.npy")) for part in ("data", "indices", "indptr")]
    matrix = sp.csr_array(tuple(parts), shape=(data.shape.users, data.shape.items))
    vars(data)["interactions"] = matrix
    return data


def fit_cell(probe: Probe, cell: Cell) -> None:
    estimator = warm_up_model(probe, cell.model)
    data = load_dataset(store_dataset(cell.events, cell.items))
    with probe.timed():
        estimator.fit(data, probe.run)


def warm_up_model(probe: Probe, model: str) -> Any:
    """Estimator of a model, after a small fit that compiles its kernels; later processes find them in the cache."""
    from leanrec.models import get_model

    estimator = parse_settings(get_model(model), MODELS[model])
    with probe.warmup():
        estimator.fit(Simulation(users=200, items=300, events=4000).dataset(), probe.run)
    return estimator


def run_sweep(plan: dict[str, Cell], claim: Claim, args: argparse.Namespace, limit: float) -> dict[str, list[Measured]]:
    """Measure the cells from small to large, and skip those that would exceed the limit by extrapolation."""
    runs: dict[str, list[Measured]] = {}
    for model in dict.fromkeys(cell.model for cell in plan.values()):
        # Compilation must not count against the limit of the first cell.
        harness.measure_in_subprocess(Path(__file__), model, claim.contestants[model], args)
    for cell in sorted(plan.values(), key=lambda each: (each.events, each.items)):
        if cell.name in runs:
            continue
        expected = forecast_seconds(cell, plan, runs)
        if expected > limit:
            why = (
                f"about {format_seconds(expected)} by extrapolation" if expected < math.inf else "a smaller one failed"
            )
            runs[cell.name] = [{"failed": f"not run: {why}"}]
        else:
            store_dataset(cell.events, cell.items)
            runs[cell.name] = [
                harness.measure_in_subprocess(Path(__file__), cell.name, claim.contestants[cell.name], args)
            ]
        print(f"  {cell.name}: {runs[cell.name][0].get('failed') or runs[cell.name][0]['wall'][0]}", flush=True)
    return runs


def forecast_seconds(cell: Cell, plan: dict[str, Cell], runs: dict[str, list[Measured]]) -> float:
    """Expected seconds, extrapolated from the smaller sizes on the axis; infinite where a smaller one failed.

    From one smaller size only its own time is expected: small times are mostly overhead.
    """
    below = [it for it in plan.values() if (it.model, it.axis) == (cell.model, cell.axis) and it.size < cell.size]
    if cell.axis == "threads" or not below:
        return 0.0
    known = [(it.size, measured_value(runs.get(it.name), "wall")) for it in sorted(below, key=lambda it: it.size)]
    if known[-1][1] is None:
        return math.inf
    if len(known) < 2 or known[-2][1] is None:
        return known[-1][1]
    return float(known[-1][1] * (cell.size / known[-1][0]) ** max(0.0, fit_exponent(known[-2:])))


def measured_value(runs: Sequence[Measured] | None, measure: str) -> float | None:
    return None if not runs or "failed" in runs[0] else harness.value_of_measure(runs[0], measure)


def fit_exponent(points: Sequence[tuple[float, float | None]]) -> float:
    """Least-squares slope of log y over log x: y grows as x to that power."""
    x, y = np.log(np.array(points, dtype=np.float64)).T
    return float(np.polyfit(x, y, 1)[0])


def measured_series(plan: dict[str, Cell], runs: dict[str, list[Measured]], axis: str, measure: str) -> Iterator[Any]:
    """(model, [(size, value), …]) of each model that was measured on the axis."""
    for model, group in itertools.groupby((it for it in plan.values() if it.axis == axis), key=lambda it: it.model):
        found = [(it.size, measured_value(runs.get(it.name), measure)) for it in group]
        points = [(float(size), value) for size, value in found if value]
        if points:
            yield model, points


def make_rows(plan: dict[str, Cell], runs: dict[str, list[Measured]]) -> list[dict[str, Any]]:
    """Rows of the page: the exponent of each curve, and the speed-up by threads."""
    found = []
    for axis, measure in itertools.product(("events", "items"), ("wall", "added")):
        for model, points in measured_series(plan, runs, axis, measure):
            if len(points) > 1:
                slopes = [fit_exponent(pair) for pair in itertools.pairwise(points)]
                value = {"value": fit_exponent(points), "low": min(slopes), "high": max(slopes)}
                what = f"{model}: {'time' if measure == 'wall' else 'memory'} by {axis}, up to {points[-1][0]:,.0f}"
                found.append(make_row(what, f"{model}", value, "exponent of the curve"))
    for model, points in measured_series(plan, runs, "threads", "wall"):
        if len(points) > 1:
            value = dict.fromkeys(("value", "low", "high"), points[0][1] / points[-1][1])
            found.append(make_row(f"{model}: {points[-1][0]:.0f} threads", model, value, "times as fast as one thread"))
    return found


def make_row(what: str, model: str, value: dict[str, float], measure: str) -> dict[str, Any]:
    empty = dict.fromkeys(("peer", "ratio", "ratio_range", "met", "roofline"))
    ours = {"name": model, **value}
    return empty | {"what": what, "measure": measure, "goal": "", "ours": ours, "quality": {}, "notes": "", "cause": ""}


def draw_axes(plan: dict[str, Cell], runs: dict[str, list[Measured]], folder: Path) -> list[str]:
    """Plot time and memory over each axis. Returns the file names."""
    return [draw_axis(plan, runs, axis, folder) for axis in AXES]


def draw_axis(plan: dict[str, Cell], runs: dict[str, list[Measured]], axis: str, folder: Path) -> str:
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    marks = itertools.cycle("osv^D<>")
    styles = {model: next(marks) for model in MODELS}
    for panel, (measure, label) in zip(
        panels, (("wall", "seconds"), ("added", "bytes on top of the data")), strict=True
    ):
        for model, points in measured_series(plan, runs, axis, measure):
            slope = f" ~ {axis}^{fit_exponent(points):.2f}" if len(points) > 1 and axis != "threads" else ""
            panel.plot(*zip(*points, strict=True), marker=styles[model], ms=4, lw=1, label=f"{model}{slope}")
        panel.set(xscale="log", yscale="log", xlabel=axis, ylabel=label)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=6)
    if axis == "threads":
        ticks = sorted({it.threads for it in plan.values()})
        for panel in panels:
            panel.set_xscale("linear")
            panel.set_xticks(ticks)
    name = f"scaling_{axis}.png"
    figure.savefig(folder / name, dpi=90)
    plt.close(figure)
    return name


def main() -> None:
    options = harness.build_parser(__doc__)
    options.add_argument("--full", action="store_true", help="allow ten minutes for each cell")
    options.add_argument("--limit", type=float, help="limit of a cell in seconds")
    options.add_argument("--model", action="append", help="only this model; repeatable")
    options.set_defaults(repeats=1)
    args = options.parse_args()
    limit = args.limit or (FULL_LIMIT if args.full else QUICK_LIMIT if args.quick else LIMIT)
    models = [each for each in args.model or MODELS if each in list_models()]
    cores = machine.count_cores() if args.contestant else args.threads
    plan = {f"{it.name} ({it.axis})": it for model in models for it in plan_cells(model, cores, args.quick)}
    contestants = {
        # Reading the data is added to the limit.
        it.name: Contestant(
            functools.partial(fit_cell, cell=it), threads=it.threads, seconds=limit + 20 + it.events / 2e6
        )
        for it in plan.values()
    } | {model: Contestant(functools.partial(warm_up_model, model=model)) for model in models}
    claim = Claim(
        name="scaling",
        title="Scaling of the time and memory of a fit.",
        data=f"Simulated, {PER_USER} events a user; by events: 10,000 items; by items and threads: 1,000,000 events; iALS with one epoch",
        contestants=contestants,
        comparisons=(),
    )
    if args.contestant:
        harness.run_claim(claim, args)
        return
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as shared:
        os.environ[FOLDER] = shared
        runs = run_sweep(plan, claim, args, limit)
    results = harness.summarize_results(claim, args, runs)
    results |= {"rows": make_rows(plan, runs), "seconds": round(time.perf_counter() - start, 1)}
    harness.save_results(results, args, lambda _, folder: draw_axes(plan, runs, folder))


if __name__ == "__main__":
    main()
