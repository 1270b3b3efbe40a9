"""Times of other programs: right times, numbers that are left alone, and doubts that are told."""

from pathlib import Path

import pandas as pd
import pytest

from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.meaning.time_counts import describe_doubt, guess_count


def write(path: Path, name: str, *times: str) -> Path:
    path.write_text(
        f"user;item;{name}\n" + "".join(f"u;i{n};{time}\n" for n, time in enumerate(times)), encoding="utf-8"
    )
    return path


def stamps(source: object, **options: str) -> list[str]:
    data = ingest(source, **options).data
    return [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in pd.to_datetime(data.events.time, unit="s")]


@pytest.mark.parametrize(
    ("name", "times", "moments"),
    [
        ("date", ["45364", "45365.5"], ["2024-03-13 00:00:00", "2024-03-14 12:00:00"]),
        ("timestamp", ["638459319000000000", "638459640000000000"], ["2024-03-13 13:05:00", "2024-03-13 22:00:00"]),
        ("timestamp", ["133548087000000000", "133548087010000000"], ["2024-03-13 13:05:00", "2024-03-13 13:05:01"]),
        ("timestamp", ["13354808700000000", "13354808701000000"], ["2024-03-13 13:05:00", "2024-03-13 13:05:01"]),
        ("date", ["2460383.0", "2460383.5"], ["2024-03-13 12:00:00", "2024-03-14 00:00:00"]),
        ("Datum", ["13. März 2024", "14. Mai 2024"], ["2024-03-13 00:00:00", "2024-05-14 00:00:00"]),
        ("date", ["11 mai 2023 à 22:06", "12 août 2023 à 07:00"], ["2023-05-11 22:06:00", "2023-08-12 07:00:00"]),
        ("fecha", ["11 de mayo de 2023", "12 de enero de 2024"], ["2023-05-11 00:00:00", "2024-01-12 00:00:00"]),
        ("date", ["11 mai 2023 à 22h06", "1 août 2023 à 7h00"], ["2023-05-11 22:06:00", "2023-08-01 07:00:00"]),
        ("дата", ["11 мая 2023 г., 22:06", "2 января 2024 г., 7:00"], ["2023-05-11 22:06:00", "2024-01-02 07:00:00"]),
        ("date", ["11 maja 2023", "2 stycznia 2024"], ["2023-05-11 00:00:00", "2024-01-02 00:00:00"]),
        ("时间", ["2023年05月11日 22时06分08秒", "2023年5月12日 7时5分"], ["2023-05-11 22:06:08", "2023-05-12 07:05:00"]),
        ("일시", ["2023년 05월 11일 22:06:08", "2023년 6월 1일"], ["2023-05-11 22:06:08", "2023-06-01 00:00:00"]),
        ("date", ["2023. 5. 11. 오후 10:06:08", "2023. 5. 12. 오전 12:07:00"], ["2023-05-11 22:06:08", "2023-05-12 00:07:00"]),
        ("created_at", ["2023/5/11 下午10:06", "2023/5/12 上午9:07"], ["2023-05-11 22:06:00", "2023-05-12 09:07:00"]),
        ("dátum", ["2023. 05. 11. 22:06", "2023. 05. 12. 07:00"], ["2023-05-11 22:06:00", "2023-05-12 07:00:00"]),
        ("date", ["May 11th, 2023", "June 1st, 2023"], ["2023-05-11 00:00:00", "2023-06-01 00:00:00"]),
        ("date", ["11 May 2023, 22:06", "12 Aug 2023, 07:00"], ["2023-05-11 22:06:00", "2023-08-12 07:00:00"]),
        ("date", ["2023-W01", "2023-W19"], ["2023-01-02 00:00:00", "2023-05-08 00:00:00"]),
        ("week", ["2023-W01", "2023-W19"], ["2023-01-02 00:00:00", "2023-05-08 00:00:00"]),
        ("month", ["2023-05", "2023-06"], ["2023-05-01 00:00:00", "2023-06-01 00:00:00"]),
        ("Ticks", ["638459319000000000", "638459640000000000"], ["2024-03-13 13:05:00", "2024-03-13 22:00:00"]),
        ("jd", ["2460383.0", "2460383.5"], ["2024-03-13 12:00:00", "2024-03-14 00:00:00"]),
        ("mjd", ["60382.0", "60382.5"], ["2024-03-13 00:00:00", "2024-03-13 12:00:00"]),
        ("datenum", ["739324.0", "739324.5"], ["2024-03-13 00:00:00", "2024-03-13 12:00:00"]),
        ("excel_time", ["45364", "45365.5"], ["2024-03-13 00:00:00", "2024-03-14 12:00:00"]),
        ("order_month", ["Jan 2024", "Feb 2024"], ["2024-01-01 00:00:00", "2024-02-01 00:00:00"]),
        ("date", ["12/2023", "01/2024"], ["2023-12-01 00:00:00", "2024-01-01 00:00:00"]),
        ("date", ["Dez-23", "Mai-24"], ["2023-12-01 00:00:00", "2024-05-01 00:00:00"]),
        ("date", ["2024-Q1", "2024-Q2"], ["2024-01-01 00:00:00", "2024-04-01 00:00:00"]),
        ("qtr", ["4Q23", "1Q24"], ["2023-10-01 00:00:00", "2024-01-01 00:00:00"]),
        ("week", ["KW 1/2023", "KW 19/2023"], ["2023-01-02 00:00:00", "2023-05-08 00:00:00"]),
        ("endTime", ["2023-05-11 22:06", "2023-05-12 07:00"], ["2023-05-11 22:06:00", "2023-05-12 07:00:00"]),
        ("julian_date", ["2024010", "2024073"], ["2024-01-10 00:00:00", "2024-03-13 00:00:00"]),
        ("date", ["2024-010", "2024-073"], ["2024-01-10 00:00:00", "2024-03-13 00:00:00"]),
        ("date", ["/Date(1683842768000)/", "/Date(1683842769000)/"], ["2023-05-11 22:06:08", "2023-05-11 22:06:09"]),
    ],
    ids=["excel", "ticks", "filetime", "webkit", "julian", "german", "french", "spanish", "clock with h", "russian", "polish", "chinese", "korean", "korean halves", "chinese halves", "hungarian",
        "ordinals", "comma", "weeks", "week", "month", "dotnet", "jd", "mjd", "matlab",
        "excel time", "order month", "month first", "short months", "quarters", "short quarters", "german weeks", "end", "days of the year", "ordinal dates", "json"],
)  # fmt: skip
def test_times_of_other_programs_are_recognized(
    name: str, times: list[str], moments: list[str], tmp_path: Path
) -> None:
    assert stamps(write(tmp_path / "x.csv", name, *times)) == moments


