"""Small logs with a known truth, which are then written in many forms and must be read as they are."""

import collections
import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from leanrec.data.dataset import Dataset

UTC = datetime.UTC
# Kinds of ids, each as a function of a small number.
ID_KINDS: Mapping[str, Callable[[int], str]] = {
    "numbers": lambda i: str(i + 1),
    "large numbers": lambda i: str(2**62 + 1001 * i + 1),
    "beyond 64 bits": lambda i: str(2**64 + 10**6 + 7 * i),
    "negative numbers": lambda i: str(5 - i),
    "leading zeros": lambda i: f"{i:05d}",
    "prefixed": lambda i: f"u{i}",
    "hashes": lambda i: f"{(i + 3) * 0x9E3779B97F4A7C15 % 2**64:016x}",
    "exponents": lambda i: f"{i + 1}e{i % 7 + 2}",
    "UUIDs": lambda i: f"{i + 10:08X}-AB12-4C3D-9E8F-00000000000{i % 10}",
    "books": lambda i: f"{i:09d}{'X' if i % 2 else '7'}",
    "dates": lambda i: f"2019-03-{i % 28 + 1:02d}",
    "hours": lambda i: f"{i % 24:02d}:30:00",
    "words": lambda i: (
        ["Alice", "Bob", "Žižek", "東京", "O'Brien", "Zoë", "José", "R2D2", "Ann", "Ülkü"][i % 10] + "x" * (i // 10)
    ),
    "names": lambda i: (
        ["Smith, J", "Lee; A", 'the "one"', "a|b", "New York", "50% off", "C++", "x/y", "a: b", "(none left)"][i % 10]
        + "x" * (i // 10)
    ),
    "tracks": lambda i: f"spotify:track:{i}Ab",
    "addresses": lambda i: f"person.{i}@example.org",
    "links": lambda i: f"https://example.org/p?id={i}&q=a,b",
    "hashtags": lambda i: f"#{i}",
    "brackets": lambda i: f"[deleted{i}]",
    "truth": lambda i: ["true", "false", "yes", "no", "t", "f"][i % 6] + "x" * (i // 6),
    "points": lambda i: f"{i}.{i % 3}",
    "whole points": lambda i: f"{13085 + i}.0",
    "mixed": lambda i: str(i) if i % 2 else f"p-{i}",
    "sums": lambda i: f"={i}+{i}",
}
WORDS = ("plain words", "with, a comma", 'with "quotes"', "semi; colon", "pipe | bar", "ünï", "it's", "5", "")
EVENT_TYPES = ("view", "click", "purchase", "add to cart")
SCALES = {"stars": (1, 2, 3, 4, 5), "halves": (0.5, 1.5, 2.5, 3.5, 4.5, 5), "ten": (1, 2, 4, 6, 7, 9, 10)}


@dataclasses.dataclass(frozen=True)
class KnownEvent:
    """One row of a log. A missing value is None."""

    user: str | None
    item: str | None
    time: int | None = None  # microseconds since 1970
    rating: float | None = None
    event_type: str | None = None
    weight: float | None = None


@dataclasses.dataclass(frozen=True)
class KnownLog:
    """A log: its rows in order, which optional roles it has, and how precise its times are in microseconds."""

    rows: tuple[KnownEvent, ...]
    roles: tuple[str, ...]
    precision: int = 1_000_000
    no_rating: float | None = None
    user_kind: str = ""
    item_kind: str = ""

    def values(self, role: str) -> list[Any]:
        """Return the values of a role."""
        return [getattr(row, role) for row in self.rows]

    def list_events(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return user → (item, second, event type, rating, weight) of the events that are left, in order."""
        only_days = all(time % 86_400_000_000 == 0 for time in self.values("time") if time is not None)
        comparable = ("time" in self.roles and not only_days) or "rating" in self.roles
        events: dict[str, list[tuple[Any, ...]]] = collections.defaultdict(list)
        for row in sorted(self.rows, key=lambda row: row.time or 0):
            needed = (
                [row.user, row.item]
                + [row.time] * ("time" in self.roles)
                + [row.event_type] * ("event_type" in self.roles)
            )
            if "weight" in self.roles:
                needed.append(row.weight)
            if None in needed:
                continue
            rating = None if row.rating == self.no_rating else row.rating
            event = (row.item, row.time, row.event_type, rating, row.weight)
            if not (comparable and event in events[str(row.user)]):
                events[str(row.user)].append(event)
        return {
            to_plain(user, self.values("user")): [
                (to_plain(item, self.values("item")), None if time is None else time // 1_000_000, *rest)
                for item, time, *rest in listed
            ]
            for user, listed in events.items()
        }


def to_plain(identifier: str, all_ids: Sequence[str | None]) -> str:
    """Return an id as it is read: 13085.0 is 13085 where all are whole numbers."""
    texts = [each for each in all_ids if each is not None]
    whole = all(
        each.removesuffix(".0").lstrip("-").isdecimal() and str(int(each.removesuffix(".0"))) == each.removesuffix(".0")
        for each in texts
    )
    return identifier.removesuffix(".0") if whole else identifier


def list_events(data: Dataset, roles: Sequence[str]) -> dict[str, list[tuple[Any, ...]]]:
    """Return the events of a data set in the form of ``KnownLog.list_events``."""
    found: dict[str, list[tuple[Any, ...]]] = collections.defaultdict(list)
    events = data.events
    ratings = np.full(len(events), np.nan) if events.rating is None else events.rating
    for i in range(len(events)):
        rating = None if np.isnan(ratings[i]) else round(float(ratings[i]), 3)
        found[str(data.users.ids[events.user[i]])].append(
            (
                str(data.items.ids[events.item[i]]),
                int(events.time[i]) if "time" in roles else None,
                events.event_types[events.event_type[i]] if "event_type" in roles else None,
                rating,
                round(float(events.weight[i]), 3) if "weight" in roles else None,
            )
        )
    return found


@st.composite
def known_logs(draw: st.DrawFn, roles: Sequence[str] | None = None, kinds: Sequence[str] | None = None) -> KnownLog:
    """Draw a log of 4 to 16 rows."""
    n = draw(st.integers(4, 16))
    if roles is None:
        roles = draw(
            st.sampled_from(
                [
                    (), ("time",), ("rating",), ("rating", "time"), ("event_type",), ("event_type", "time"), ("weight",),
                    ("rating", "event_type", "time"), ("weight", "time"),
                ]
            )
        )  # fmt: skip
    user_kind, item_kind = (
        draw(st.sampled_from(list(kinds or ID_KINDS))),
        draw(st.sampled_from(list(kinds or ID_KINDS))),
    )
    users = [ID_KINDS[user_kind](draw(st.integers(0, 5))) for _ in range(n)]
    items = [ID_KINDS[item_kind](draw(st.integers(0, 11))) for _ in range(n)]
    columns: dict[str, list[Any]] = {"user": list(users), "item": list(items)}
    precision = 1_000_000
    if "time" in roles:
        precision = draw(st.sampled_from([1, 1_000, 1_000_000, 1_000_000, 60_000_000, 86_400_000_000]))
        low, high = (
            int(datetime.datetime(year, 1, 2, tzinfo=UTC).timestamp()) * 1_000_000 // precision for year in (2001, 2025)
        )
        if precision <= 1_000_000 and draw(st.booleans()):
            low, high = 1_600_000_000_000_000 // precision, 1_600_000_009_000_000 // precision  # ten seconds
        columns["time"] = [draw(st.integers(low, high)) * precision for _ in range(n)]
    no_rating = None
    if "rating" in roles:
        scale = draw(st.sampled_from(list(SCALES.values())))
        columns["rating"] = [float(draw(st.sampled_from(scale))) for _ in range(n)]
        if n >= 8 and draw(st.integers(0, 3)) == 0:
            no_rating = draw(st.sampled_from([-1.0, 0.0, 99.0]))
            columns["rating"][: n // 2] = [no_rating] * (n // 2)
            columns["rating"][n // 2 :] = [float(scale[0]), float(scale[-1]), float(scale[-2]), float(scale[-3])] * 4
            columns["rating"] = columns["rating"][:n]
    if "event_type" in roles:
        columns["event_type"] = [draw(st.sampled_from(EVENT_TYPES)) for _ in range(n)]
    if "weight" in roles:
        columns["weight"] = [float(draw(st.sampled_from([1, 2, 3, 5, 8, 0.5]))) for _ in range(n)]
        if draw(st.booleans()):
            # With two groups of thousands, no mark is in doubt.
            columns["weight"] = [float(draw(st.sampled_from([1_234_567, 999_000, 4_012_004]))) for _ in range(n)]
            columns["weight"][0] = 1_230_000.0
    if n >= 6 and draw(st.integers(0, 3)) == 0:
        role = draw(
            st.sampled_from(["user", "item", *(each for each in roles if each != "rating" or no_rating is None)])
        )
        columns[role][draw(st.integers(0, n - 1))] = None
    rows = tuple(KnownEvent(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True))
    return KnownLog(rows, tuple(roles), precision, no_rating, user_kind, item_kind)
