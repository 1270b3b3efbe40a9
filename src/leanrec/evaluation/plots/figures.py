"""Plots of recommendations and data sets as PNG, drawn by matplotlib, and the shared style of all plots.

matplotlib is in the extra ``plots`` and is imported when the first plot is drawn; call ``require_plots`` before long work
that ends in a plot. Each function writes one file and returns its path.
"""

import contextlib
import io
import logging
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leanrec.artifacts import replace_file
from leanrec.data.dataset import Dataset
from leanrec.data.time_kind import TimeKind
from leanrec.errors import ArtifactError, DataError, MissingExtraError
from leanrec.evaluation.plots.fonts import find_font_families, replace_missing_glyphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = [
    "COLORS",
    "dataset_label",
    "draw_dataset",
    "draw_recommendations",
    "format_log_axis",
    "open_figure",
    "require_plots",
    "style_axes",
]

# The first five are the palette of Okabe and Ito, for all kinds of color vision, darkened a little for thin lines.
COLORS = {
    "blue": "#0072b2",
    "orange": "#c4500a",
    "green": "#00825f",
    "pink": "#a8528a",
    "gray": "#6b6b6b",
    "olive": "#7a6a00",
    "violet": "#5b4bb5",
    "teal": "#0e7c86",
    "red": "#9c2f2f",
    "slate": "#3d5a80",
}
INK, SOFT, FAINT = "#1d1f23", "#5d636d", "#e4e2dd"
_DAY = 86_400


def dataset_label(data: Dataset) -> str:
    """A short name for headings: the last folder and the file name of the source."""
    parts = [part for part in data.source.replace("\\", "/").split("/") if part]
    return "/".join(parts[-2:]) if "/" in data.source else data.source or "the data"