def test_the_report_says_how_numbers_were_read(tmp_path: Path) -> None:
    report = ingest(write(tmp_path / "x.csv", "timestamp", "638459319000000000", "638459640000000000")).report
    assert report.understood["time"].startswith("dotnet ticks")


def test_days_of_a_data_frame_keep_their_fraction() -> None:
    frame = pd.DataFrame({"user": ["a", "a"], "item": ["x", "y"], "date": [45364.25, 45365.5]})
    assert stamps(frame) == ["2024-03-13 06:00:00", "2024-03-14 12:00:00"]


@pytest.mark.parametrize(
    ("times", "name"),
    [
        (["45364", "45370"], "excel days"),
        (["19795", "19800"], "unix days"),
        (["732000000", "733000000"], "apple seconds"),
    ],
)
def test_numbers_that_may_be_something_else_are_told_and_the_advice_works(
    times: list[str], name: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "x.csv", "timestamp", *times)
    assert any(f'time_format="{name}"' in each for each in ingest(path).report.warnings)
    assert all(each.startswith("2024") for each in stamps(path, time_format=name))
    assert not any("time_format" in each for each in ingest(path, time_format=name).report.warnings)


def test_seconds_and_small_orders_are_in_no_doubt() -> None:
    assert describe_doubt(874_724_710, 893_286_638) is None
    assert describe_doubt(1, 50) is None
    assert describe_doubt(0, 45_000) is None


@pytest.mark.parametrize(
    ("numbers", "name"),
    [
        ((45_364, 45_999), "excel days"),
        ((739_324, 739_400), "matlab days"),
        ((2_460_383, 2_460_400), "julian days"),
        ((638_459_319_000_000_000, 638_459_640_000_000_000), "dotnet ticks"),
        ((1, 45_364), None),
        ((1_700_000_000, 1_700_000_001), None),
    ],
)
def test_numbers_are_guessed_by_their_size(numbers: tuple[int, int], name: str | None) -> None:
    assert guess_count(*numbers) == name


def test_days_of_an_unknown_name_are_told_and_the_advice_works(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "serial", "45364", "45365")
    told = next(each for each in ingest(path).report.warnings if each.startswith("Not used: serial"))
    assert 'columns={"time": "serial"} with time_format="excel days"' in told
    data = ingest(path, columns={"time": "serial"}, time_format="excel days").data
    assert pd.to_datetime(data.events.time, unit="s").day.tolist() == [13, 14]
