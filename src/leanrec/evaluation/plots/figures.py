"""PNG pictures, drawn by matplotlib: a recommended list, a data set, and quality against cost.

matplotlib is in the extra ``plots`` and is loaded when the first picture is drawn; call ``require_plots``
before long work that ends in a picture. Each function writes one file and returns its path.
"""

import contextlib
import logging
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leanrec.data.dataset import Dataset
from leanrec.errors import ArtifactError, DataError, MissingExtraError
from leanrec.evaluation.plots.fonts import drawable, families_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "draw_data", "draw_list", "figure", "name_of", "require_plots", "tidy"]

# Okabe and Ito's palette, darkened a little for thin lines: told apart with any kind of colour vision.
COLOURS = {"blue": "#0072b2", "orange": "#c4500a", "green": "#00825f", "pink": "#a8528a", "grey": "#6b6b6b"}
INK, SOFT, FAINT = "#1d1f23", "#5d636d", "#e4e2dd"
_DAY = 86_400


def name_of(data: Dataset) -> str:
    """A short name for headings: the last folder and file of where the data came from."""
    parts = [part for part in data.source.replace("\\", "/").split("/") if part]
    return "/".join(parts[-2:]) if "/" in data.source else data.source or "the data"


def require_plots() -> None:
    """Raise MissingExtraError unless pictures can be drawn. Costs microseconds."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError("A PNG picture", "plots")


@contextlib.contextmanager
def figure(path: str | Path, width: float, height: float, texts: Sequence[str] = ()) -> Iterator["Figure"]:
    """A figure of that many inches, with fonts for ``texts``, written to ``path`` at the end of the block."""
    require_plots()
    import matplotlib as mpl  # noqa: PLC0415 - optional
    from matplotlib.figure import Figure  # noqa: PLC0415

    style: dict[Any, Any] = {
        "font.family": families_for(texts),
        "font.size": 10.0,
        "text.color": INK,
        "axes.labelcolor": SOFT,
        "axes.edgecolor": SOFT,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "axes.unicode_minus": True,
        "text.parse_math": False,
    }
    with mpl.rc_context(style), _quiet("matplotlib.font_manager"):
        drawing = Figure(figsize=(width, height), dpi=144, layout="constrained", facecolor="white")
        yield drawing
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            drawing.savefig(target)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"Cannot write the picture {target}: {error}") from error


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a logger to errors: that a fallback font has no bold face is nobody's concern."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def tidy(axes: "Axes", *, title: str = "", x: str = "", y: str = "") -> None:
    """Words, and no more lines than the eye needs."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=3, labelsize=9)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(x, fontsize=9.5)
    axes.set_ylabel(y, fontsize=9.5)


def plain_decades(axis: "Axis") -> None:
    """Label a log axis with whole numbers, at 1, 2, 5 … where it spans little."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: PLC0415 - optional

    low, high = sorted(axis.get_view_interval())
    few = high / max(low, 1e-300) < 300
    axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def draw_list(path: str | Path, titles: Sequence[str], scores: ArrayLike, *, title: str = "", x: str = "score") -> Path:
    """A bar for each recommended item, the first on top.

    Long titles are broken over two lines and then cut. Letters that no installed font has become white
    squares.

    Raises:
        DataError: not one score for each title.
        MissingExtraError: matplotlib is not installed.
        ArtifactError: the file cannot be written.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (len(titles),):
        raise DataError(f"There must be one score for each of the {len(titles)} titles. Got the shape {values.shape}.")
    families = families_for([*titles, title]) if find_spec("matplotlib") else []
    with figure(path, 8.0, 1.1 + 0.52 * max(1, len(titles)), [*titles, title]) as drawing:
        axes = drawing.subplots()
        tidy(axes, x=x)
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        heading = drawable(_shorten(title, 80, lines=2), families)
        drawing.suptitle(heading, x=0.015, ha="left", fontsize=12, fontweight="bold")
        rows = np.arange(len(titles))
        axes.barh(rows, np.nan_to_num(values), height=0.62, color=COLOURS["blue"])
        axes.set_yticks(rows, [drawable(_shorten(each, 44, lines=2), families) for each in titles])
        axes.tick_params(axis="y", length=0, labelsize=10, labelcolor=INK)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.axvline(0, color=SOFT, linewidth=0.8)
        for row, value in zip(rows, values, strict=True):
            _number_bar(axes, int(row), float(value))
        if not len(titles):
            axes.text(0.5, 0.5, "nothing to recommend", transform=axes.transAxes, ha="center", color=SOFT)
            axes.set_xticks([])
    return Path(path)


def _number_bar(axes: "Axes", row: int, value: float) -> None:
    """The score beside the end of its bar."""
    # A negative bar is numbered on the free side of zero, where no title is.
    text, at = ("–", 0.0) if not np.isfinite(value) else (f"{value:.3g}", max(value, 0.0))
    axes.annotate(
        text,
        (at, row),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        ha="left",
        fontsize=9.5,
        color=SOFT,
    )


