"""Measures the cost of a model in a fresh subprocess.

In a shared process, memory that an earlier model used and freed hides the needs of a later one, kernels that are
already loaded make the first request look cheaper than it is, and a fit that runs out of memory ends the whole frontier.
A subprocess costs about a second of start-up, which is not part of any measurement.

The process is started as ``python -m leanrec.evaluation.frontier.isolation JOB``. The folder JOB holds ``settings`` (the
estimator) and ``plan.json``, and afterwards ``model`` and ``result.json``: nothing is pickled, and the user's script is
not run a second time.
"""

import dataclasses
import faulthandler
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leanrec import artifacts
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.errors import ArtifactError, BudgetError, LeanrecError
from leanrec.evaluation.frontier.cost import LatencyProtocol, MeasuredModel, ModelCost, measure_cost
from leanrec.protocols import Estimator
from leanrec.run import Run
from leanrec.units import format_seconds

__all__ = ["SubprocessFitError", "can_isolate", "measure_in_subprocess"]


class SubprocessFitError(LeanrecError):
    """A fit in a subprocess failed."""


def can_isolate(estimator: Estimator, folder: Path) -> bool:
    """Whether a subprocess can read the settings. Saves them in ``folder``.

    Settings of leanrec and of registered packages can be read; those defined in a script or notebook cannot, and their
    models are measured in this process.
    """
    try:
        artifacts.save(estimator, folder)
        return bool(sys.executable) and artifacts.load(folder) == estimator
    except ArtifactError:
        return False


def measure_in_subprocess(
    job: Path,
    data: Path,
    *,
    run: Run,
    latency: LatencyProtocol = LatencyProtocol(),
    provenance: Mapping[str, Any] | None = None,
) -> MeasuredModel:
    """Fit the settings in ``job/settings`` on the data set saved in ``data``, and measure the cost of the model.

    The model is saved in ``job/model``. A fit that ignores ``run.budget.fit_time`` is terminated at 1.5 times that plus
    two seconds.

    Raises:
        BudgetError: the model refused to start because of its memory limit.
        SubprocessFitError: anything else went wrong.
    """
    plan = {
        "data": str(data),
        "run": {"seed": run.seed, "threads": run.threads, "device": run.device},
        "budget": dataclasses.asdict(run.budget),
        "latency": dataclasses.asdict(latency),
        "provenance": dict(provenance or {}),
    }
    (job / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "leanrec.evaluation.frontier.isolation", str(job)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    result = job / "result.json"
    if not result.exists():
        raise SubprocessFitError(_describe_failure(done, run))
    found = json.loads(result.read_text(encoding="utf-8"))
    if "error" in found:
        raise (BudgetError if found["over_budget"] else SubprocessFitError)(found["error"])
    cost = ModelCost(**{**found["cost"], "isolated": True})
    return MeasuredModel(artifacts.load(job / "model"), cost, tuple(found["notes"]))


def _describe_failure(done: "subprocess.CompletedProcess[str]", run: Run) -> str:
    """Why a subprocess ended without a result."""
    if done.stderr.startswith("Timeout (") and run.budget.fit_time is not None:
        return f"The fit was terminated: it ran far beyond its limit of {format_seconds(run.budget.fit_time)}."
    if done.returncode == -getattr(signal, "SIGKILL", 9):
        return "The operating system killed the fit, most often because the memory of the machine ran out."
    last = (done.stderr.strip().splitlines() or ["There was no message."])[-1]
    return f"The process of the fit ended with the code {done.returncode}. {last}"


def main(job: Path) -> None:
    """Entry point of the subprocess: read the plan, measure, and write the result by one rename."""
    plan = json.loads((job / "plan.json").read_text(encoding="utf-8"))
    estimator: Estimator = artifacts.load(job / "settings")
    data: Dataset = artifacts.load(plan["data"], Dataset)
    seconds = plan["budget"]["fit_time"]
    try:
        measured = measure_cost(
            _DeadlineEstimator(estimator, None if seconds is None else 1.5 * seconds + 2),
            data,
            job / "model",
            run=Run(**plan["run"], budget=Budget(**plan["budget"])),
            latency=LatencyProtocol(**plan["latency"]),
            provenance=plan["provenance"],
        )
        result: dict[str, Any] = {"cost": dataclasses.asdict(measured.cost), "notes": measured.notes}
    except LeanrecError as error:
        result = {"error": str(error), "over_budget": isinstance(error, BudgetError)}
    except Exception as error:  # noqa: BLE001 - a model that fails is one line of a table
        result = {"error": f"{type(error).__name__}: {error}", "over_budget": False}
    partial = job / "result.json.part"
    partial.write_text(json.dumps(result), encoding="utf-8")
    partial.rename(job / "result.json")


@dataclasses.dataclass(frozen=True)
class _DeadlineEstimator:
    """An estimator whose fit ends the process after ``seconds``, even inside compiled code."""

    estimator: Estimator
    seconds: float | None

    def fit(self, data: Dataset, run: Run = Run()) -> Any:
        if self.seconds is not None:
            faulthandler.dump_traceback_later(self.seconds, exit=True)
        try:
            return self.estimator.fit(data, run)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def fit_bytes(self, shape: Any) -> int:
        return self.estimator.fit_bytes(shape)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
