"""What a log holds, what was understood of it, and what was set aside."""

import collections
import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.errors import ArtifactError
from leanrec.types import Events, Int64Array

__all__ = ["DataReport", "EventCounter", "describe_dataset", "global_rules_note", "report_from_dict"]

_TAIL = (1, 2, 5, 10, 20, 30, 50, 80, 100)
_BARS = 40
_DAY = 86_400
_FIRST_CLOCK = 631_152_000
_BLOCK = 1_000_000
_WHOLE_LOG = {"k-core": "fewer events than the k-core", "bots": "bot:", "outliers": "outlier:"}


@dataclasses.dataclass(frozen=True)
class DataReport:
    """A data set in numbers, and how it came about.

    Attributes:
        source: where the events came from.
        rows_read: rows of the source, unreadable lines among them. It equals events + everything set aside.
        events: events kept.
        users: users with an event.
        items: items, those that only the item table knows among them.
        items_with_events: items with an event.
        density: events / (users · items).
        has_clock: whether times are a clock; otherwise they are an order.
        start: first and last moment (ISO, UTC), None without a clock.
        end: the last one.
        days: time between them in days.
        gini: inequality of events over touched items: 0 = all equal, towards 1 = one item has them all.
        top_share: "1%" → share of events on the 1 % of touched items with the most events, and so on up
            to "100%".
        events_per_user: min, 10%, median, mean, 90%, 99%, max.
        events_per_item: the same for touched items.
        activity: up to 40 equal stretches of time, by their first day → events.
        event_types: event type → {"events", "weight"}.
        positive: events with a weight above zero.
        ratings: rating → how often (in twenty equal bins where there are more than forty values).
        rejected: reason → rows of the log.
        rejected_in_tables: reason → rows of the item and the user table.
        columns: what was understood: table → {role: column}.
        item_columns: what is known about items.
        user_columns: what is known about users.
        warnings: what to look at.
        memory: limit, the estimate made before reading, and where the events are.
        rating_range: lowest and highest rating allowed, or None.
        rating_range_inferred: whether it was found in the ratings: the narrowest usual scale that holds nearly all, or all.
        quarantine: the file that holds the set-aside rows, or None.
        seconds: wall time of the ingest.
    """

    source: str
    rows_read: int
    events: int
    users: int
    items: int
    items_with_events: int
    density: float
    has_clock: bool
    start: str | None
    end: str | None
    days: float | None
    gini: float
    top_share: Mapping[str, float]
    events_per_user: Mapping[str, float]
    events_per_item: Mapping[str, float]
    activity: Mapping[str, int]
    event_types: Mapping[str, Mapping[str, float]]
    positive: int
    ratings: Mapping[str, int]
    rejected: Mapping[str, int] = dataclasses.field(default_factory=dict)
    rejected_in_tables: Mapping[str, int] = dataclasses.field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    item_columns: tuple[str, ...] = ()
    user_columns: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    memory: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rating_range: tuple[float, float] | None = None
    rating_range_inferred: bool = False
    quarantine: str | None = None
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries, ready for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()
        }


def global_rules_note(rejected: Mapping[str, int]) -> str:
    """What a split should say where rows were set aside by rules that look at the whole log; "" where none were."""
    counts = {
        name: sum(n for why, n in rejected.items() if why.startswith(start)) for name, start in _WHOLE_LOG.items()
    }
    found = ", ".join(f"{name} {n:,}" for name, n in counts.items() if n)
    if not found:
        return ""
    return (
        f"Rows were set aside by rules that look at the whole log ({found}), before any split: which users and items are kept was "
        "decided with the held-out events in sight. Where that matters, split the raw log first and hand the parts in: --valid "
        "FILE and --test FILE, or how='given'."
    )


def report_from_dict(values: Mapping[str, Any]) -> DataReport:
    """The reverse of ``to_dict``. Raises ArtifactError if it is not one."""
    try:
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return DataReport(**fields)
    except TypeError as error:
        raise ArtifactError(
            f"The report of the data set is of another version: {error}. Ingest the log again."
        ) from error


