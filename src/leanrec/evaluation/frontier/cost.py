"""What a model costs: to fit, to keep, to ask. ``METHOD`` says what each number holds."""

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
from leanrec.errors import DataError
from leanrec.protocols import Estimator, Scorer
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run, measure
from leanrec.settings import check_at_least, check_positive
from leanrec.types import Int32Array, Queries

__all__ = [
    "METHOD",
    "Costed",
    "ModelCost",
    "RequestCost",
    "Requests",
    "cost_of",
    "measure_requests",
    "resident_bytes",
]

METHOD: Mapping[str, str] = {
    "fit": (
        "Wall and CPU time of the fit alone, on data that is in memory and indexed. Matrices that a fit "
        "derives from the log are part of it. Imports and kernels compiled on first use are not: the "
        "model first fits a tiny part of the data (the warm-up), and what is compiled in the fit all the "
        "same is taken off and kept beside it."
    ),
    "peak memory": (
        "Highest resident memory during the fit, above what the process held just before. The model and "
        "all that it was computed from, except the log itself, are in it; the interpreter, the libraries "
        "and the log are not."
    ),
    "request": (
        "One user with a history → the ten best items, every item scored and what was seen left out, on "
        "one thread, one request after the other, each time another user. Building the history from "
        "events and HTTP are not in it. Where other work interrupted often, the requests are repeated up to "
        "twice and the quietest series counts."
    ),
    "first answer": ("The first such request after the fit. It pays for kernels that are loaded or compiled then."),
    "in memory, on disk": ("Bytes of the arrays of the model while it answers, and of its saved artifact."),
}

_TINY_USERS, _TINY_ITEMS = 64, 256
# Interruptions by other work, as a share of the requests, from which p99 is no longer the model's own.
_BUSY = 0.005
_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class Requests:
    """How requests are measured.

    Attributes:
        count: requests to time.
        seconds: time after which fewer will do.
        least: requests to time however long it takes.
        k: length of a list.
        batch: askers in the call that measures throughput in batches.
    """

    count: int = 2000
    seconds: float = 3.0
    least: int = 100
    k: int = 10
    batch: int = 256

    def __post_init__(self) -> None:
        for name in ("count", "least", "k", "batch"):
            check_at_least(name, getattr(self, name), 1)
        check_positive("seconds", self.seconds)


@dataclasses.dataclass(frozen=True)
class RequestCost:
    """What requests cost, in seconds.

    Attributes:
        first_answer: the very first request.
        p50: half of the requests took at most this.
        p99: 99 of 100 took at most this; a time that was observed, not interpolated.
        per_second: requests a second of one thread, one at a time.
        batch_per_second: askers a second in one call for many, on all threads of the run.
        requests: how many were timed.
        askers: how many different users asked.
        interrupted: how often other work took the core away meanwhile; much of it makes p99 a number of the
            machine.
    """

    first_answer: float
    p50: float
    p99: float
    per_second: float
    batch_per_second: float
    requests: int
    askers: int
    interrupted: int

    @property
    def busy(self) -> bool:
        """Whether other work interrupted the requests so often that p99 is higher than the model's own."""
        return self.interrupted > _BUSY * self.requests


@dataclasses.dataclass(frozen=True)
class ModelCost(RequestCost):
    """What a model costs, in seconds and bytes.

    Attributes:
        fit_wall: seconds of the fit by the clock.
        fit_cpu: seconds of the fit, all cores together.
        fit_peak: bytes of resident memory that the fit added at its highest.
        warm_up: seconds of imports, compilation and a fit of a tiny part of the data; None where that part
            was too small to fit, so that ``fit_wall`` includes the imports.
        compile: seconds in which the fit compiled kernels or loaded compiled ones; not in ``fit_wall`` and
            ``fit_cpu``.
        model_bytes: bytes of the arrays of the model while it answers.
        artifact_bytes: bytes on disk.
        apart: whether it was measured in a fresh process of its own.
    """

    fit_wall: float
    fit_cpu: float
    fit_peak: int
    warm_up: float | None
    compile: float
    model_bytes: int
    artifact_bytes: int
    apart: bool = False

    def axes(self) -> dict[str, float]:
        """The costs that a budget can limit, by the name of their axis."""
        return {
            "p99": self.p99,
            "memory": float(self.fit_peak),
            "fit_time": self.fit_wall,
            "size": float(self.artifact_bytes),
        }


