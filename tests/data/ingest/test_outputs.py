"""Outputs of ingestion: sinks in memory and in files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leanrec.data.ingest import outputs
from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.outputs import FileSink, MemorySink


def test_both_sinks_return_the_same_columns(tmp_path: Path) -> None:
    memory = MemorySink(5)
    with FileSink(5, tmp_path) as files:
        for block in (np.arange(3), np.arange(3, 5)):
            memory.write("user", block)
            files.write("user", block)
        mapped = files.arrays()["user"]
    assert isinstance(mapped, np.memmap)
    assert mapped.tolist() == memory.arrays()["user"].tolist() == [0, 1, 2, 3, 4]


def test_events_that_do_not_fit_the_memory_are_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"user": [2, 1, 1], "item": [7, 7, 8], "rating": [1.0, 5.0, 3.0]})
    expected = ingest(frame, positive_from=3)
    monkeypatch.setattr(outputs, "_ARRAY_SHARE", 0.0)
    mapped = ingest(frame, positive_from=3)
    assert mapped.report.memory["events"] == "mapped files"
    assert mapped.data.fingerprint == expected.data.fingerprint
    assert mapped.data.events.weight.tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("rows", ["all", "one has no user", "one is repeated"])
@pytest.mark.parametrize("table", [False, True])
def test_items_of_events_and_of_the_table_are_kept(rows: str, table: bool) -> None:
    frame = pd.DataFrame({"user": ["a", "b", "b"], "item": ["x", "y", "z"], "time": [1_600_000_000] * 3})
    if rows == "one has no user":
        frame.loc[2, "user"] = None
    if rows == "one is repeated":
        frame.loc[2, "item"] = "y"
    items = pd.DataFrame({"item": ["x", "only here"], "title": ["X", "O"]}) if table else None
    data = ingest(frame, items=items).data
    of_events = ["x", "y", "z"] if rows == "all" else ["x", "y"]
    assert data.items.ids.tolist() == sorted([*of_events, *["only here"] * table])
