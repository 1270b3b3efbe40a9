"""Choice of a compression by measurement: methods are tried on some users, and the chosen one is reported on others."""

import dataclasses
import math
import time
from collections.abc import Sequence

import numpy as np

from leanrec.compression.methods import CompressionMethod, count_mapped, count_parts
from leanrec.compression.proposals import check_compressible, propose_exact, propose_methods, propose_smallest
from leanrec.compression.vectors.mapped import MappedCodec
from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import DataError
from leanrec.evaluation.compression.ranking_sample import (
    METRICS,
    MeasuredLists,
    RankingSample,
    RelativeLoss,
    draw_samples,
)
from leanrec.evaluation.compression.result import CompressedResult, CompressionResult
from leanrec.evaluation.compression.target import CompressionTarget
from leanrec.evaluation.frontier.cost import LatencyProtocol, measure_latency
from leanrec.protocols import Scorer
from leanrec.run import Run
from leanrec.settings import check_at_least
from leanrec.units import format_bytes, format_seconds

__all__ = ["compress"]

# Shares of the bytes of the model that are tried where only the loss or the latency is limited.
_LADDER = tuple(2.0**-i for i in range(1, 9))
# Methods of one size that are refined.
_N_REFINED = 2
_LATENCY = LatencyProtocol(n_requests=300, max_seconds=0.5)
_NO_LOSS = RelativeLoss(0.0, 0.0, 0.0)


