"""The quarantine file lists every rejected row with its reason and origin."""

from pathlib import Path

import pandas as pd
import pytest

from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.rejects import CODE, REASONS, check_quarantine_path
from leanrec.errors import SettingError


def test_codes_are_positions_of_the_reasons() -> None:
    assert [CODE[reason] for reason in REASONS] == list(range(len(REASONS)))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_keep_their_text_and_position(tmp_path: Path, suffix: str) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user,item,rating\n1,2,5\n,3,4\n1,4,bad\n1,2\n")
    target = tmp_path / f"rejected.{suffix}"
    ingest(log, quarantine=target, allow_rejects=True)
    rows = pd.read_csv(target) if suffix == "csv" else pd.read_parquet(target)
    found = dict(zip(rows["reason"], rows["row"], strict=True))
    assert found == {"missing user": 2, "rating is not a finite number": 3, "unreadable line": 5}
    assert rows.set_index("reason").loc["rating is not a finite number", "rating"] == "bad"


def test_other_suffixes_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"must end in \.csv or \.parquet"):
        check_quarantine_path(tmp_path / "rows.txt")
    (tmp_path / "rows.csv").mkdir()
    with pytest.raises(SettingError, match="is a folder"):
        check_quarantine_path(tmp_path / "rows.csv")


def test_no_cell_of_a_csv_file_is_a_formula(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user,item,rating\n1,2,5\n=1+1,,4\n@SUM(A1),,3\n+7,,2\n-5,,1\n")
    for suffix, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        target = tmp_path / f"rejected.{suffix}"
        ingest(log, quarantine=target, allow_rejects=True)
        rows = read(target, **({"dtype": str} if suffix == "csv" else {}))
        mark = "'" if suffix == "csv" else ""
        assert rows["user"].tolist() == [f"{mark}=1+1", f"{mark}@SUM(A1)", f"{mark}+7", "-5"]


def test_the_last_row_of_a_report_is_no_event(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,clicks\nu1,i1,2\nu2,i2,3\nGrand total,Grand total,5\n")
    data, report = ingest(path)
    assert data.users.ids.tolist() == ["u1", "u2"]
    assert report.rejected == {"row of totals": 1}


def test_a_column_with_one_item_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item\n" + "".join(f"u{number},shop\n" for number in range(12)))
    warnings = ingest(path).report.warnings
    assert any(each.startswith("All 12 events have one item") and 'columns={"item": …}' in each for each in warnings)


@pytest.mark.parametrize(("row", "role"), [("u{0},i{1}", "user"), ("u{1},i{0}", "item")])
def test_a_column_that_numbers_the_rows_is_told(tmp_path: Path, row: str, role: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item\n" + "".join(f"{row.format(number, number % 4)}\n" for number in range(12)))
    warnings = ingest(path).report.warnings
    assert [each.startswith(f"No {role} has more than one event") for each in warnings].count(True) == 1
    path.write_text("user,item\n" + "".join(f"{row.format(number % 11, number % 4)}\n" for number in range(12)))
    assert not any("more than one event" in each for each in ingest(path).report.warnings)
