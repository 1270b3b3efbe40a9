"""Dates of other calendars are read as the days that they are, in the digits of their country."""

from pathlib import Path

import pytest

from leanrec.data.engine import open_engine, quote_literal
from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.meaning.calendars import CALENDARS, describe_year, parse_calendar
from leanrec.errors import DataError
from leanrec.run import Run

DATES = {
    "buddhist years": {
        "7/2/2567": "2024-02-07 00:00:00",
        "07-02-2567 10:05": "2024-02-07 10:05:00",
        "2567-02-07T10:00:05": "2024-02-07 10:00:05",
        "7 ม.ค. 2567": "2024-01-07 00:00:00",
        "7 กุมภาพันธ์ พ.ศ. 2567 เวลา 10:05 น.": "2024-02-07 10:05:00",
        "๗/๒/๒๕๖๗": "2024-02-07 00:00:00",
        "31/2/2567": None,
        "7/2/2024": None,
    },
    "japanese eras": {
        "令和6年2月7日": "2024-02-07 00:00:00",
        "令和元年5月1日 10時05分": "2019-05-01 10:05:00",
        "平成３１年４月３０日": "2019-04-30 00:00:00",
        "R06/02/07 10:05": "2024-02-07 10:05:00",
        "H31.4.30": "2019-04-30 00:00:00",
        "X6.2.7": None,
    },
    "minguo years": {
        "113/02/07": "2024-02-07 00:00:00",
        "民國113年2月7日": "2024-02-07 00:00:00",
        "民國99年12月31日": "2010-12-31 00:00:00",
        "99/12/31": None,
        "2013/01/01": None,
    },
    # The last day of a year and the first of the next one; 1399 is a leap year.
    "persian dates": {
        "1402/12/29": "2024-03-19 00:00:00",
        "1403/01/01 10:05:06": "2024-03-20 10:05:06",
        "1399-12-30": "2021-03-20 00:00:00",
        "1400/01/01": "2021-03-21 00:00:00",
        "1398/10/11": "2020-01-01 00:00:00",
        "1369/01/01": "1990-03-21 00:00:00",
        "۱۴۰۲/۰۵/۱۱": "2023-08-02 00:00:00",
        "1402/13/01": None,
        "1445/02/07": None,
    },
}


def test_dates_are_the_days_that_they_are() -> None:
    assert set(DATES) == set(CALENDARS)
    with open_engine(Run()) as engine:
        for name, dates in DATES.items():
            values = ", ".join(parse_calendar(quote_literal(each), name) for each in dates)
            found = engine.fetch_rows(f"SELECT {values}")[0]
            assert [None if each is None else str(each) for each in found] == list(dates.values())


def test_every_day_of_a_persian_year_has_one_date() -> None:
    days = [f"1399/{month:02}/{day:02}" for month in range(1, 13) for day in range(1, (31 if month < 7 else 30) + 1)]
    with open_engine(Run()) as engine:
        parsed = parse_calendar("x", "persian dates")
        values = ", ".join(f"({i}, {quote_literal(each)})" for i, each in enumerate(days))
        select = f"SELECT list(epoch({parsed}) ORDER BY i) FROM (VALUES {values}) AS t(i, x)"
        (seconds,) = engine.fetch_rows(select)[0]
    assert [second - seconds[0] for second in seconds] == [86_400 * i for i in range(366)]


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("{day}/5/2566", "buddhist"),
        ("令和5年5月{day}日", "japanese"),
        ("112/05/{day:02}", "minguo"),
        ("1402/02/{day:02}", "persian"),
    ],
)
def test_logs_with_other_calendars(tmp_path: Path, form: str, name: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,date\n" + "".join(f"u{i},i{i},{form.format(day=i)}\n" for i in range(1, 29)))
    report = ingest(path).report
    assert report.understood["time"].startswith(f"{name} ")
    assert report.has_clock
    assert report.start is not None
    assert report.start[:7] in {"2023-05", "2023-04"}


def test_years_of_other_calendars_are_told(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,date\n" + "".join(f"u{i},i{i},1445-02-{i:02}\n" for i in range(1, 29)))
    with pytest.raises(DataError, match=r"holds '1445-02-01'.*Islamic calendar.*hijridate"):
        ingest(path)
    assert "less 543" in describe_year("2567-02-07 00:00:00")
    assert not describe_year("2024-02-07")
    assert not describe_year("tea")


def test_single_values_without_a_date_are_rejected_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    days = [f"{day}/5/2566" for day in range(1, 29)]
    days[3:5] = ["N/A", "soon"]
    path.write_text("user,item,date\n" + "".join(f"u{i},i{i},{day}\n" for i, day in enumerate(days)))
    report = ingest(path).report
    assert dict(report.rejected) == {"missing time": 1, "time not understood": 1}
    assert report.events == 26
