"""Plot of the frontier: quality against each of the four costs."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leanrec.budget import COST_AXES, CostAxis
from leanrec.evaluation.frontier.frontier import Frontier
from leanrec.evaluation.frontier.pareto import is_pareto_optimal
from leanrec.evaluation.frontier.results import ModelResult, QualityEstimate
from leanrec.evaluation.plots.figures import COLORS, FAINT, INK, SOFT, open_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_frontier"]

# Family → marker and color.
_STYLES = {
    "baselines": ("P", COLORS["gray"]),
    "content": ("^", COLORS["orange"]),
    "ctr": ("<", COLORS["red"]),
    "deep": ("p", COLORS["slate"]),
    "ensembles": ("v", COLORS["olive"]),
    "factorization": ("D", COLORS["pink"]),
    "graph": ("h", COLORS["violet"]),
    "linear": ("s", COLORS["green"]),
    "neighbors": ("o", COLORS["blue"]),
    "sequential": (">", COLORS["teal"]),
}
_OTHER_STYLE = ("X", COLORS["gray"])
# Lower end of a log axis: smaller costs are below the precision of the measurement.
_FLOOR = {"s": 1e-7, "B": 1e3}
_LIMIT = "#a0561e"


@dataclasses.dataclass(frozen=True)
class _Point:
    """A fitted model in one panel."""

    result: ModelResult
    x: float
    y: QualityEstimate
    optimal: bool = False


def draw_frontier(path: str | Path, frontier: Frontier, *, part: str = "valid") -> Path:
    """Draw quality with its interval against p99, memory, fit time and size, each on a log scale.

    The line is the Pareto front, costs over the limit are shaded, and a ring marks the best model within the budget.

    Args:
        path: the PNG to write.
        frontier: the results.
        part: "valid", which models are selected by, or "test".

    Raises:
        MissingExtraError: matplotlib is not installed.
        ArtifactError: the file cannot be written.
    """
    fitted = [result for result in frontier.results if result.status == "fitted"]
    names = [result.name for result in fitted]
    with open_figure(path, 12.0, 9.0, [*names, frontier.data]) as figure:
        panels = figure.subplots(2, 2, sharey=True)
        figure.suptitle(f"Quality and cost on {frontier.data}", x=0.012, ha="left", fontsize=14, fontweight="bold")
        points = {}
        for axes, axis in zip(panels.flat, COST_AXES.values(), strict=True):
            points[axis.name] = _make_points(fitted, axis, part)
            _draw_panel(axes, points[axis.name], axis, frontier)
        for axes in panels[:, 0]:
            axes.set_ylabel(f"{frontier.metric} on {'validation' if part == 'valid' else 'test'}", fontsize=9.5)
        _draw_legend(figure, fitted, frontier)
        # Labels need the final positions of the panels.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes, axis in zip(panels.flat, COST_AXES.values(), strict=True):
            _label_points(axes, points[axis.name], frontier)
    return Path(path)


def _make_points(results: Sequence[ModelResult], axis: CostAxis, part: str) -> list[_Point]:
    found = []
    for result in results:
        quality = result.valid if part == "valid" else result.test
        if quality is not None:
            found.append(_Point(result, max(_FLOOR[axis.unit], result.costs()[axis.name]), quality))
    optimal = is_pareto_optimal([point.x for point in found], [point.y.value for point in found])
    return [
        dataclasses.replace(point, optimal=bool(is_optimal)) for point, is_optimal in zip(found, optimal, strict=True)
    ]


def _draw_panel(axes: "Axes", points: Sequence[_Point], axis: CostAxis, frontier: Frontier) -> None:
    style_axes(axes, x=f"{axis.title} (log scale)")
    if not points:
        axes.text(0.5, 0.5, "No model was fitted.", transform=axes.transAxes, ha="center", color=SOFT)
        return
    limit = frontier.budget.limits.get(axis.name)
    costs = [point.x for point in points] + ([] if limit is None else [limit])
    low, high = min(costs), max(costs)
    padding = max(1.3, (high / low) ** 0.08)
    low, high = low / padding, high * padding * (1.3 if high == limit else 1.0)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    _set_ticks(axes, axis, low, high)
    line = sorted((point for point in points if point.optimal), key=lambda point: point.x)
    xs, ys = [point.x for point in line], [point.y.value for point in line]
    axes.step([*xs, high], [*ys, ys[-1]], where="post", color=SOFT, linewidth=1.3, zorder=1.5)
    if limit is not None:
        axes.axvspan(limit, high, color=_LIMIT, alpha=0.07, linewidth=0)
        axes.axvline(limit, color=_LIMIT, linewidth=1.2, linestyle=(0, (4, 3)))
        _label_limit(axes, axis, limit, low, high)
    for point in points:
        _draw_point(axes, point, frontier)


def _draw_point(axes: "Axes", point: _Point, frontier: Frontier) -> None:
    marker, color = _STYLES.get(point.result.family, _OTHER_STYLE)
    axes.plot([point.x, point.x], [point.y.low, point.y.high], color=color, alpha=0.4, linewidth=1, zorder=2)
    face = "white" if point.result.violations else color
    axes.plot(
        point.x,
        point.y.value,
        marker,
        color=color,
        markerfacecolor=face,
        markersize=6.5,
        markeredgewidth=1.4,
        zorder=3,
    )
    if point.result.name == frontier.selection.best:
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


def _set_ticks(axes: "Axes", axis: CostAxis, low: float, high: float) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator  # noqa: PLC0415 - optional

    decades = np.log10(high / low)
    steps = (1,) if decades > 2.5 else (1, 3) if decades > 1.2 else (1, 2, 5)
    exponents = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    values = [step * 10.0**exponent for exponent in exponents for step in steps]
    values = [value for value in values if low <= value <= high]
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_major_formatter(FixedFormatter([axis.format(value) for value in values]))
    axes.xaxis.set_minor_locator(NullLocator())


def _label_limit(axes: "Axes", axis: CostAxis, limit: float, low: float, high: float) -> None:
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


def _label_points(axes: "Axes", points: Sequence[_Point], frontier: Frontier) -> None:
    """Write names beside the points where there is room: best and closest first, then the Pareto-optimal, then others."""
    selected = (frontier.selection.best, frontier.selection.closest)
    order = sorted(points, key=lambda point: (point.result.name not in selected, not point.optimal, -point.y.value))
    pixel = axes.figure.dpi / 72
    frame = axes.get_window_extent()
    at: dict[str, tuple[float, float]] = {}
    for point in points:
        x, y = axes.transData.transform((point.x, point.y.value))
        at[point.result.name] = (float(x), float(y))
    taken: list[tuple[float, ...]] = [
        (x - 5 * pixel, y - 5 * pixel, x + 5 * pixel, y + 5 * pixel) for x, y in at.values()
    ]
    taken += [text.get_window_extent().extents for text in axes.texts]
    for point in order:
        is_best = point.result.name == frontier.selection.best
        for box in _candidate_boxes(point.result.name, at[point.result.name], pixel, is_best=is_best):
            inside = box[0] >= frame.x0 and box[2] <= frame.x1 and box[1] >= frame.y0 and box[3] <= frame.y1
            if inside and not any(
                box[0] < other[2] and box[2] > other[0] and box[1] < other[3] and box[3] > other[1] for other in taken
            ):
                taken.append(box)
                x, y = at[point.result.name]
                axes.annotate(
                    point.result.name,
                    (point.x, point.y.value),
                    xytext=((box[0] - x) / pixel, (box[1] - y) / pixel + 2),
                    textcoords="offset points",
                    fontsize=8.5,
                    fontweight="bold" if is_best else "normal",
                    color=INK if point.optimal or is_best else SOFT,
                    zorder=4,
                )
                break


def _candidate_boxes(name: str, at: tuple[float, float], pixel: float, *, is_best: bool) -> list[tuple[float, ...]]:
    """Possible boxes for the name of a point, in pixels, in order of preference."""
    # Letters of 8.5 points are about 0.6 em wide.
    width, height = len(name) * 8.5 * 0.6 * pixel * (1.1 if is_best else 1.0), 11 * pixel
    gap, (x, y) = (11 if is_best else 7) * pixel, at
    left, right, middle = x - gap - width, x + gap, x - width / 2
    above, below, level = y + 2, y - height - 2, y - height / 2
    corners = [(left, above), (right, below), (right, above), (left, below), (right, level)]
    corners += [(middle, y + gap), (middle, y - gap - height)]
    return [(corner[0], corner[1], corner[0] + width, corner[1] + height) for corner in corners]


def _draw_legend(figure: Any, results: Sequence[ModelResult], frontier: Frontier) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415 - optional

    handles = []
    for family in sorted({result.family for result in results}):
        marker, color = _STYLES.get(family, _OTHER_STYLE)
        handles.append(Line2D([], [], marker=marker, color=color, linestyle="", markersize=7, label=family))
    handles.append(Line2D([], [], color=SOFT, linewidth=1.3, label="Pareto front"))
    if frontier.budget.limits:
        handles.append(
            Line2D([], [], marker="o", color=SOFT, markerfacecolor="white", linestyle="", label="over a limit")
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
    figure.legend(
        handles=handles,
        loc="outside lower left",
        # More families than fit in a line continue in a second one.
        ncols=min(len(handles), 7),
        frameon=False,
        fontsize=9.5,
        labelcolor=INK,
        edgecolor=FAINT,
    )
