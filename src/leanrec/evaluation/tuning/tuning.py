"""Search for the settings of a model, within a time, and say honestly how much the search found.

Every set of settings is fitted on the training part and judged on the validation part, the usual settings first.
What is clearly worse is given up early: on a sample of the queries, or after a few epochs. The test part is asked by the winner
alone, and its answer is kept with the search.
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
from leanrec.evaluation.frontier.results import Quality
from leanrec.evaluation.tuning.objective import Judged, WrongMetricError, Yardstick, clearly_worse, optimism
from leanrec.evaluation.tuning.search_space import Range, held, space_of
from leanrec.evaluation.tuning.study import Given, Study, Trial, require_tune
from leanrec.evaluation.tuning.tuning_result import Tuned, first_best
from leanrec.models.baselines.popularity import Popularity
from leanrec.protocols import Estimator, Scorer
from leanrec.run import Run
from leanrec.settings import check_at_least, check_one_of, check_positive
from leanrec.units import parse_seconds

__all__ = ["Search", "Trial", "Tuned", "tune"]

# Samples of the queries, as parts of all, before all are asked; none has fewer than the least.
_SAMPLES, _LEAST = (1 / 9, 1 / 3), 100
_REPEATS = 20
_FEW = 5


@dataclasses.dataclass(frozen=True)
class Search:
    """How long and how to search.

    Attributes:
        trials: how many sets of settings, the usual ones among them.
        seconds: for the whole search, or a text such as "10min"; nothing is started that would not end in time, as far as
            half of the fits so far tell. None = no limit. A limit for each fit is ``Run.seconds``.
        prune: what is given up after some epochs: "median" = worse than half of the others were then, "halving" = not among the best
            third then (asynchronous successive halving); "none" = nothing, on samples of the queries neither.
        store: a file that keeps the search, to go on with it later; None = in memory.
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
    space: Mapping[str, str | Range] | None = None,
    search: Search = Search(),
    metric: str = "ndcg@10",
    split: str | Split = "auto",
    run: Run = Run(),
) -> Tuned:
    """Search for the settings that do best on the validation part, with a tree-structured Parzen estimator.

    Bergstra, Bardenet, Bengio & Kégl, "Algorithms for Hyper-Parameter Optimization", NIPS 2011; by optuna. Follows from
    ``run.seed``; a time limit makes it depend on the machine. Cost: a fit and an evaluation for each trial; memory for
    two models, and 16 bytes for each trial that was done and each query.

    Models that judge themselves on held-out events after each epoch are watched: what is far behind is given up. For that
    ``patience`` is set to ``epochs`` where it is 0. All others are judged on a ninth of the queries, a third, and all: what is worse
    than the best so far, by the 99 % interval of the paired difference, is given up.

    Args:
        estimator: a model by name, or settings. A setting that is not the usual one stays as it is.
        data: the data set.
        space: what to search, by setting: ``{"l2": "1..1e4:log", "width": "16,32,64"}``. Settings without a range
            have the usual one of their name, or none. A single value holds a setting.
        search: how long and how.
        metric: what to compare: a ranking metric with its cut-off, or "rmse" or "mae".
        split: a way to split (see ``leanrec.data.splits.split.split``), or a split that was made.
        run: seed, threads, budget and progress bar; its ``fit_time`` applies to each fit. Other callbacks are ignored.

    Raises:
        MissingExtraError: optuna is not installed.
        SettingError: an unknown model, metric or setting, or a range that makes no sense.
        DataError: the data cannot be split, or validation has nothing to ask.
        ArtifactError: the store holds another search.
        LeanrecError: of the usual or the last settings, if none could be fitted.
    """
    require_tune()
    begun, yard = time.monotonic(), Yardstick(metric)
    usual = _watched(models.get_model(estimator)() if isinstance(estimator, str) else estimator, search)
    ranges = space_of(usual, space)
    usual = dataclasses.replace(usual, **held(ranges))
    parts = split if isinstance(split, Split) else split_data(data, split, seed=run.seed)
    bench = _Bench(parts, yard, search, dataclasses.replace(run, callbacks=()), begun)
    about = {
        "model": type(usual).__name__,
        "settings": {name: str(value) for name, value in _values(usual).items()},
        "space": {name: str(each) for name, each in ranges.items()},
        "metric": metric,
        "seed": run.seed,
        "prune": search.prune,
        "data": parts.train.fingerprint,
        "asked": parts.valid.fingerprint,
    }
    study = Study(ranges, seed=run.seed, prune=search.prune, store=search.store, about=about)
    with _bar(run, search.trials) as show:
        stopped = _work(bench, study, usual, show)
    return _tuned(bench, study, usual, stopped)


