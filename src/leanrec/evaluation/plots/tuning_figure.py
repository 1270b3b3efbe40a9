"""Plot of a hyper-parameter search: the trials, and the importance of the settings."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leanrec.evaluation.plots.figures import COLORS, INK, SOFT, format_log_axis, open_figure, style_axes
from leanrec.evaluation.tuning.objective import TuningObjective
from leanrec.evaluation.tuning.search_space import NumericRange, tunable_settings
from leanrec.evaluation.tuning.study import Trial
from leanrec.evaluation.tuning.tuning_result import TuningResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_tuning"]


def draw_tuning(path: str | Path, result: TuningResult) -> Path:
    """Draw the trials with the best so far, the importance of the settings, and quality against the four most important ones.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ArtifactError: the file cannot be written.
    """
    # The most important settings first.
    names = sorted(tunable_settings(result.space), key=lambda name: -result.importance.get(name, 0.0))[:4]
    rows = 1 + -(-len(names) // 2)
    with open_figure(path, 11.0, 3.4 * rows, [result.model, *names]) as figure:
        panels = np.atleast_2d(figure.subplots(rows, 2))
        heading = f"{len(result.trials)} trials of {result.model}: {result.metric} on validation"
        figure.suptitle(heading, x=0.012, ha="left", fontsize=13, fontweight="bold")
        completed = [trial for trial in result.trials if trial.status == "completed"]
        _draw_trials(panels[0, 0], result, completed)
        _draw_importance(panels[0, 1], result)
        for axes, name in zip(panels[1:].flat, names, strict=False):
            _draw_setting(axes, result, completed, name)
        for axes in list(panels[1:].flat)[len(names) :]:
            axes.set_axis_off()
    return Path(path)


def _draw_trials(axes: "Axes", result: TuningResult, completed: list[Trial]) -> None:
    style_axes(axes, title="Trials", x="trial", y=result.metric)
    values = np.array([trial.value for trial in completed], dtype=np.float64)
    numbers = np.array([trial.number for trial in completed])
    best_of: Any = np.minimum if TuningObjective(result.metric).is_error else np.maximum
    axes.step(
        numbers, best_of.accumulate(values), where="post", color=COLORS["blue"], linewidth=1.6, label="best so far"
    )
    axes.scatter(numbers, values, s=22, color=COLORS["blue"], zorder=3)
    pruned = [
        trial for trial in result.trials if trial.status == "pruned" and trial.n_queries and trial.value is not None
    ]
    if pruned:
        axes.scatter(
            [trial.number for trial in pruned],
            [float(trial.value or 0) for trial in pruned],
            s=24,
            marker="x",
            color=COLORS["gray"],
            label="pruned on a sample of queries",
        )
    if result.valid_default is not None:
        axes.axhline(
            result.valid_default.value, color=COLORS["orange"], linewidth=1.3, linestyle="--", label="default settings"
        )
    axes.legend(frameon=False, fontsize=8.5, loc="best")


def _draw_importance(axes: "Axes", result: TuningResult) -> None:
    style_axes(axes, title="Importance of the settings", x="share of the variance")
    names = list(result.importance)[::-1]
    axes.grid(visible=False)
    if not names:
        axes.text(0.5, 0.5, "too few trials", transform=axes.transAxes, ha="center", color=SOFT)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.barh(np.arange(len(names)), [result.importance[name] for name in names], height=0.6, color=COLORS["green"])
    axes.set_yticks(np.arange(len(names)), names)
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def _draw_setting(axes: "Axes", result: TuningResult, completed: list[Trial], name: str) -> None:
    style_axes(axes, title=name, y=result.metric)
    space = result.space[name]
    inside = [trial for trial in completed if space.contains(trial.settings[name])]
    values = [float(trial.value or 0) for trial in inside]
    if isinstance(space, NumericRange):
        positions: list[float] = [float(trial.settings[name]) for trial in inside]
        if space.log:
            axes.set_xscale("log")
    else:
        positions = [float(space.values.index(trial.settings[name])) for trial in inside]
        axes.set_xticks(np.arange(len(space.values)), [str(value) for value in space.values])
    axes.scatter(positions, values, s=20, color=COLORS["blue"])
    best = result.best
    for position, trial in zip(positions, inside, strict=True):
        if trial.number == best.number:
            axes.scatter(
                [position],
                [float(trial.value or 0)],
                s=90,
                facecolors="none",
                edgecolors=COLORS["orange"],
                linewidths=1.8,
            )
    if isinstance(space, NumericRange) and space.log and positions:
        format_log_axis(axes.xaxis)
