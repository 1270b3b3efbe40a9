"""Periods as times: quarters, months, weeks and days in one column, or in columns of their own beside a year."""

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from leanrec.data.engine import quote_identifier, quote_literal
from leanrec.data.ingest.meaning.column_names import names_end, names_period, split_words
from leanrec.data.ingest.meaning.time_counts import PERIOD_FORMATS, find_count, parse_named

__all__ = ["Period", "find_calendar", "list_single_times"]

_FIRST = 631_152_000  # 1990-01-01
_DAY = 86_400

_DAYS = {"days since 1970": (10_957, 22_279, 0), "days as Excel counts them": (36_526, 47_848, 25_569)}


class Period(NamedTuple):
    """A time that is a period, which begins then.

    Attributes:
        names: the columns.
        test: SQL: whether a row has such a time.
        value: SQL: the time as text, "" where the column itself is a text in a common notation.
    """

    names: tuple[str, ...]
    test: str
    value: str


def list_single_times(name: str, *, is_text: bool) -> Iterator[Period]:
    """Yield what a column may have as times by its name, where no column is called a time. Numbers leave out notations of text.

    * A period: dates, months, quarters and ISO weeks in the notations of ``PERIOD_FORMATS``, months and weeks without a mark
      (202403), and numbers of days of the years 2000 to 2030.
    * Numbers of another program that the name says: ``Ticks``, ``jd``, ``datenum``.
    * Dates of what users did (``watched``), or of its end (``endTime``).
    """
    text = f"trim({quote_identifier(name)}::VARCHAR)"
    kind = names_period(name)
    if kind is not None:
        yield from _list_periods(kind, name, is_text=is_text)
    if (count := find_count(split_words(name))) is not None:
        yield Period((name,), _is_past(parse_named(text, count)), "")
    if is_text and names_end(name):
        yield Period((name,), _is_past(f"try_cast({text} AS TIMESTAMP)"), "")


def _list_periods(kind: str, name: str, *, is_text: bool) -> Iterator[Period]:
    text = f"trim({quote_identifier(name)}::VARCHAR)"
    if kind == "week":
        year, week = (
            f"regexp_extract({text}, {quote_literal('^([0-9]{4})-?([0-9]{2})$')}, {group})" for group in (1, 2)
        )
        yield Period((name,), _fit(("year", year), ("week", week)), _week(year, week))
    yield Period((name,), f"regexp_full_match({text}, '[0-9]{{4}}-([0-9]{{2}}-[0-9]{{2}}|[0-9]{{2}})')", "")
    for each in PERIOD_FORMATS if is_text else ():
        yield Period((name,), _is_past(parse_named(text, each)), "")
    number = f"try_cast({text} AS BIGINT)"
    if kind == "day":
        for low, high, zero in _DAYS.values():
            since = f"(DATE '1970-01-01' + ({number} - {zero})::INTEGER)::VARCHAR"
            yield Period((name,), f"{number} BETWEEN {low} AND {high}", since)
        yield Period((name,), _is_past(f"try_strptime({text}, '%Y%m%d')"), "")
    elif kind in {"month", "period"}:
        year, month = (f"regexp_extract({text}, '^([0-9]{{4}})([0-9]{{2}})$', {group})" for group in (1, 2))
        yield Period((name,), _fit(("year", year), ("month", month)), _month(year, month))


def _is_past(stamp: str) -> str:
    """SQL: whether a time is of 1990 or later, and not in the future."""
    return f"epoch({stamp}) BETWEEN {_FIRST} AND {int(time.time()) + _DAY}"


def find_calendar(by_name: Mapping[str, str]) -> Period | None:
    """Return the time of a year with a quarter, month or week, a day and an hour by their plain names, None where there is none."""
    if "year" not in by_name:
        return None
    text = {name: f"trim({quote_identifier(column)}::VARCHAR)" for name, column in by_name.items() if name in _LIMITS}
    kinds = next((kinds for kinds in _CALENDARS if all(kind in text for kind in kinds)), None)
    if kinds is None:
        return None
    names = tuple(by_name[kind] for kind in kinds)
    test = _fit(*((kind, text[kind]) for kind in kinds))
    year = text["year"]
    if kinds[1] == "week":
        return Period(names, test, _week(year, text["week"]))
    if kinds[1] == "quarter":
        return Period(names, test, _month(year, _first_month(text["quarter"])))
    if len(kinds) == 2:
        return Period(names, test, _month(year, text["month"]))
    day = f"{year} || '-' || lpad({text['month']}, 2, '0') || '-' || lpad({text['day']}, 2, '0')"
    hour = f" || ' ' || lpad({text['hour']}, 2, '0') || ':00'" if "hour" in kinds else ""
    return Period(names, test, day + hour)


_LIMITS = {"year": (1990, 2099), "quarter": (1, 4), "month": (1, 12), "week": (1, 53), "day": (1, 31), "hour": (0, 23)}
_CALENDARS = (
    ("year", "month", "day", "hour"),
    ("year", "month", "day"),
    ("year", "month"),
    ("year", "week"),
    ("year", "quarter"),
)


def _fit(*fields: tuple[str, str]) -> str:
    """SQL: whether each field (its kind, its text) is a number that its kind has."""
    return " AND ".join(
        f"try_cast({text} AS BIGINT) BETWEEN {_LIMITS[kind][0]} AND {_LIMITS[kind][1]}" for kind, text in fields
    )


def _month(year: str, month: str) -> str:
    return f"{year} || '-' || lpad({month}, 2, '0') || '-01'"


def _week(year: str, week: str) -> str:
    """SQL: the Monday of an ISO week."""
    return f"strftime(try_strptime({year} || '-W' || lpad({week}, 2, '0') || '-1', '%G-W%V-%u'), '%Y-%m-%d')"


def _first_month(quarter: str) -> str:
    return f"(try_cast({quarter} AS BIGINT) * 3 - 2)::VARCHAR"
