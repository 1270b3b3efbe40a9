"""Quarters, months, weeks and days as times: the time at which each begins."""

import pytest

from leanrec.data.engine import open_engine, quote_identifier, quote_literal
from leanrec.data.ingest.meaning.time_periods import find_calendar, list_single_times
from leanrec.run import Run

# Name of the column, a value, and the day on which the period begins ("": the text itself is a time; None: no time).
SINGLE = [
    ("day", "2024-03-13", ""),
    ("day", "19795", "2024-03-13"),
    ("day", "45364", "2024-03-13"),
    ("day", "7", None),
    ("day", "500", None),
    ("month", "2024-03", ""),
    ("month", "202403", "2024-03-01"),
    ("month", "202413", None),
    ("month", "3", None),
    ("yearmonth", "202412", "2024-12-01"),
    ("week", "2024-W11", ""),
    ("week", "2024-11", "2024-03-11"),
    ("week", "202411", "2024-03-11"),
    ("week", "2024-03-11", ""),
    ("week", "11", None),
    ("isoweek", "2020-W53", ""),
    ("quarter", "2024-Q2", ""),
    ("quarter", "2024Q4", ""),
    ("period", "Q1 2024", ""),
    ("quarter", "2", None),
    ("quarter", "Q5 2024", None),
    ("order_month", "202403", "2024-03-01"),
    ("billing_month", "Mar 2024", ""),
    ("birth_month", "1990-01", None),
    ("cohort_month", "2024-03", None),
    ("Monat", "März 2024", ""),
    ("wk", "KW 11/2024", ""),
    ("week_start", "2024-03-11", ""),
    ("day", "20240313", ""),
    ("day_of_week", "3", None),
    ("Ticks", "638459319000000000", ""),
    ("ticks", "17", None),
    ("jd", "2460383.5", ""),
    ("mjd", "60382.5", ""),
    ("datenum", "739324.5", ""),
    ("DateNum", "7", None),
    ("xldate", "45364", ""),
    ("endTime", "2024-03-13 22:06", ""),
    ("end_time", "2999-01-01", None),
    ("watched", "2024-03-13", ""),
    ("watched", "yes", None),
    ("legend", "2024-03-13", None),
]
CALENDARS = [
    ({"year": "2024", "month": "3"}, "2024-03-01"),
    ({"year": "2024", "week": "11"}, "2024-03-11"),
    ({"year": "2024", "quarter": "3"}, "2024-07-01"),
    ({"year": "2024", "month": "3", "day": "13", "hour": "7"}, "2024-03-13 07:00"),
    ({"year": "2024", "month": "3", "day": "13", "week": "11"}, "2024-03-13"),
    ({"year": "24", "month": "3"}, None),
    ({"year": "2024", "month": "13"}, None),
]


def test_a_period_is_the_day_on_which_it_begins() -> None:
    with open_engine(Run()) as engine:
        for kind, text, day in SINGLE:
            row = f"(SELECT {quote_literal(text)} AS {quote_identifier(kind)})"
            found: list[str] = []
            for period in list_single_times(kind, is_text=True):
                select = f"SELECT {period.test}, {period.value or quote_literal('')} FROM {row}"
                fits, value = engine.fetch_rows(select)[0]
                found += [value] if fits else []
            assert (found[0] if found else None) == day, (kind, text)


@pytest.mark.parametrize(("fields", "time"), CALENDARS)
def test_a_year_and_what_is_beside_it_are_one_time(fields: dict[str, str], time: str | None) -> None:
    period = find_calendar({name: name for name in fields})
    assert period is not None
    row = ", ".join(f"{quote_literal(text)} AS {quote_identifier(name)}" for name, text in fields.items())
    with open_engine(Run()) as engine:
        fits, value = engine.fetch_rows(f"SELECT {period.test}, {period.value} FROM (SELECT {row})")[0]
    assert (value if fits else None) == time


def test_numbers_have_no_notations_of_text() -> None:
    tests = [single.test for single in list_single_times("month", is_text=False)]
    assert len(tests) < len(list(list_single_times("month", is_text=True)))
    assert not any("january" in test for test in tests)


def test_a_year_alone_is_no_time() -> None:
    assert find_calendar({"year": "year"}) is None
    assert find_calendar({"month": "month", "day": "day"}) is None
