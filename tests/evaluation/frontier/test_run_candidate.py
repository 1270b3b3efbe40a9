"""Running candidates: what fails or exceeds the budget is recorded, not raised."""

import dataclasses
import time

import pytest

from conftest import make_dataset
from contracts.frontier_results import FEW_REQUESTS, FailingEstimator, UsesAllTime, run_frontier
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.data.splits.split import split
from leanrec.errors import SettingError
from leanrec.evaluation.frontier.candidates import parse_candidates
from leanrec.evaluation.frontier.run_candidate import open_runner
from leanrec.models.baselines.popularity import Popularity, PopularityModel
from leanrec.models.linear.ease import EASE
from leanrec.run import Run


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset(n_users=120)


def test_a_runner_records_errors_and_deletes_its_folder(data: Dataset) -> None:
    parts = split(data, "leave-one-out")
    with open_runner(
        parts, budget=Budget(), metric="ndcg@10", run=Run(), isolate=False, latency=FEW_REQUESTS, save=None
    ) as runner:
        (fitted,), (failed,) = (
            runner.run_candidate(each) for each in parse_candidates([Popularity(), FailingEstimator()])
        )
        assert runner.folder.exists()
    assert fitted.valid is not None
    assert fitted.result.status == "fitted"
    assert (failed.result.status, failed.result.reason, failed.valid) == (
        "failed",
        "RuntimeError: singular matrix",
        None,
    )
    assert not runner.folder.exists()


def test_an_unknown_metric_is_refused_before_any_fit(data: Dataset) -> None:
    with pytest.raises(SettingError, match=r"metric must be one of .*ndcg@10.*Got 'ndgc@10'"):
        run_frontier(data, [FailingEstimator()], metric="ndgc@10")


def test_a_model_is_skipped_if_its_estimate_is_far_above_the_limit(data: Dataset) -> None:
    found = run_frontier(data, [Popularity(), EASE()], budget=Budget(memory="1kB"))
    assert [each.status for each in found.results] == ["skipped", "skipped"]
    assert all("the limit is 1 kB" in each.reason for each in found.results)
    assert (found.best, found.closest) == (None, None)
    assert "The smallest fit is popularity: about" in found.summary()[0]


@dataclasses.dataclass(frozen=True)
class Overestimates:
    """Needs a megabyte and estimates three times the limit."""

    limit: int = 50_000_000

    def fit_bytes(self, shape: object) -> int:
        return 3 * self.limit

    def fit(self, data: Dataset, run: Run = Run()) -> PopularityModel:
        run.require_memory(self.fit_bytes(data.shape), "Overestimates")
        return Popularity().fit(data)


def test_measured_memory_decides_where_the_estimate_is_too_high(data: Dataset) -> None:
    found = run_frontier(data, [Overestimates()], budget=Budget(memory=50_000_000))
    assert [each.status for each in found.results] == ["fitted"]
    assert found.best is not None
    assert found.results[0].estimated_memory == 150_000_000


def test_a_fit_is_asked_to_stop_within_its_time(data: Dataset) -> None:
    result = run_frontier(data, [UsesAllTime()], budget=Budget(fit_time=0.3)).results[0]
    assert result.cost is not None
    assert result.cost.fit_seconds >= 0.27


def test_no_fit_starts_after_the_time_for_all_fits(data: Dataset) -> None:
    run = Run(budget=Budget(fit_time=1), started=time.monotonic() - 5)
    found = run_frontier(data, [Popularity()], run=run)
    assert found.results[0].status == "skipped"
    assert found.results[0].reason == "The time for all fits, 1 s, was over."
