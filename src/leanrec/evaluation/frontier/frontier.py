"""Many models on one data set: how good each is, what it costs, and which one to take within a budget.

Validation decides everything: the Pareto fronts, the best, the closest and the ties. Test is evaluated once
for each model and only reported. Models are fitted on the training part alone; at test time their queries
know the validation part too.
"""

import dataclasses
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import Progress

import leanrec
from leanrec.budget import COST_AXES, Budget
from leanrec.data.dataset import Dataset
from leanrec.data.splits.split import Split
from leanrec.data.splits.split import split as split_data
from leanrec.errors import DataError, SettingError
from leanrec.evaluation.evaluate import warn_of_few
from leanrec.evaluation.frontier.candidates import Candidate, candidates, portfolio
from leanrec.evaluation.frontier.cost import METHOD, Requests
from leanrec.evaluation.frontier.results import Row
from leanrec.evaluation.frontier.run_candidate import trials
from leanrec.evaluation.frontier.selection import Choice, Tie, choose, mark, ties
from leanrec.evaluation.plots.figures import name_of
from leanrec.protocols import Estimator
from leanrec.run import Run
from leanrec.units import format_bytes

__all__ = ["Frontier", "frontier"]


@dataclasses.dataclass(frozen=True)
class Frontier:
    """What a portfolio of models achieved and cost.

    Attributes:
        rows: one for each model, in the order of the portfolio.
        budget: the limits.
        choice: best, closest and ties.
        metric: the quality that choices look at.
        data: name of the data set.
        about: counts, split and machine, in a sentence.
        notes: what one should know of the split, in sentences.
    """

    rows: tuple[Row, ...]
    budget: Budget
    choice: Choice
    metric: str
    data: str
    about: str
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Row | None:
        """The best row within the budget, or None."""
        return None if self.choice.best is None else self.row(self.choice.best)

    @property
    def closest(self) -> Row | None:
        """Where no row keeps the budget, the one that goes over least, or None if nothing was fitted."""
        return None if self.choice.closest is None else self.row(self.choice.closest)

    def row(self, name: str) -> Row:
        """The row of that name. Raises SettingError with the names there are."""
        for row in self.rows:
            if row.name == name:
                return row
        raise SettingError(f"There is no row {name!r}. Rows: {', '.join(row.name for row in self.rows)}.")

    def summary(self) -> tuple[str, ...]:
        """The outcome in sentences: the best or the closest, cheaper ties, and what else one should know."""
        lines = [self._outcome(), *(self._tie(tie) for tie in self.choice.ties[:2])]
        missing = [row.name for row in self.rows if row.status != "fitted"]
        if missing:
            lines.append(f"Not in the comparison: {', '.join(missing)}.")
        busy = [row.name for row in self.rows if row.cost is not None and row.cost.busy]
        if busy:
            which = ", ".join(busy) if len(busy) <= 3 else f"{len(busy)} of {len(self.rows)} models"
            lines.append(
                f"The machine was busy with other work while it answered for {which}, so that p99 is higher "
                "there than on a quiet machine."
            )
        return (*lines, *self.notes)

    def _outcome(self) -> str:
        within = f"within {self.budget}" if self.budget.limits else "without a limit"
        if self.best is not None:
            kept = sum(row.status == "fitted" and not row.violations for row in self.rows)
            return f"Best of {kept} {within}: {self._describe(self.best)}"
        if self.closest is not None:
            over = "; ".join(map(str, self.closest.violations))
            return f"No model fits {within}. The closest is {self._describe(self.closest)} It goes over: {over}."
        if not self.rows:
            return "There was no model to fit."
        smallest = min(
            (row for row in self.rows if row.estimate is not None),
            key=lambda row: row.estimate or 0,
            default=None,
        )
        if smallest is None:
            return f"No model could be fitted {within}."
        least = format_bytes(smallest.estimate or 0)
        return f"No model could be fitted {within}. The smallest fit is {smallest.name}: about {least}."

    def _describe(self, row: Row) -> str:
        assert row.valid is not None  # noqa: S101 - only fitted rows are chosen
        assert row.test is not None  # noqa: S101
        costs = ", ".join(
            f"{COST_AXES[name].title} {COST_AXES[name].format(value)}" for name, value in row.axes().items()
        )
        return (
            f"{row.name}, {self.metric} {row.valid.value:.4f} on validation and {row.test.value:.4f} "
            f"({row.test.low:.4f} to {row.test.high:.4f}) on test; {costs}."
        )

    def _tie(self, tie: Tie) -> str:
        less = [f"{share:.2g} × the {COST_AXES[axis].title}" for axis, share in tie.saves.items() if share <= 0.8]
        return (
            f"{tie.name} is cheaper ({', '.join(less)}), and validation cannot tell it from the best: its "
            f"{self.metric} is lower by {tie.difference:.4f} (95 % interval {tie.low:.4f} to {tie.high:.4f})."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and for the page."""
        return {
            "leanrec": leanrec.__version__,
            "data": self.data,
            "about": self.about,
            "metric": self.metric,
            "budget": self.budget.limits,
            "axes": {name: {"title": axis.title, "unit": axis.unit} for name, axis in COST_AXES.items()},
            "best": self.choice.best,
            "closest": self.choice.closest,
            "ties": [dataclasses.asdict(tie) for tie in self.choice.ties],
            "summary": list(self.summary()),
            "rows": [row.to_dict() for row in self.rows],
            "method": dict(METHOD),
        }


def frontier(
    data: Dataset,
    *,
    models: Sequence[str | Estimator] | Mapping[str, str | Estimator] | None = None,
    deep: bool = False,
    budget: Budget = Budget(),
    metric: str = "ndcg@10",
    split: str | Split = "auto",
    run: Run = Run(),
    apart: bool = True,
    requests: Requests = Requests(),
    save: str | Path | None = None,
) -> Frontier:
    """Fit, measure and compare models; choose within the budget.

    A model whose own estimate of memory, an upper bound, is more than four times the limit is not fitted; the
    others are judged by what they took. One that fails is a row with its error. The fits are asked to stop within ``budget.max_fit``, and nothing more is started once
    ``run.budget.fit_time`` is over.

    Args:
        data: the data set.
        models: names, settings, or own names → either; None takes every model that the data can feed.
        deep: without ``models``, also those that train for minutes, most of them with torch.
        budget: limits on what the model may cost.
        metric: which quality to choose by, with its cut-off.
        split: a way to split (see ``leanrec.data.splits.split.split``), or a split that was made.
        run: seed, threads, memory, time for everything, progress bar.
        apart: measure each model in a fresh process, so that no model pays for or profits from another: about
            one second more for each. Settings that another process cannot read are measured in this one.
        requests: how requests are measured.
        save: folder for the fitted models, one artifact for each; None keeps none.

    Raises:
        SettingError: an unknown model, metric or split.
        DataError: the data cannot be split, or a part has nothing to ask.
    """
    chosen = portfolio(data, deep=deep) if models is None else candidates(models)
    parts = split if isinstance(split, Split) else split_data(data, split, seed=run.seed)
    for name, cases in (("validation", parts.valid), ("test", parts.test)):
        if not cases.ground_truth.nnz:
            raise DataError(
                f"The {name} part must hold at least one answer. It holds none; hold out more, or split another way."
            )
    with trials(parts, budget=budget, metric=metric, run=run, apart=apart, requests=requests, save=save) as attempt:
        done = [attempt(candidate) for candidate in _shown(chosen, run)]
    rows = mark([trial.row for trial in done], budget)
    choice = choose(rows)
    if choice.best is not None:
        evaluations = {trial.row.name: trial.valid for trial in done if trial.valid is not None}
        choice = dataclasses.replace(
            choice, ties=ties(rows, choice.best, evaluations, metric, budget=budget, seed=run.seed)
        )
    few = [warn_of_few(name, cases) for name, cases in (("validation", parts.valid), ("test", parts.test))]
    notes = tuple(filter(None, (parts.note, str(parts.leakage) if parts.leakage.has_leakage else "", *few)))
    return Frontier(rows, budget, choice, metric, name_of(data), _about(data, parts, run), notes)


def _shown(chosen: Sequence[Candidate], run: Run) -> Iterator[Candidate]:
    """The candidates, one after the other, with a progress bar where the run wants one."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (run.shows_progress and console.is_terminal)) as bar:
        task = bar.add_task("", total=len(chosen))
        for candidate in chosen:
            bar.update(task, description=candidate.name)
            yield candidate
            bar.advance(task)


def _about(data: Dataset, parts: Split, run: Run) -> str:
    shape, train = data.shape, parts.train.shape
    return (
        f"{shape.users:,} users, {shape.items:,} items, {shape.events:,} events; split {parts.how}: "
        f"{train.events:,} events to fit on, {len(parts.valid):,} validation and {len(parts.test):,} test "
        f"queries. {run.n_threads()} threads on {platform.machine()}, "
        f"{format_bytes(psutil.virtual_memory().total)} of memory."
    )
