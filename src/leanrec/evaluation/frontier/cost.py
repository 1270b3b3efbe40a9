"""Cost of a model: to fit, to store, to answer requests.

``COST_METHOD`` documents each measurement.
"""

import contextlib
import dataclasses
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import scipy.sparse as sp
from numba.core import event

from leanrec import artifacts
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.data.vocabulary import Id
from leanrec.errors import DataError
from leanrec.events.user_history import UserHistory
from leanrec.kernels.threads import single_query_thread
from leanrec.models.baselines.popularity import Popularity
from leanrec.protocols import Context, Estimator, Scorer
from leanrec.retrieval.stages import StagePipeline, build_stages, rank_and_fill
from leanrec.run import Run, measure
from leanrec.settings import check_at_least, check_positive
from leanrec.types import Int32Array

__all__ = [
    "COST_METHOD",
    "LatencyProtocol",
    "MeasuredModel",
    "ModelCost",
    "RequestCost",
    "measure_cost",
    "measure_latency",
    "resident_bytes",
]

COST_METHOD: Mapping[str, str] = {
    "fit": (
        "Wall and CPU time of the fit alone, on data that is in memory and indexed. Matrices that a fit "
        "derives from the log are included. Imports and kernels compiled on first use are not: the "
        "model first fits a tiny part of the data (the warm-up), and compilation that still happens in the fit is "
        "subtracted and reported separately."
    ),
    "peak memory": (
        "Peak resident memory during the fit, above what the process held just before. The model and "
        "everything it was computed from, except the log itself, are included; the interpreter, the libraries "
        "and the log are not."
    ),
    "request": (
        "The id of a user → those of the ten best items, by the code of a server: the history is built from the events, "
        "every item is scored, seen items are left out, and popularity orders items of equal score and those that the "
        "model knows nothing of; on one thread, one request after the other, each for another user. Titles, reasons, "
        "JSON and HTTP are not included. Where other work interrupted often, the requests are repeated up to "
        "twice and the series with the fewest interruptions counts."
    ),
    "first request": "The first such request after the fit, which includes loading or compiling kernels.",
    "in memory, on disk": "Bytes of the arrays of the model while it answers requests, and of its saved artifact.",
}

_TINY_USERS, _TINY_ITEMS = 64, 256
# Interruptions by other work, as a share of the requests, above which p99 is dominated by the machine.
_NOISY_SHARE = 0.005
_MAX_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class LatencyProtocol:
    """How request latency is measured.

    Attributes:
        n_requests: requests to time.
        max_seconds: time after which fewer requests are enough.
        min_requests: requests to time regardless of ``max_seconds``.
        top_k: length of a recommendation list.
        batch_size: users in the call that measures batch throughput.
    """

    n_requests: int = 2000
    max_seconds: float = 3.0
    min_requests: int = 100
    top_k: int = 10
    batch_size: int = 256

    def __post_init__(self) -> None:
        for name in ("n_requests", "min_requests", "top_k", "batch_size"):
            check_at_least(name, getattr(self, name), 1)
        check_positive("max_seconds", self.max_seconds)


@dataclasses.dataclass(frozen=True)
class RequestCost:
    """Latency and throughput of requests. Times are in seconds.

    Attributes:
        first_request: latency of the very first request.
        p50: median latency.
        p99: 99th percentile of the latency; an observed value, not interpolated.
        requests_per_second: throughput of one thread, one request after the other.
        batch_users_per_second: throughput of one call for many users, on all threads of the run.
        n_requests: number of timed requests.
        n_users: number of different users among them.
        n_interruptions: how often other work preempted the process; if high, p99 reflects the machine.
    """

    first_request: float
    p50: float
    p99: float
    requests_per_second: float
    batch_users_per_second: float
    n_requests: int
    n_users: int
    n_interruptions: int

    @property
    def is_noisy(self) -> bool:
        """Whether other work interrupted so often that p99 is higher than on a quiet machine."""
        return self.n_interruptions > _NOISY_SHARE * self.n_requests


@dataclasses.dataclass(frozen=True)
class ModelCost(RequestCost):
    """Cost of a model, in seconds and bytes.

    Attributes:
        fit_seconds: wall time of the fit.
        fit_cpu_seconds: CPU time of the fit, all cores together.
        peak_memory: bytes of resident memory that the fit added at its peak.
        warm_up_seconds: imports, compilation and a fit of a tiny part of the data; None where that part was too small
            to fit, so that ``fit_seconds`` includes the imports.
        compile_seconds: time in which the fit compiled or loaded kernels; not included in ``fit_seconds`` and
            ``fit_cpu_seconds``.
        model_bytes: bytes of the arrays of the model while it answers requests.
        artifact_bytes: bytes on disk.
        isolated: whether it was measured in a subprocess of its own.
    """

    fit_seconds: float
    fit_cpu_seconds: float
    peak_memory: int
    warm_up_seconds: float | None
    compile_seconds: float
    model_bytes: int
    artifact_bytes: int
    isolated: bool = False

    def costs(self) -> dict[str, float]:
        """The costs that a budget can limit, by the name of their axis, see ``COST_AXES``."""
        return {
            "p99": self.p99,
            "memory": float(self.peak_memory),
            "fit_time": self.fit_seconds,
            "size": float(self.artifact_bytes),
        }