class Costed(NamedTuple):
    """A fitted model, what it cost, and the warnings it gave."""

    model: Scorer
    cost: ModelCost
    notes: tuple[str, ...]


def cost_of(
    estimator: Estimator,
    data: Dataset,
    folder: str | Path,
    *,
    run: Run = Run(),
    requests: Requests = Requests(),
    provenance: Mapping[str, Any] | None = None,
) -> Costed:
    """Fit in this process, save to ``folder``, answer requests, and say what each of these cost.

    ``run.budget.fit_time`` begins to count when the fit begins. Besides the fit, this takes a second or two for a
    model that answers in well under a millisecond, and at most ``requests.least`` answers of a slow one.
    """
    with _noting() as notes:
        warm = _warm_up(estimator, data, run)
        # A fresh copy has no matrix cached by an earlier model, so each fit pays for the ones it derives.
        fresh = dataclasses.replace(data)
        compiled: list[float] = [0.0]
        with measure() as meter, event.install_timer("numba:compiler_lock", compiled.append):
            model = estimator.fit(fresh, run.restart())
        path = artifacts.save(model, folder, provenance=provenance)
        answers = measure_requests(model, _askers(fresh, requests.count, run), run=run, requests=requests)
    cost = ModelCost(
        **dataclasses.asdict(answers),
        fit_wall=max(0.0, meter.cost.wall - compiled[-1]),
        fit_cpu=max(0.0, meter.cost.cpu - compiled[-1]),
        fit_peak=meter.cost.peak,
        warm_up=warm,
        compile=compiled[-1],
        model_bytes=resident_bytes(model),
        artifact_bytes=artifacts.size_of(path),
    )
    return Costed(model, cost, (*dict.fromkeys(notes), *_noise(answers)))


def measure_requests(
    model: Scorer, queries: Queries, *, run: Run = Run(), requests: Requests = Requests()
) -> RequestCost:
    """Time single requests for the askers in ``queries``, in turn, and one call for many of them.

    Raises DataError where there is no asker.
    """
    if not len(queries):
        raise DataError("Requests can be measured only if at least one user has a history. There is none.")
    retriever = ExactRetriever(model)
    singles = [queries.block(at, at + 1) for at in range(len(queries))]
    with dataclasses.replace(run, threads=1).limit_threads():
        first = _seconds(retriever, singles[0], requests.k)
        # Twenty more settle what is loaded lazily; they are not counted.
        for single in singles[:20]:
            retriever.retrieve(single, requests.k)
        laps, total, interrupted = _quietest(retriever, singles, requests)
    many = queries.block(0, requests.batch)
    with run.limit_threads():
        retriever.retrieve(many, requests.k)  # a call for many may go another way, with kernels of its own
        together = _seconds(retriever, many, requests.k)
    return RequestCost(
        first_answer=first,
        p50=float(np.quantile(laps, 0.5, method="higher")),
        p99=float(np.quantile(laps, 0.99, method="higher")),
        per_second=len(laps) / total,
        batch_per_second=len(many) / together,
        requests=len(laps),
        askers=min(len(laps), len(singles)),
        interrupted=interrupted,
    )


def _noise(answers: RequestCost) -> tuple[str, ...]:
    if not answers.busy:
        return ()
    note = (
        f"The machine was busy: other work interrupted {answers.interrupted} times in {answers.requests} "
        "requests, so p99 is higher than on a quiet machine."
    )
    return (note,)


