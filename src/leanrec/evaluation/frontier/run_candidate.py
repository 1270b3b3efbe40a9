"""One model after the other: refused; fitted, measured and evaluated; or failed. None ends the table."""

import contextlib
import dataclasses
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from leanrec import artifacts
from leanrec.budget import Budget
from leanrec.data.splits.split import EvaluationSet, Split
from leanrec.errors import BudgetError, LeanrecError, SettingError
from leanrec.evaluation.evaluate import Evaluation, evaluate
from leanrec.evaluation.frontier.candidates import Candidate
from leanrec.evaluation.frontier.cost import Costed, Requests, cost_of
from leanrec.evaluation.frontier.isolation import can_run_apart, cost_apart
from leanrec.evaluation.frontier.results import Quality, Row
from leanrec.models.baselines.popularity import Popularity
from leanrec.protocols import Scorer
from leanrec.run import Run
from leanrec.units import format_bytes, format_seconds

__all__ = ["Trial", "trials"]

# Estimates of memory are upper bounds. A fit whose estimate is this many times the limit is not tried.
_HOPELESS = 4
# A model that stops by itself does so after the iteration in which its time was up: ask a little early.
_STOP_AT = 0.9


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """A row, and the evaluation on validation that comparisons need; None unless fitted."""

    row: Row
    valid: Evaluation | None = None


@contextlib.contextmanager
def trials(
    split: Split,
    *,
    budget: Budget,
    metric: str,
    run: Run,
    apart: bool,
    requests: Requests,
    save: str | Path | None,
) -> Iterator[Callable[[Candidate], Trial]]:
    """A function that tries a candidate, with a folder for its work that is gone at the end.

    Raises SettingError if there is no such metric, before anything is fitted.
    """
    fallback = Popularity().fit(split.train)
    with tempfile.TemporaryDirectory(prefix="leanrec-frontier-") as folder:
        target = None if save is None else Path(save)
        bench = _Bench(split, budget, metric, run, apart, requests, Path(folder), target, fallback)
        known = bench.evaluate(fallback, split.valid)
        if metric not in known.per_query:
            raise SettingError(f"metric must be one of {', '.join(sorted(known.per_query))}. Got {metric!r}.")
        if apart:
            artifacts.save(split.train, bench.train)
        yield bench.attempt


