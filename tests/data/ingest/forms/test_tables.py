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
