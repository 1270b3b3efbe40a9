"""What is measured, and that it is measured right."""

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
from leanrec.errors import BudgetError, DataError, SettingError
from leanrec.evaluation.frontier import cost
from leanrec.evaluation.frontier.cost import ModelCost, LatencyProtocol, measure_cost, measure_latency, resident_bytes
from leanrec.evaluation.frontier.isolation import SubprocessFitError, can_isolate, measure_in_subprocess
from leanrec.models.baselines.popularity import Popularity
from leanrec.models.linear.ease import EASE
from leanrec.run import Run
from leanrec.types import Float32Array, Int32Array, Queries

FEW = LatencyProtocol(count=40, least=5, seconds=5.0, batch=16)


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


def test_fit_time_and_memory_are_those_of_the_fit(larger: Dataset, tmp_path: Path) -> None:
    model, found, notes = measure_cost(Slow(), larger, tmp_path / "model", latency=FEW)
    assert found.fit_seconds >= 0.15
    assert found.fit_cpu_seconds < found.fit_seconds
    assert 38e6 <= found.peak_memory <= 60e6
    assert found.warm_up_seconds is not None
    assert notes[0] == "RuntimeWarning: did not converge"
    assert model.n_items == 300


def test_a_request_is_timed_alone(larger: Dataset, tmp_path: Path) -> None:
    found = measure_cost(Slow(seconds=0.0), larger, tmp_path / "model", latency=FEW).cost
    assert found.n_requests == 40
    assert found.n_users == 40
    assert 0.002 <= found.p50 <= found.p99
    assert found.first_request >= 0.002
    # One at a time: the rate is the inverse of the mean, which cannot beat the sleep in each request.
    assert found.requests_per_second <= 500
    assert found.batch_users_per_second <= 500