@dataclasses.dataclass(frozen=True)
class _Bench:
    """What the trials of one frontier share."""

    split: Split
    budget: Budget
    metric: str
    run: Run
    apart: bool
    requests: Requests
    folder: Path
    save: Path | None
    fallback: Scorer

    @property
    def train(self) -> Path:
        """Where processes apart find the training part."""
        return self.folder / "train"

    def attempt(self, candidate: Candidate) -> Trial:
        """Try one model. Whatever goes wrong with it is in its row."""
        settings = _settings(candidate)
        estimator = candidate.estimator
        row = Row(candidate.name, candidate.model, candidate.family, settings, "failed", estimator=estimator)
        try:
            estimate = int(candidate.estimator.fit_bytes(self.split.train.shape))
            row = dataclasses.replace(row, estimate=estimate)
            self._refuse(estimate)
            costed = self._under_limit(candidate, estimate)
            valid, test = (self.evaluate(costed.model, cases) for cases in (self.split.valid, self.split.test))
            self._keep(candidate, costed.model)
        except BudgetError as error:
            return Trial(dataclasses.replace(row, status="skipped", reason=str(error)))
        except LeanrecError as error:
            return Trial(dataclasses.replace(row, reason=str(error)))
        except Exception as error:  # noqa: BLE001 - a model that fails is one line of the table
            return Trial(dataclasses.replace(row, reason=f"{type(error).__name__}: {error}"))
        return Trial(self._fitted(row, costed, valid, test), valid)

    def _refuse(self, estimate: int) -> None:
        """Raise BudgetError for a fit that would not keep its limits."""
        if self.run.out_of_time():
            raise BudgetError(f"The {format_seconds(self.run.budget.fit_time or 0)} for everything were over.")
        limit = self.budget.memory
        if limit is not None and estimate > _HOPELESS * limit:
            raise BudgetError(
                f"Its fit is estimated to need {format_bytes(estimate)} of memory; the limit is {format_bytes(limit)}."
            )
        self.run.require_memory(estimate, "Its fit")

    def _under_limit(self, candidate: Candidate, estimate: int) -> Costed:
        """Measure a model that works within the limit; one that says it cannot is measured all the same.

        What a model says beforehand is an upper bound. What it took decides whether it keeps the budget.
        """
        run = self._limits()
        try:
            return self._measure(candidate, run)
        except BudgetError:
            limit = run.budget.memory
            if limit is None or limit == self.run.budget.memory or estimate <= limit:
                raise
        run = self._limits()
        budget = dataclasses.replace(run.budget, memory=self.run.budget.memory)
        return self._measure(candidate, dataclasses.replace(run, budget=budget))

    def _limits(self) -> Run:
        """The run of one fit."""
        memory = [limit for limit in (self.run.budget.memory, self.budget.memory) if limit is not None]
        seconds = [] if self.budget.fit_time is None else [_STOP_AT * self.budget.fit_time]
        if self.run.budget.fit_time is not None:
            seconds.append(max(0.0, self.run.started + self.run.budget.fit_time - time.monotonic()))
        budget = Budget(memory=min(memory, default=None), fit_time=min(seconds, default=None))
        return self.run.restart(budget=budget, callbacks=())

    def _measure(self, candidate: Candidate, run: Run) -> Costed:
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            job = Path(name)
            if self.apart and can_run_apart(candidate.estimator, job / "settings"):
                return cost_apart(job, self.train, run=run, requests=self.requests)
            return cost_of(candidate.estimator, self.split.train, job / "model", run=run, requests=self.requests)

    def evaluate(self, model: Scorer, cases: EvaluationSet) -> Evaluation:
        """Quality of the lists for ``cases``, at the cut-off of the metric."""
        cut = re.search(r"@(\d+)$", self.metric)
        k = (int(cut[1]),) if cut else (10,)
        return evaluate(model, cases, k=k, fallback=self.fallback, train=self.split.train, run=self.run)

    def _keep(self, candidate: Candidate, model: Scorer) -> None:
        if self.save is not None:
            name = re.sub(r"[^\w.=-]+", "_", candidate.name)
            provenance = {
                "data": self.split.train.fingerprint,
                "split": self.split.how,
                "seed": self.run.seed,
            }
            artifacts.save(model, self.save / name, provenance=provenance)

    def _fitted(self, row: Row, costed: Costed, valid: Evaluation, test: Evaluation) -> Row:
        return dataclasses.replace(
            row,
            status="fitted",
            cost=costed.cost,
            valid=_quality(valid, self.metric),
            test=_quality(test, self.metric),
            metrics={"valid": _measures(valid), "test": _measures(test)},
            notes=costed.notes,
        )


def _quality(evaluation: Evaluation, metric: str) -> Quality:
    interval = evaluation.interval(metric)
    queries = int(np.isfinite(evaluation.values(metric)).sum())
    return Quality(interval.mean, interval.low, interval.high, queries)


def _measures(evaluation: Evaluation) -> dict[str, float]:
    """Everything that was measured, as one number each."""
    errors = evaluation.ratings
    return {
        **evaluation.means(),
        **evaluation.catalogue,
        "fallback_share": evaluation.fallback_share,
        **({} if errors is None else {"rmse": errors.rmse, "mae": errors.mae}),
    }


def _settings(candidate: Candidate) -> dict[str, Any]:
    return dataclasses.asdict(candidate.estimator)  # type: ignore[call-overload,no-any-return]
