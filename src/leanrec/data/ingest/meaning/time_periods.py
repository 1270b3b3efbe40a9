"""Periods as times: quarters, months, weeks and days in one column, or in columns of their own beside a year."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from leanrec.data.engine import quote_identifier, quote_literal

__all__ = ["PERIODS", "Period", "find_calendar", "list_periods"]

PERIODS = ("day", "week", "yearweek", "isoweek", "month", "yearmonth", "quarter", "yearquarter", "period")
"""Names of columns, in plain form, that may have periods as times."""

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


def list_periods(kind: str, name: str) -> Iterator[Period]:
    """Yield what a column of the name ``kind`` (one of ``PERIODS``) may have as times.

    Dates, months and ISO weeks (2024-03-13, 2024-03, 2024-W11), quarters (2024-Q1, Q1 2024), months and weeks without a mark
    (202403), and numbers of days of the years 2000 to 2030.
    """
    text = f"trim({quote_identifier(name)}::VARCHAR)"
    is_week = kind.endswith("week")
    if is_week:
        for written in ("^([0-9]{4})-?([0-9]{2})$", "^([0-9]{4})-?[Ww]([0-9]{1,2})$"):
            year, week = (f"regexp_extract({text}, {quote_literal(written)}, {group})" for group in (1, 2))
            yield Period((name,), _fit(("year", year), ("week", week)), _week(year, week))
    yield Period((name,), f"regexp_full_match({text}, '[0-9]{{4}}-([0-9]{{2}}-[0-9]{{2}}|[0-9]{{2}}|W[0-9]{{2}})')", "")
    year = f"regexp_extract({text}, '[0-9]{{4}}')"
    quarter = f"regexp_extract({text}, '[Qq]([1-4])', 1)"
    is_quarter = f"regexp_full_match({text}, '[0-9]{{4}}[- ]?[Qq][1-4]|[Qq][1-4][- /]?[0-9]{{4}}')"
    yield Period((name,), f"{is_quarter} AND {_fit(('year', year))}", _month(year, _first_month(quarter)))
    if kind == "day":
        for low, high, zero in _DAYS.values():
            number = f"try_cast({text} AS BIGINT)"
            yield Period(
                (name,),
                f"{number} BETWEEN {low} AND {high}",
                f"(DATE '1970-01-01' + ({number} - {zero})::INTEGER)::VARCHAR",
            )
    elif kind in {"month", "yearmonth", "period"}:
        year, month = (f"regexp_extract({text}, '^([0-9]{{4}})([0-9]{{2}})$', {group})" for group in (1, 2))
        yield Period((name,), _fit(("year", year), ("month", month)), _month(year, month))


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