class MeasuredModel(NamedTuple):
    """A fitted model, its cost, and the warnings of its fit."""

    model: Scorer
    cost: ModelCost
    notes: tuple[str, ...]


def measure_cost(
    estimator: Estimator,
    data: Dataset,
    folder: str | Path,
    *,
    run: Run = Run(),
    latency: LatencyProtocol = LatencyProtocol(),
    provenance: Mapping[str, Any] | None = None,
) -> MeasuredModel:
    """Fit a model in this process, save it to ``folder``, answer requests, and measure the cost of each step.

    ``run.budget.fit_time`` begins to count when the fit begins. Besides the fit, this takes a second or two for a
    model that answers in well under a millisecond, and at most ``latency.min_requests`` requests of a slow one.
    """
    with _collect_warnings() as notes:
        warm_up = _warm_up(estimator, data, run)
        # A fresh copy has no matrix cached by an earlier model, so each fit pays for the ones it derives.
        fresh = dataclasses.replace(data)
        compiled: list[float] = [0.0]
        with measure() as meter, event.install_timer("numba:compiler_lock", compiled.append):
            model = estimator.fit(fresh, run.restart())
        path = artifacts.save(model, folder, provenance=provenance)
        active = np.flatnonzero(np.diff(fresh.indptr)).astype(np.int32)
        users = run.rng().permutation(active)[: latency.n_requests]
        fallback = Popularity().fit(fresh, run)
        requests = measure_latency(model, fresh, users, fallback=fallback, run=run, latency=latency)
    if requests.is_noisy:
        notes.append(
            f"The machine was busy: other work interrupted {requests.n_interruptions} times in {requests.n_requests} "
            "requests, so p99 is higher than on a quiet machine."
        )
    cost = ModelCost(
        **dataclasses.asdict(requests),
        fit_seconds=max(0.0, meter.cost.wall - compiled[-1]),
        fit_cpu_seconds=max(0.0, meter.cost.cpu - compiled[-1]),
        peak_memory=meter.cost.peak,
        warm_up_seconds=warm_up,
        compile_seconds=compiled[-1],
        model_bytes=resident_bytes(model),
        artifact_bytes=artifacts.size_of(path),
    )
    return MeasuredModel(model, cost, tuple(dict.fromkeys(notes)))


