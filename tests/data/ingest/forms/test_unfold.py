"""A log in any form becomes a table with one row for each event; a flat one stays as it is."""

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
