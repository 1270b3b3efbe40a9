"""Quality and cost of many models on one data set, and model selection within a budget.

Selection uses the validation part only: Pareto fronts, best, closest and equivalents. The test part is evaluated once for
each model and only reported. Models are fitted on the training part alone; the histories of test queries also contain the
validation part.
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
from leanrec.errors import SettingError
from leanrec.evaluation.evaluate import warn_small_sample
from leanrec.evaluation.frontier.candidates import ModelCandidate, list_candidates, parse_candidates
from leanrec.evaluation.frontier.cost import COST_METHOD, LatencyProtocol
from leanrec.evaluation.frontier.results import ModelResult
from leanrec.evaluation.frontier.run_candidate import open_runner
from leanrec.evaluation.frontier.selection import (
    ModelSelection,
    annotate_results,
    find_equivalents,
    select_model,
)
from leanrec.evaluation.plots.figures import dataset_label
from leanrec.protocols import Estimator
from leanrec.run import Run
from leanrec.units import format_bytes

__all__ = ["Frontier", "frontier"]


@dataclasses.dataclass(frozen=True)
class Frontier:
    """Quality and cost of several models, and the selected one.

    Attributes:
        results: one for each model, in the order of the candidates, followed by its smaller versions.
        budget: the limits.
        selection: best, closest and equivalents.
        metric: the quality metric of the selection.
        data: name of the data set.
        description: counts, split and machine, in a sentence.
        notes: warnings about the split, in sentences.
    """

    results: tuple[ModelResult, ...]
    budget: Budget
    selection: ModelSelection
    metric: str
    data: str
    description: str
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> ModelResult | None:
        """The best result within the budget, or None."""
        return None if self.selection.best is None else self.result(self.selection.best)

    @property
    def closest(self) -> ModelResult | None:
        """If no result keeps the budget, the one that exceeds it least; None if no model was fitted."""
        return None if self.selection.closest is None else self.result(self.selection.closest)

    def result(self, name: str) -> ModelResult:
        """The result with that name. Raises SettingError, listing the names, if there is none."""
        for result in self.results:
            if result.name == name:
                return result
        raise SettingError(f"There is no result {name!r}. Results: {', '.join(each.name for each in self.results)}.")

    def summary(self) -> tuple[str, ...]:
        """The outcome in sentences: the best or the closest, its cheaper equivalents, and warnings."""
        lines = [self._summarize_outcome()]
        for each in self.selection.equivalents[:2]:
            ratios = [
                f"{ratio:.2g} × the {COST_AXES[axis].title}" for axis, ratio in each.cost_ratios.items() if ratio <= 0.8
            ]
            lines.append(
                f"{each.name} is cheaper ({', '.join(ratios)}), with no significant difference from the best on "
                f"validation: its {self.metric} is lower by {each.difference:.4f} "
                f"(95 % interval {each.low:.4f} to {each.high:.4f})."
            )
        missing = [result.name for result in self.results if result.status != "fitted"]
        if missing:
            lines.append(f"Not compared: {', '.join(missing)}.")
        noisy = [result.name for result in self.results if result.cost is not None and result.cost.is_noisy]
        if noisy:
            which = ", ".join(noisy) if len(noisy) <= 3 else f"{len(noisy)} of {len(self.results)} models"
            lines.append(
                f"The machine was busy with other work during the requests of {which}, so p99 is higher there than on a "
                "quiet machine."
            )
        return (*lines, *self.notes)

    def _summarize_outcome(self) -> str:
        within = f"within {self.budget}" if self.budget.limits else "without a limit"
        if self.best is not None:
            count = sum(result.status == "fitted" and not result.violations for result in self.results)
            return f"Best of {count} {within}: {self._describe_result(self.best)}"
        if self.closest is not None:
            over = "; ".join(map(str, self.closest.violations))
            return f"No model fits {within}. The closest is {self._describe_result(self.closest)} It exceeds: {over}."
        if not self.results:
            return "There was no model to fit."
        estimates = {result.name: result.estimated_memory for result in self.results}
        known = {name: estimate for name, estimate in estimates.items() if estimate is not None}
        if not known:
            return f"No model could be fitted {within}."
        smallest = min(known, key=lambda name: known[name])
        return (
            f"No model could be fitted {within}. The smallest fit is {smallest}: about {format_bytes(known[smallest])}."
        )

    def _describe_result(self, result: ModelResult) -> str:
        assert result.valid is not None  # noqa: S101 - only fitted models are selected
        assert result.test is not None  # noqa: S101
        costs = ", ".join(
            f"{COST_AXES[name].title} {COST_AXES[name].format(value)}" for name, value in result.costs().items()
        )
        return (
            f"{result.name}, {self.metric} {result.valid.value:.4f} on validation and {result.test.value:.4f} "
            f"({result.test.low:.4f} to {result.test.high:.4f}) on test; {costs}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and for the HTML report."""
        return {
            "leanrec": leanrec.__version__,
            "data": self.data,
            "description": self.description,
            "metric": self.metric,
            "budget": self.budget.limits,
            "axes": {name: {"title": axis.title, "unit": axis.unit} for name, axis in COST_AXES.items()},
            "best": self.selection.best,
            "closest": self.selection.closest,
            "equivalents": [dataclasses.asdict(each) for each in self.selection.equivalents],
            "summary": list(self.summary()),
            "results": [result.to_dict() for result in self.results],
            "method": dict(COST_METHOD),
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
    isolate: bool = True,
    latency: LatencyProtocol = LatencyProtocol(),
    save: str | Path | None = None,
    compress: bool = True,
) -> Frontier:
    """Fit, measure and compare models; select the best within the budget.

    A model whose own memory estimate, an upper bound, is more than four times the limit is skipped; all others are
    compared by what they used. A model that fails is a result with its error. Fits are asked to stop within
    ``budget.fit_time``, and no fit is started after ``run.budget.fit_time``, the time for all fits together.

    Args:
        data: the data set.
        models: names, settings, or a mapping of labels to either; None = every model that the data has inputs for.
        deep: without ``models``, also the models that train for minutes, most of them with torch.
        budget: limits on the cost of each model.
        metric: quality metric of the selection, with its cut-off.
        split: name of a split (see ``leanrec.split``), or a split.
        run: seed, threads, memory, time for all fits together, progress bar.
        isolate: measure each model in a fresh process, so that models do not influence each other: about one second
            more for each. Settings that a subprocess cannot read are measured in this process.
        latency: how request latency is measured.
        save: folder for the fitted models, one artifact each; None = they are not saved.
        compress: also measure up to four smaller versions of each model of a megabyte or more, made from the fitted one.

    Raises:
        SettingError: an unknown model, metric or split.
        DataError: the data cannot be split, or a part has no held-out interactions.
    """
    candidates = list_candidates(data, deep=deep) if models is None else parse_candidates(models)
    parts = split if isinstance(split, Split) else split_data(data, split, seed=run.seed)
    held_out = {"validation": parts.require("valid"), "test": parts.require("test")}
    with open_runner(
        parts, budget=budget, metric=metric, run=run, isolate=isolate, latency=latency, save=save, compress=compress
    ) as runner:
        done = [row for candidate in _track_candidates(candidates, run) for row in runner.run_candidate(candidate)]
    results = annotate_results([each.result for each in done], budget)
    selection = select_model(results)
    if selection.best is not None:
        evaluations = {each.result.name: each.valid for each in done if each.valid is not None}
        equivalents = find_equivalents(results, selection.best, evaluations, metric, budget=budget, seed=run.seed)
        selection = dataclasses.replace(selection, equivalents=equivalents)
    leakage = str(parts.leakage) if parts.leakage.has_leakage else ""
    warnings = (warn_small_sample(name, part) for name, part in held_out.items())
    notes = tuple(filter(None, (parts.note, leakage, *warnings)))
    description = _describe_run(data, parts, run)
    return Frontier(results, budget, selection, metric, dataset_label(data), description, notes)


def _track_candidates(candidates: Sequence[ModelCandidate], run: Run) -> Iterator[ModelCandidate]:
    """The candidates in order, with a progress bar that names each."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (run.shows_progress and console.is_terminal)) as bar:
        task = bar.add_task("", total=len(candidates))
        for candidate in candidates:
            bar.update(task, description=candidate.name)
            yield candidate
            bar.advance(task)


def _describe_run(data: Dataset, parts: Split, run: Run) -> str:
    shape, train = data.shape, parts.train.shape
    # Queries without ground truth are in no metric.
    n_valid, n_test = (int((part.n_relevant > 0).sum()) for part in (parts.valid, parts.test))
    return (
        f"{shape.users:,} users, {shape.items:,} items, {shape.events:,} events; split {parts.how}: "
        f"{train.events:,} events to fit on, {n_valid:,} validation and {n_test:,} test "
        f"queries. {run.n_threads()} threads on {platform.machine()}, "
        f"{format_bytes(psutil.virtual_memory().total)} of memory."
    )
