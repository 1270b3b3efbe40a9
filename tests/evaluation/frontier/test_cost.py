"""Measured costs: each number contains what it should, and nothing else."""

import dataclasses
import time
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest

from conftest import make_dataset
from leanrec import artifacts
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import DataError, SettingError
from leanrec.evaluation.frontier import cost
from leanrec.evaluation.frontier.cost import LatencyProtocol, measure_cost, measure_latency, resident_bytes
from leanrec.models.baselines.popularity import Popularity
from leanrec.models.linear.ease import EASE
from leanrec.run import Run
from leanrec.types import Float32Array, Int32Array, Queries

USERS = np.arange(60, dtype=np.int32)  # of the small data set
FEW = LatencyProtocol(n_requests=40, min_requests=5, max_seconds=5.0, batch_size=16)


@dataclasses.dataclass(frozen=True)
class Slow:
    """Holds memory for a moment, sleeps, and warns."""

    seconds: float = 0.15
    megabytes: int = 40

    def fit_bytes(self, shape: DatasetShape) -> int:
        return self.megabytes * 10**6

    def fit(self, data: Dataset, run: Run = Run()) -> "SlowModel":
        if len(data.items) > 200:
            warnings.warn("did not converge", RuntimeWarning, stacklevel=1)
            held = np.ones(self.megabytes * 10**6 // 8)
            time.sleep(self.seconds)
            assert held[-1] == 1
        return SlowModel(self, np.zeros(len(data.items), np.float32))


@dataclasses.dataclass(frozen=True, eq=False)
class SlowModel:
    settings: Slow
    order: Float32Array
    seconds: float = 0.002

    @property
    def n_items(self) -> int:
        return len(self.order)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        time.sleep(self.seconds * len(queries))
        return np.tile(np.arange(self.n_items, dtype=np.float32), (len(queries), 1))


@pytest.fixture(scope="module")
def larger() -> Dataset:
    return make_dataset(n_users=80, n_items=300, per_user=10)


def test_time_and_memory_are_those_of_the_fit(larger: Dataset, tmp_path: Path) -> None:
    model, found, notes = measure_cost(Slow(), larger, tmp_path / "model", latency=FEW)
    assert found.fit_seconds >= 0.15
    assert found.fit_cpu_seconds < found.fit_seconds
    assert 38e6 <= found.peak_memory <= 60e6
    assert found.warm_up_seconds is not None
    assert notes[0] == "RuntimeWarning: did not converge"
    assert model.n_items == 300


def test_requests_are_timed_one_by_one(larger: Dataset, tmp_path: Path) -> None:
    found = measure_cost(Slow(seconds=0.0), larger, tmp_path / "model", latency=FEW).cost
    assert found.n_requests == 40
    assert found.n_users == 40
    assert 0.002 <= found.p50 <= found.p99
    assert found.first_request >= 0.002
    # Each request sleeps for 2 ms, so there cannot be more than 500 per second.
    assert found.requests_per_second <= 500
    assert found.batch_users_per_second <= 500


def test_each_request_is_for_another_user(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    interruptions(monkeypatch, 0)
    requested = []

    class Spy(SlowModel):
        def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
            requested.append(queries.users.tolist())
            return super().score(queries, items)

    spy = Spy(Slow(), np.zeros(len(dataset.items), np.float32), seconds=0)
    found = measure_latency(spy, dataset, USERS, latency=LatencyProtocol(n_requests=100, batch_size=8))
    timed = requested[1 + 20 : -2]
    assert all(len(each) == 1 for each in timed)
    assert [each[0] for each in timed] == [*range(60), *range(40)]
    assert (found.n_requests, found.n_users) == (100, 60)
    assert requested[-1] == list(range(8))


def test_a_slow_model_is_timed_with_fewer_requests(dataset: Dataset) -> None:
    slow = SlowModel(Slow(), np.zeros(len(dataset.items), np.float32), seconds=0.004)
    found = measure_latency(
        slow, dataset, USERS, latency=LatencyProtocol(n_requests=500, max_seconds=0.01, min_requests=7, batch_size=2)
    )
    assert found.n_requests == 7


def test_percentiles_are_observed_times(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    times = np.arange(1, 101) / 1000
    monkeypatch.setattr(cost, "_time_series", lambda *_: (times, 10.0))
    found = measure_latency(Popularity().fit(dataset), dataset, USERS, latency=FEW)
    assert (found.p50, found.p99, found.requests_per_second) == (0.051, 0.1, 10.0)


def test_a_busy_machine_gets_a_note(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interruptions(monkeypatch, 5, 3, 4)
    found = measure_cost(Popularity(), dataset, tmp_path / "model", latency=FEW)
    assert found.cost.n_interruptions == 3
    assert found.cost.is_noisy
    assert "interrupted 3 times in 40 requests" in found.notes[-1]
    assert not dataclasses.replace(found.cost, n_requests=600).is_noisy


def test_interrupted_series_are_repeated(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    interruptions(monkeypatch, 9, 0)
    found = measure_latency(Popularity().fit(dataset), dataset, USERS, latency=FEW)
    assert (found.n_interruptions, found.is_noisy) == (0, False)


def interruptions(monkeypatch: pytest.MonkeyPatch, *each: int) -> None:
    """Make each series of requests see that many interruptions."""
    counter = iter([count for interrupted in each for count in (100, 100 + interrupted)])
    monkeypatch.setattr(cost, "_count_interruptions", lambda: next(counter))


def test_no_queries_raise_a_data_error(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="at least one user"):
        measure_latency(Popularity().fit(dataset), dataset, USERS[:0])


def test_matrices_cached_by_an_earlier_model_are_computed_again(larger: Dataset, tmp_path: Path) -> None:
    assert larger.interactions.nnz
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Records(Slow):
        def fit(self, data: Dataset, run: Run = Run()) -> SlowModel:
            seen.append("interactions" in vars(data))
            return SlowModel(self, np.zeros(len(data.items), np.float32), seconds=0)

    measure_cost(Records(), larger, tmp_path / "model", latency=FEW)
    assert seen == [False, False]


def test_the_clock_of_the_run_starts_with_the_fit(larger: Dataset, tmp_path: Path) -> None:
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Records(Slow):
        def fit(self, data: Dataset, run: Run = Run()) -> SlowModel:
            seen.append((run.budget.fit_time, run.out_of_time()))
            return SlowModel(self, np.zeros(len(data.items), np.float32), seconds=0)

    run = Run(started=time.monotonic() - 60, budget=Budget(fit_time=5))
    measure_cost(Records(), larger, tmp_path / "model", run=run, latency=FEW)
    assert seen == [(None, False), (5, False)]


def test_compile_time_is_separate_from_fit_time(larger: Dataset, tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Compiles(Slow):
        def fit(self, data: Dataset, run: Run = Run()) -> SlowModel:
            if len(data.items) == 300:
                numba.njit(lambda x: x + 1)(2)
            return SlowModel(self, np.zeros(len(data.items), np.float32), seconds=0)

    before = time.perf_counter()
    found = measure_cost(Compiles(), larger, tmp_path / "model", latency=FEW).cost
    assert found.compile_seconds > 0
    assert found.compile_seconds + found.fit_seconds <= time.perf_counter() - before


def test_warm_up_is_none_where_the_tiny_part_cannot_be_fitted(dataset: Dataset, tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Picky(Slow):
        def fit(self, data: Dataset, run: Run = Run()) -> SlowModel:
            if len(data.items) < 300:
                raise ValueError("too few")
            return SlowModel(self, np.zeros(len(data.items), np.float32), seconds=0)

    found = measure_cost(Picky(), make_dataset(80, 300), tmp_path / "model", latency=FEW).cost
    assert found.warm_up_seconds is None


def test_the_tiny_part_is_consistent_with_the_whole() -> None:
    data = make_dataset(n_users=90, n_items=400, per_user=10)
    tiny = cost._take_tiny_part(data)
    assert tiny.shape.items == 256
    assert tiny.shape.users == 64
    assert tiny.item_table is not None
    assert data.item_table is not None
    # The same users interacted with the same items at the same times, by external ids.
    whole = _triples(data)
    assert _triples(tiny) <= whole
    title = dict(zip(data.items.ids.tolist(), data.item_table.columns["title"].tolist(), strict=True))
    assert all(
        title[item] == text
        for item, text in zip(tiny.items.ids.tolist(), tiny.item_table.columns["title"].tolist(), strict=True)
    )


def _triples(data: Dataset) -> set[tuple[str, int, int]]:
    users, items = data.users.ids.tolist(), data.items.ids.tolist()
    events = data.events
    return {
        (users[u], items[i], t)
        for u, i, t in zip(events.user.tolist(), events.item.tolist(), events.time.tolist(), strict=True)
    }


def test_resident_bytes_count_each_array_once(dataset: Dataset) -> None:
    array = np.zeros(1000, np.float64)
    matrix = dataset.interactions
    parts = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    assert resident_bytes(array) == 8000
    assert resident_bytes((array, array, array[5:10])) == 8000
    assert resident_bytes(array[::100]) == 8000
    assert resident_bytes({"a": array, "b": (matrix,)}) == pytest.approx(8000 + parts, abs=200)
    assert resident_bytes(None) == 0
    long = np.array(["x" * 1000, "short"], np.dtypes.StringDType())
    assert resident_bytes(long) == long.nbytes + 1000


def test_resident_bytes_include_caches(dataset: Dataset) -> None:
    fresh = dataclasses.replace(dataset)
    before = resident_bytes(fresh)
    entries = fresh.interactions.nnz
    assert resident_bytes(fresh) >= before + 8 * entries


def test_artifact_bytes_are_the_size_on_disk(dataset: Dataset, tmp_path: Path) -> None:
    found = measure_cost(EASE(), dataset, tmp_path / "model", latency=FEW, provenance={"data": "abc"}).cost
    assert found.artifact_bytes == artifacts.size_of(tmp_path / "model")
    assert found.artifact_bytes > found.model_bytes - 200
    assert found.model_bytes >= 4 * len(dataset.items) ** 2
    assert artifacts.read_manifest(tmp_path / "model")["provenance"] == {"data": "abc"}


def test_costs_are_those_that_a_budget_can_limit(dataset: Dataset, tmp_path: Path) -> None:
    found = measure_cost(EASE(), dataset, tmp_path / "model", latency=FEW).cost
    assert found.costs() == {
        "p99": found.p99,
        "memory": found.peak_memory,
        "fit_time": found.fit_seconds,
        "size": found.artifact_bytes,
    }


@pytest.mark.parametrize(
    "wrong", [{"n_requests": 0}, {"min_requests": 0}, {"top_k": 0}, {"batch_size": 0}, {"max_seconds": 0.0}]
)
def test_an_invalid_latency_protocol_raises_a_setting_error(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        LatencyProtocol(**wrong)  # type: ignore[arg-type]
