"""Distillation by measurement: a teacher, its student, and the same student without a teacher on the same users."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from leanrec.compression.distillation import Distillation
from leanrec.compression.methods import count_parts
from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import DataError
from leanrec.evaluation.compression.ranking_sample import (
    METRICS,
    MeasuredLists,
    RankingSample,
    RelativeLoss,
    find_tail_items,
)
from leanrec.kernels.threads import single_query_thread
from leanrec.protocols import Context, Estimator, Scorer
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run
from leanrec.settings import check_at_least
from leanrec.units import format_bytes, format_seconds

__all__ = ["DistillationResult", "DistilledResult", "distill"]

# An interval over fewer users says nothing.
_MIN_QUERIES = 10
_N_REQUESTS = 200
# Requests that load what is loaded on first use, and are not counted.
_N_UNCOUNTED = 5


@dataclasses.dataclass(frozen=True)
class DistilledResult:
    """What one of the models of a distillation costs and reaches.

    Attributes:
        name: class of its settings, with its part in the distillation.
        n_bytes: bytes of its arrays.
        means: metric → mean over the queries.
        cpu_per_request: mean CPU seconds of one list, on one thread, without what a server adds.
        fit_cpu_seconds: CPU seconds of its fit; None for the teacher, which came fitted.
        model: the model.
    """

    name: str
    n_bytes: int
    means: Mapping[str, float]
    cpu_per_request: float
    fit_cpu_seconds: float | None
    model: Scorer = dataclasses.field(repr=False, compare=False)


@dataclasses.dataclass(frozen=True)
class DistillationResult:
    """The outcome of a distillation.

    Attributes:
        teacher: the larger model.
        student: the student of the teacher.
        alone: the same student without a teacher.
        losses: metric → what the student loses of the teacher's.
        gains: metric → what the student gains over ``alone``, as a share, with its paired 95 % interval.
        n_queries: number of users that the models were compared on.
        n_lists: number of lists that the teacher gave to the student.
        list_cpu_seconds: CPU seconds of these lists.
        method: what was done; it can be applied to another fit.
    """

    teacher: DistilledResult
    student: DistilledResult
    alone: DistilledResult
    losses: Mapping[str, RelativeLoss]
    gains: Mapping[str, RelativeLoss]
    n_queries: int
    n_lists: int
    list_cpu_seconds: float
    method: Distillation = dataclasses.field(repr=False, compare=False)

    @property
    def is_worth_it(self) -> bool:
        """Whether the student is ahead of the one without a teacher in NDCG, with the whole interval."""
        return self.gains["ndcg"].low > 0

    def summary(self) -> tuple[str, ...]:
        """The outcome in sentences."""
        loss, gain = self.losses["ndcg"], self.gains["ndcg"]
        smaller = self.teacher.n_bytes / max(self.student.n_bytes, 1)
        faster = self.teacher.cpu_per_request / max(self.student.cpu_per_request, 1e-9)
        verdict = (
            "The teacher helps."
            if self.is_worth_it
            else "The teacher does not help for certain: the student without one is simpler, and costs no lists."
        )
        kept = (
            f"The student keeps {1 - loss.value:.1%} of the teacher's NDCG (95 % interval {1 - loss.high:.1%} to "
            f"{1 - loss.low:.1%}, {self.n_queries} users), with {smaller:.3g} times fewer bytes and {faster:.3g} times less "
            "CPU time for a list."
        )
        beside = (
            f"It has {gain.value:+.2%} of NDCG beside the same student without a teacher (95 % interval {gain.low:+.2%} to "
            f"{gain.high:+.2%}). {verdict}"
        )
        price = f"The teacher gave {self.n_lists:,} lists in {format_seconds(self.list_cpu_seconds)} of CPU time."
        return kept, beside, price

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Names of the columns, and the rows, as text."""
        shown = (self.teacher, self.student, self.alone)
        rows = [("model", *(format_bytes(each.n_bytes) for each in shown))]
        rows.extend((name.replace("_", " "), *(f"{each.means[name]:.4f}" for each in shown)) for name in METRICS)
        rows.append(("CPU of a list", *(format_seconds(each.cpu_per_request) for each in shown)))
        fits = [each.fit_cpu_seconds for each in shown]
        rows.append(("CPU of the fit", *("–" if each is None else format_seconds(each) for each in fits)))
        return ("", *(each.name for each in shown)), rows

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        parts = {"teacher": self.teacher, "student": self.student, "alone": self.alone}
        plain = {
            name: {field.name: getattr(each, field.name) for field in dataclasses.fields(each) if field.name != "model"}
            for name, each in parts.items()
        }
        compared = {"losses": self.losses, "gains": self.gains}
        return {
            **plain,
            **{name: {key: dataclasses.asdict(each) for key, each in all_.items()} for name, all_ in compared.items()},
            "n_queries": self.n_queries,
            "n_lists": self.n_lists,
            "list_cpu_seconds": self.list_cpu_seconds,
            "summary": list(self.summary()),
        }


