"""DuckDB engine: quoting, results and limits."""

import io
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from leanrec.budget import Budget
from leanrec.data.engine import (
    make_scratch,
    open_engine,
    quote_identifier,
    quote_literal,
    quote_path,
    to_table_column,
)
from leanrec.errors import BudgetError, SourceError
from leanrec.run import Run


def test_quotes_are_doubled() -> None:
    assert quote_identifier('a"b') == '"a""b"'
    assert quote_literal("it's") == "'it''s'"


def test_a_path_is_no_pattern(tmp_path: Path) -> None:
    assert quote_path(Path("a[1]*?.csv")) == "'a[[]1][*][?].csv'"
    (tmp_path / "a[1].csv").write_text("x\n5\n")
    (tmp_path / "a1.csv").write_text("x\n6\n")
    with open_engine(Run()) as engine:
        assert engine.fetch_rows(f"SELECT x FROM read_csv({quote_path(tmp_path / 'a[1].csv')})") == [(5,)]


def test_leftovers_of_a_killed_process_are_cleared_and_others_stay(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from typing import Any
from leanrec.data.engine import make_scratch
with make_scratch("leanrec-", Path({str(tmp_path)!r})) as folder:
    (folder / "spill").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    left = list(tmp_path.iterdir())
    assert len(left) == 1
    (tmp_path / "leanrec-of-another-kind").mkdir()
    with make_scratch("leanrec-", tmp_path) as first, make_scratch("leanrec-", tmp_path) as second:
        assert first.is_dir()
        assert second.is_dir()
        assert not left[0].exists()
    assert [each.name for each in tmp_path.iterdir()] == ["leanrec-of-another-kind"]


def test_copies_leave_space_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_engine(Run()) as engine:
        target = engine.new_path("copy")
        with target.open("wb") as copy:
            engine.copy_stream(io.BytesIO(b"abc"), copy, "x")
        assert target.read_bytes() == b"abc"
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 50, 50_000_001))
        engine.check_disk(1, "x")
        with pytest.raises(BudgetError, match=r"x needs 2 B of disk for a copy\..* set TMPDIR"):
            engine.check_disk(2, "x")


def test_an_interrupt_of_duckdb_is_ctrl_c() -> None:
    with open_engine(Run()) as engine:
        timer = threading.Timer(0.2, engine._connection.interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            engine.execute(
                "SELECT count(*) FROM range(10_000_000) AS a, range(10_000) AS b WHERE a.range % 7 = b.range % 5"
            )


def test_results_come_as_rows_streams_and_arrays() -> None:
    with open_engine(Run()) as engine:
        engine.register_table("numbers", {"x": np.arange(3)})
        assert engine.fetch_rows("SELECT sum(x) FROM numbers") == [(3,)]
        assert [row for rows in engine.stream_rows("SELECT x FROM numbers ORDER BY x") for row in rows] == [
            (0,),
            (1,),
            (2,),
        ]
        assert engine.fetch_arrays("SELECT x + 1 AS y FROM numbers ORDER BY x")["y"].tolist() == [1, 2, 3]


def test_errors_name_what_failed() -> None:
    with open_engine(Run()) as engine, pytest.raises(SourceError, match="The query cannot be read: .*nothing_there"):
        engine.execute("SELECT * FROM nothing_there", "The query")


def test_too_little_memory_is_refused() -> None:
    with pytest.raises(BudgetError, match="Reading a log needs at least"), open_engine(Run(budget=Budget(memory=1e6))):
        pass


def test_columns_become_text_or_numbers_with_missing_values() -> None:
    assert to_table_column(np.ma.array(["a", "b"], mask=[False, True])).tolist() == ["a", ""]
    numbers = to_table_column(np.ma.array([1, 2], mask=[False, True]))
    assert numbers[0] == 1
    assert np.isnan(numbers[1])


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6),
        np.arange(6) / 4,
        np.arange(6) % 2 == 0,
        pd.array(range(6), dtype="Int64"),
        pd.Categorical([f"c{k}" for k in range(6)]),
        pd.array([f"s{k}" for k in range(6)], dtype="string"),
    ],
)
@pytest.mark.parametrize("step", [slice(None, None, -1), slice(None, None, -2), slice(4, None, -1), slice(1, None, 2)])
def test_a_view_of_a_frame_is_read_like_a_copy(values: Any, step: slice) -> None:
    frame = pd.DataFrame({"value": values})[step]
    with open_engine(Run()) as engine:
        engine.register_table("frame", frame)
        found = engine.fetch_rows("SELECT value FROM frame")
        assert [row[0] for row in found] == frame["value"].tolist()
        engine.register_table("arrays", {"value": np.asarray(frame["value"])})
        assert engine.fetch_rows("SELECT value FROM arrays") == found


class TestExport:
    SELECT = """SELECT * FROM (VALUES ('=1+1', '=2'), ('-3', 'a'), ('- x', 'b'), ('@me', 'c'), (NULL, 'd')) AS t("text", id)"""

    def test_cells_that_a_spreadsheet_would_compute_are_text_in_csv_only(self, tmp_path: Path) -> None:
        with open_engine(Run()) as engine:
            for name in ("rows.csv", "rows.parquet"):
                engine.export_rows(self.SELECT, tmp_path / name, "The file", ["text"])
        written = pd.read_csv(tmp_path / "rows.csv")
        assert written["text"].tolist()[:4] == ["'=1+1", "-3", "'- x", "'@me"]
        assert written["id"][0] == "=2"
        assert pd.read_parquet(tmp_path / "rows.parquet")["text"].tolist()[:4] == ["=1+1", "-3", "- x", "@me"]

    def test_an_export_that_fails_leaves_the_file_that_was_there(self, tmp_path: Path) -> None:
        path = tmp_path / "rows.csv"
        path.write_text("before")
        with open_engine(Run()) as engine, pytest.raises(SourceError, match="The file cannot be written"):
            engine.export_rows("SELECT error('in the middle') FROM range(100000)", path, "The file")
        assert [each.name for each in tmp_path.iterdir()] == ["rows.csv"]
        assert path.read_text() == "before"

    def test_a_folder_that_cannot_be_made_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with open_engine(Run()) as engine, pytest.raises(SourceError, match="Choose another path"):
            engine.export_rows("SELECT 1 AS a", tmp_path / "file" / "rows.csv", "The file")
