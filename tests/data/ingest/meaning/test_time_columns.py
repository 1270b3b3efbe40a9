"""Times in several columns: right times, and columns that are left alone."""

from pathlib import Path

import pandas as pd
import pytest

from leanrec.data.ingest.ingest import ingest


def stamps(source: object, **options: object) -> list[str]:
    data = ingest(source, **options).data
    return [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in pd.to_datetime(data.events.time, unit="s")]


def write(path: Path, header: str, *rows: str) -> Path:
    path.write_text(
        f"user,item,{header}\n" + "".join(f"ann,i{n},{row}\n" for n, row in enumerate(rows)), encoding="utf-8"
    )
    return path


@pytest.mark.parametrize(
    ("header", "rows", "times"),
    [
        ("date,time", ["2024-03-13,07:05:01", "2024-03-13,13:05:00"], ["2024-03-13 07:05:01", "2024-03-13 13:05:00"]),
        ("order_date,order_time", ["03/13/2024,07:05 AM", "03/13/2024,01:05 PM"], ["2024-03-13 07:05:00", "2024-03-13 13:05:00"]),
        ("Datum,Uhrzeit", ["13.03.2024,07:05", "13.03.2024,13:05"], ["2024-03-13 07:05:00", "2024-03-13 13:05:00"]),
        ("time,date", ["5,20240313", "705,20240313", "2305,20240313"], ["2024-03-13 00:05:00", "2024-03-13 07:05:00", "2024-03-13 23:05:00"]),
        ("date,time", ["20240313,70501", "20240313,130500"], ["2024-03-13 07:05:01", "2024-03-13 13:05:00"]),
        ("date,time", ["2024-03-13 00:00:00,07:05", "2024-03-14 00:00:00,"], ["2024-03-13 07:05:00", "2024-03-14 00:00:00"]),
        ("date,hourmin", ["20240313,705", "20240313,2305"], ["2024-03-13 07:05:00", "2024-03-13 23:05:00"]),
        ("date,hour", ["2024-03-13,7", "2024-03-14,23"], ["2024-03-13 07:00:00", "2024-03-14 23:00:00"]),
        ("dt,hr", ["20240313,07", "20240313,23"], ["2024-03-13 07:00:00", "2024-03-13 23:00:00"]),
        ("visit_date,time", ["2024-03-13,07:05", "2024-03-14,13:05"], ["2024-03-13 07:05:00", "2024-03-14 13:05:00"]),
        ("Date,Check Time", ["2024-03-13,1:05 PM", "2024-03-14,7:05 AM"], ["2024-03-13 13:05:00", "2024-03-14 07:05:00"]),
        ("year,month,day", ["2024,3,13", "2024,12,1"], ["2024-03-13 00:00:00", "2024-12-01 00:00:00"]),
        ("year,month,day,hour", ["2024,3,13,7", "2024,12,1,13"], ["2024-03-13 07:00:00", "2024-12-01 13:00:00"]),
    ],
    ids=["iso", "twelve-hours", "german", "hhmm", "hhmmss", "midnight", "hourmin", "hours", "partition", "one-word", "other-words", "calendar", "hour"],
)  # fmt: skip
def test_columns_that_are_one_time_are_joined(header: str, rows: list[str], times: list[str], tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", header, *rows)
    assert stamps(path) == times
    warnings = ingest(path).report.warnings
    assert any("are read as one time" in each for each in warnings)
    assert not any(each.startswith("Not used") for each in warnings)


def test_typed_dates_and_times_are_joined() -> None:
    moments = pd.to_datetime(["2024-03-13 07:05:01", "2024-03-14 13:05:00"])
    frame = pd.DataFrame({"user": ["a", "a"], "item": ["x", "y"], "date": moments.date, "time": moments.time})
    assert stamps(frame) == ["2024-03-13 07:05:01", "2024-03-14 13:05:00"]


def test_folders_of_years_months_and_days_are_the_time(tmp_path: Path) -> None:
    for n, day in enumerate(("04", "12")):
        folder = tmp_path / "log" / "year=2024" / "month=03" / f"day={day}"
        folder.mkdir(parents=True)
        write(folder / "part.csv", "price", f"{n}.5")
    assert stamps(tmp_path / "log") == ["2024-03-04 00:00:00", "2024-03-12 00:00:00"]
    told = [each for each in ingest(tmp_path / "log").report.warnings if "one time" in each]
    assert len(told) == 1


def test_a_given_time_and_a_whole_timestamp_are_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "date,time", "2024-03-13,07:05:01", "2024-03-14,13:05:00")
    assert stamps(path, columns={"time": "date"}) == ["2024-03-13 00:00:00", "2024-03-14 00:00:00"]
    both = write(tmp_path / "y.csv", "timestamp,date,time", "1710300000,2024-03-13,07:05:01")
    assert stamps(both) == ["2024-03-13 03:20:00"]
    seconds = write(tmp_path / "z.csv", "date,time", "2024-03-13,1710300000", "2024-03-13,1710300001")
    assert not any("one time" in each for each in ingest(seconds).report.warnings)


