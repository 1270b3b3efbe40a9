"""Measurement in a subprocess: the same results, and every way to fail."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import make_dataset
from contracts.frontier_results import UsesAllTime
from leanrec import artifacts
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.errors import BudgetError
from leanrec.evaluation.frontier import isolation
from leanrec.evaluation.frontier.cost import LatencyProtocol, ModelCost, measure_cost
from leanrec.evaluation.frontier.isolation import SubprocessFitError, can_isolate, measure_in_subprocess
from leanrec.models.baselines.popularity import Popularity
from leanrec.models.linear.ease import EASE
from leanrec.run import Run

FEW_REQUESTS = LatencyProtocol(n_requests=40, min_requests=5, max_seconds=5.0, batch_size=16)


@pytest.fixture(scope="module")
def larger() -> Dataset:
    return make_dataset(n_users=80, n_items=300, per_user=10)


@pytest.fixture
def job(tmp_path: Path, larger: Dataset) -> Path:
    artifacts.save(larger, tmp_path / "data")
    return tmp_path


@dataclasses.dataclass(frozen=True)
class DefinedInThisFile(Popularity):
    """Settings that no other process can read."""


def test_settings_defined_in_a_script_cannot_be_isolated(job: Path) -> None:
    assert not can_isolate(DefinedInThisFile(), job / "settings")
    assert can_isolate(EASE(), job / "settings")


@pytest.mark.system
def test_a_subprocess_measures_the_same_model(job: Path, larger: Dataset) -> None:
    assert can_isolate(EASE(l2=30.0), job / "settings")
    run = Run(seed=1, threads=1)
    model, there, _ = measure_in_subprocess(job, job / "data", run=run, latency=FEW_REQUESTS, provenance={"a": 1})
    here = measure_cost(EASE(l2=30.0), larger, job / "here", run=run, latency=FEW_REQUESTS)
    np.testing.assert_array_equal(model.score(larger.queries()), here.model.score(larger.queries()))
    assert there.isolated
    assert not here.cost.isolated
    assert there.model_bytes == here.cost.model_bytes
    assert abs(there.artifact_bytes - here.cost.artifact_bytes) < 100
    assert artifacts.read_manifest(job / "model")["provenance"] == {"a": 1}
    assert isinstance(there, ModelCost)


@pytest.mark.system
def test_a_budget_error_in_a_subprocess_stays_a_budget_error(job: Path) -> None:
    assert can_isolate(EASE(), job / "settings")
    with pytest.raises(BudgetError, match="EASE over 300 items, even with"):
        measure_in_subprocess(job, job / "data", run=Run(budget=Budget(memory=1000)), latency=FEW_REQUESTS)


@pytest.mark.system
def test_an_error_in_a_subprocess_keeps_its_message(job: Path, larger: Dataset) -> None:
    empty = larger.with_events(larger.events.take(np.zeros(0, np.int64)))
    artifacts.save(empty, job / "empty")
    assert can_isolate(Popularity(), job / "settings")
    with pytest.raises(SubprocessFitError, match="at least one user has a history"):
        measure_in_subprocess(job, job / "empty", run=Run(), latency=FEW_REQUESTS)


@pytest.mark.system
def test_a_subprocess_that_dies_is_reported_with_its_last_line(job: Path) -> None:
    (job / "settings").mkdir()
    with pytest.raises(SubprocessFitError, match=r"ended with the code 1\. .*not a leanrec artifact"):
        measure_in_subprocess(job, job / "data", run=Run(), latency=FEW_REQUESTS)


HANG = """
from leanrec.evaluation.frontier.isolation import _DeadlineEstimator

class Hang:
    def fit(self, data, run):
        sum(range(10**15))  # in C: neither a signal nor another thread of Python can interrupt it

_DeadlineEstimator(Hang(), 0.2).fit(None)
"""


@pytest.mark.system
def test_a_fit_that_ignores_its_time_is_terminated(larger: Dataset) -> None:
    assert isolation._DeadlineEstimator(UsesAllTime(), 60.0).fit(larger).n_items == 300
    done = subprocess.run([sys.executable, "-c", HANG], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    reason = isolation._describe_failure(done, Run(budget=Budget(fit_time=2)))
    assert reason == "The fit was terminated: it ran far beyond its limit of 2 s."
    killed = subprocess.CompletedProcess([], -9, "", "")
    assert "memory of the machine ran out" in isolation._describe_failure(killed, Run())
