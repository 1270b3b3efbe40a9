"""Fits, measures and evaluates the candidates of a frontier one by one."""

import contextlib
import dataclasses
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from leanrec import artifacts
from leanrec.budget import Budget
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.data.splits.split import Split
from leanrec.errors import BudgetError, LeanrecError, SettingError
from leanrec.evaluation.evaluate import Evaluation, evaluate
from leanrec.evaluation.frontier.candidates import ModelCandidate
from leanrec.evaluation.frontier.compressed_rows import compress_measured
from leanrec.evaluation.frontier.cost import LatencyProtocol, MeasuredModel, measure_cost
from leanrec.evaluation.frontier.isolation import can_isolate, measure_in_subprocess
from leanrec.evaluation.frontier.results import ModelResult, QualityEstimate
from leanrec.models.baselines.popularity import Popularity
from leanrec.protocols import Scorer
from leanrec.run import Run
from leanrec.units import format_bytes, format_seconds

__all__ = ["CandidateResult", "FrontierRunner", "open_runner"]

# Estimates of memory are upper bounds. A fit whose estimate is this many times the limit is skipped.
_SKIP_FACTOR = 4
# A fit that watches the time stops after the iteration in which the time is up, so it gets a little less.
_TIME_SHARE = 0.9


@dataclasses.dataclass(frozen=True, eq=False)
class CandidateResult:
    """The result of a candidate, and its evaluation on validation for paired comparisons; None unless fitted."""

    result: ModelResult
    valid: Evaluation | None = None


@dataclasses.dataclass(frozen=True)
class FrontierRunner:
    """Runs candidates under the same conditions.

    Attributes:
        split: models are fitted on ``train`` and evaluated on ``valid`` and ``test``.
        budget: limits for each model.
        metric: the quality metric.
        run: seed, threads, memory of the machine, and ``fit_time`` for all fits together.
        isolate: fit each model in a process of its own.
        latency: how requests are measured.
        folder: working folder.
        save: folder for fitted models, or None.
        fallback: answers for users the model has no information about.
        compress: whether smaller versions of each fitted model are results too.
    """

    split: Split
    budget: Budget
    metric: str
    run: Run
    isolate: bool
    latency: LatencyProtocol
    folder: Path
    save: Path | None
    fallback: Scorer
    compress: bool = False

    @property
    def train_folder(self) -> Path:
        """Where the training part is saved for subprocesses."""
        return self.folder / "train"

    def run_candidate(self, candidate: ModelCandidate) -> list[CandidateResult]:
        """Fit, measure and evaluate one model, and its smaller versions. Errors are recorded in its result, not raised."""
        result = ModelResult(
            candidate.name,
            candidate.model,
            candidate.family,
            dataclasses.asdict(candidate.estimator),  # type: ignore[call-overload]  # each is a dataclass
            "failed",
            estimator=candidate.estimator,
        )
        try:
            estimate = int(candidate.estimator.fit_bytes(self.split.train.shape))
            result = dataclasses.replace(result, estimated_memory=estimate)
            self._check_budget(estimate)
            measured = self._measure_within_budget(candidate, estimate)
            fitted = self._evaluate(result, measured)
        except BudgetError as error:
            return [CandidateResult(dataclasses.replace(result, status="skipped", reason=str(error)))]
        except LeanrecError as error:
            return [CandidateResult(dataclasses.replace(result, reason=str(error)))]
        except Exception as error:  # noqa: BLE001 - a model that fails is one line of the table
            return [CandidateResult(dataclasses.replace(result, reason=f"{type(error).__name__}: {error}"))]
        return [fitted, *self._run_compressed(fitted.result, measured)] if self.compress else [fitted]

    def _evaluate(self, result: ModelResult, measured: MeasuredModel) -> CandidateResult:
        """The result of a measured model, which is saved if that was asked for."""
        valid, test = (self.evaluate(measured.model, part) for part in (self.split.valid, self.split.test))
        if self.save is not None:
            name = re.sub(r"[^\w.=-]+", "_", result.name)
            provenance = {"data": self.split.train.fingerprint, "split": self.split.how, "seed": self.run.seed}
            artifacts.save(measured.model, self.save / name, provenance=provenance)
        result = dataclasses.replace(
            result,
            status="fitted",
            cost=measured.cost,
            valid=_estimate_quality(valid, self.metric),
            test=_estimate_quality(test, self.metric),
            metrics={"valid": _flatten_metrics(valid), "test": _flatten_metrics(test)},
            notes=measured.notes,
        )
        return CandidateResult(result, valid)

    def _run_compressed(self, base: ModelResult, measured: MeasuredModel) -> list[CandidateResult]:
        """The results of smaller versions of a fitted model, those before an error of one."""
        done = []
        with contextlib.suppress(LeanrecError):
            for method, smaller in compress_measured(
                measured, self.split.train, self.fallback, self.folder, self.run.restart(callbacks=())
            ):
                result = dataclasses.replace(base, name=f"{base.name}, {method}", compression=method, notes=())
                done.append(self._evaluate(result, smaller))
        return done

    def _check_budget(self, estimate: int) -> None:
        """Raise BudgetError for a fit that could not keep its limits."""
        if self.run.out_of_time():
            raise BudgetError(f"The time for all fits, {format_seconds(self.run.budget.fit_time or 0)}, was over.")
        limit = self.budget.memory
        if limit is not None and estimate > _SKIP_FACTOR * limit:
            raise BudgetError(
                f"Its fit is estimated to need {format_bytes(estimate)} of memory; the limit is {format_bytes(limit)}."
            )
        self.run.require_memory(estimate, "Its fit")

    def _measure_within_budget(self, candidate: ModelCandidate, estimate: int) -> MeasuredModel:
        """Measure the fit under the memory limit; without it if the model refuses to start.

        The estimate is an upper bound, so a model that refuses may still keep the budget: what it uses decides.
        """
        run = self._make_fit_run()
        try:
            return self._measure(candidate, run)
        except BudgetError:
            limit = run.budget.memory
            if limit is None or limit == self.run.budget.memory or estimate <= limit:
                raise
        run = self._make_fit_run()
        budget = dataclasses.replace(run.budget, memory=self.run.budget.memory)
        return self._measure(candidate, dataclasses.replace(run, budget=budget))

    def _make_fit_run(self) -> Run:
        """The conditions of one fit, whose clock starts now."""
        memory = [limit for limit in (self.run.budget.memory, self.budget.memory) if limit is not None]
        seconds = [] if self.budget.fit_time is None else [_TIME_SHARE * self.budget.fit_time]
        if self.run.budget.fit_time is not None:
            seconds.append(max(0.0, self.run.started + self.run.budget.fit_time - time.monotonic()))
        budget = Budget(memory=min(memory, default=None), fit_time=min(seconds, default=None))
        return self.run.restart(budget=budget, callbacks=())

    def _measure(self, candidate: ModelCandidate, run: Run) -> MeasuredModel:
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            job = Path(name)
            if self.isolate and can_isolate(candidate.estimator, job / "settings"):
                return measure_in_subprocess(job, self.train_folder, run=run, latency=self.latency)
            return measure_cost(candidate.estimator, self.split.train, job / "model", run=run, latency=self.latency)

    def evaluate(self, model: Scorer, evaluation_set: EvaluationSet) -> Evaluation:
        """Evaluate the recommendations of ``model`` at the cut-off of the metric."""
        cutoff = re.search(r"@(\d+)$", self.metric)
        k = (int(cutoff[1]),) if cutoff else (10,)
        return evaluate(model, evaluation_set, k=k, fallback=self.fallback, train=self.split.train, run=self.run)


