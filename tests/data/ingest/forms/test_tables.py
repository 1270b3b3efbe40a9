"""Tables of other programs."""

import datetime
import importlib
from pathlib import Path

import fastavro
import openpyxl
import pandas as pd
import pytest

from leanrec.data.ingest.forms import tables
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import SourceError

FRAME = pd.DataFrame(
    {
        "user_id": ["a", "b", "b"],
        "item_id": [7, 8, 7],
        "timestamp": pd.to_datetime(["2024-03-01", "2024-03-02", "2024-03-03"]),
    }
)


def write(path: Path) -> Path:
    if path.suffix == ".orc":
        FRAME.to_orc(path)
    elif path.suffix == ".feather":
        FRAME.to_feather(path)
    elif path.suffix == ".xlsx":
        book = openpyxl.Workbook()
        book.active.append(list(FRAME))
        for row in FRAME.itertuples(index=False):
            book.active.append([row.user_id, row.item_id, row.timestamp.to_pydatetime()])
        book.create_sheet("notes")
        book.save(path)
    else:
        kinds = {
            "user_id": "string",
            "item_id": "long",
            "timestamp": {"type": "long", "logicalType": "timestamp-millis"},
        }
        schema = {"type": "record", "name": "e", "fields": [{"name": n, "type": t} for n, t in kinds.items()]}
        rows = FRAME.to_dict("records")
        for row in rows:
            row["timestamp"] = row["timestamp"].to_pydatetime().replace(tzinfo=datetime.UTC)
        with path.open("wb") as out:
            fastavro.writer(out, schema, rows)
    return path


@pytest.mark.parametrize("suffix", [".orc", ".feather", ".xlsx", ".avro"])
def test_each_is_read(suffix: str, tmp_path: Path) -> None:
    data, report = ingest(write(tmp_path / f"log{suffix}"))
    assert (data.users.ids.tolist(), data.items.ids.tolist()) == (["a", "b"], [7, 8])
    assert (str(report.start)[:10], str(report.end)[:10]) == ("2024-03-01", "2024-03-03")


@pytest.mark.parametrize(
    ("suffix", "says"),
    [
        (".orc", "is an ORC file, which pyarrow reads. Install it: pip install pyarrow"),
        (".xlsx", "is an Excel workbook, which openpyxl reads.*or save the sheet as CSV"),
        (".avro", "is an Avro file, which fastavro reads"),
    ],
)
def test_without_its_library_it_is_named(
    suffix: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / f"log{suffix}")

    def fail(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(tables, "importlib", type("importlib", (), {"import_module": staticmethod(fail)}))
    assert importlib.import_module("json")
    with pytest.raises(SourceError, match=says):
        ingest(path)


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    for name, magic in (("a.orc", b"ORC"), ("a.feather", b"ARROW1"), ("a.avro", b"Obj\x01")):
        (tmp_path / name).write_bytes(magic + b" and nothing more")
        with pytest.raises(SourceError, match="that cannot be read"):
            ingest(tmp_path / name)


def write_book(path: Path, sheets: dict[str, list[list[object]]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


MAY: list[list[object]] = [["user_id", "item_id", "rating"], ["a", 7, 5], ["b", 8, 3]]
JUNE: list[list[object]] = [["User ID", "Item ID", "Rating"], ["c", 7, 4]]
FILMS: list[list[object]] = [["item_id", "title"], [7, "Oak"], [8, "Elm"]]


def test_the_sheets_of_the_log_are_found_among_others(tmp_path: Path) -> None:
    about: list[list[object]] = [["Ratings of our members"], ["made in June"]]
    path = write_book(tmp_path / "log.xlsx", {"About": about, "Films": FILMS, "May": MAY, "Empty": [], "June": JUNE})
    data, report = ingest(path, items=path)
    assert (data.users.ids.tolist(), data.items.ids.tolist()) == (["a", "b", "c"], [7, 8])
    assert data.item_table is not None
    assert data.item_table.columns["title"].tolist() == ["Oak", "Elm"]
    told = next(note for note in report.warnings if "sheets with the same columns" in note)
    assert "'May', 'June' were read, 5 lines. Other sheets were not read: About, Films." in told
    alone = ingest(f"{path}/June", items=f"{path}/Films").data
    assert alone.users.ids.tolist() == ["c"]


def test_names_below_a_title_say_which_sheet_is_the_log(tmp_path: Path) -> None:
    titled = [["Report"], ["Period", "May"], [], *MAY]
    path = write_book(tmp_path / "log.xlsx", {"Films": FILMS, "Data": titled})
    assert ingest(path).data.users.ids.tolist() == ["a", "b"]


def test_a_sheet_that_is_not_certain_or_not_there_is_asked_for(tmp_path: Path) -> None:
    views: list[list[object]] = [["user_id", "item_id", "seen_at"], ["a", 7, "2024-03-01"]]
    path = write_book(tmp_path / "log.xlsx", {"Grades": MAY, "Views": views})
    with pytest.raises(SourceError, match=r"several sheets that may be meant: Grades, Views.*log.xlsx/Grades"):
        ingest(path)
    assert len(ingest(f"{path}/Views").data.events) == 1
    with pytest.raises(SourceError, match="without rows in the sheet 'Sales'. Its sheets are: Grades, Views"):
        ingest(f"{path}/Sales")
    named = write_book(tmp_path / "named.xlsx", {"Views": views, "Ratings": MAY})
    assert len(ingest(named).data.events) == 2
