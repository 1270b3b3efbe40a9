"""Data report: statistics of a data set, the columns that were used, and the rows that were rejected."""

import collections
import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.time_kind import TimeKind
from leanrec.errors import ArtifactError
from leanrec.types import Events, Int64Array

__all__ = ["DataReport", "EventCounter", "describe_dataset", "global_rules_note", "report_from_dict"]

_TOP_PERCENT = (1, 2, 5, 10, 20, 30, 50, 80, 100)
_MAX_BARS = 40
_MAX_LISTED = 4
_DAY = 86_400
_FIRST_TIMESTAMP = 631_152_000  # 1990-01-01
_BLOCK = 1_000_000
_GLOBAL_RULES = {"k-core": "fewer events than the k-core", "bots": "bot:", "outliers": "outlier:"}


@dataclasses.dataclass(frozen=True)
class DataReport:
    """Statistics of a data set, and how it was made.

    ``understood``, ``unused_columns``, ``joins``, ``skipped_files`` and most ``warnings`` are collected while the log is read:
    see ``ReadingFacts``.

    Attributes:
        source: where the events came from.
        rows_read: rows of the source, including unreadable lines. It equals events + all rejected rows.
        events: events kept.
        users: users with an event.
        items: items, including those that occur only in the item table.
        items_with_events: items with an event.
        density: events / (users · items).
        has_clock: whether times are timestamps; otherwise they are an order.
        start: first time (ISO, UTC), None without timestamps.
        end: last time.
        days: time between them in days.
        gini: inequality of events over items with events: 0 = all equal, towards 1 = one item has all events.
        top_share: "1%" → share of events on the 1 % of items with the most events, and so on up to "100%".
        events_per_user: min, 10%, median, mean, 90%, 99%, max.
        events_per_item: the same for items with events.
        activity: up to 40 equal periods, by their first day → events.
        event_types: event type → {"events", "weight"}.
        positive: events with a weight above zero.
        ratings: rating → how often (in twenty equal bins where there are more than forty values).
        rejected: reject reason → rows of the log.
        rejected_in_tables: reject reason → rows of the item and user tables and of the links.
        columns: the columns that were used: table → {role: column}.
        understood: role → how its values were read, in a few words ("seconds", "whole numbers").
        unused_columns: column of the log that was not used → what it has, and how to use it.
        joins: table beside the log → what it matched, such as "118 of 120 items".
        skipped_files: file of the log that was not read → why.
        item_columns: columns of the item table.
        user_columns: columns of the user table.
        warnings: what to check.
        memory: limit, the estimate made before reading, and where the events are.
        rating_range: lowest and highest rating allowed, or None.
        rating_range_inferred: whether it was inferred: the narrowest common scale that contains nearly all ratings, or all.
        quarantine: the file with the rejected rows, or None.
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
    understood: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unused_columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    joins: Mapping[str, str] = dataclasses.field(default_factory=dict)
    skipped_files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    item_columns: tuple[str, ...] = ()
    user_columns: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    memory: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rating_range: tuple[float, float] | None = None
    rating_range_inferred: bool = False
    quarantine: str | None = None
    seconds: float = 0.0

    def summarize(self, n_lines: int = 6) -> tuple[str, ...]:
        """Return the reading in a few lines: columns and what they mean, rejected rows, what was not used, and warnings.

        Args:
            n_lines: the most lines; the last one counts the warnings that are not listed.
        """
        log = next(iter(self.columns.values()), {})
        roles = (
            f"{role}={column}" + (f" ({self.understood[role]})" if role in self.understood else "")
            for role, column in log.items()
        )
        lines = [f"Read {self.rows_read:,} rows of {self.source}: {', '.join(roles)}."]
        if n_rejected := sum(self.rejected.values()):
            reasons = ", ".join(
                f"{reason} {n:,}" for reason, n in sorted(self.rejected.items(), key=lambda pair: -pair[1])
            )
            where = f" They are in {self.quarantine}." if self.quarantine else " quarantine=FILE.csv lists them."
            lines.append(f"Rejected {n_rejected:,}: {reasons}.{where}")
        for label, what in (("Not used", self.unused_columns), ("Files not read", self.skipped_files)):
            if what:
                shown = [f"{name} ({fact})" for name, fact in list(what.items())[:_MAX_LISTED]]
                more = f", and {len(what) - _MAX_LISTED} more" if len(what) > _MAX_LISTED else ""
                lines.append(f"{label}: {', '.join(shown)}{more}.")
        if self.joins:
            lines.append(
                " ".join(f"{table[:1].upper()}{table[1:]}: {what} matched." for table, what in self.joins.items())
            )
        # A split tells what the rules of the whole log mean for it; unused columns have a line of their own.
        told = global_rules_note(self.rejected)
        warnings = [each for each in self.warnings if each != told and not each.startswith("Not used: ")]
        n_listed = len(warnings) if len(lines) + len(warnings) <= n_lines else max(0, n_lines - 1 - len(lines))
        lines += warnings[:n_listed]
        if len(warnings) > n_listed:
            lines.append(f"And {len(warnings) - n_listed} more to check, in the data report (leanrec ingest).")
        return tuple(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings, lists and dictionaries, ready for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()
        }


def global_rules_note(rejected: Mapping[str, int]) -> str:
    """Return a warning for splits where rules that use the whole log rejected rows, "" where they did not."""
    counts = {
        name: sum(n for reason, n in rejected.items() if reason.startswith(start))
        for name, start in _GLOBAL_RULES.items()
    }
    found = ", ".join(f"{name} {n:,}" for name, n in counts.items() if n)
    if not found:
        return ""
    return (
        f"Rows were rejected by rules that use the whole log ({found}), before any split: the choice of users and items used "
        "the held-out events. Where that matters, split the raw log first and pass the parts with how='given'."
    )


def report_from_dict(values: Mapping[str, Any]) -> DataReport:
    """Return the report of ``to_dict``. Raises ArtifactError for other fields."""
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
    """Counts the events of a report block by block. Memory: O(U + N + days)."""

    def __init__(self, users: int, items: int, event_types: int) -> None:
        """Take the numbers of users, items and event types."""
        self.of_user = np.zeros(users, np.int64)
        self.of_item = np.zeros(items, np.int64)
        self.of_type = np.zeros(event_types, np.int64)
        self.positive = 0
        self.first, self.last = np.iinfo(np.int64).max, np.iinfo(np.int64).min
        self.days: collections.Counter[int] = collections.Counter()
        self.ratings: collections.Counter[float] = collections.Counter()

    def add(self, events: Events, *, has_clock: bool) -> None:
        """Count events with internal rows."""
        if not len(events):
            return
        # Events are mostly sorted by user: a block has few of them.
        low, high = int(events.user.min()), int(events.user.max())
        self.of_user[low : high + 1] += np.bincount(events.user - low)
        self.of_item += np.bincount(events.item, minlength=len(self.of_item))
        self.of_type += np.bincount(events.event_type, minlength=len(self.of_type))
        self.positive += int(np.count_nonzero(events.weight > 0))
        self.first, self.last = min(self.first, int(events.time.min())), max(self.last, int(events.time.max()))
        if has_clock:
            day = events.time // _DAY
            low = int(day.min())
            counts = np.bincount(day - low)
            self.days.update({low + int(i): int(counts[i]) for i in np.flatnonzero(counts)})
        if events.rating is not None:
            ratings, counts = np.unique(events.rating[np.isfinite(events.rating)], return_counts=True)
            self.ratings.update(dict(zip(ratings.tolist(), counts.tolist(), strict=True)))

    def to_report(self, *, source: str, event_types: Mapping[str, float], has_clock: bool, **facts: Any) -> DataReport:
        """Return the report. ``facts`` are further fields of DataReport."""
        events, per_item = int(self.of_user.sum()), self.of_item[self.of_item > 0]
        users, items = int(np.count_nonzero(self.of_user)), len(self.of_item)
        has_dates = has_clock and events > 0
        facts = {"rows_read": events, **facts}
        return DataReport(
            source=source,
            events=events,
            users=users,
            items=items,
            items_with_events=len(per_item),
            density=events / max(1, users * items),
            has_clock=has_clock,
            start=_format_time(self.first) if has_dates else None,
            end=_format_time(self.last) if has_dates else None,
            days=(self.last - self.first) / _DAY if has_dates else None,
            gini=gini_coefficient(per_item),
            top_share=top_shares(per_item),
            events_per_user=_quantiles(self.of_user[self.of_user > 0]),
            events_per_item=_quantiles(per_item),
            activity=self.count_activity(),
            event_types={
                name: {"events": int(n), "weight": float(weight)}
                for (name, weight), n in zip(event_types.items(), self.of_type, strict=True)
            },
            positive=self.positive,
            ratings=self.count_ratings(),
            **facts,
        )

    def count_activity(self) -> dict[str, int]:
        """Return the events of up to 40 equal periods, by their first day."""
        if not self.days:
            return {}
        first, last = min(self.days), max(self.days)
        width = -(-(last - first + 1) // _MAX_BARS)
        bars: collections.Counter[int] = collections.Counter()
        for day, count in self.days.items():
            bars[(day - first) // width] += count
        n_bars = (last - first) // width + 1
        return {_format_time((first + bar * width) * _DAY)[:10]: bars[bar] for bar in range(n_bars)}

    def count_ratings(self) -> dict[str, int]:
        """Return the number of events of each rating, or of twenty equal bins where there are more than forty ratings."""
        if len(self.ratings) <= _MAX_BARS:
            # Ratings are float32: the fewest digits that tell each from its neighbors.
            return {_format_number(np.float32(rating)): self.ratings[rating] for rating in sorted(self.ratings)}
        ratings = np.array(sorted(self.ratings))
        weights = [self.ratings[each] for each in ratings.tolist()]
        counts, edges = np.histogram(ratings, bins=20, weights=weights)
        labels: list[str] = []
        for digits in range(3, 18):
            labels = [_format_number(edge, digits) for edge in edges]
            if len(set(labels)) == len(labels):
                break
        return {f"{low} to {high}": int(n) for low, high, n in zip(labels[:-1], labels[1:], counts, strict=True)}


def _format_number(value: np.floating[Any], digits: int | None = None) -> str:
    """A number without an exponent, rounded to so many digits, or with as few as tell it from all others of its type."""
    return np.format_float_positional(value, precision=digits, fractional=False, trim="-")


def describe_dataset(data: Dataset) -> DataReport:
    """Return the report of any data set. Cost: O(E + N log N) time, one block of memory.

    The weights given in ingestion are unknown here: the weight of an event type is the mean over its events.
    """
    event_types = data.events.event_types
    counter = EventCounter(len(data.users), len(data.items), len(event_types))
    total = np.zeros(len(event_types))
    # Equal timestamps have a date, although they give no order.
    is_date = data.time_kind is TimeKind.NONE and len(data.events) > 0 and int(data.events.time[0]) >= _FIRST_TIMESTAMP
    has_clock = data.time_kind.has_dates or is_date
    for start in range(0, len(data.events), _BLOCK):
        block = data.events.take(slice(start, start + _BLOCK))
        counter.add(block, has_clock=has_clock)
        total += np.bincount(block.event_type, weights=block.weight, minlength=len(event_types))
    return counter.to_report(
        source=data.source,
        event_types=dict(zip(event_types, (total / np.maximum(1, counter.of_type)).tolist(), strict=True)),
        has_clock=has_clock,
        item_columns=() if data.item_table is None else tuple(data.item_table.columns),
        user_columns=() if data.user_table is None else tuple(data.user_table.columns),
    )


def _format_time(seconds: int) -> str:
    """ISO time in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")


def gini_coefficient(counts: Int64Array) -> float:
    """Return the Gini coefficient: half the mean absolute difference over the mean."""
    if not len(counts):
        return 0.0
    ordered = np.sort(counts).astype(np.float64)
    n = len(ordered)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum()))


def top_shares(counts: Int64Array) -> dict[str, float]:
    """Return the share of events on the items with the most events, for several percentages of the items."""
    if not len(counts):
        return {}
    total = np.cumsum(np.sort(counts)[::-1])
    return {
        f"{percent}%": float(total[max(1, round(len(counts) * percent / 100)) - 1] / total[-1])
        for percent in _TOP_PERCENT
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