def measure_latency(
    model: Scorer,
    data: Dataset,
    users: Int32Array,
    *,
    fallback: Scorer | None = None,
    run: Run = Run(),
    latency: LatencyProtocol = LatencyProtocol(),
) -> RequestCost:
    """Time single requests for users of a data set, in turn, and one call for many of them.

    A list is made by the code of a server, from the id of the user to the ids of items.

    Args:
        model: ranks the items of ``data``.
        data: the data set of the fit, with the events of the users.
        users: (R,) user rows.
        fallback: orders items of equal score and fills lists; None leaves lists without evidence empty.
        run: threads of the call for many users.
        latency: how many requests are timed.

    Raises DataError if there are no users.
    """
    if not len(users):
        raise DataError("Requests can be measured only if at least one user has a history. There is none.")
    requests = _Requests(build_stages(model, fallback, data.rating_range), data, min(latency.top_k, model.n_items))
    ids: list[Id] = data.users.ids[users].tolist()
    with single_query_thread():  # as a thread of a server
        first = requests.time_one(ids[0])
        # Twenty more requests load what is loaded lazily; they are not counted.
        for user in ids[:20]:
            requests.time_one(user)
        times, total, interruptions = _time_quietest_series(requests, ids, latency)
    many = users[: latency.batch_size]
    with run.limit_threads():
        requests.time_many(many)  # a call for many users may use other kernels
        batch = requests.time_many(many)
    return RequestCost(
        first_request=first,
        p50=float(np.quantile(times, 0.5, method="higher")),
        p99=float(np.quantile(times, 0.99, method="higher")),
        requests_per_second=len(times) / total,
        batch_users_per_second=len(many) / batch,
        n_requests=len(times),
        n_users=min(len(times), len(ids)),
        n_interruptions=interruptions,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Requests:
    """Times requests for lists.

    Attributes:
        stages: make the lists.
        data: holds the events of the users.
        top_k: length of the lists.
    """

    stages: StagePipeline
    data: Dataset
    top_k: int

    def time_one(self, user: Id) -> float:
        """Seconds of a list for the user with this id."""
        start = time.perf_counter_ns()
        row = self.data.users.row(user)
        queries = UserHistory.from_data(self.data, row).to_queries(row, len(self.data.items))
        found = rank_and_fill(self.stages, queries, self.top_k, Context())
        _ = [self.data.items.ids.item(item) for item in found.rows]
        # At least one nanosecond: a coarse clock must not give an infinite rate.
        return max(1, time.perf_counter_ns() - start) / 1e9

    def time_many(self, users: Int32Array) -> float:
        """Seconds of one call for many users, whose histories are a matrix already."""
        queries = self.data.queries(users)
        start = time.perf_counter_ns()
        self.stages.run(queries, self.top_k, Context())
        return max(1, time.perf_counter_ns() - start) / 1e9


def _count_interruptions() -> int:
    return int(psutil.Process().num_ctx_switches().involuntary)


def _time_quietest_series(
    requests: _Requests, users: list[Id], latency: LatencyProtocol
) -> tuple[np.ndarray, float, int]:
    """The first series without many interruptions; of three noisy ones, the least interrupted."""
    found: list[tuple[np.ndarray, float, int]] = []
    for _ in range(_MAX_ROUNDS):
        before = _count_interruptions()
        times, total = _time_series(requests, users, latency)
        found.append((times, total, _count_interruptions() - before))
        if found[-1][2] <= _NOISY_SHARE * len(times):
            break
    return min(found, key=lambda series: series[2] / len(series[0]))


def _time_series(requests: _Requests, users: list[Id], latency: LatencyProtocol) -> tuple[np.ndarray, float]:
    """Seconds of each request, and of all of them together."""
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < latency.n_requests:
        if len(times) >= latency.min_requests and time.perf_counter() - start > latency.max_seconds:
            break
        times.append(requests.time_one(users[len(times) % len(users)]))
    return np.array(times), time.perf_counter() - start


def _warm_up(estimator: Estimator, data: Dataset, run: Run) -> float | None:
    """Seconds of a fit of a tiny part of the data, or None where the part is too small to be fitted."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run = dataclasses.replace(run, callbacks=(), budget=Budget(memory=run.budget.memory))
            estimator.fit(_take_tiny_part(data), run)
        except Exception:  # noqa: BLE001 - an error that matters is raised again, and reported, by the fit itself
            return None
    return time.perf_counter() - start


def _take_tiny_part(data: Dataset) -> Dataset:
    """The most popular items and the first users who interacted with them, with their events and tables."""
    counts = np.bincount(data.events.item, minlength=len(data.items))
    items = np.sort(np.argsort(-counts, kind="stable")[:_TINY_ITEMS]).astype(np.int32)
    of_items = np.isin(data.events.item, items)
    users = np.unique(data.events.user[of_items])[:_TINY_USERS].astype(np.int32)
    events = data.events.take(of_items & np.isin(data.events.user, users))
    events = dataclasses.replace(events, user=_renumber(events.user, users), item=_renumber(events.item, items))
    return dataclasses.replace(
        data,
        events=events,
        users=dataclasses.replace(data.users, ids=data.users.ids[users]),
        items=dataclasses.replace(data.items, ids=data.items.ids[items]),
        item_table=None if data.item_table is None else data.item_table.take(items),
        user_table=None if data.user_table is None else data.user_table.take(users),
    )


def _renumber(rows: Int32Array, kept: Int32Array) -> Int32Array:
    return np.searchsorted(kept, rows).astype(np.int32)


@contextlib.contextmanager
def _collect_warnings() -> Iterator[list[str]]:
    """Collect the warnings of the block as text, instead of printing them between the rows of a table."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield notes
    notes += [f"{each.category.__name__}: {each.message}" for each in caught]


def resident_bytes(model: Any) -> int:
    """Bytes of the arrays and strings of a model, including caches it needs to answer; each array counts once."""
    return _count_bytes(model, set())


def _count_bytes(value: Any, counted: set[int]) -> int:
    if isinstance(value, np.ndarray):
        return _count_array_bytes(value, counted)
    if sp.issparse(value):
        parts = (getattr(value, name, None) for name in ("data", "indices", "indptr"))
        return sum(_count_bytes(part, counted) for part in parts)
    if isinstance(value, str | bytes):
        return sys.getsizeof(value)
    if id(value) in counted:
        return 0
    counted.add(id(value))
    if isinstance(value, Mapping):
        return sum(_count_bytes(part, counted) for pair in value.items() for part in pair)
    if isinstance(value, tuple | list | set | frozenset):
        return sum(_count_bytes(part, counted) for part in value)
    is_value = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return sum(_count_bytes(part, counted) for part in vars(value).values()) if is_value else 0


def _count_array_bytes(array: np.ndarray, counted: set[int]) -> int:
    """Bytes of the memory behind an array: a view keeps its whole base alive."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    if id(array) in counted:
        return 0
    counted.add(id(array))
    # Strings of up to 15 bytes are stored in the array itself, longer ones outside.
    long = (
        sum(len(text.encode()) for text in array.ravel().tolist() if len(text) > 15) if array.dtype.kind == "T" else 0
    )
    return array.nbytes + long
