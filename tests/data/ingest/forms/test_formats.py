"""Files that are no table are named for what they are, with the way out."""

import gzip
import pickle
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse

from leanrec.data.engine import open_engine
from leanrec.data.ingest.forms.formats import detect_format, name_format, read_head
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import SourceError
from leanrec.run import Run


def detect(path: Path) -> str:
    with open_engine(Run()) as engine:
        return detect_format(read_head(engine, path), str(path))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "is a pointer of Git LFS.*git lfs pull",
        ),
        (b"<!DOCTYPE html>\n<html><title>Sign in</title></html>", r"is an HTML page \(its title is 'Sign in'\)"),
        (b"<html><table><tr><td>user</td></tr></table></html>", r"is an HTML page with a table.*pandas\.read_html\('"),
        (b"<?xml version='1.0'?><Error/>", "is XML, not a log"),
        (b"\x93NUMPY\1\0", r"is a NumPy array.*numpy\.load\('.*rename\({0: 'user', 1: 'item'}, axis=1\)"),
        (b"MATLAB 5.0 MAT-file", r"is a MATLAB file.*scipy\.io\.loadmat\('"),
        (
            b"USE [shop]\nGO\nINSERT [dbo].[R] ([u], [i]) VALUES (N'a', N'b')\nGO\n",
            "script of SQL Server or Oracle.*sqlcmd",
        ),
        (
            b"REM INSERTING into R\nInsert into R (U,T) values ('a',to_date('1.1.2024','DD.MM.YYYY'));\n",
            r"script of.*SQL\*Plus",
        ),
        (b"%PDF-1.7\n", "is a PDF document"),
        (b"1 0:1 7:1\n0 3:1 9:0.5\n", "is in the LIBSVM form.*awk"),
        (b"1 0:3:1 1:7:1\n0 0:5:1 1:9:0.5\n", "is in the form of libffm.*awk"),
        (pickle.dumps({"user": [1]}), "is a pickle, which may run code"),
        (b"\x89HDF\r\n\x1a\n", r"is an HDF5 file.*pandas\.read_hdf\('"),
        (gzip.compress(b"X\n\0\0\0\3", mtime=0), r"is an R object.*readRDS\('"),
        (gzip.compress(b"RDX3\nX\n", mtime=0), "is an R workspace.*write.csv\\(TABLE"),
        (b"$FL2@(#) SPSS DATA FILE\0", r"is an SPSS file.*read_spss\('"),
        (b"<stata_dta><header>\0", r"is a Stata file.*read_stata\('"),
        (b"\0" * 12 + b"\xc2\xea\x81\x60\xb3", r"is a SAS file.*read_sas\('"),
        (b"\x0f\0\0\0\x10user\0\1\0\0\0\0\x07", "is BSON.*bsondump .* > log.jsonl"),
        (b"Rar!\x1a\x07", "is a RAR archive, not a log. Unpack it: unrar x"),
        (b"\0" * 8 + b"DUCK", "is a DuckDB database. Pass a query"),
        (b"", "is empty: it has no bytes"),
    ],
)
def test_other_files_are_named(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=says):
        detect(path)


def test_databases_and_arrays_are_named(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "log.db") as database:
        database.execute("CREATE TABLE t (a)")
        with pytest.raises(SourceError, match="is an SQLite database") as unknown:
            detect(tmp_path / "log.db")
        database.execute("CREATE TABLE [my orders] (user_id, sku)")
    database.close()
    export = f'Export the table: sqlite3 -header -csv {tmp_path / "log.db"} "SELECT * FROM'
    assert f'{export} [TABLE]" > log.csv, with its name in place of TABLE.' in str(unknown.value)
    with pytest.raises(SourceError, match="is an SQLite database") as found:
        detect(tmp_path / "log.db")
    assert f'{export} [my orders]" > log.csv. Its tables are: my orders, t.' in str(found.value)
    np.save(tmp_path / "log.npy", np.arange(3))
    with pytest.raises(SourceError, match="is a NumPy array"):
        detect(tmp_path / "log.npy")


def test_the_content_says_how_a_file_is_packed(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(gzip.compress(b'{"user": 1}\n'))
    assert detect(tmp_path / "log.csv") == "json"
    (tmp_path / "log.csv.gz").write_bytes(b"user,item\n1,2\n")
    assert detect(tmp_path / "log.csv.gz") == "csv"
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"user,item\n" * 9000)[:40])
    with pytest.raises(SourceError, match="cannot be read: Compressed file ended"):
        detect(tmp_path / "cut.csv.gz")


def test_names_mean_formats() -> None:
    assert [name_format(Path(name)) for name in ("a.CSV.gz", "a.ndjson", "a.pq", "a.csv.bz2", "a.md")] == [
        "csv", "json", "parquet", "csv", ""
    ]  # fmt: skip


def test_matrix_market_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "log.mtx"
    path.write_text("%%MatrixMarket matrix coordinate integer general\n2 2 3\n1 1 5\n1 2 4\n2 2 3\n")
    with pytest.raises(SourceError, match=r"Matrix Market form.*scipy\.io\.mmread"):
        detect(path)
    matrix = scipy.io.mmread(path)  # as the error advises
    data = ingest(pd.DataFrame({"user": matrix.row, "item": matrix.col, "weight": matrix.data})).data
    assert (len(data.users), len(data.items), len(data.events)) == (2, 2, 3)


def test_the_way_out_for_arrays_works(tmp_path: Path) -> None:
    scipy.sparse.save_npz(tmp_path / "m.npz", scipy.sparse.csr_array(np.eye(3)))
    np.savez(tmp_path / "a.npz", who=np.arange(3), what=np.arange(3))
    for name, answers in (("m.npz", ()), ("a.npz", ("who", "what"))):
        with pytest.raises(SourceError, match="has NumPy arrays") as refused:
            ingest(tmp_path / name)
        steps = str(refused.value).split("Pass them in Python: ")[1].split(", where NAME")[0].rstrip(".")
        for answer in answers:
            steps = steps.replace("NAME", answer, 1)
        first, call = steps.split("; ")
        space: dict[str, Any] = {"scipy": scipy, "pandas": pd, "numpy": np, "ingest": ingest}
        exec(first, space)
        assert eval(call, space).data.users.ids.tolist() == [0, 1, 2]
        if "arrays" in space:
            space["arrays"].close()
