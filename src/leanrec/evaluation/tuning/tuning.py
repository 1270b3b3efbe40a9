"""Hyper-parameter search on the validation part, with pruning, a time limit and an estimate of the selection bias.

Every set of settings is fitted on the training part and evaluated on the validation part, the default settings first.
Significantly worse trials are pruned: on a sample of the queries, or after a few epochs. The test part is evaluated with the
best settings only, and the result is stored with the search.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from leanrec import models
from leanrec.budget import Budget
from leanrec.callbacks import Callback
from leanrec.data.dataset import Dataset
from leanrec.data.splits.split import Split
from leanrec.data.splits.split import split as split_data
from leanrec.errors import BudgetError, DataError, LeanrecError, SettingError
from leanrec.evaluation.frontier.results import QualityEstimate
from leanrec.evaluation.tuning.objective import (
    QueryScores,
    TuningObjective,
    UnsupportedMetricError,
    estimate_optimism,
    is_significantly_worse,
)
from leanrec.evaluation.tuning.search_space import SearchRange, build_search_space, fixed_settings
from leanrec.evaluation.tuning.study import ActiveTrial, Study, Trial, require_tune
from leanrec.evaluation.tuning.tuning_result import TuningResult, find_best_trial
from leanrec.models.baselines.popularity import Popularity
from leanrec.protocols import Estimator, Scorer
from leanrec.run import Run
from leanrec.settings import check_at_least, check_one_of, check_positive
from leanrec.units import parse_seconds

__all__ = ["Search", "Trial", "TuningResult", "tune"]

# Samples of the queries, as shares, before all are evaluated; no sample is smaller than the minimum.
_SAMPLE_SHARES, _MIN_SAMPLE = (1 / 9, 1 / 3), 100
_MAX_DUPLICATES = 20
_FEW_TRIALS = 5


@dataclasses.dataclass(frozen=True)
class Search:
    """Length and strategy of a search.

    Attributes:
        trials: number of sets of settings, including the defaults.
        seconds: time for the whole search, as a number or as text such as "10min"; None = no limit. No trial is started
            that would end too late by the median time of the trials so far. A limit for each fit is
            ``Run(budget=Budget(fit_time=…))``.
        prune: which trials are stopped after some epochs: "median" = below the median of the others at the same epoch,
            "halving" = not in the best third (asynchronous successive halving); "none" = no pruning, on samples of the
            queries neither.
        store: file that stores the search, so that it can be resumed; None = in memory.
    """

    trials: int = 50
    seconds: float | str | None = None
    prune: str = "median"
    store: Path | None = None

    def __post_init__(self) -> None:
        check_at_least("trials", self.trials, 1)
        check_one_of("prune", self.prune, ("median", "halving", "none"))
        if self.seconds is not None:
            object.__setattr__(
                self, "seconds", parse_seconds(self.seconds) if isinstance(self.seconds, str) else float(self.seconds)
            )
            check_positive("seconds", float(self.seconds))


def tune(
    estimator: str | Estimator,
    data: Dataset,
    *,
    space: Mapping[str, str | SearchRange] | None = None,
    search: Search = Search(),
    metric: str = "ndcg@10",
    split: str | Split = "auto",
    run: Run = Run(),
) -> TuningResult:
    """Search for the settings with the best validation quality, by a tree-structured Parzen estimator.

    Bergstra, Bardenet, Bengio & Kégl, "Algorithms for Hyper-Parameter Optimization", NIPS 2011; by optuna. Reproducible from
    ``run.seed``, except with a time limit. Cost: a fit and an evaluation for each trial; memory for two models, and 16 bytes
    for each completed trial and query.

    Models that compute a validation score after each epoch are pruned by it, see ``Search.prune``. For that ``patience`` is
    set to ``epochs`` where it is 0. All models are evaluated on a ninth of the queries, a third, and all, and pruned if they
    are worse than the best so far by the 99 % interval of the paired difference.

    Args:
        estimator: a model by name, or settings. Settings that differ from the defaults are fixed.
        data: the data set.
        space: ranges by setting: ``{"l2": "1..1e4:log", "embedding_dim": "16,32,64"}``. Other settings have the range that
            the model declares, or are fixed. A single value fixes a setting.
        search: length and strategy.
        metric: a ranking metric with its cut-off, or "rmse" or "mae".
        split: name of a split (see ``leanrec.split``), or a split.
        run: seed, threads, budget and progress bar; its ``fit_time`` applies to each fit. Other callbacks are ignored.

    Raises:
        MissingExtraError: optuna is not installed.
        SettingError: an unknown model, metric or setting, or an invalid range.
        DataError: the data cannot be split, or the validation part has no held-out interactions.
        ArtifactError: the store holds another search.
        LeanrecError: of the default or the last settings, if no trial was completed.
    """
    require_tune()
    start, objective = time.monotonic(), TuningObjective(metric)
    default = models.get_model(estimator)() if isinstance(estimator, str) else estimator
    default = _enable_validation_scores(default, search)
    ranges = build_search_space(default, space)
    default = dataclasses.replace(default, **fixed_settings(ranges))
    parts = split if isinstance(split, Split) else split_data(data, split, seed=run.seed)
    runner = _TrialRunner(parts, objective, search, dataclasses.replace(run, callbacks=()), start)
    about = {
        "model": type(default).__name__,
        "settings": {name: str(value) for name, value in _get_settings(default).items()},
        "space": {name: str(each) for name, each in ranges.items()},
        "metric": metric,
        "seed": run.seed,
        "prune": search.prune,
        "data": parts.train.fingerprint,
        "validation": parts.valid.fingerprint,
    }
    study = Study(ranges, seed=run.seed, prune=search.prune, store=search.store, about=about)
    with _track_trials(run, search.trials) as show:
        stop_reason = _run_search(runner, study, default, show)
    return _make_result(runner, study, default, stop_reason)


def _get_settings(estimator: Any) -> dict[str, Any]:
    return {field.name: getattr(estimator, field.name) for field in dataclasses.fields(estimator) if field.init}


def _enable_validation_scores(estimator: Any, search: Search) -> Any:
    """The settings, with ``patience`` equal to ``epochs`` where the model would compute no validation scores."""
    values = _get_settings(estimator)
    if search.prune == "none" or values.get("patience") != 0 or "epochs" not in values:
        return estimator
    return dataclasses.replace(estimator, patience=values["epochs"])


class _PruneTrialError(Exception):
    """Ends a trial that is worse than others."""

    def __init__(self, reason: str, value: float, n_queries: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.value, self.n_queries = reason, value, n_queries


class _PruningCallback(Callback):
    """Ends the fit of a trial whose validation score is worse than that of other trials at the same epoch."""

    def __init__(self, active: ActiveTrial) -> None:
        self.active = active

    def on_epoch_end(self, epoch: int, score: float) -> None:
        if self.active.report_epoch(epoch, score):
            raise _PruneTrialError(f"worse than other trials after epoch {epoch + 1}", score)


class _TrialRunner:
    """Fits and evaluates trials, and keeps the best model so far."""

    def __init__(self, parts: Split, objective: TuningObjective, search: Search, run: Run, start: float) -> None:
        self.parts, self.objective, self.search, self.run, self.start = parts, objective, search, run, start
        rows = objective.find_evaluable(parts.valid)
        if not len(rows):
            parts.require("valid")
            raise DataError("The validation part has no ratings to predict. Choose a ranking metric, such as ndcg@10.")
        # In random order, so that the first queries are a sample of all.
        self.queries = parts.valid.take(rows[run.rng().permutation(len(rows))])
        self.fallback = Popularity().fit(parts.train)
        self.scores: dict[int, QueryScores] = {}
        self.best: tuple[int, Scorer] | None = None
        self.best_score = -np.inf
        self.timed_out_refits: set[int] = set()
        self.durations: list[float] = []

    def remaining_seconds(self) -> float | None:
        """Seconds left for the search; None without a limit."""
        limit = self.search.seconds
        return None if limit is None else float(limit) - (time.monotonic() - self.start)

    def run_trial(self, estimator: Any, active: ActiveTrial) -> tuple[Trial, float | None]:
        """Fit and evaluate one set of settings; the result, and its score if all queries were evaluated."""
        start = time.monotonic()
        run = self._make_fit_run(() if self.search.prune == "none" else (_PruningCallback(active),))
        trial = Trial(active.number, active.settings, "failed")
        score: float | None = None
        try:
            model = estimator.fit(self.parts.train, run)
            trial = dataclasses.replace(trial, timed_out=run.out_of_time())
            scores = self._score_model(model, active)
            score = scores.mean
            value = float(self.objective.to_metric(score))
            self._keep_if_best(active.number, model, scores, value)
            trial = dataclasses.replace(trial, status="completed", value=value, n_queries=len(scores.values))
        except _PruneTrialError as pruned:
            trial = dataclasses.replace(
                trial, status="pruned", reason=pruned.reason, value=pruned.value, n_queries=pruned.n_queries
            )
        except UnsupportedMetricError:
            raise
        except (BudgetError, SettingError) as error:
            trial = dataclasses.replace(trial, status="rejected", reason=str(error))
        except LeanrecError as error:
            trial = dataclasses.replace(trial, reason=str(error))
        except Exception as error:  # noqa: BLE001 - settings that fail are one line of the table
            trial = dataclasses.replace(trial, reason=f"{type(error).__name__}: {error}")
        seconds = time.monotonic() - start
        if trial.status in {"completed", "pruned"}:
            self.durations.append(seconds)
        return dataclasses.replace(trial, seconds=seconds, n_epochs=active.n_epochs), score

    def refit(self, trial: Trial, estimator: Any) -> None:
        """Fit and evaluate a trial of an earlier session again. Its value in the search stays what it was."""
        assert trial.value is not None  # noqa: S101 - it was completed
        run = self._make_fit_run()
        model = estimator.fit(self.parts.train, run)
        if run.out_of_time():
            self.timed_out_refits.add(trial.number)
        scores = self.objective.score_queries(model, self.queries, self.fallback, self.run)
        self._keep_if_best(trial.number, model, scores, trial.value)
        self.durations.append(time.monotonic() - run.started)

    def _make_fit_run(self, callbacks: tuple[Callback, ...] = ()) -> Run:
        """The conditions of one fit: its clock starts now, with the remaining time of the search."""
        limits = [each for each in (self.run.budget.fit_time, self.remaining_seconds()) if each is not None]
        seconds = max(0.0, min(limits)) if limits else None
        return self.run.restart(budget=Budget(memory=self.run.budget.memory, fit_time=seconds), callbacks=callbacks)

    def _score_model(self, model: Scorer, active: ActiveTrial) -> QueryScores:
        """Scores on all queries, computed on growing samples while there is a best model to compare with."""
        n, sizes = len(self.queries), []
        if self.search.prune != "none" and self.best is not None:
            sizes = [max(_MIN_SAMPLE, int(share * n)) for share in _SAMPLE_SHARES]
        scores: QueryScores | None = None
        for stop in sorted({size for size in sizes if size <= n // 2} | {n}):
            start = 0 if scores is None else len(scores.values)
            block = self.queries.take(np.arange(start, stop))
            scores = self.objective.score_queries(model, block, self.fallback, self.run).append_to(scores)
            if stop < n and self.best is not None:
                active.report_sample(stop, scores.mean)
                best = QueryScores(*(each[:stop] for each in self.scores[self.best[0]]))
                if is_significantly_worse(scores, best):
                    value = float(self.objective.to_metric(scores.mean))
                    raise _PruneTrialError(f"significantly worse on {stop} queries", value, stop)
        assert scores is not None  # noqa: S101 - the last block ends at n
        return scores

    def _keep_if_best(self, number: int, model: Scorer, scores: QueryScores, value: float) -> None:
        """Record the scores of a trial, and keep its model if its value is the best so far."""
        self.scores[number] = scores
        score = -value if self.objective.is_error else value
        if self.best is None or score > self.best_score:
            self.best, self.best_score = (number, model), score


def _run_search(runner: _TrialRunner, study: Study, default: Any, show: Callable[[Trial], None]) -> str:
    """Run trials until a limit is reached. Returns the reason: "trials", "time" or "exhausted"."""
    trials = study.trials()
    for trial in trials:
        show(trial)
    _refit_earlier_trials(runner, trials, default)
    n_duplicates = 0
    while len(trials) < runner.search.trials:
        remaining = runner.remaining_seconds()
        duration = float(np.median(runner.durations)) if runner.durations else 0.0
        if trials and remaining is not None and remaining <= duration:
            return "time"
        active = study.ask(None if trials else {name: getattr(default, name) for name in study.space})
        trial, score = _run_or_reuse(runner, default, active, trials)
        study.tell(active, trial, score)
        trials.append(trial)
        show(trial)
        n_duplicates = n_duplicates + 1 if trial.status == "duplicate" else 0
        if n_duplicates == _MAX_DUPLICATES:
            return "exhausted"
    return "trials"


def _refit_earlier_trials(runner: _TrialRunner, trials: list[Trial], default: Any) -> None:
    """Refit the best and the default settings of an earlier session, whose scores by query were not stored."""
    completed = [trial for trial in trials if trial.status == "completed"]
    if not completed:
        return
    best = find_best_trial(completed, lower_is_better=runner.objective.is_error)
    for trial in {each.number: each for each in (best, completed[0])}.values():
        if trial is best or trial.number == 0:
            runner.refit(trial, default if trial.number == 0 else dataclasses.replace(default, **trial.settings))


def _run_or_reuse(
    runner: _TrialRunner, default: Any, active: ActiveTrial, trials: list[Trial]
) -> tuple[Trial, float | None]:
    """Run a trial, or reuse the value of an earlier one with the same settings."""
    for earlier in trials:
        if earlier.settings == active.settings and earlier.status != "failed":
            value = earlier.value if earlier.status in {"completed", "duplicate"} else None
            score = None if value is None else runner.objective.from_metric(value)
            reason = f"the same settings as trial {earlier.number}"
            return Trial(active.number, active.settings, "duplicate", value, reason=reason), score
    try:
        estimator = default if active.number == 0 else dataclasses.replace(default, **active.settings)
    except SettingError as error:
        return Trial(active.number, active.settings, "rejected", reason=str(error)), None
    return runner.run_trial(estimator, active)


def _make_result(runner: _TrialRunner, study: Study, default: Any, stop_reason: str) -> TuningResult:
    trials, objective, seed = tuple(study.trials()), runner.objective, runner.run.seed
    if runner.best is None:
        last = trials[-1]
        kind = BudgetError if any(trial.status == "rejected" for trial in trials) else DataError
        raise kind(f"None of the {len(trials)} trials was completed. The last, trial {last.number}: {last.reason}")
    number, model = runner.best
    best, of_default = runner.scores[number], runner.scores.get(0)
    optimism = estimate_optimism(list(runner.scores.values()), seed)
    info = models.find_info(type(default))
    test, n_test_evaluations = _evaluate_test(runner, study, number, model)
    refits = runner.timed_out_refits
    return TuningResult(
        model=type(default).__name__ if info is None else info.name,
        estimator=default if number == 0 else dataclasses.replace(default, **trials[number].settings),
        default=default,
        metric=objective.metric,
        space=study.space,
        trials=tuple(dataclasses.replace(each, timed_out=each.timed_out or each.number in refits) for each in trials),
        valid=objective.estimate_quality(best, seed),
        valid_default=None if of_default is None else objective.estimate_quality(of_default, seed),
        improvement=None if of_default is None else objective.estimate_difference(best, of_default, seed),
        selection_bias=abs(float(objective.to_metric(best.mean) - objective.to_metric(best.mean - optimism))),
        test=test,
        n_test_evaluations=n_test_evaluations,
        importance=study.importance(),
        seconds=time.monotonic() - runner.start,
        stop_reason=stop_reason,
        notes=_list_notes(runner, trials, default, stop_reason),
    )


def _evaluate_test(
    runner: _TrialRunner, study: Study, number: int, model: Scorer
) -> tuple[QualityEstimate | None, int]:
    """Quality of the best settings on the test part, and the number of settings that were evaluated on it so far.

    The same settings are evaluated only once; the result is stored with the study.
    """
    test, objective = runner.parts.test, runner.objective
    rows = objective.find_evaluable(test)
    if not len(rows):
        return None, 0
    known = study.load_test_results(test.fingerprint)
    if number not in known:
        scores = objective.score_queries(model, test.take(rows), runner.fallback, runner.run)
        known[number] = objective.estimate_quality(scores, runner.run.seed)
        study.save_test_results(test.fingerprint, known)
    return known[number], len(known)


def _list_notes(runner: _TrialRunner, trials: tuple[Trial, ...], default: Any, stop_reason: str) -> tuple[str, ...]:
    leakage = runner.parts.leakage
    notes = [runner.parts.note, str(leakage) if leakage.has_leakage else ""]
    n_timed_out = sum(trial.timed_out for trial in trials)
    if n_timed_out:
        notes.append(
            f"{n_timed_out} of {len(trials)} fits reached their time limit and were evaluated as they were then."
        )
    notes.extend(
        f"Trial {number} reached its time limit when it was fitted again, so its values may be lower than at first."
        for number in sorted(runner.timed_out_refits)
    )
    if stop_reason == "time" and len(trials) < _FEW_TRIALS:
        notes.append("Few trials were run: give the search more time, or limit the time of each fit.")
    n_completed = sum(trial.status == "completed" for trial in trials)
    if n_completed > len(runner.scores):
        notes.append(
            f"The selection bias is estimated from the {len(runner.scores)} of {n_completed} trials of this session."
        )
    if len(runner.scores) > 1 and len({scores.mean for scores in runner.scores.values()}) == 1:
        notes.append(
            f"All {len(runner.scores)} trials have the same value, so the search cannot choose between them, and the first "
            "settings are kept. Hold out more, or tune another metric."
        )
    if len(runner.queries) < 2 * _MIN_SAMPLE:
        notes.append(f"Validation holds {len(runner.queries)} queries, too few to distinguish similar settings.")
    if trials and trials[0].n_epochs:
        notes.append(
            f"The settings contain patience={default.patience}: a validation score is computed after each epoch on events held "
            "out of training, and the best epoch is kept."
        )
    return tuple(filter(None, notes))


@contextlib.contextmanager
def _track_trials(run: Run, total: int) -> Iterator[Callable[[Trial], None]]:
    """A progress bar with the latest trial. Yields the function to call after each trial."""
    from rich.console import Console  # noqa: PLC0415 - slow to import, needed for a bar only
    from rich.progress import Progress  # noqa: PLC0415

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (run.shows_progress and console.is_terminal)) as bar:
        task = bar.add_task("Trials", total=total)

        def show(trial: Trial) -> None:
            value = "" if trial.value is None else f" {trial.value:.4f}"
            bar.update(task, description=f"Trial {trial.number}: {trial.status}{value}", advance=1)

        yield show
