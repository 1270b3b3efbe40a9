"""Measure a model in a fresh process of its own.

In one process, memory that an earlier model used and freed hides what a later one needs, kernels that are
loaded make the first answer look cheaper than it is, and a fit that runs out of memory takes the whole table
with it. A process apart costs about a second of start-up, which is not part of any number.

The process is started as ``python -m leanrec.evaluation.frontier.isolation JOB``, where the folder JOB holds ``settings``
(the estimator), ``plan.json`` and, afterwards, ``model`` and ``result.json``: nothing is pickled, and the
user's own script is not run a second time.
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
from leanrec.evaluation.frontier.cost import Costed, ModelCost, Requests, cost_of
from leanrec.protocols import Estimator
from leanrec.run import Run
from leanrec.units import format_seconds

__all__ = ["FitError", "can_run_apart", "cost_apart"]


class FitError(LeanrecError):
    """A fit in a process of its own did not end well."""


def can_run_apart(estimator: Estimator, folder: Path) -> bool:
    """Whether another process could read the settings: those of leanrec and of registered packages can be.

    Leaves them in ``folder``. Settings that are defined in a script or a notebook are measured in this
    process.
    """
    try:
        artifacts.save(estimator, folder)
        return bool(sys.executable) and artifacts.load(folder) == estimator
    except ArtifactError:
        return False


def cost_apart(
    job: Path,
    data: Path,
    *,
    run: Run,
    requests: Requests = Requests(),
    provenance: Mapping[str, Any] | None = None,
) -> Costed:
    """Fit the settings in ``job/settings`` on the data set saved in ``data``, and say what the model cost.

    The model is left in ``job/model``. A fit that ignores ``run.budget.fit_time`` is ended at one and a half times
    that, two seconds added. Raises BudgetError where the model refused for want of memory, FitError for all
    else that goes wrong.
    """
    plan = {
        "data": str(data),
        "run": {
            "seed": run.seed,
            "threads": run.threads,
            "device": run.device,
        },
        "budget": dataclasses.asdict(run.budget),
        "requests": dataclasses.asdict(requests),
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
        raise FitError(_why(done, run))
    found = json.loads(result.read_text(encoding="utf-8"))
    if "error" in found:
        raise (BudgetError if found["refused"] else FitError)(found["error"])
    cost = ModelCost(**{**found["cost"], "apart": True})
    return Costed(artifacts.load(job / "model"), cost, tuple(found["notes"]))


def _why(done: "subprocess.CompletedProcess[str]", run: Run) -> str:
    """What is known of a process that ended without a result."""
    if done.stderr.startswith("Timeout (") and run.budget.fit_time is not None:
        return f"It was still fitting long after the limit of {format_seconds(run.budget.fit_time)}, so it was ended."
    if done.returncode == -getattr(signal, "SIGKILL", 9):
        return "The operating system ended the fit, most often because the memory of the machine ran out."
    last = (done.stderr.strip().splitlines() or ["It said nothing."])[-1]
    return f"The process of the fit ended with the code {done.returncode}. {last}"


def main(job: Path) -> None:
    """What the process does: reads the plan, measures, and leaves the result in one rename."""
    plan = json.loads((job / "plan.json").read_text(encoding="utf-8"))
    estimator: Estimator = artifacts.load(job / "settings")
    data: Dataset = artifacts.load(plan["data"], Dataset)
    seconds = plan["budget"]["fit_time"]
    try:
        costed = cost_of(
            _Deadline(estimator, None if seconds is None else 1.5 * seconds + 2),
            data,
            job / "model",
            run=Run(**plan["run"], budget=Budget(**plan["budget"])),
            requests=Requests(**plan["requests"]),
            provenance=plan["provenance"],
        )
        result: dict[str, Any] = {"cost": dataclasses.asdict(costed.cost), "notes": costed.notes}
    except LeanrecError as error:
        result = {"error": str(error), "refused": isinstance(error, BudgetError)}
    except Exception as error:  # noqa: BLE001 - a model that fails is one line of a table
        result = {"error": f"{type(error).__name__}: {error}", "refused": False}
    partial = job / "result.json.part"
    partial.write_text(json.dumps(result), encoding="utf-8")
    partial.rename(job / "result.json")


@dataclasses.dataclass(frozen=True)
class _Deadline:
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
