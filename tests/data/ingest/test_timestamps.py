"""Time formats: common ones, those that the values decide, and ambiguous ones."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leanrec.data.ingest.ingest import ingest
from leanrec.errors import DataError, SettingError


def write(path: Path, *times: str) -> Path:
    path.write_text("user;item;date\n" + "".join(f"u;i{n};{time}\n" for n, time in enumerate(times)), encoding="utf-8")
    return path


def stamps(path: Path, **options: str) -> list[str]:
    data = ingest(path, **options).data
    return [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in pd.to_datetime(data.events.time, unit="s")]


@pytest.mark.parametrize(
    ("times", "moments"),
    [
        (["01/02/2024", "13/03/2024"], ["2024-02-01 00:00:00", "2024-03-13 00:00:00"]),
        (["01/02/2024", "12/25/2024"], ["2024-01-02 00:00:00", "2024-12-25 00:00:00"]),
        (["1-2-2024 9:05", "13-2-2024 23:59:01"], ["2024-02-01 09:05:00", "2024-02-13 23:59:01"]),
        (["01/02/24 1:05 PM", "1/31/24 12:00:00 AM"], ["2024-01-02 13:05:00", "2024-01-31 00:00:00"]),
        (["01.02.2024 13:05", "02.03.2024 13:05:06"], ["2024-02-01 13:05:00", "2024-03-02 13:05:06"]),
        (["05/05/2024", "06/06/2024"], ["2024-05-05 00:00:00", "2024-06-06 00:00:00"]),
        (["20240105", "20240106"], ["2024-01-05 00:00:00", "2024-01-06 00:00:00"]),
        (["20240105130500", "20240106000001"], ["2024-01-05 13:05:00", "2024-01-06 00:00:01"]),
    ],
    ids=["day", "month", "dashes", "twelve-hours", "dots", "same", "compact", "compact-clock"],
)
def test_the_values_tell_how_they_are_written(times: list[str], moments: list[str], tmp_path: Path) -> None:
    assert stamps(write(tmp_path / "x.csv", *times)) == moments


def test_a_value_of_one_file_decides_for_all(tmp_path: Path) -> None:
    january, march = write(tmp_path / "a.csv", "05/01/2024"), write(tmp_path / "b.csv", "13/03/2024")
    assert stamps([january, march]) == ["2024-01-05 00:00:00", "2024-03-13 00:00:00"]
    told = f"The times of {january}, such as '05/01/2024', fit both orders of day and month; those of {march} decide that the day comes first."
    assert told in ingest([january, march]).report.warnings


def test_files_of_different_orders_are_refused_with_a_way_to_read_them(tmp_path: Path) -> None:
    day = write(tmp_path / "a.csv", *["13/03/2024"] * 2000, "05/01/2024")
    month = write(tmp_path / "b.csv", "01/22/2024", "05/01/2024")
    with pytest.raises(DataError, match="must have one order of day and month") as caught:
        ingest([day, month])
    call = re.findall(r"Read them in Python: (ingest\(.*\))\.$", str(caught.value))[0]
    events = eval(call, {"ingest": ingest, "pandas": pd}).data.events
    days = np.unique(events.time.astype("datetime64[s]").astype("datetime64[D]")).astype(str)
    assert days.tolist() == ["2024-01-05", "2024-01-22", "2024-03-13", "2024-05-01"]


def test_a_damaged_value_among_dates_is_rejected_and_shown(tmp_path: Path) -> None:
    report = ingest(write(tmp_path / "x.csv", "01/02/2024", "13/03/2024", "soon")).report
    assert report.rejected == {"time not understood": 1}
    assert "Time not understood, such as 'soon': 1 row was rejected." in report.warnings


def test_ambiguous_days_and_months_need_a_format(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "05/03/2024", "01/02/2024")
    with pytest.raises(DataError) as caught:
        ingest(path)
    assert str(caught.value) == (
        f"The times in the column 'date' of {path}, such as '01/02/2024', have the day or the month first, and no value decides "
        'which. Pass time_format="%d/%m/%Y" or time_format="%m/%d/%Y".'
    )
    assert stamps(path, time_format="%d/%m/%Y") == ["2024-02-01 00:00:00", "2024-03-05 00:00:00"]
    assert stamps(path, time_format="%m/%d/%Y") == ["2024-01-02 00:00:00", "2024-05-03 00:00:00"]
    with pytest.raises(
        DataError, match=r"contradict each other: '13/03/2024' must be day first, '01/22/2024' month first"
    ):
        ingest(write(tmp_path / "y.csv", "13/03/2024", "01/22/2024"))


def test_one_typing_error_among_thousands_decides_nothing(tmp_path: Path) -> None:
    report = ingest(write(tmp_path / "x.csv", *["13/03/2024"] * 2000, "01/22/2024")).report
    assert report.rejected == {"time not understood": 1}
    assert report.start == "2024-03-13T00:00:00Z"


def test_times_not_understood_are_shown_with_the_known_formats(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="time not understood: 2") as caught:
        ingest(write(tmp_path / "x.csv", "gestern", "heute"))
    assert "holds 'gestern'" in str(caught.value)
    assert "2024-03-13T13:05:00+01:00" in str(caught.value)
    assert "pass time_format" in str(caught.value)


def test_compact_dates_of_a_frame_and_a_form_that_is_given() -> None:
    frame = pd.DataFrame({"user": 1, "item": [1, 2], "time": [20240105, 20240301]})
    assert ingest(frame).report.start == "2024-01-05T00:00:00Z"
    assert ingest(frame, time_format="%Y%d%m").report.rejected == {}
    assert ingest(frame, time_format="%Y%d%m").report.start == "2024-01-03T00:00:00Z"


@pytest.mark.parametrize("steps", [[1, 2, 3], [20000, 20001, 20002], [19000000, 19000001, 19000002]])
def test_small_numbers_stay_an_order(steps: list[int]) -> None:
    data, report = ingest(pd.DataFrame({"user": 1, "item": [1, 2, 3], "time": steps}))
    assert data.events.time.tolist() == steps
    assert not report.has_clock


@pytest.mark.parametrize("given", ["%Q", "dd/mm/yyyy"])
def test_a_form_that_is_none_is_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=f"must be a strptime format, such as %d/%m/%Y %H:%M:%S. Got '{given}'"):
        ingest(write(tmp_path / "x.csv", "2024-01-01"), time_format=given)


def test_a_form_without_a_column_to_read_is_refused() -> None:
    with pytest.raises(SettingError, match="time_format needs a time column of text or numbers. There is none"):
        ingest(pd.DataFrame({"user": [1], "item": [2]}), time_format="%Y")


@pytest.mark.parametrize(
    "times",
    [
        ["1433221332900", "1433221332100", "1433221332500", "1433221332100"],
        ["1433221332.9", "1433221332.1", "1433221332.5", "1433221332.1"],
        ["1433221332000000009", "1433221332000000001", "1433221332000000005", "1433221332000000001"],
        ["2015-06-02 05:02:12.9", "2015-06-02 05:02:12.1", "2015-06-02 05:02:12.5", "2015-06-02 05:02:12.1"],
        ["2.9", "2.1", "2.5", "2.1"],
    ],
    ids=["milliseconds", "seconds", "nanoseconds", "iso", "order"],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_fractions_of_a_second_decide_about_order_and_duplicates(times: list[str], kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{kind}"
    frame = pd.DataFrame({"user": "u", "item": ["c", "a", "b", "a"], "time": times})
    if kind == "csv":
        frame.to_csv(path, index=False)
    else:
        is_text = "-" in times[0]
        typed = pd.to_datetime(frame.time) if is_text else pd.to_numeric(frame.time)
        frame.assign(time=typed).to_parquet(path)
    data, report = ingest(path)
    assert data.items.ids[data.events.item].tolist() == ["a", "b", "c"]
    assert report.rejected == {"duplicate": 1}
    assert len(set(data.events.time.tolist())) == 1


def test_days_make_no_duplicates(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("user,item,date\nu,a,2024-03-01\nu,a,2024-03-01\nv,a,2024-03-02\n", encoding="utf-8")
    report = ingest(path).report
    assert (report.events, report.rejected) == (3, {})
    assert (
        "Times are days: a repeated row of one day counts as a repeated event, not as a duplicate." in report.warnings
    )


@pytest.mark.parametrize(
    ("times", "moment"),
    [
        (["202403131305", "202403140000"], "2024-03-13 13:05:00"),
        (["20240313130500123", "20240313130500124"], "2024-03-13 13:05:00"),
        (["Wed Mar 13 13:05:00 2024", "Thu Mar 14 13:05:00 2024"], "2024-03-13 13:05:00"),
    ],
)
def test_compact_and_printed_times(times: list[str], moment: str, tmp_path: Path) -> None:
    assert stamps(write(tmp_path / "x.csv", *times))[0] == moment
