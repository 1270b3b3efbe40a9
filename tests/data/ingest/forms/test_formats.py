"""Files that are no table are named for what they are, with the way out."""

import gzip
import pickle
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io

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
        (b"<?xml version='1.0'?><Error/>", "is XML, not a log"),
        (b"%PDF-1.7\n", "is a PDF document"),
        (b"1 0:1 7:1\n0 3:1 9:0.5\n", "is in the LIBSVM form.*awk"),
        (pickle.dumps({"user": [1]}), "is a pickle, which may run code"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
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
    database.close()
    with pytest.raises(SourceError, match="is an SQLite database.*sqlite3 -header -csv"):
        detect(tmp_path / "log.db")
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
