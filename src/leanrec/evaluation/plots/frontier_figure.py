"""The frontier as a PNG: quality against each of the four costs, drawn by matplotlib."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leanrec.budget import COST_AXES, CostAxis
from leanrec.evaluation.frontier.frontier import Frontier
from leanrec.evaluation.frontier.pareto import front
from leanrec.evaluation.frontier.results import Quality, Row
from leanrec.evaluation.plots.figures import COLOURS, FAINT, INK, SOFT, figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_frontier"]

_LOOKS = {
    "collaborative": ("o", COLOURS["blue"]),
    "content": ("^", COLOURS["orange"]),
    "deep": ("s", COLOURS["green"]),
    "graph": ("D", COLOURS["pink"]),
}
_OTHER = ("P", COLOURS["grey"])
# A log axis starts here: less than this cannot be told apart.
_FLOOR = {"s": 1e-7, "B": 1e3}
_LIMIT = "#a0561e"


@dataclasses.dataclass(frozen=True)
class _Point:
    """A fitted row in one picture."""

    row: Row
    x: float
    y: Quality
    optimal: bool = False


def draw_frontier(path: str | Path, frontier: Frontier, *, part: str = "valid") -> Path:
    """Quality with its interval against p99, memory, fit time and size, each on a log scale.

    The line joins what nothing cheaper beats, limits are shaded, and a ring marks the best.

    Args:
        path: the PNG to write.
        frontier: what to draw.
        part: "valid", on which all choices were made, or "test".

    Raises:
        MissingExtraError: matplotlib is not installed.
        ArtifactError: the file cannot be written.
    """
    fitted = [row for row in frontier.rows if row.status == "fitted"]
    names = [row.name for row in fitted]
    with figure(path, 12.0, 9.0, [*names, frontier.data]) as drawing:
        panels = drawing.subplots(2, 2, sharey=True)
        drawing.suptitle(f"Quality and cost on {frontier.data}", x=0.012, ha="left", fontsize=14, fontweight="bold")
        points = {}
        for axes, axis in zip(panels.flat, COST_AXES.values(), strict=True):
            points[axis.name] = _points(fitted, axis, part)
            _panel(axes, points[axis.name], axis, frontier)
        for axes in panels[:, 0]:
            axes.set_ylabel(f"{frontier.metric} on {'validation' if part == 'valid' else 'test'}", fontsize=9.5)
        _legend(drawing, fitted, frontier)
        # Labels need the places that the layout gives to the panels.
        drawing.draw_without_rendering()
        drawing.set_layout_engine("none")
        for axes, axis in zip(panels.flat, COST_AXES.values(), strict=True):
            _label(axes, points[axis.name], frontier)
    return Path(path)


def _points(rows: Sequence[Row], axis: CostAxis, part: str) -> list[_Point]:
    found = []
    for row in rows:
        quality = row.valid if part == "valid" else row.test
        if quality is not None:
            found.append(_Point(row, max(_FLOOR[axis.unit], row.axes()[axis.name]), quality))
    optimal = front([point.x for point in found], [point.y.value for point in found])
    return [
        dataclasses.replace(point, optimal=bool(is_optimal)) for point, is_optimal in zip(found, optimal, strict=True)
    ]


def _panel(axes: "Axes", points: Sequence[_Point], axis: CostAxis, frontier: Frontier) -> None:
    tidy(axes, x=f"{axis.title} (log scale)")
    if not points:
        axes.text(0.5, 0.5, "No model was fitted.", transform=axes.transAxes, ha="center", color=SOFT)
        return
    limit = frontier.budget.limits.get(axis.name)
    low, high = _range([point.x for point in points], limit)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    _ticks(axes, axis, low, high)
    line = sorted((point for point in points if point.optimal), key=lambda point: point.x)
    xs, ys = [point.x for point in line], [point.y.value for point in line]
    axes.step([*xs, high], [*ys, ys[-1]], where="post", color=SOFT, linewidth=1.3, zorder=1.5)
    if limit is not None:
        axes.axvspan(limit, high, color=_LIMIT, alpha=0.07, linewidth=0)
        axes.axvline(limit, color=_LIMIT, linewidth=1.2, linestyle=(0, (4, 3)))
        _note_limit(axes, axis, limit, low, high)
    for point in points:
        _mark(axes, point, frontier)


def _mark(axes: "Axes", point: _Point, frontier: Frontier) -> None:
    marker, colour = _LOOKS.get(point.row.family, _OTHER)
    axes.plot([point.x, point.x], [point.y.low, point.y.high], color=colour, alpha=0.4, linewidth=1, zorder=2)
    face = "white" if point.row.violations else colour
    axes.plot(
        point.x,
        point.y.value,
        marker,
        color=colour,
        markerfacecolor=face,
        markersize=6.5,
        markeredgewidth=1.4,
        zorder=3,
    )
    if point.row.name == frontier.choice.best:
        axes.plot(
            point.x,
            point.y.value,
            "o",
            markerfacecolor="none",
            markeredgecolor=INK,
            markersize=14,
            markeredgewidth=1.4,
            zorder=3,
        )


def _range(xs: Sequence[float], limit: float | None) -> tuple[float, float]:
    every = [*xs, *([] if limit is None else [limit])]
    low, high = min(every), max(every)
    pad = max(1.3, (high / low) ** 0.08)
    return low / pad, high * pad * (1.3 if high == limit else 1.0)


def _ticks(axes: "Axes", axis: CostAxis, low: float, high: float) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator  # noqa: PLC0415 - optional

    decades = np.log10(high / low)
    steps = (1,) if decades > 2.5 else (1, 3) if decades > 1.2 else (1, 2, 5)
    exponents = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    values = [step * 10.0**exponent for exponent in exponents for step in steps]
    values = [value for value in values if low <= value <= high]
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_major_formatter(FixedFormatter([axis.format(value) for value in values]))
    axes.xaxis.set_minor_locator(NullLocator())


def _note_limit(axes: "Axes", axis: CostAxis, limit: float, low: float, high: float) -> None:
    on_the_left = np.log(limit / low) > 0.75 * np.log(high / low)
    axes.annotate(
        f"limit {axis.format(limit)}",
        (limit, 0.02),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if on_the_left else 5, 0),
        textcoords="offset points",
        ha="right" if on_the_left else "left",
        fontsize=9,
        color=_LIMIT,
    )


def _label(axes: "Axes", points: Sequence[_Point], frontier: Frontier) -> None:
    """Names beside the marks, where there is room: the best first, then the optimal ones, then the others."""
    chosen = (frontier.choice.best, frontier.choice.closest)
    order = sorted(points, key=lambda point: (point.row.name not in chosen, not point.optimal, -point.y.value))
    pixel = axes.figure.dpi / 72
    frame = axes.get_window_extent()
    at = {point.row.name: _pixels(axes, point) for point in points}
    taken: list[tuple[float, ...]] = [
        (x - 5 * pixel, y - 5 * pixel, x + 5 * pixel, y + 5 * pixel) for x, y in at.values()
    ]
    taken += [text.get_window_extent().extents for text in axes.texts]
    for point in order:
        is_best = point.row.name == frontier.choice.best
        for box in _places(point.row.name, at[point.row.name], pixel, is_best=is_best):
            inside = box[0] >= frame.x0 and box[2] <= frame.x1 and box[1] >= frame.y0 and box[3] <= frame.y1
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                x, y = at[point.row.name]
                _write(axes, point, ((box[0] - x) / pixel, (box[1] - y) / pixel), is_best=is_best)
                break


def _pixels(axes: "Axes", point: _Point) -> tuple[float, float]:
    x, y = axes.transData.transform((point.x, point.y.value))
    return float(x), float(y)


def _places(name: str, at: tuple[float, float], pixel: float, *, is_best: bool) -> list[tuple[float, ...]]:
    """Boxes around a mark in which its name could stand, in pixels; the place liked most comes first."""
    # Letters of 8.5 points are about 0.6 em wide.
    width, height = len(name) * 8.5 * 0.6 * pixel * (1.1 if is_best else 1.0), 11 * pixel
    gap, (x, y) = (11 if is_best else 7) * pixel, at
    left, right, middle = x - gap - width, x + gap, x - width / 2
    above, below, level = y + 2, y - height - 2, y - height / 2
    corners = [(left, above), (right, below), (right, above), (left, below), (right, level)]
    corners += [(middle, y + gap), (middle, y - gap - height)]
    return [(corner[0], corner[1], corner[0] + width, corner[1] + height) for corner in corners]


def _write(axes: "Axes", point: _Point, offset: tuple[float, float], *, is_best: bool) -> None:
    axes.annotate(
        point.row.name,
        (point.x, point.y.value),
        xytext=(offset[0], offset[1] + 2),
        textcoords="offset points",
        fontsize=8.5,
        fontweight="bold" if is_best else "normal",
        color=INK if point.optimal or is_best else SOFT,
        zorder=4,
    )


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and one[2] > other[0] and one[1] < other[3] and one[3] > other[1]


def _legend(drawing: Any, rows: Sequence[Row], frontier: Frontier) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415 - optional

    handles = []
    for family in sorted({row.family for row in rows}):
        marker, colour = _LOOKS.get(family, _OTHER)
        handles.append(Line2D([], [], marker=marker, color=colour, linestyle="", markersize=7, label=family))
    handles.append(Line2D([], [], color=SOFT, linewidth=1.3, label="nothing cheaper is better"))
    if frontier.budget.limits:
        handles.append(
            Line2D([], [], marker="o", color=SOFT, markerfacecolor="white", linestyle="", label="breaks a limit")
        )
    if frontier.best is not None:
        handles.append(
            Line2D(
                [],
                [],
                marker="o",
                color=INK,
                markerfacecolor="none",
                markersize=13,
                linestyle="",
                label="best within the budget",
            )
        )
    drawing.legend(
        handles=handles,
        loc="outside lower left",
        ncols=len(handles),
        frameon=False,
        fontsize=9.5,
        labelcolor=INK,
        edgecolor=FAINT,
    )