def _interruptions() -> int:
    return int(psutil.Process().num_ctx_switches().involuntary)


def _quietest(retriever: ExactRetriever, singles: list[Queries], requests: Requests) -> tuple[np.ndarray, float, int]:
    """A stream that other work left alone; if none of three was, the one that it interrupted least."""
    found: list[tuple[np.ndarray, float, int]] = []
    for _ in range(_ROUNDS):
        before = _interruptions()
        laps, total = _stream(retriever, singles, requests)
        found.append((laps, total, _interruptions() - before))
        if found[-1][2] <= _BUSY * len(laps):
            break
    return min(found, key=lambda stream: stream[2] / len(stream[0]))


def _stream(retriever: ExactRetriever, singles: list[Queries], requests: Requests) -> tuple[np.ndarray, float]:
    """Seconds of each request, and of all of them together."""
    laps: list[float] = []
    begin = time.perf_counter()
    while len(laps) < requests.count:
        if len(laps) >= requests.least and time.perf_counter() - begin > requests.seconds:
            break
        laps.append(_seconds(retriever, singles[len(laps) % len(singles)], requests.k))
    return np.array(laps), time.perf_counter() - begin


def _seconds(retriever: ExactRetriever, queries: Queries, k: int) -> float:
    start = time.perf_counter_ns()
    retriever.retrieve(queries, k)
    # A clock that does not tick between two looks must not give an infinite rate.
    return max(1, time.perf_counter_ns() - start) / 1e9


def _askers(data: Dataset, count: int, run: Run) -> Queries:
    """Up to ``count`` different users who have a history, in random order."""
    known = np.flatnonzero(np.diff(data.indptr)).astype(np.int32)
    return data.queries(run.rng().permutation(known)[:count])


def _warm_up(estimator: Estimator, data: Dataset, run: Run) -> float | None:
    """Seconds of a fit of a tiny part of the data, or None where the part is too small to be fitted."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            estimator.fit(_tiny(data), dataclasses.replace(run, callbacks=(), budget=Budget(memory=run.budget.memory)))
        except Exception:  # noqa: BLE001 - whatever is wrong shows again, and is reported, in the fit itself
            return None
    return time.perf_counter() - start


def _tiny(data: Dataset) -> Dataset:
    """The most touched items and the first users who touched them, with their events and tables."""
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
def _noting() -> Iterator[list[str]]:
    """Collect warnings as texts: a table of many models has a better place for them than the screen."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield notes
    notes += [f"{each.category.__name__}: {each.message}" for each in caught]


def resident_bytes(model: Any) -> int:
    """Bytes of the arrays and texts of a model, what it cached to answer included; each array once."""
    return _resident(model, set())


def _resident(value: Any, counted: set[int]) -> int:
    if isinstance(value, np.ndarray):
        return _array_bytes(value, counted)
    if sp.issparse(value):
        parts = (getattr(value, name, None) for name in ("data", "indices", "indptr"))
        return sum(_resident(part, counted) for part in parts)
    if isinstance(value, str | bytes):
        return sys.getsizeof(value)
    if id(value) in counted:
        return 0
    counted.add(id(value))
    if isinstance(value, Mapping):
        return sum(_resident(part, counted) for pair in value.items() for part in pair)
    if isinstance(value, tuple | list | set | frozenset):
        return sum(_resident(part, counted) for part in value)
    is_value = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return sum(_resident(part, counted) for part in vars(value).values()) if is_value else 0


def _array_bytes(array: np.ndarray, counted: set[int]) -> int:
    """Bytes of the memory an array stands on: a view keeps the whole of it alive."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    if id(array) in counted:
        return 0
    counted.add(id(array))
    # Texts of up to 15 bytes live in the array itself, longer ones beside it.
    long = (
        sum(len(text.encode()) for text in array.ravel().tolist() if len(text) > 15) if array.dtype.kind == "T" else 0
    )
    return array.nbytes + long