def test_every_request_asks_for_another_user(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    interruptions(monkeypatch, 0)
    asked = []

    class Spy(SlowModel):
        def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
            asked.append(queries.users.tolist())
            return super().score(queries, items)

    spy = Spy(Slow(), np.zeros(len(dataset.items), np.float32), seconds=0)
    found = measure_latency(spy, dataset.queries(), latency=LatencyProtocol(count=100, batch=8))
    timed = asked[1 + 20 : -2]
    assert all(len(each) == 1 for each in timed)
    assert [each[0] for each in timed] == [*range(60), *range(40)]
    assert (found.n_requests, found.n_users) == (100, 60)
    assert asked[-1] == list(range(8))


def test_a_slow_model_is_asked_less_often(dataset: Dataset) -> None:
    slow = SlowModel(Slow(), np.zeros(len(dataset.items), np.float32), seconds=0.004)
    found = measure_latency(slow, dataset.queries(), latency=LatencyProtocol(count=500, seconds=0.01, least=7, batch=2))
    assert found.n_requests == 7


def test_percentiles_are_times_that_were_observed(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    laps = np.arange(1, 101) / 1000
    monkeypatch.setattr(cost, "_stream", lambda *_: (laps, 10.0))
    found = measure_latency(Popularity().fit(dataset), dataset.queries(), latency=FEW)
    assert (found.p50, found.p99, found.requests_per_second) == (0.051, 0.1, 10.0)


def test_a_busy_machine_is_named(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interruptions(monkeypatch, 5, 3, 4)
    found = measure_cost(Popularity(), dataset, tmp_path / "model", latency=FEW)
    assert found.cost.n_interruptions == 3
    assert found.cost.is_noisy
    assert "interrupted 3 times in 40 requests" in found.notes[-1]
    assert not dataclasses.replace(found.cost, latency=600).is_noisy


def test_disturbed_requests_are_repeated_until_they_are_quiet(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    interruptions(monkeypatch, 9, 0)
    found = measure_latency(Popularity().fit(dataset), dataset.queries(), latency=FEW)
    assert (found.n_interruptions, found.is_noisy) == (0, False)


def interruptions(monkeypatch: pytest.MonkeyPatch, *each: int) -> None:
    """Let other work interrupt each series of requests that often."""
    counter = iter([count for interrupted in each for count in (100, 100 + interrupted)])
    monkeypatch.setattr(cost, "_interruptions", lambda: next(counter))


def test_nobody_to_ask_is_an_error(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="at least one user"):
        measure_latency(Popularity().fit(dataset), dataset.queries().block(0, 0))


def test_a_fit_pays_for_the_matrices_it_derives(larger: Dataset, tmp_path: Path) -> None:
    """A matrix cached by an earlier model must not be free for the next one."""
    assert larger.interactions.nnz
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Looks(Slow):
        def fit(self, data: Dataset, run: Run = Run()) -> SlowModel:
            seen.append("interactions" in vars(data))
            return SlowModel(self, np.zeros(len(data.items), np.float32), seconds=0)

    measure_cost(Looks(), larger, tmp_path / "model", latency=FEW)
    assert seen == [False, False]


def test_the_clock_of_the_run_starts_with_the_fit(larger: Dataset, tmp_path: Path) -> None:
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Looks(Slow):
        def fit(self, data: Dataset, run: Run = Run()) -> SlowModel:
            seen.append((run.budget.fit_time, run.out_of_time()))
            return SlowModel(self, np.zeros(len(data.items), np.float32), seconds=0)

    run = Run(started=time.monotonic() - 60, budget=Budget(fit_time=5))
    measure_cost(Looks(), larger, tmp_path / "model", run=run, latency=FEW)
    assert seen == [(None, False), (5, False)]


def test_compiling_is_named_and_not_charged_to_the_fit(larger: Dataset, tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Compiles(Slow):
        def fit(self, data: Dataset, run: Run = Run()) -> SlowModel:
            if len(data.items) == 300:
                numba.njit(lambda x: x + 1)(2)
            return SlowModel(self, np.zeros(len(data.items), np.float32), seconds=0)

    before = time.perf_counter()
    found = measure_cost(Compiles(), larger, tmp_path / "model", latency=FEW).cost
    assert found.compile > 0
    assert found.compile + found.fit_seconds <= time.perf_counter() - before


def test_too_small_a_part_to_warm_up_with_is_named(dataset: Dataset, tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Picky(Slow):
        def fit(self, data: Dataset, run: Run = Run()) -> SlowModel:
            if len(data.items) < 300:
                raise ValueError("too few")
            return SlowModel(self, np.zeros(len(data.items), np.float32), seconds=0)

    found = measure_cost(Picky(), make_dataset(80, 300), tmp_path / "model", latency=FEW).cost
    assert found.warm_up_seconds is None


def test_the_tiny_part_is_a_data_set_of_its_own() -> None:
    data = make_dataset(n_users=90, n_items=400, per_user=10)
    tiny = cost._tiny(data)
    assert tiny.shape.items == 256
    assert tiny.shape.users == 64
    assert tiny.item_table is not None
    assert data.item_table is not None
    # The same user touched the same item at the same time, by own ids.
    whole = _triples(data)
    assert _triples(tiny) <= whole
    title = dict(zip(data.items.ids.tolist(), data.item_table.columns["title"].tolist(), strict=True))
    assert all(
        title[own] == text
        for own, text in zip(tiny.items.ids.tolist(), tiny.item_table.columns["title"].tolist(), strict=True)
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


def test_resident_bytes_see_what_a_model_cached_to_answer(dataset: Dataset) -> None:
    fresh = dataclasses.replace(dataset)
    before = resident_bytes(fresh)
    entries = fresh.interactions.nnz
    assert resident_bytes(fresh) >= before + 8 * entries


def test_the_bytes_on_disk_are_those_of_the_artifact(dataset: Dataset, tmp_path: Path) -> None:
    found = measure_cost(EASE(), dataset, tmp_path / "model", latency=FEW, provenance={"data": "abc"}).cost
    assert found.artifact_bytes == artifacts.size_of(tmp_path / "model")
    assert found.artifact_bytes > found.model_bytes - 200
    assert found.model_bytes >= 4 * len(dataset.items) ** 2
    assert artifacts.read_manifest(tmp_path / "model")["provenance"] == {"data": "abc"}


def test_axes_name_what_a_budget_can_limit(dataset: Dataset, tmp_path: Path) -> None:
    found = measure_cost(EASE(), dataset, tmp_path / "model", latency=FEW).cost
    assert found.costs() == {
        "p99": found.p99,
        "memory": found.peak_memory,
        "fit_time": found.fit_seconds,
        "size": found.artifact_bytes,
    }


@pytest.mark.parametrize("wrong", [{"count": 0}, {"least": 0}, {"k": 0}, {"batch": 0}, {"seconds": 0.0}])
def test_requests_refuse_what_cannot_be_measured(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        LatencyProtocol(**wrong)  # type: ignore[arg-type]


@pytest.fixture
def job(tmp_path: Path, larger: Dataset) -> Path:
    artifacts.save(larger, tmp_path / "data")
    return tmp_path


@pytest.mark.system
def test_a_process_apart_finds_what_this_one_finds(job: Path, larger: Dataset) -> None:
    assert can_isolate(EASE(l2=30.0), job / "settings")
    model, there, _ = measure_in_subprocess(job, job / "data", run=Run(seed=1, threads=1), latency=FEW, provenance={"a": 1})
    here = measure_cost(EASE(l2=30.0), larger, job / "here", run=Run(seed=1, threads=1), latency=FEW)
    np.testing.assert_array_equal(model.score(larger.queries()), here.model.score(larger.queries()))
    assert there.isolate
    assert not here.cost.isolate
    assert there.model_bytes == here.cost.model_bytes
    assert abs(there.artifact_bytes - here.cost.artifact_bytes) < 100
    assert artifacts.read_manifest(job / "model")["provenance"] == {"a": 1}
    assert isinstance(there, ModelCost)


def test_settings_of_a_script_stay_in_this_process(job: Path) -> None:
    assert not can_isolate(Slow(), job / "settings")


@pytest.mark.system
def test_a_refusal_apart_is_still_a_refusal(job: Path) -> None:
    assert can_isolate(EASE(), job / "settings")
    with pytest.raises(BudgetError, match="EASE over 300 items, even with"):
        measure_in_subprocess(job, job / "data", run=Run(budget=Budget(memory=1000)), latency=FEW)


@pytest.mark.system
def test_an_error_apart_is_told(job: Path, larger: Dataset) -> None:
    nobody = larger.with_events(larger.events.take(np.zeros(0, np.int64)))
    artifacts.save(nobody, job / "empty")
    assert can_isolate(Popularity(), job / "settings")
    with pytest.raises(SubprocessFitError, match="at least one user has a history"):
        measure_in_subprocess(job, job / "empty", run=Run(), latency=FEW)


@pytest.mark.system
def test_a_process_that_dies_is_told(job: Path) -> None:
    (job / "settings").mkdir()
    with pytest.raises(SubprocessFitError, match=r"ended with the code 1\. .*not a leanrec artifact"):
        measure_in_subprocess(job, job / "data", run=Run(), latency=FEW)
