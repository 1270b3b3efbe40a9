"""A search as a PNG: what each trial reached, and which settings mattered. Drawn by matplotlib."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leanrec.evaluation.plots.figures import COLOURS, INK, SOFT, figure, plain_decades, tidy
from leanrec.evaluation.tuning.objective import Yardstick
from leanrec.evaluation.tuning.search_space import Numbers, searched
from leanrec.evaluation.tuning.study import Trial
from leanrec.evaluation.tuning.tuning_result import Tuned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_tuning"]


def draw_tuning(path: str | Path, tuned: Tuned) -> Path:
    """The trials in order with the best so far, the importance of the settings, and quality against the first four settings.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ArtifactError: the file cannot be written.
    """
    names = _names(tuned)[:4]
    rows = 1 + -(-len(names) // 2)
    with figure(path, 11.0, 3.4 * rows, [tuned.model, *names]) as drawing:
        panels = np.atleast_2d(drawing.subplots(rows, 2))
        heading = f"{len(tuned.trials)} settings of {tuned.model}: {tuned.metric} on validation"
        drawing.suptitle(heading, x=0.012, ha="left", fontsize=13, fontweight="bold")
        done = [trial for trial in tuned.trials if trial.status == "done"]
        _draw_trials(panels[0, 0], tuned, done)
        _draw_importance(panels[0, 1], tuned)
        for axes, name in zip(panels[1:].flat, names, strict=False):
            _draw_setting(axes, tuned, done, name)
        for axes in list(panels[1:].flat)[len(names) :]:
            axes.set_axis_off()
    return Path(path)


def _names(tuned: Tuned) -> list[str]:
    """The settings that were searched, the most important first."""
    return sorted(searched(tuned.space), key=lambda name: -tuned.importance.get(name, 0.0))


def _draw_trials(axes: "Axes", tuned: Tuned, done: list[Trial]) -> None:
    tidy(axes, title="Trials, in order", x="trial", y=tuned.metric)
    values = np.array([trial.value for trial in done], dtype=np.float64)
    numbers = np.array([trial.number for trial in done])
    pick: Any = np.minimum if Yardstick(tuned.metric).is_error else np.maximum
    axes.step(numbers, pick.accumulate(values), where="post", color=COLOURS["blue"], linewidth=1.6, label="best so far")
    axes.scatter(numbers, values, s=22, color=COLOURS["blue"], zorder=3)
    pruned = [trial for trial in tuned.trials if trial.status == "pruned" and trial.queries and trial.value is not None]
    if pruned:
        axes.scatter(
            [trial.number for trial in pruned],
            [float(trial.value or 0) for trial in pruned],
            s=24,
            marker="x",
            color=COLOURS["grey"],
            label="given up on a sample",
        )
    if tuned.valid_usual is not None:
        axes.axhline(
            tuned.valid_usual.value, color=COLOURS["orange"], linewidth=1.3, linestyle="--", label="usual settings"
        )
    axes.legend(frameon=False, fontsize=8.5, loc="best")


def _draw_importance(axes: "Axes", tuned: Tuned) -> None:
    tidy(axes, title="Which settings mattered", x="share of the differences")
    names = list(tuned.importance)[::-1]
    axes.grid(visible=False)
    if not names:
        axes.text(0.5, 0.5, "too few trials to tell", transform=axes.transAxes, ha="center", color=SOFT)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.barh(np.arange(len(names)), [tuned.importance[name] for name in names], height=0.6, color=COLOURS["green"])
    axes.set_yticks(np.arange(len(names)), names)
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def _draw_setting(axes: "Axes", tuned: Tuned, done: list[Trial], name: str) -> None:
    tidy(axes, title=name, y=tuned.metric)
    space = tuned.space[name]
    inside = [trial for trial in done if space.holds(trial.settings[name])]
    values = [float(trial.value or 0) for trial in inside]
    if isinstance(space, Numbers):
        at: list[float] = [float(trial.settings[name]) for trial in inside]
        if space.log:
            axes.set_xscale("log")
    else:
        at = [float(space.values.index(trial.settings[name])) for trial in inside]
        axes.set_xticks(np.arange(len(space.values)), [str(value) for value in space.values])
    axes.scatter(at, values, s=20, color=COLOURS["blue"])
    best = tuned.best
    for place, trial in zip(at, inside, strict=True):
        if trial.number == best.number:
            axes.scatter(
                [place],
                [float(trial.value or 0)],
                s=90,
                facecolors="none",
                edgecolors=COLOURS["orange"],
                linewidths=1.8,
            )
    if isinstance(space, Numbers) and space.log and at:
        plain_decades(axes.xaxis)