def compress(
    model: Scorer,
    data: Dataset,
    part: EvaluationSet,
    target: CompressionTarget,
    *,
    methods: Sequence[CompressionMethod] | None = None,
    exact: bool = False,
    report: EvaluationSet | None = None,
    fallback: Scorer | None = None,
    k: int = 20,
    max_queries: int = 3000,
    max_reported: int = 12_000,
    run: Run = Run(),
) -> CompressionResult:
    """Make a fitted model smaller, by the method that keeps most of its ranking within a target.

    Every method is measured on held-out events, and the chosen one is reported on others, with the paired interval of its
    loss. Where the target is out of reach, the closest is chosen and ``violation`` says by how much
    it misses.

    Cost: for each of up to some twenty methods the compression, and the lists of ``max_queries`` users; and three times the lists of
    the report.

    Args:
        model: a fitted model.
        data: what it was fitted on, without the events of ``part``.
        part: held-out events to choose by, such as the validation part of a split.
        target: limits; with ``loss`` the smallest model is looked for, else the best one.
        methods: the methods to try; None = those for the kind of the model.
        exact: whether every list must stay as it is. The vectors of items then stay in a file of the artifact, of which a list reads
            some tens to hundreds of rows, and limits of bytes are of the codes in memory that say which. It takes the place
            of ``methods``.
        report: held-out events to report on, such as the test part. None: half of the users of ``part`` are kept for it.
        fallback: answers where the model has no evidence, as in a pipeline.
        k: length of the lists.
        max_queries: the largest number of users to choose by.
        max_reported: the largest number of users to report on; each method of the report makes their lists.
        run: seed, threads and progress.

    Raises:
        SettingError: no method is known for the model, or none with exact lists, or it is compressed already.
        DataError: held-out events of fewer than ten users to choose by or to report on, or none of which the model lists.
    """
    check_at_least("max_queries", max_queries, 1)
    check_at_least("max_reported", max_reported, 1)
    if methods is None or exact:
        check_compressible(model)
    methods = propose_exact(model) if exact else methods
    started = time.perf_counter()
    chooser, reporter = draw_samples(part, report, data, fallback, run, k=k, max_queries=(max_queries, max_reported))
    trials = _Trials(model, data, chooser, run)
    if not trials.base.means()["ndcg"]:
        raise DataError(
            f"The model must list some held-out items, for a loss to be measured. It has none of those of {len(chooser.queries)} "
            f"users among its first {k}. Give more held-out events, or a better model."
        )
    sizes = _list_sizes(model, target)
    for size in run.track(sizes, "Compress", total=len(sizes)):
        best = trials.try_methods(propose_methods(model, size) if methods is None else methods, size)
        if methods is not None or (target.loss is not None and best is not None and best.loss.high > target.loss):
            break
    if not trials.done:
        trials.try_methods(propose_smallest(model) if methods is None else methods, math.inf)
    measurer = _Reporter(model, data, reporter, run)
    chosen, violation = _choose(trials, target, measurer)
    smaller = [each for each in trials.done if each.n_bytes <= chosen.n_bytes / 2]
    if not smaller and not violation and methods is None:
        trials.try_methods(propose_methods(model, chosen.n_bytes / 2), chosen.n_bytes / 2)
        smaller = [each for each in trials.done if each.n_bytes <= chosen.n_bytes / 2]
    halved = min(smaller, key=lambda each: each.loss.value, default=None)
    return CompressionResult(
        target=target,
        base=measurer.describe(None),
        chosen=measurer.describe(chosen),
        halved=None if halved is None else measurer.describe(halved),
        tried=tuple((each.name, each.n_bytes, each.loss) for each in trials.done),
        n_chosen=len(chooser.queries),
        n_reported=len(reporter.queries),
        violation=violation,
        seconds=time.perf_counter() - started,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Trial:
    """A compressed model, measured on the queries of the choice."""

    method: CompressionMethod
    model: Scorer
    n_bytes: int
    seconds: float
    loss: RelativeLoss

    @property
    def name(self) -> str:
        return str(self.method)


class _Trials:
    """The methods that were tried on one model, each once."""

    def __init__(self, model: Scorer, data: Dataset, sample: RankingSample, run: Run) -> None:
        self.model, self.data, self.sample, self.run = model, data, sample, run
        self.base = sample.measure(model, run)
        self.done: list[_Trial] = []

    def try_methods(self, methods: Sequence[CompressionMethod], max_bytes: float) -> _Trial | None:
        """Try the methods that are new and within the bytes, and refine the best two; the best of all that fit, or None."""
        self._try_new(methods, max_bytes)
        for each in self._rank_fitting(max_bytes)[:_N_REFINED]:
            self._try_new(each.method.refine(self.model), max_bytes)
        return next(iter(self._rank_fitting(max_bytes)), None)

    def _try_new(self, methods: Sequence[CompressionMethod], max_bytes: float) -> None:
        known = {each.name for each in self.done}
        for method in methods:
            if str(method) not in known and method.estimate_bytes(self.model) <= max_bytes:
                self.done.append(self._try(method))

    def _rank_fitting(self, max_bytes: float) -> list[_Trial]:
        """Those within the bytes, the best first."""
        return sorted((each for each in self.done if each.n_bytes <= max_bytes), key=lambda each: each.loss.value)

    def _try(self, method: CompressionMethod) -> _Trial:
        start = time.perf_counter()
        smaller = method.compress(self.model, self.data, self.run)
        seconds = time.perf_counter() - start
        lists = self.sample.measure(smaller, self.run)
        return _Trial(
            method, smaller, sum(count_parts(smaller).values()), seconds, self.base.compute_loss(lists, "ndcg")
        )


class _Reporter:
    """Measures models on the queries of the report."""

    def __init__(self, model: Scorer, data: Dataset, sample: RankingSample, run: Run) -> None:
        self.model, self.data, self.sample, self.run = model, data, sample, run
        active = np.flatnonzero(np.diff(data.indptr)).astype(np.int32)
        self.users = run.rng().permutation(active)[: _LATENCY.n_requests]
        self._base: MeasuredLists | None = None

    def measure_latency(self, model: Scorer) -> tuple[float, float]:
        """Median and 99th percentile of one request, in seconds."""
        fallback = self.sample.fallback
        cost = measure_latency(model, self.data, self.users, fallback=fallback, run=self.run, latency=_LATENCY)
        return cost.p50, cost.p99

    def describe(self, trial: _Trial | None) -> CompressedResult:
        """What a trial costs; None = the model itself."""
        model = self.model if trial is None else trial.model
        lists = self.sample.measure(model, self.run)
        base = self._base = lists if self._base is None else self._base
        p50, p99 = self.measure_latency(model)
        return CompressedResult(
            name="uncompressed" if trial is None else trial.name,
            parts=count_parts(model),
            n_items=model.n_items,
            means=lists.means(),
            losses={name: base.compute_loss(lists, name) for name in METRICS},
            chosen_loss=_NO_LOSS if trial is None else trial.loss,
            identical=base.share_identical(lists),
            mapped=count_mapped(model),
            certified=1.0 if isinstance(getattr(trial and trial.method, "codec", None), MappedCodec) else None,
            p50=p50,
            p99=p99,
            build_seconds=0.0 if trial is None else trial.seconds,
            method=None if trial is None else trial.method,
            model=model,
        )


def _list_sizes(model: Scorer, target: CompressionTarget) -> list[float]:
    """Bytes within which methods are tried, largest first: the limit, or shares of the model where there is none."""
    limit, size = target.compute_max_bytes(model.n_items), sum(count_parts(model).values())
    ladder = [share * size for share in _LADDER if share * size < limit]
    if target.loss is None and target.p99 is None:
        return [limit]
    return [limit, *ladder] if math.isfinite(limit) else ladder


def _choose(trials: _Trials, target: CompressionTarget, report: _Reporter) -> tuple[_Trial, str]:
    """The chosen trial, and by how much it misses the target."""
    limit = target.compute_max_bytes(trials.model.n_items)
    fitting = [each for each in trials.done if each.n_bytes <= limit]
    if not fitting:
        smallest = min(trials.done, key=lambda each: each.n_bytes)
        return smallest, f"{format_bytes(smallest.n_bytes)} instead of {format_bytes(limit)}"
    if target.loss is not None:
        kept = [each for each in fitting if each.loss.high <= target.loss]
        if not kept:
            best = min(fitting, key=lambda each: each.loss.high)
            return best, f"its loss may be {best.loss.high:.2%}, and not only {best.loss.value:.2%}"
        fitting = sorted(kept, key=lambda each: each.n_bytes)
    else:
        fitting = sorted(fitting, key=lambda each: each.loss.value)
    if target.p99 is None:
        return fitting[0], ""
    slowest = []
    for each in fitting:
        _, p99 = report.measure_latency(each.model)
        if p99 <= target.p99:
            return each, ""
        slowest.append((p99, each))
    p99, fastest = min(slowest, key=lambda pair: pair[0])
    return fastest, f"p99 {format_seconds(p99)} of {format_seconds(target.p99)}"