def require_plots() -> None:
    """Raise MissingExtraError unless matplotlib is installed. Takes microseconds."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError("A PNG plot", "plots")


@contextlib.contextmanager
def open_figure(path: str | Path, width: float, height: float, texts: Sequence[str] = ()) -> Iterator["Figure"]:
    """A figure with fonts for ``texts``, written to ``path`` at the end of the block. Width and height are in inches."""
    require_plots()
    import matplotlib as mpl  # noqa: PLC0415 - optional
    from matplotlib.figure import Figure  # noqa: PLC0415

    style: dict[Any, Any] = {
        "font.family": find_font_families(texts),
        "font.size": 10.0,
        "text.color": INK,
        "axes.labelcolor": SOFT,
        "axes.edgecolor": SOFT,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "axes.unicode_minus": True,
        "text.parse_math": False,
    }
    with mpl.rc_context(style), _silence_logger("matplotlib.font_manager"):
        figure = Figure(figsize=(width, height), dpi=144, layout="constrained", facecolor="white")
        yield figure
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            drawn = io.BytesIO()
            figure.savefig(drawn, format=target.suffix.removeprefix(".") or None)
            replace_file(target, drawn.getvalue())
        except (OSError, ValueError) as error:
            raise ArtifactError(f"Cannot write the plot {target}: {error}") from error


@contextlib.contextmanager
def _silence_logger(name: str) -> Iterator[None]:
    """Limit a logger to errors inside the block: a fallback font without a bold face needs no warning."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def style_axes(axes: "Axes", *, title: str = "", x: str = "", y: str = "") -> None:
    """Set title and labels, and remove superfluous lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=3, labelsize=9)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(x, fontsize=9.5)
    axes.set_ylabel(y, fontsize=9.5)


def format_log_axis(axis: "Axis") -> None:
    """Label a log axis with plain numbers, also at 2 and 5 where it spans few decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: PLC0415 - optional

    low, high = sorted(axis.get_view_interval())
    is_short = high / max(low, 1e-300) < 300
    axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if is_short else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def draw_recommendations(
    path: str | Path, titles: Sequence[str], scores: ArrayLike, *, title: str = "", x: str = "score"
) -> Path:
    """A bar chart of the scores of recommended items, the first on top.

    Long titles are wrapped to two lines and then shortened. Letters without an installed font become white squares.

    Raises:
        DataError: the numbers of scores and titles differ.
        MissingExtraError: matplotlib is not installed.
        ArtifactError: the file cannot be written.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (len(titles),):
        raise DataError(f"There must be one score for each of the {len(titles)} titles. Got the shape {values.shape}.")
    families = find_font_families([*titles, title]) if find_spec("matplotlib") else []
    with open_figure(path, 8.0, 1.1 + 0.52 * max(1, len(titles)), [*titles, title]) as figure:
        axes = figure.subplots()
        style_axes(axes, x=x)
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        heading = replace_missing_glyphs(_wrap_text(title, 80, lines=2), families)
        figure.suptitle(heading, x=0.015, ha="left", fontsize=12, fontweight="bold")
        rows = np.arange(len(titles))
        axes.barh(rows, np.nan_to_num(values), height=0.62, color=COLORS["blue"])
        axes.set_yticks(rows, [replace_missing_glyphs(_wrap_text(each, 44, lines=2), families) for each in titles])
        axes.tick_params(axis="y", length=0, labelsize=10, labelcolor=INK)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.axvline(0, color=SOFT, linewidth=0.8)
        for row, value in zip(rows, values, strict=True):
            # The label of a negative bar is on the other side of zero, where there is no title.
            text, at = (f"{value:.3g}", max(float(value), 0.0)) if np.isfinite(value) else ("–", 0.0)
            axes.annotate(
                text,
                (at, int(row)),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                ha="left",
                fontsize=9.5,
                color=SOFT,
            )
        if not len(titles):
            axes.text(0.5, 0.5, "no recommendations", transform=axes.transAxes, ha="center", color=SOFT)
            axes.set_xticks([])
    return Path(path)


def _wrap_text(text: str, width: int, *, lines: int) -> str:
    """Wrap to lines of ``width`` columns and shorten the last; Chinese, Japanese and Korean letters take two columns."""
    words = " ".join(text.split())
    if _count_columns(words) <= width:
        return words
    columns_per_letter = _count_columns(words) / max(1, len(words))
    length = max(8, int(width / columns_per_letter))
    wrapped = textwrap.wrap(words, length, break_long_words=True)
    if len(wrapped) > lines:
        last = textwrap.shorten(" ".join(wrapped[lines - 1 :]), length, placeholder=" …")
        # Without spaces, textwrap.shorten leaves the placeholder only.
        last = last if last != "…" else words[(lines - 1) * length : lines * length - 1] + "…"
        wrapped = [*wrapped[: lines - 1], last]
    return "\n".join(wrapped)


def _count_columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def draw_dataset(path: str | Path, data: Dataset) -> Path:
    """Four plots of a data set: popularity of items, events over time, events per user, ratings or event types.

    O(E log E).

    Raises:
        MissingExtraError: matplotlib is not installed.
        ArtifactError: the file cannot be written.
    """
    events = data.events
    name = dataset_label(data)
    with open_figure(path, 11.0, 7.2, [name]) as figure:
        (tail, time), (activity, ratings) = figure.subplots(2, 2)
        shape = data.shape
        families = find_font_families([name])
        figure.suptitle(
            replace_missing_glyphs(
                f"{name}: {shape.users:,} users, {shape.items:,} items, {shape.events:,} events", families
            ),
            x=0.012,
            ha="left",
            fontsize=13,
            fontweight="bold",
        )
        _draw_tail(tail, np.bincount(events.item, minlength=shape.items))
        _draw_time(time, events.time, data.time_kind)
        _draw_activity(activity, np.bincount(events.user, minlength=shape.users))
        if events.rating is not None and np.isfinite(events.rating).any():
            _draw_ratings(ratings, events.rating[np.isfinite(events.rating)])
        else:
            _draw_event_types(ratings, events.event_type, events.event_types)
    return Path(path)


def _draw_tail(axes: "Axes", counts: NDArray[Any]) -> None:
    style_axes(axes, title="Long tail: events per item", x="item, most popular first", y="events")
    ordered = np.sort(counts[counts > 0])[::-1]
    if not len(ordered):
        return
    axes.loglog(1 + np.arange(len(ordered)), ordered, color=COLORS["blue"], linewidth=2)
    for axis in (axes.xaxis, axes.yaxis):
        format_log_axis(axis)
    axes.text(
        0.04,
        0.06,
        f"top 1 %: {_share(ordered, 0.01):.0%} of events\ntop 20 %: {_share(ordered, 0.2):.0%} of events",
        transform=axes.transAxes,
        fontsize=9.5,
        color=INK,
        linespacing=1.5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
    )


def _share(ordered: NDArray[Any], part: float) -> float:
    """Share of the sum in the first ``part`` of the numbers."""
    return float(ordered[: max(1, round(len(ordered) * part))].sum() / ordered.sum())


def _draw_time(axes: "Axes", time: NDArray[np.int64], kind: TimeKind) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - optional

    style_axes(axes, title="Events over time", y="events")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    if kind is TimeKind.NONE:
        axes.text(0.5, 0.5, "All events have the same time.", transform=axes.transAxes, ha="center", color=SOFT)
        return
    counts, edges = np.histogram(time, bins=min(60, max(5, int(np.sqrt(len(time))))))
    # matplotlib counts dates in days since 1970.
    edges = edges / _DAY if kind.has_dates else edges
    axes.stairs(counts, edges, fill=True, color=COLORS["blue"])
    if kind.has_dates:
        locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    else:
        axes.set_xlabel("order", fontsize=9.5)


def _draw_activity(axes: "Axes", counts: NDArray[Any]) -> None:
    style_axes(axes, title="Events per user", x="events", y="users")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    counts = counts[counts > 0]
    if not len(counts):
        return
    edges = np.unique(np.round(np.geomspace(counts.min(), counts.max() + 1, 30)))
    if len(edges) < 2:
        edges = np.array([counts.min(), counts.min() + 1.0])
    axes.hist(counts, bins=edges.tolist(), color=COLORS["blue"], edgecolor="white", linewidth=0.6)
    axes.set_xscale("log")
    format_log_axis(axes.xaxis)
    median = float(np.median(counts))
    axes.axvline(median, color=COLORS["orange"], linewidth=1.5)
    # The label is on the side with more room: left of a median in the right half of the log axis.
    left = median > np.sqrt(edges[0] * edges[-1])
    axes.annotate(
        f"median {median:g}",
        (median, 0.94),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if left else 5, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        fontsize=9.5,
        color=COLORS["orange"],
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def _draw_ratings(axes: "Axes", ratings: NDArray[np.float32]) -> None:
    style_axes(axes, title="Ratings", x="rating", y="events")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    values, counts = np.unique(ratings, return_counts=True)
    if len(values) <= 25:
        gap = float(np.diff(values).min()) if len(values) > 1 else 1.0
        axes.bar(values, counts, width=0.8 * gap, color=COLORS["blue"])
    else:
        axes.hist(ratings, bins=40, color=COLORS["blue"], edgecolor="white", linewidth=0.4)


def _draw_event_types(axes: "Axes", event_type: NDArray[np.int8], event_types: tuple[str, ...]) -> None:
    style_axes(axes, title="Event types (no ratings)", x="events")
    counts = np.bincount(event_type, minlength=len(event_types))
    axes.barh(np.arange(len(event_types)), counts, height=0.6, color=COLORS["blue"])
    axes.set_yticks(np.arange(len(event_types)), event_types)
    axes.invert_yaxis()
