"""Refusals of binary files: databases, arrays, pickles and files of other programs, by their first bytes."""

import contextlib
import re
import shlex
import sqlite3
from pathlib import Path
from urllib.parse import quote

from leanrec.data.ingest.forms.refusals.arrays import advise_array_file, advise_matlab
from leanrec.data.ingest.meaning.column_names import list_roles
from leanrec.errors import SourceError

__all__ = ["refuse_binary"]

_PANDAS = "Save it with pandas.DataFrame(…).to_parquet('log.parquet'), and pass that file."
_R_TABLE = 'Save the table in R, with its name in place of TABLE: load({path!r}); write.csv(TABLE, "log.csv", row.names = FALSE)'
_R_OBJECT = 'Save it in R: write.csv(readRDS({path!r}), "log.csv", row.names = FALSE)'
_SPSS = "Save it as Parquet: pandas.read_spss({path!r}).to_parquet('log.parquet')"
_SAS = "Save it as Parquet: pandas.read_sas({path!r}{form}).to_parquet('log.parquet')"
_ACCESS = "Export its table as CSV in Access, or with mdbtools: mdb-export {quoted} TABLE > log.csv, where mdb-tables {quoted} has the names."
# First bytes → what it is, and the way out.
_NOT_READ = {
    b"\x89HDF\r\n": (
        "an HDF5 file",
        "Save its table as Parquet: pandas.read_hdf({path!r}).to_parquet('log.parquet'), or read its arrays with h5py into a frame.",
    ),
    b"%PDF": ("a PDF document", "Pass the log that it was made from."),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook (.xls)", "Save it as CSV, or as .xlsx."),
    b"Rar!": ("a RAR archive", "Unpack it: unrar x {quoted}"),
    b"7z\xbc\xaf": ("a 7-Zip archive", "Unpack it: 7z x {quoted}"),
    b"\x04\x22\x4d\x18": ("packed with LZ4", "Unpack it: lz4 -d {quoted}"),
    b"\xff\x06\x00\x00sNaPpY": ("packed with Snappy", "Unpack it first."),
    b"MATLAB 7.3": (
        "a MATLAB file of version 7.3, which is HDF5",
        (
            "Pass its arrays in Python: file = h5py.File({path!r}); ingest(pandas.DataFrame({{'user': file['NAME'][()].ravel(), 'item': "
            "file['NAME'][()].ravel()}})), where file.keys() has the names."
        ),
    ),
    b"RDX": ("an R workspace", _R_TABLE),
    b"RDA": ("an R workspace", _R_TABLE),
    b"X\n\0\0\0": ("an R object (.rds)", _R_OBJECT),
    b"A\n2\n": ("an R object (.rds)", _R_OBJECT),
    b"A\n3\n": ("an R object (.rds)", _R_OBJECT),
    b"$FL2": ("an SPSS file", _SPSS),
    b"$FL3": ("an SPSS file", _SPSS),
    b"<stata_dta>": ("a Stata file", "Save it as Parquet: pandas.read_stata({path!r}).to_parquet('log.parquet')"),
    b"\0" * 12 + b"\xc2\xea\x81\x60": ("a SAS file", _SAS.replace("{form}", ", format='sas7bdat'")),
    b"HEADER RECORD*******LIBRARY": ("a SAS transport file", _SAS.replace("{form}", ", format='xport'")),
    b"\0\1\0\0Standard Jet DB": ("an Access database", _ACCESS),
    b"\0\1\0\0Standard ACE DB": ("an Access database", _ACCESS),
    b"\x89PNG": ("a picture", "Pass a log."),
    b"\xff\xd8\xff": ("a picture", "Pass a log."),
}
_BSON_TYPES = b"\x01\x02\x03\x07\x09\x10\x12"
# Protocols 2 to 5, then 1; protocol 0 is text: (dp0, (lp0, cpandas.core.frame.
_PICKLE = re.compile(
    rb"\x80[\x02-\x05](?:\x95|[}\](cX\x8c])|[}\]]q\x00|\([dlt]p\d+\n|c[A-Za-z_][\w.]*\n[A-Za-z_]\w*\n(?:p\d+\n)?\("
)


def refuse_binary(path: Path, data: bytes, label: str) -> None:
    """Raise SourceError where the first bytes of a file are those of a format that is not read.

    Args:
        path: the file.
        data: its first bytes, unpacked.
        label: its name in messages.
    """
    if data.startswith(b"SQLite format 3\0"):
        raise SourceError(f"{label} is an SQLite database, not a log. {_advise_export(path, label)}")
    if data.startswith(b"\x93NUMPY"):
        raise SourceError(f"{label} is a NumPy array, not a log. {advise_array_file(data, label)}")
    for magic, (what, way_out) in _NOT_READ.items():
        if data.startswith(magic):
            advice = way_out.format(path=label, quoted=shlex.quote(label))
            raise SourceError(f"{label} is {what}, not a log. {advice}")
    if data.startswith(b"MATLAB 5.0"):
        raise SourceError(f"{label} is a MATLAB file, not a log. {advise_matlab(path, label)}")
    if _PICKLE.match(data):
        raise SourceError(
            f"{label} is a pickle, which may run code when it is opened, and is not read. {_PANDAS} For a frame that "
            f"is: pandas.read_pickle({label!r})."
        )
    # A document of BSON: its length, fields by their types, and a zero byte at its end.
    length = int.from_bytes(data[:4], "little")
    if 5 < length <= len(data) and data[4] in _BSON_TYPES and data[length - 1] == 0:
        raise SourceError(
            f"{label} is BSON, as mongodump writes it, not a log. Convert it: bsondump {shlex.quote(label)} > log.jsonl, or export the "
            "collection with mongoexport, and pass that file."
        )
    if data[8:12] == b"DUCK":
        raise SourceError(
            f'{label} is a DuckDB database. Pass a query in Python: SqlQuery("SELECT * FROM TABLE", {label!r}).'
        )
    _refuse_records(data, label)


def _refuse_records(data: bytes, label: str) -> None:
    """Raise SourceError for records of TensorFlow."""
    # A record of TensorFlow: its length, a checksum of it, and a message of Protocol Buffers whose first field is of that length.
    record = int.from_bytes(data[:8], "little")
    if data[12:13] == b"\x0a" and 2 < record < len(data) and data[13] + 2 <= record:
        raise SourceError(
            f"{label} is a file of TensorFlow records, not a log. Save the fields of its examples as Parquet with tensorflow: "
            f"[tensorflow.train.Example.FromString(each.numpy()) for each in tensorflow.data.TFRecordDataset({label!r})]."
        )


def _advise_export(path: Path, label: str) -> str:
    """Return the command that exports the log of an SQLite database, or a table whose name is to be filled in, and the tables."""
    tables: dict[str, set[str]] = {}
    address = f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1"
    listed = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(address, uri=True)) as database:
        for (name,) in database.execute(listed).fetchall():
            columns = database.execute("SELECT name FROM pragma_table_info(?)", (name,))
            tables[name] = list_roles(column for (column,) in columns)
    logs = [name for name, roles in tables.items() if {"user", "item"} <= roles]
    table = f"[{logs[0]}]" if len(logs) == 1 else "[TABLE]"
    named = ", with its name in place of TABLE." if table == "[TABLE]" else "."
    more = f" Its tables are: {', '.join(tables)}." if tables else ""
    return f'Export the table: sqlite3 -header -csv {shlex.quote(label)} "SELECT * FROM {table}" > log.csv{named}{more}'