class EventCounter:
    """Counts what a report needs while events pass by in blocks. Memory O(U + N + days)."""

    def __init__(self, users: int, items: int, event_types: int) -> None:
        """Sizes: users, items, event types."""
        self.of_user = np.zeros(users, np.int64)
        self.of_item = np.zeros(items, np.int64)
        self.of_type = np.zeros(event_types, np.int64)
        self.positive = 0
        self.first, self.last = np.iinfo(np.int64).max, np.iinfo(np.int64).min
        self.days: collections.Counter[int] = collections.Counter()
        self.ratings: collections.Counter[float] = collections.Counter()

    def add(self, events: Events, *, clock: bool) -> None:
        """Count row-indexed events."""
        if not len(events):
            return
        self.of_user += np.bincount(events.user, minlength=len(self.of_user))
        self.of_item += np.bincount(events.item, minlength=len(self.of_item))
        self.of_type += np.bincount(events.event_type, minlength=len(self.of_type))
        self.positive += int(np.count_nonzero(events.weight > 0))
        self.first, self.last = (
            min(self.first, int(events.time.min())),
            max(self.last, int(events.time.max())),
        )
        if clock:
            day = events.time // _DAY
            low = int(day.min())
            counts = np.bincount(day - low)
            self.days.update({low + int(i): int(counts[i]) for i in np.flatnonzero(counts)})
        if events.rating is not None:
            values, counts = np.unique(events.rating[np.isfinite(events.rating)], return_counts=True)
            self.ratings.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))

    def report(self, *, source: str, event_types: Mapping[str, float], clock: bool, **facts: Any) -> DataReport:
        """The report. ``facts`` are further fields of DataReport."""
        events, touched = int(self.of_user.sum()), self.of_item[self.of_item > 0]
        users, items = len(self.of_user), len(self.of_item)
        facts = {"rows_read": events, **facts}
        return DataReport(
            source=source,
            events=events,
            users=users,
            items=items,
            items_with_events=len(touched),
            density=events / max(1, users * items),
            has_clock=clock,
            start=_iso(self.first) if clock and events else None,
            end=_iso(self.last) if clock and events else None,
            days=(self.last - self.first) / _DAY if clock and events else None,
            gini=_gini(touched),
            top_share=_top_share(touched),
            events_per_user=_quantiles(self.of_user[self.of_user > 0]),
            events_per_item=_quantiles(touched),
            activity=self._activity(),
            event_types={
                name: {"events": int(n), "weight": float(w)}
                for (name, w), n in zip(event_types.items(), self.of_type, strict=True)
            },
            positive=self.positive,
            ratings=self._ratings(),
            **facts,
        )

    def _activity(self) -> dict[str, int]:
        if not self.days:
            return {}
        first, last = min(self.days), max(self.days)
        width = -(-(last - first + 1) // _BARS)
        bars: collections.Counter[int] = collections.Counter()
        for day, count in self.days.items():
            bars[(day - first) // width] += count
        return {_iso((first + bar * width) * _DAY)[:10]: bars[bar] for bar in range((last - first) // width + 1)}

    def _ratings(self) -> dict[str, int]:
        if len(self.ratings) <= _BARS:
            return {f"{value:g}": self.ratings[value] for value in sorted(self.ratings)}
        values = np.array(sorted(self.ratings))
        counts, edges = np.histogram(values, bins=20, weights=[self.ratings[each] for each in values.tolist()])
        return {f"{low:.3g} to {high:.3g}": int(n) for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)}


def describe_dataset(data: Dataset) -> DataReport:
    """The report of any data set. Cost O(E + N log N) time, one block of memory.

    How the events were weighted is not known here: the weight of an event type is the mean over its events.
    """
    event_types = data.events.event_types
    tally = EventCounter(len(data.users), len(data.items), len(event_types))
    total = np.zeros(len(event_types))
    clock = bool(len(data.events)) and int(data.events.time[-1]) >= _FIRST_CLOCK
    for start in range(0, len(data.events), _BLOCK):
        block = data.events.take(slice(start, start + _BLOCK))
        tally.add(block, clock=clock)
        total += np.bincount(block.event_type, weights=block.weight, minlength=len(event_types))
    return tally.report(
        source=data.source,
        event_types=dict(zip(event_types, (total / np.maximum(1, tally.of_type)).tolist(), strict=True)),
        clock=clock,
        item_columns=() if data.item_table is None else tuple(data.item_table.columns),
        user_columns=() if data.user_table is None else tuple(data.user_table.columns),
    )


def _iso(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")


def _gini(counts: Int64Array) -> float:
    """Gini coefficient: half the mean absolute difference over the mean."""
    if not len(counts):
        return 0.0
    ordered = np.sort(counts).astype(np.float64)
    n = len(ordered)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum()))


def _top_share(counts: Int64Array) -> dict[str, float]:
    if not len(counts):
        return {}
    running = np.cumsum(np.sort(counts)[::-1])
    return {
        f"{percent}%": float(running[max(1, round(len(counts) * percent / 100)) - 1] / running[-1]) for percent in _TAIL
    }


def _quantiles(counts: NDArray[np.int64]) -> dict[str, float]:
    if not len(counts):
        return {}
    low, median, high, highest = np.quantile(counts, [0.1, 0.5, 0.9, 0.99]).tolist()
    return {
        "min": float(counts.min()),
        "10%": low,
        "median": median,
        "mean": float(counts.mean()),
        "90%": high,
        "99%": highest,
        "max": float(counts.max()),
    }
