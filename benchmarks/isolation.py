"""Cost of models measured in a subprocess and in this process, side by side.

    python benchmarks/isolation.py [MODEL …]

Prints for each model the start-up of the process, and fit time, peak memory, p50, p99 and first request measured in
both ways: whether isolation changes the figures.
"""

import sys
import tempfile
import time
from pathlib import Path

from leanrec import artifacts
from leanrec.data import Dataset, load_sample
from leanrec.evaluation import ModelCost, can_isolate, measure_cost, measure_in_subprocess
from leanrec.models import get_model
from leanrec.run import Run
from leanrec.units import format_bytes, format_seconds

_MODELS = ("ease", "pure_svd", "item_knn", "ials", "popularity")


def main(models: list[str]) -> None:
    data = load_sample("ml-latest-small")
    with tempfile.TemporaryDirectory() as folder:
        artifacts.save(data, Path(folder, "data"))
        for name in models:
            compare_model(name, data, Path(folder))


def compare_model(name: str, data: Dataset, folder: Path) -> None:
    estimator = get_model(name)()
    assert can_isolate(estimator, folder / "settings")
    (folder / "result.json").unlink(missing_ok=True)
    start = time.perf_counter()
    there = measure_in_subprocess(folder, folder / "data", run=Run()).cost
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    here = measure_cost(estimator, data, folder / "here").cost
    print(f"{name}: {seconds:.2f} s in a subprocess, {time.perf_counter() - start:.2f} s in this process")
    for label, cost in (("subprocess", there), ("process", here)):
        print(f"  {label:12}{format_cost(cost)}")


def format_cost(cost: ModelCost) -> str:
    times = (cost.fit_seconds, cost.p50, cost.p99, cost.first_request)
    fit, p50, p99, first = map(format_seconds, times)
    return f"fit {fit}, peak {format_bytes(cost.peak_memory)}, p50 {p50}, p99 {p99}, first request {first}"


if __name__ == "__main__":
    main(sys.argv[1:] or list(_MODELS))