def _values(estimator: Any) -> dict[str, Any]:
    return {field.name: getattr(estimator, field.name) for field in dataclasses.fields(estimator) if field.init}


def _watched(estimator: Any, search: Search) -> Any:
    """The settings, with a patience as long as the epochs where a model would not look at held-out events at all."""
    values = _values(estimator)
    if search.prune == "none" or values.get("patience") != 0 or "epochs" not in values:
        return estimator
    return dataclasses.replace(estimator, patience=values["epochs"])


class _GiveUpError(Exception):
    """A trial is clearly worse than others."""

    def __init__(self, reason: str, value: float, queries: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.value, self.queries = reason, value, queries


class _PruneBehind(Callback):
    """Ends the fit of a trial whose validation score is behind that of other trials at the same epoch."""

    def __init__(self, given: Given) -> None:
        self.given = given

    def on_epoch_end(self, epoch: int, score: float) -> None:
        if self.given.epoch(epoch, score):
            raise _GiveUpError(f"behind the others after epoch {epoch + 1}", score)


class _Bench:
    """Fits and judges, and holds the best model so far."""

    def __init__(self, parts: Split, yard: Yardstick, search: Search, run: Run, begun: float) -> None:
        self.parts, self.yard, self.search, self.run, self.begun = parts, yard, search, run, begun
        rows = yard.answerable(parts.valid)
        if not len(rows):
            raise DataError(
                "The validation part must hold at least one answer. It holds none; hold out more, or split another way."
            )
        # A random order, so that the first are a sample of all.
        self.cases = parts.valid.take(rows[run.rng().permutation(len(rows))])
        self.fallback = Popularity().fit(parts.train)
        self.judged: dict[int, Judged] = {}
        self.best: tuple[int, Scorer] | None = None
        self.highest = -np.inf
        self.cut_again: set[int] = set()
        self.took: list[float] = []

    def left(self) -> float | None:
        """Seconds that the search still has."""
        limit = self.search.seconds
        return None if limit is None else float(limit) - (time.monotonic() - self.begun)

    def attempt(self, estimator: Any, given: Given) -> tuple[Trial, float | None]:
        """Fit and judge one set of settings; what came of it, and its value, higher is better, if all queries were asked."""
        start, run = time.monotonic(), self._limits(() if self.search.prune == "none" else (_PruneBehind(given),))
        row = Trial(given.number, given.settings, "failed")
        value: float | None = None
        try:
            model = estimator.fit(self.parts.train, run)
            row = dataclasses.replace(row, cut=run.out_of_time())
            judged = self._judge(model, given)
            value = judged.mean
            shown = float(self.yard.show(value))
            self._keep(given.number, model, judged, shown)
            row = dataclasses.replace(row, status="done", value=shown, queries=len(judged.values))
        except _GiveUpError as given_up:
            row = dataclasses.replace(
                row, status="pruned", reason=given_up.reason, value=given_up.value, queries=given_up.queries
            )
        except WrongMetricError:
            raise
        except (BudgetError, SettingError) as error:
            row = dataclasses.replace(row, status="refused", reason=str(error))
        except LeanrecError as error:
            row = dataclasses.replace(row, reason=str(error))
        except Exception as error:  # noqa: BLE001 - settings that fail are one line of the table
            row = dataclasses.replace(row, reason=f"{type(error).__name__}: {error}")
        seconds = time.monotonic() - start
        if row.status in {"done", "pruned"}:
            self.took.append(seconds)
        return dataclasses.replace(row, seconds=seconds, epochs=given.epochs), value

    def again(self, trial: Trial, estimator: Any) -> None:
        """Fit and judge settings of an earlier session. What they are worth in the search stays what was found then."""
        assert trial.value is not None  # noqa: S101 - it was done
        run = self._limits()
        model = estimator.fit(self.parts.train, run)
        if run.out_of_time():
            self.cut_again.add(trial.number)
        judged = self.yard.judge(model, self.cases, self.fallback, self.run)
        self._keep(trial.number, model, judged, trial.value)
        self.took.append(time.monotonic() - run.started)

    def _limits(self, callbacks: tuple[Callback, ...] = ()) -> Run:
        """A run whose clock starts now, with what is left of the time."""
        limits = [each for each in (self.run.budget.fit_time, self.left()) if each is not None]
        seconds = max(0.0, min(limits)) if limits else None
        return self.run.restart(budget=Budget(memory=self.run.budget.memory, fit_time=seconds), callbacks=callbacks)

    def _judge(self, model: Scorer, given: Given) -> Judged:
        """All queries, in growing samples while there is something to be worse than."""
        judged: Judged | None = None
        for stop in self._stops():
            start = 0 if judged is None else len(judged.values)
            block = self.cases.take(np.arange(start, stop))
            judged = self.yard.judge(model, block, self.fallback, self.run).and_more(judged)
            if stop < len(self.cases):
                given.sample(stop, judged.mean)
                rival = Judged(*(each[:stop] for each in self._rival))
                if clearly_worse(judged, rival):
                    raise _GiveUpError(f"clearly worse on {stop} queries", float(self.yard.show(judged.mean)), stop)
        assert judged is not None  # noqa: S101 - the last stop is all of them
        return judged

    @property
    def _rival(self) -> Judged:
        assert self.best is not None  # noqa: S101 - there are stops only where there is a best
        return self.judged[self.best[0]]

    def _stops(self) -> list[int]:
        n = len(self.cases)
        if self.search.prune == "none" or self.best is None:
            return [n]
        return sorted({max(_LEAST, int(part * n)) for part in _SAMPLES if max(_LEAST, int(part * n)) <= n // 2} | {n})

    def _keep(self, number: int, model: Scorer, judged: Judged, shown: float) -> None:
        """Note what a model did, and hold it if its value is the best so far."""
        self.judged[number] = judged
        signed = -shown if self.yard.is_error else shown
        if self.best is None or signed > self.highest:
            self.best, self.highest = (number, model), signed


def _work(bench: _Bench, study: Study, usual: Any, show: Callable[[Trial], None]) -> str:
    """Try settings until something ends it; which of the three it was."""
    known = study.trials()
    for trial in known:
        show(trial)
    _again(bench, known, usual)
    repeats = 0
    while len(known) < bench.search.trials:
        left = bench.left()
        if known and left is not None and left <= (float(np.median(bench.took)) if bench.took else 0.0):
            return "time"
        given = study.ask(None if known else {name: getattr(usual, name) for name in study.space})
        trial, value = _try(bench, usual, given, known)
        study.tell(given, trial, value)
        known.append(trial)
        show(trial)
        repeats = repeats + 1 if trial.status == "repeated" else 0
        if repeats == _REPEATS:
            return "all tried"
    return "trials"


def _again(bench: _Bench, known: list[Trial], usual: Any) -> None:
    """Fit the best and the usual settings of an earlier session again: only their values were kept."""
    done = [trial for trial in known if trial.status == "done"]
    if not done:
        return
    best = first_best(done, lower=bench.yard.is_error)
    for trial in {each.number: each for each in (best, done[0])}.values():
        if trial is best or trial.number == 0:
            estimator = usual if trial.number == 0 else dataclasses.replace(usual, **trial.settings)
            bench.again(trial, estimator)


def _try(bench: _Bench, usual: Any, given: Given, known: list[Trial]) -> tuple[Trial, float | None]:
    for trial in known:
        if trial.settings == given.settings and trial.status != "failed":
            value = None if trial.status not in {"done", "repeated"} else trial.value
            signed = None if value is None else _unsigned(bench.yard, value)
            reason = f"the same as trial {trial.number}"
            return Trial(given.number, given.settings, "repeated", value, reason=reason), signed
    try:
        estimator = usual if given.number == 0 else dataclasses.replace(usual, **given.settings)
    except SettingError as error:
        return Trial(given.number, given.settings, "refused", reason=str(error)), None
    return bench.attempt(estimator, given)


def _unsigned(yard: Yardstick, shown: float) -> float:
    """The signed mean that was shown as ``shown``."""
    if yard.metric == "rmse":
        return -(shown**2)
    return -shown if yard.is_error else shown


def _tuned(bench: _Bench, study: Study, usual: Any, stopped: str) -> Tuned:
    trials, yard, seed = tuple(study.trials()), bench.yard, bench.run.seed
    if bench.best is None:
        last = trials[-1]
        kind = BudgetError if any(trial.status == "refused" for trial in trials) else DataError
        raise kind(f"None of the {len(trials)} settings could be fitted. The last, trial {last.number}: {last.reason}")
    number, model = bench.best
    winner, first = bench.judged[number], bench.judged.get(0)
    estimator = usual if number == 0 else dataclasses.replace(usual, **trials[number].settings)
    test, asked = _test(bench, study, number, model)
    return Tuned(
        model=_name(usual),
        estimator=estimator,
        usual=usual,
        metric=yard.metric,
        space=study.space,
        trials=tuple(dataclasses.replace(each, cut=each.cut or each.number in bench.cut_again) for each in trials),
        valid=yard.quality(winner, seed),
        valid_usual=None if first is None else yard.quality(first, seed),
        gain=None if first is None else yard.gap(winner, first, seed),
        selection=_selection(bench, winner),
        test=test,
        asked=asked,
        importance=study.importance(),
        seconds=time.monotonic() - bench.begun,
        stopped=stopped,
        notes=_notes(bench, trials, usual, stopped),
    )


def _test(bench: _Bench, study: Study, number: int, model: Scorer) -> tuple[Quality | None, int]:
    """The winner on the test part, and by how many winners of this search it was asked. The same settings ask but once."""
    cases, yard = bench.parts.test, bench.yard
    rows = yard.answerable(cases)
    if not len(rows):
        return None, 0
    known = study.tests(cases.fingerprint)
    if number not in known:
        judged = yard.judge(model, cases.take(rows), bench.fallback, bench.run)
        known[number] = yard.quality(judged, bench.run.seed)
        study.keep_tests(cases.fingerprint, known)
    return known[number], len(known)


def _selection(bench: _Bench, winner: Judged) -> float:
    """In the unit of the metric."""
    by = optimism(list(bench.judged.values()), bench.run.seed)
    return abs(float(bench.yard.show(winner.mean) - bench.yard.show(winner.mean - by)))


def _notes(bench: _Bench, trials: tuple[Trial, ...], usual: Any, stopped: str) -> tuple[str, ...]:
    notes = [bench.parts.note, str(bench.parts.leakage) if bench.parts.leakage.has_leakage else ""]
    cut = sum(trial.cut for trial in trials)
    if cut:
        notes.append(f"{cut} of {len(trials)} fits were stopped by their time and judged with the best that they had.")
    notes.extend(
        f"Trial {number} was fitted again for its values at each query, and stopped by its time: they may be lower than when it "
        "was tried."
        for number in sorted(bench.cut_again)
    )
    if stopped == "time" and len(trials) < _FEW:
        notes.append("So few trials tell little: give the search more time, or limit the time of each fit.")
    done = sum(trial.status == "done" for trial in trials)
    if done > len(bench.judged):
        notes.append(f"What the choice adds is measured over the {len(bench.judged)} of {done} trials of this session.")
    if len(bench.cases) < 2 * _LEAST:
        notes.append(f"Validation holds {len(bench.cases)} queries: a search can hardly tell settings apart by so few.")
    if trials and trials[0].epochs:
        notes.append(
            f"The settings hold patience={usual.patience}: each epoch is judged on events held out of training, and the best is kept."
        )
    return tuple(filter(None, notes))


def _name(estimator: Estimator) -> str:
    info = models.find_info(type(estimator))
    return type(estimator).__name__ if info is None else info.name


@contextlib.contextmanager
def _bar(run: Run, total: int) -> Iterator[Callable[[Trial], None]]:
    """What to call after each trial: a progress bar with the best so far, where the run wants one."""
    from rich.console import Console  # noqa: PLC0415 - half a library that only a bar needs
    from rich.progress import Progress  # noqa: PLC0415

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (run.shows_progress and console.is_terminal)) as bar:
        task = bar.add_task("Trials", total=total)

        def show(trial: Trial) -> None:
            told = "" if trial.value is None else f" {trial.value:.4f}"
            bar.update(task, description=f"Trial {trial.number}: {trial.status}{told}", advance=1)

        yield show
