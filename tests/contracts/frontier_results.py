"""Example results and failing estimators for tests of the frontier."""

import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.evaluation.frontier.cost import LatencyProtocol, ModelCost
from leanrec.evaluation.frontier.frontier import Frontier, frontier
from leanrec.evaluation.frontier.results import ModelResult, QualityEstimate
from leanrec.models.baselines.popularity import Popularity, PopularityModel
from leanrec.run import Run

FEW_REQUESTS = LatencyProtocol(n_requests=20, min_requests=5, batch_size=8)


def make_result(
    name: str,
    quality: float,
    p99: float = 0.001,
    memory: int = 10**6,
    fit: float = 1.0,
    size: int = 10**6,
    family: str = "linear",
) -> ModelResult:
    """A fitted result with these costs."""
    cost = ModelCost(
        first_request=0.1,
        p50=p99 / 2,
        p99=p99,
        requests_per_second=1 / p99,
        batch_users_per_second=1 / p99,
        n_requests=100,
        n_users=50,
        n_interruptions=0,
        fit_seconds=fit,
        fit_cpu_seconds=fit,
        peak_memory=memory,
        warm_up_seconds=0.1,
        compile_seconds=0.0,
        model_bytes=size,
        artifact_bytes=size,
    )
    estimate = QualityEstimate(quality, quality - 0.01, quality + 0.01, 100)
    return ModelResult(name, name, family, {"l2": 1.0}, "fitted", cost=cost, valid=estimate, test=estimate)


def run_frontier(data: Dataset, models: Sequence[object], **options: object) -> Frontier:
    """The frontier of a few models with a leave-one-out split, measured in this process by few requests."""
    given = {"split": "leave-one-out", "latency": FEW_REQUESTS, "isolate": False, **options}
    return frontier(data, models=models, **given)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class FailingEstimator:
    """Its fit raises an error."""

    def fit_bytes(self, shape: DatasetShape) -> int:
        return 1

    def fit(self, data: Dataset, run: Run = Run()) -> PopularityModel:
        raise RuntimeError("singular matrix")


@dataclasses.dataclass(frozen=True)
class EstimatesTooMuch(FailingEstimator):
    """Its memory estimate is above any limit."""

    def fit_bytes(self, shape: DatasetShape) -> int:
        return 10**15


@dataclasses.dataclass(frozen=True)
class RequiresTooMuch(FailingEstimator):
    """Its fit requires more memory than it estimated."""

    def fit(self, data: Dataset, run: Run = Run()) -> PopularityModel:
        run.require_memory(10**15, "RequiresTooMuch")
        raise AssertionError


@dataclasses.dataclass(frozen=True)
class ScoresWrongShape(FailingEstimator):
    """Its scores have the wrong shape."""

    def fit(self, data: Dataset, run: Run = Run()) -> PopularityModel:
        return PopularityModel(Popularity(), np.zeros(3, np.float32))


@dataclasses.dataclass(frozen=True)
class UsesAllTime(FailingEstimator):
    """Its fit lasts until the time is over."""

    def fit(self, data: Dataset, run: Run = Run()) -> PopularityModel:
        while run.budget.fit_time is not None and not run.out_of_time():
            time.sleep(0.01)
        return Popularity().fit(data)