@contextlib.contextmanager
def open_runner(
    split: Split,
    *,
    budget: Budget,
    metric: str,
    run: Run,
    isolate: bool,
    latency: LatencyProtocol,
    save: str | Path | None,
    compress: bool = False,
) -> Iterator[FrontierRunner]:
    """A runner with a working folder that is deleted at the end of the block.

    Raises SettingError for an unknown metric, before any model is fitted.
    """
    fallback = Popularity().fit(split.train)
    with tempfile.TemporaryDirectory(prefix="leanrec-frontier-") as folder:
        target = None if save is None else Path(save)
        runner = FrontierRunner(split, budget, metric, run, isolate, latency, Path(folder), target, fallback, compress)
        known = runner.evaluate(fallback, split.valid).per_query
        if metric not in known:
            raise SettingError(f"metric must be one of {', '.join(sorted(known))}. Got {metric!r}.")
        if isolate:
            artifacts.save(split.train, runner.train_folder)
        yield runner


def _estimate_quality(evaluation: Evaluation, metric: str) -> QualityEstimate:
    interval = evaluation.interval(metric)
    n_queries = int(np.isfinite(evaluation.values(metric)).sum())
    return QualityEstimate(interval.mean, interval.low, interval.high, n_queries)


def _flatten_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Every metric as one number."""
    errors = evaluation.ratings
    return {
        **evaluation.means(),
        **evaluation.catalog,
        "fallback_share": evaluation.fallback_share,
        **({} if errors is None else {"rmse": errors.rmse, "mae": errors.mae}),
    }
