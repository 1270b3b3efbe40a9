"""What a process of its own costs, and whether it changes the numbers: one model after the other, both ways.

    python benchmarks/apart.py [MODEL …]

Prints a line for each model: start-up of the process, and fit time, peak memory, p50, p99 and first answer
measured apart and in this process, in the order in which a table would measure them.
"""

import sys
import tempfile
import time
from pathlib import Path

from leanrec import artifacts
from leanrec.data.dataset import Dataset
from leanrec.data.datasets.bundled import load_sample
from leanrec.evaluation.frontier.cost import ModelCost, cost_of
from leanrec.evaluation.frontier.isolation import can_run_apart, cost_apart
from leanrec.models import get_model
from leanrec.run import Run
from leanrec.units import format_bytes, format_seconds

_MODELS = ("ease", "pure_svd", "item_knn", "ials", "popularity")


def main(models: list[str]) -> None:
    data = load_sample("ml-latest-small")
    with tempfile.TemporaryDirectory() as folder:
        artifacts.save(data, Path(folder, "data"))
        for name in models:
            compare(name, data, Path(folder))


def compare(name: str, data: Dataset, folder: Path) -> None:
    estimator = get_model(name)()
    assert can_run_apart(estimator, folder / "settings")
    (folder / "result.json").unlink(missing_ok=True)
    start = time.perf_counter()
    there = cost_apart(folder, folder / "data", run=Run()).cost
    apart = time.perf_counter() - start
    start = time.perf_counter()
    here = cost_of(estimator, data, folder / "here").cost
    print(f"{name}: {apart:.2f} s apart, {time.perf_counter() - start:.2f} s here")
    for label, cost in (("apart", there), ("here", here)):
        print(f"  {label:6}{line(cost)}")


def line(cost: ModelCost) -> str:
    times = (cost.fit_wall, cost.p50, cost.p99, cost.first_answer)
    fit, p50, p99, first = map(format_seconds, times)
    return f"fit {fit}, peak {format_bytes(cost.fit_peak)}, p50 {p50}, p99 {p99}, first answer {first}"


if __name__ == "__main__":
    main(sys.argv[1:] or list(_MODELS))