def distill(
    teacher: Scorer,
    student: Estimator | Distillation,
    data: Dataset,
    part: EvaluationSet,
    *,
    fallback: Scorer | None = None,
    k: int = 10,
    max_queries: int = 12_000,
    run: Run = Run(),
) -> DistillationResult:
    """Fit a small student on what a larger model says, and on the events, and compare it with the same student without a teacher.

    The teacher is asked about histories of ``data`` alone, never about those of ``part``.

    Cost: the lists of the teacher (`Distillation`), two fits of the student, and the lists of all three models for ``part``.

    Args:
        teacher: a fitted model.
        student: settings of a model that can learn from lists (`NextItemRegression`), or a `Distillation` with others.
        data: what the teacher was fitted on, without the events of ``part``.
        part: held-out events to compare the models on.
        fallback: answers where a model has no evidence, as in a pipeline.
        k: length of the lists.
        max_queries: the largest number of users to compare the models on.
        run: seed, threads and progress.

    Raises:
        SettingError: a student that cannot learn from lists.
        DataError: held-out events of fewer than ten users, or no history of two items.
    """
    check_at_least("max_queries", max_queries, 1)
    method = student if isinstance(student, Distillation) else Distillation(student)
    rows = run.rng().permutation(np.flatnonzero(part.n_relevant))[:max_queries]
    if len(rows) < _MIN_QUERIES:
        raise DataError(
            f"A student must be compared on held-out events of at least {_MIN_QUERIES} users. There are {len(rows)} with known "
            "items. Hold out more events, or give other ones."
        )
    sample = RankingSample(part.take(np.sort(rows)), find_tail_items(data), fallback, k)
    start = time.process_time()
    queries, targets = method.ask_teacher(teacher, data, run)
    list_seconds = time.process_time() - start
    start = time.process_time()
    taught = method.fit_student(data, queries, targets, run)
    taught_seconds = time.process_time() - start
    start = time.process_time()
    alone = method.fit_alone(data, run)
    alone_seconds = time.process_time() - start
    lists = [sample.measure(each, run) for each in (teacher, taught, alone)]
    name = type(method.student).__name__
    titles = f"teacher {_name_of(teacher)}", f"student {name}", f"{name} without a teacher"
    seconds = None, taught_seconds, alone_seconds
    described = [
        DistilledResult(
            name=titles[i],
            n_bytes=sum(count_parts(model).values()),
            means=lists[i].means(),
            cpu_per_request=_measure_cpu(model, sample),
            fit_cpu_seconds=seconds[i],
            model=model,
        )
        for i, model in enumerate((teacher, taught, alone))
    ]
    return DistillationResult(
        teacher=described[0],
        student=described[1],
        alone=described[2],
        losses={metric: lists[0].compute_loss(lists[1], metric) for metric in METRICS},
        gains={metric: _compute_gain(lists[2], lists[1], metric) for metric in METRICS},
        n_queries=len(rows),
        n_lists=len(queries),
        list_cpu_seconds=list_seconds,
        method=method,
    )


def _name_of(model: Any) -> str:
    return type(getattr(model, "settings", model)).__name__


def _compute_gain(before: MeasuredLists, after: MeasuredLists, metric: str) -> RelativeLoss:
    """What ``after`` has more of a metric than ``before``, as a share."""
    loss = before.compute_loss(after, metric)
    return RelativeLoss(-loss.value, -loss.high, -loss.low)


def _measure_cpu(model: Scorer, sample: RankingSample) -> float:
    """Mean CPU seconds of a list for one user, on one thread."""
    context = Context(exclude_seen=not sample.queries.allow_repeats)
    retriever = ExactRetriever(model, fallback=sample.fallback, context=context)
    n = min(_N_REQUESTS, len(sample.queries))
    requests = [sample.queries.queries.block(row, row + 1) for row in range(n)]
    with single_query_thread():
        for request in requests[:_N_UNCOUNTED]:
            retriever.retrieve(request, sample.k)
        start = time.process_time()
        for request in requests:
            retriever.retrieve(request, sample.k)
        return (time.process_time() - start) / n