def read_order(path: Path) -> list[int]:
    return [int(each) for each in ingest(path).data.events.time]


def test_the_number_of_a_day_and_a_time_of_day_are_one_order(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "DAY,TRANS_TIME,WEEK_NO", "2,1305,1", "1,5,1", "1,2305,1")
    assert read_order(path) == [86_400 + 300, 86_400 + 82_800 + 300, 2 * 86_400 + 46_800 + 300]
    hours = write(tmp_path / "y.csv", "day,hour", "2,13", "1,5", "1,23")
    assert read_order(hours) == [86_400 + 18_000, 86_400 + 82_800, 2 * 86_400 + 46_800]


def test_a_time_of_day_without_a_date_is_no_order(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "trans_time", *(str(100 * (n % 24) + n) for n in range(30)))
    report = ingest(path).report
    assert "time" not in report.columns[str(path)]
    assert any("times of day without a date" in each for each in report.warnings)
    counted = write(tmp_path / "y.csv", "time", *map(str, range(1, 131)))
    assert read_order(counted) == list(range(1, 131))


def test_milliseconds_count_rather_than_the_date_beside_them(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.csv", "date,hourmin,time_ms", "20240313,705,1710313500123", "20240313,2305,1710371100456"
    )
    assert stamps(path) == ["2024-03-13 07:05:00", "2024-03-13 23:05:00"]


def test_an_hour_of_the_day_is_no_amount(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "hour", "7", "23")
    assert set(ingest(path).data.events.weight.tolist()) == {1.0}


def test_zero_dates_are_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "date", "2024-03-13", "0000-00-00", "2024-03-14")
    assert ingest(path).report.rejected == {"missing time": 1}


@pytest.mark.parametrize("times", [("22:06", "9:05"), ("00:05:25", "120:00:01"), ("9:05 PM", "8:07 a.m.")])
def test_times_of_day_and_durations_in_text_are_no_times(tmp_path: Path, times: tuple[str, ...]) -> None:
    path = write(tmp_path / "x.csv", "time", *times)
    report = ingest(path).report
    assert "time" not in report.columns[str(path)]
    assert f"Not used: 'time' of {path} (times of day without a date)." in report.warnings


@pytest.mark.parametrize(
    "names",
    [("2024-01", "2024-02", "2024-03"), ("Jan 2024", "Feb 2024", "Mar 2024"), ("Jan-24", "Feb-24", "Mar-24")],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_column_for_each_period_is_an_event_for_each_number(
    tmp_path: Path, names: tuple[str, ...], suffix: str
) -> None:
    frame = pd.DataFrame({"user": ["a", "b"], "item": ["x", "y"], names[0]: [2, 0], names[1]: [0, 3], names[2]: [1, 4]})
    path = tmp_path / f"log{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    data, report = ingest(path)
    months = pd.to_datetime(data.events.time, unit="s").month.tolist()
    assert list(zip(data.events.user.tolist(), months, data.events.weight.tolist(), strict=True)) == [
        (0, 1, 2), (0, 3, 1), (1, 2, 3), (1, 3, 4),
    ]  # fmt: skip
    assert any("are read as periods" in each for each in report.warnings)
    assert len(ingest(path, layout="long").data.events) == 2


def test_numbers_that_are_no_periods_stay_columns() -> None:
    rows = {"user": ["a", "b"], "item": ["x", "y"]}
    for names in [
        ("model 2020", "model 2021", "model 2022"),
        ("2024-01", "2024-02", "2024-99"),
        ("2024-01", "2024-02"),
    ]:
        frame = pd.DataFrame(rows | {name: [1, 2] for name in names})
        assert len(ingest(frame).data.events) == 2
    timed = pd.DataFrame(rows | {"time": [1_700_000_000] * 2} | {f"2024-0{n}": [1, 2] for n in (1, 2, 3)})
    assert len(ingest(timed).data.events) == 2
