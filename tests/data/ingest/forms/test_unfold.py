"""A log in any form becomes a table with one row for each event; a flat one stays as it is."""

import json
from pathlib import Path

import pandas as pd
import pytest

import leanrec
from leanrec.data.engine import open_engine
from leanrec.data.ingest.forms.unfold import unfold_events
from leanrec.data.ingest.sources import open_parts
from leanrec.run import Run

NAMES = {"user": ("user",), "item": ("item",), "time": ("time",)}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_flat_table_stays_as_it_is(tmp_path: Path, form: str) -> None:
    frame = pd.DataFrame({"user": ["a", "b"], "item": ["x1", "x2"], "time": [1, 2]})
    path = tmp_path / f"log.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    with open_engine(Run()) as engine:
        part = open_parts(engine, path)[0]
        assert unfold_events(engine, part, {}, NAMES, None) is part
        assert unfold_events(engine, part, {}, NAMES, "long") is part


def test_damaged_lines_are_repaired_and_counted_before_cells_are_split(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,items\na,1 2 3\nb,4\nc,5,6,7\nd,1 9\ne,2 3\n")
    data, report = leanrec.ingest(tmp_path / "log.csv")
    assert data.items.ids.tolist() == [1, 2, 3, 4, 9]
    assert sum(report.rejected.values()) == 1
    assert report.rows_read == len(data.events) + 1


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_objects_in_cells(form: str, tmp_path: Path) -> None:
    cells = [json.dumps({"item_id": f"i{k % 3}", "rating": k % 5}) for k in range(12)]
    frame = pd.DataFrame({"user_id": [f"u{k % 4}" for k in range(12)], "payload": cells})
    path = tmp_path / f"log.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    data, report = leanrec.ingest(path)
    assert (len(data.events), data.items.ids.tolist()) == (12, ["i0", "i1", "i2"])
    assert data.events.rating is not None
    assert sorted(data.events.rating.tolist()) == sorted(float(k % 5) for k in range(12))
    assert any("JSON objects" in note for note in report.warnings)


def test_lists_of_objects_in_cells(tmp_path: Path) -> None:
    cell = json.dumps([{"item_id": "a"}, {"item_id": "b"}])
    path = tmp_path / "log.csv"
    pd.DataFrame({"user_id": ["u1", "u2"], "items": [cell, cell]}).to_csv(path, index=False)
    assert leanrec.ingest(path)[0].items.ids.tolist() == ["a", "b"]


def test_properties_of_many_kinds(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    more = [{f"k{n}_{j}": j for j in range(12)} for n in range(24)]
    rows = [{"user": f"u{n % 4}", "properties": {"item_id": f"i{n % 3}", **each}} for n, each in enumerate(more)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert leanrec.ingest(path)[0].items.ids.tolist() == ["i0", "i1", "i2"]