def _shorten(text: str, width: int, *, lines: int) -> str:
    """At most that many lines of that many columns; a Chinese, Japanese or Korean letter takes two."""
    words = " ".join(text.split())
    if _columns(words) <= width:
        return words
    wide = _columns(words) / max(1, len(words))
    room = max(8, int(width / wide))
    broken = textwrap.wrap(words, room, break_long_words=True)
    if len(broken) > lines:
        broken = [
            *broken[: lines - 1],
            textwrap.shorten(" ".join(broken[lines - 1 :]), room, placeholder=" …"),
        ]
        broken[-1] = broken[-1] if broken[-1] != "…" else words[(lines - 1) * room : lines * room - 1] + "…"
    return "\n".join(broken)


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def draw_data(path: str | Path, data: Dataset) -> Path:
    """A data set in four pictures: the long tail of its items, events over time, events per user, ratings.

    Cost O(E log E).

    Raises:
        MissingExtraError: matplotlib is not installed.
        ArtifactError: the file cannot be written.
    """
    events = data.events
    name = name_of(data)
    with figure(path, 11.0, 7.2, [name]) as drawing:
        (tail, time), (activity, ratings) = drawing.subplots(2, 2)
        shape = data.shape
        families = families_for([name])
        drawing.suptitle(
            drawable(f"{name}: {shape.users:,} users, {shape.items:,} items, {shape.events:,} events", families),
            x=0.012,
            ha="left",
            fontsize=13,
            fontweight="bold",
        )
        _draw_tail(tail, np.bincount(events.item, minlength=shape.items))
        _draw_time(time, events.time)
        _draw_activity(activity, np.bincount(events.user, minlength=shape.users))
        if events.rating is not None and np.isfinite(events.rating).any():
            _draw_ratings(ratings, events.rating[np.isfinite(events.rating)])
        else:
            _draw_kinds(ratings, events.event_type, events.event_types)
    return Path(path)


def _draw_tail(axes: "Axes", counts: NDArray[Any]) -> None:
    tidy(axes, title="Long tail: events of each item", x="item, most popular first", y="events")
    ordered = np.sort(counts[counts > 0])[::-1]
    if not len(ordered):
        return
    axes.loglog(1 + np.arange(len(ordered)), ordered, color=COLOURS["blue"], linewidth=2)
    for axis in (axes.xaxis, axes.yaxis):
        plain_decades(axis)
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
    """Share of the sum that the first ``part`` of the numbers make."""
    return float(ordered[: max(1, round(len(ordered) * part))].sum() / ordered.sum())


def _draw_time(axes: "Axes", time: NDArray[np.int64]) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - optional

    tidy(axes, title="Events over time", y="events")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    if not len(time) or time.min() == time.max():
        axes.text(0.5, 0.5, "All events carry the same time.", transform=axes.transAxes, ha="center", color=SOFT)
        return
    is_clock = time.max() >= 10**8
    counts, edges = np.histogram(time, bins=min(60, max(5, int(np.sqrt(len(time))))))
    # matplotlib counts dates in days since 1970.
    edges = edges / _DAY if is_clock else edges
    axes.stairs(counts, edges, fill=True, color=COLOURS["blue"])
    if is_clock:
        locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    else:
        axes.set_xlabel("order", fontsize=9.5)


def _draw_activity(axes: "Axes", counts: NDArray[Any]) -> None:
    tidy(axes, title="Events per user", x="events of one user", y="users")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    counts = counts[counts > 0]
    if not len(counts):
        return
    edges = np.unique(np.round(np.geomspace(counts.min(), counts.max() + 1, 30)))
    if len(edges) < 2:
        edges = np.array([counts.min(), counts.min() + 1.0])
    axes.hist(counts, bins=edges.tolist(), color=COLOURS["blue"], edgecolor="white", linewidth=0.6)
    axes.set_xscale("log")
    plain_decades(axes.xaxis)
    median = float(np.median(counts))
    axes.axvline(median, color=COLOURS["orange"], linewidth=1.5)
    # The words stand where there is room: left of a median in the right half of the log axis.
    left = median > np.sqrt(edges[0] * edges[-1])
    axes.annotate(
        f"median {median:g}",
        (median, 0.94),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if left else 5, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        fontsize=9.5,
        color=COLOURS["orange"],
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def _draw_ratings(axes: "Axes", ratings: NDArray[np.float32]) -> None:
    tidy(axes, title="Ratings", x="rating", y="events")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    values, counts = np.unique(ratings, return_counts=True)
    if len(values) <= 25:
        gap = float(np.diff(values).min()) if len(values) > 1 else 1.0
        axes.bar(values, counts, width=0.8 * gap, color=COLOURS["blue"])
    else:
        axes.hist(ratings, bins=40, color=COLOURS["blue"], edgecolor="white", linewidth=0.4)


def _draw_kinds(axes: "Axes", kind: NDArray[np.int8], kinds: tuple[str, ...]) -> None:
    tidy(axes, title="Kinds of behaviour (no ratings)", x="events")
    counts = np.bincount(kind, minlength=len(kinds))
    axes.barh(np.arange(len(kinds)), counts, height=0.6, color=COLOURS["blue"])
    axes.set_yticks(np.arange(len(kinds)), kinds)
    axes.invert_yaxis()
