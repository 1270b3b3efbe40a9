"""What a file is, by its first bytes: a format that can be read, or one that is named with the way out."""

import contextlib
import dataclasses
import gzip
import re
import shlex
import sqlite3
import zlib
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote

from leanrec.data.engine import SqlEngine
from leanrec.data.ingest.forms.containers.sql_dumps import is_dump
from leanrec.data.ingest.forms.json_text import find_json_layout
from leanrec.data.ingest.forms.typed_header import TYPED_SUFFIXES
from leanrec.data.ingest.meaning.column_names import list_roles
from leanrec.data.ingest.text_files import PACKED, line_scan
from leanrec.errors import SourceError

__all__ = ["SUFFIXES", "FileHead", "detect_format", "name_format", "read_head"]

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    **dict.fromkeys(TYPED_SUFFIXES, "csv"),
}
"""Suffix → format, for the choice of files in a folder."""

_ARCHIVES = (".bz2", ".xz", ".zip")
# Numbers and days behind the suffix: data.csv.gz.1, log.csv.2024-01-31.
_ROTATED = re.compile(r"(?<=[a-z])(\.[\d_-]+)+$")
_HEAD = 262_144
_EXPORT = "Export it as delimited text, JSON lines or Parquet."
_PANDAS = "Save it with pandas.DataFrame(…).to_parquet('log.parquet'), and pass that file."
# First bytes → format that is read by another library.
_READABLE = {b"PAR1": "parquet", b"ARROW1": "arrow", b"FEA1": "feather", b"ORC": "orc", b"Obj\x01": "avro"}
# First bytes → what it is, and the way out.
_NOT_READ = {
    b"SQLite format 3\0": ("an SQLite database", ""),  # the way out has the names of its tables
    b"\x93NUMPY": (
        "a NumPy array",
        (
            "Pass it in Python, with the names of its columns: "
            "ingest(pandas.DataFrame(numpy.load({path!r})).rename({{0: 'user', 1: 'item'}}, axis=1))."
        ),
    ),
    b"\x89HDF\r\n": (
        "an HDF5 file",
        "Save its table as Parquet: pandas.read_hdf({path!r}).to_parquet('log.parquet'), or read its arrays with h5py into a frame.",
    ),
    b"%PDF": ("a PDF document", "Pass the log that it was made from."),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook (.xls)", "Save it as CSV, or as .xlsx."),
    b"Rar!": ("a RAR archive", "Unpack it: unrar x {path}"),
    b"7z\xbc\xaf": ("a 7-Zip archive", "Unpack it: 7z x {path}"),
    b"\x04\x22\x4d\x18": ("packed with LZ4", "Unpack it: lz4 -d {path}"),
    b"\xff\x06\x00\x00sNaPpY": ("packed with Snappy", "Unpack it first."),
    b"MATLAB 5.0": (
        "a MATLAB file",
        (
            "Pass its arrays in Python: arrays = scipy.io.loadmat({path!r}); ingest(pandas.DataFrame({{'user': arrays['NAME'].ravel(), "
            "'item': arrays['NAME'].ravel()}})), where arrays.keys() has the names."
        ),
    ),
    b"RDX": (
        "an R workspace",
        'Save the table in R, with its name in place of TABLE: load({path!r}); write.csv(TABLE, "log.csv", row.names = FALSE)',
    ),
    b"X\n\0\0\0": ("an R object (.rds)", 'Save it in R: write.csv(readRDS({path!r}), "log.csv", row.names = FALSE)'),
    b"$FL2": ("an SPSS file", "Save it as Parquet: pandas.read_spss({path!r}).to_parquet('log.parquet')"),
    b"<stata_dta>": ("a Stata file", "Save it as Parquet: pandas.read_stata({path!r}).to_parquet('log.parquet')"),
    b"\0" * 12 + b"\xc2\xea\x81\x60": (
        "a SAS file",
        "Save it as Parquet: pandas.read_sas({path!r}).to_parquet('log.parquet')",
    ),
    b"\x89PNG": ("a picture", "Pass a log."),
    b"\xff\xd8\xff": ("a picture", "Pass a log."),
}
_BSON_TYPES = b"\x01\x02\x03\x07\x09\x10\x12"
_PICKLE = re.compile(rb"\x80[\x02-\x05](?:\x95|[}\](cX\x8c])")
_MARKUP = re.compile(rb"\s*<(?:!doctype\s+html|html|head|body)", re.IGNORECASE)
_XML = re.compile(rb"\s*<\?xml|\s*<[A-Za-z][\w:]*[ >]")
_SQL_SCRIPT = re.compile(r"^insert\s+(?:into\s+)?[\w.\"\[\]]+\s*\([^)]*\)\s*values\s*\(", re.IGNORECASE | re.MULTILINE)
# A date with a time of day has colons too.
_FFM = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[ \t]\d+:\d+:[-+.\deE]+){2,}\s*")
_LIBSVM = re.compile(r"[^\s,;]+(?: \d+:[-+.\deE]+)+\s*")


@dataclasses.dataclass(frozen=True)
class FileHead:
    """The begin of a file.

    Attributes:
        path: the file, under a name that says how it is packed.
        data: the first bytes, unpacked.
        complete: whether these are all bytes.
    """

    path: Path
    data: bytes
    complete: bool


def name_format(path: Path) -> str:
    """Return the format that the name of a file means, "" for other names."""
    name = _ROTATED.sub("", path.name.lower())
    for packed in (*PACKED, *_ARCHIVES):
        name = name.removesuffix(packed)
    return next((form for suffix, form in SUFFIXES.items() if name.endswith(suffix)), "")


def read_head(engine: SqlEngine, path: Path) -> FileHead:
    """Read the first bytes of a file that is plain, or packed with gzip or Zstandard under any name.

    Raises SourceError where it is empty or cannot be read.
    """
    try:
        with path.open("rb") as handle:
            raw = handle.read(_HEAD)
        if not raw:
            raise SourceError(f"{path} is empty: it has no bytes. Check how it was written.")
        packed = ".gz" if raw.startswith(b"\x1f\x8b") else ".zst" if raw.startswith(b"\x28\xb5\x2f\xfd") else ""
        named = path.suffix.lower() if path.suffix.lower() in PACKED else ""
        if packed != named:
            # DuckDB unpacks by the name.
            path = engine.link_file(path, path.name.removesuffix(path.suffix if named else "") + packed)
        if packed == ".gz":
            with cast("BinaryIO", gzip.open(path)) as handle:
                data = handle.read(_HEAD)
        elif packed == ".zst":
            rows = engine.fetch_rows(f"SELECT line FROM {line_scan(path, 4_000_000, 'latin-1')} LIMIT 1000", str(path))
            data = "".join(f"{line or ''}\n" for (line,) in rows).encode("latin-1")[:_HEAD]
        else:
            data = raw
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"{path} cannot be read: {reason}. Check the file and its permissions.") from error
    return FileHead(path, data, len(data) < _HEAD and packed != ".zst")


def detect_format(head: FileHead, label: str, *, known_encoding: bool = False) -> str:
    """Return "parquet", "arrow", "feather", "orc", "avro", "csv", or the layout of JSON: see ``find_json_layout``.

    Raises SourceError where the file is none of these: what it is, and what to do.
    """
    data = head.data
    if form := next((form for magic, form in _READABLE.items() if data.startswith(magic)), ""):
        return form
    for magic, (what, way_out) in _NOT_READ.items():
        if data.startswith(magic):
            advice = way_out.format(path=label) or _advise_export(head.path, label)
            raise SourceError(f"{label} is {what}, not a log. {advice}")
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
    named = name_format(head.path)
    if named == "parquet":
        raise SourceError(
            f"{label} is named as Parquet but does not begin with PAR1. It is damaged or has another format."
        )
    if not known_encoding and b"\0" in data:
        raise SourceError(
            f"{label} is a binary file (a zero byte at offset {data.index(0)}), not delimited text, JSON lines or "
            "Parquet. Export it as one of these."
        )
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    _refuse_other_text(data, text, label)
    stripped = text.lstrip()
    if named == "json" or stripped.startswith(("{", "[{")) or re.match(r"\[\s*\{", stripped):
        return find_json_layout(stripped)
    return "csv"


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


def _refuse_other_text(data: bytes, text: str, label: str) -> None:
    """Raise where a text is no table."""
    if data.startswith(b"%%MatrixMarket"):
        raise SourceError(
            f"{label} is in the Matrix Market form, whose second line gives sizes. Pass it in Python: "
            f"matrix = scipy.io.mmread({label!r}); ingest(pandas.DataFrame({{'user': matrix.row, 'item': matrix.col, "
            "'weight': matrix.data}))."
        )
    if data.startswith(b"version https://git-lfs"):
        raise SourceError(
            f"{label} is a pointer of Git LFS, not the file itself. Fetch the file with git lfs pull in the "
            "repository that it comes from."
        )
    if _MARKUP.match(data.removeprefix(b"\xef\xbb\xbf")):
        if re.search(r"<table\b", text, re.IGNORECASE):
            raise SourceError(
                f"{label} is an HTML page with a table, not a log. Open it in a spreadsheet and save it as CSV, or pass the table in Python: "
                f"ingest(pandas.read_html({label!r}, header=0)[0])."
            )
        title = re.search(r"<title>\s*(.*?)\s*</title>", text, re.IGNORECASE | re.DOTALL)
        called = f" (its title is {title[1][:80]!r})" if title else ""
        raise SourceError(
            f"{label} is an HTML page{called}, not a log. A download that needs a login or a confirmation returns "
            "such a page; download the file again in a browser."
        )
    if _XML.match(data.removeprefix(b"\xef\xbb\xbf")):
        raise SourceError(f"{label} is XML, not a log. {_EXPORT}")
    if _SQL_SCRIPT.search(text) and not is_dump(data):
        raise SourceError(
            f"{label} is a script of SQL Server or Oracle that fills tables. Run it in its database, and export the table as CSV: "
            "sqlcmd -Q 'SET NOCOUNT ON; SELECT * FROM TABLE' -s, -W -o log.csv for SQL Server, or SET MARKUP CSV ON, SPOOL log.csv and "
            "SELECT * FROM TABLE in SQL*Plus, with its name in place of TABLE."
        )
    lines = [line for line in text.splitlines()[:100] if line.strip()]
    whole = lines[:-1] if len(lines) > 1 else lines
    if whole and sum(_LIBSVM.fullmatch(line) is not None for line in whole) * 2 > len(whole):
        raise SourceError(
            f"{label} is in the LIBSVM form (LABEL INDEX:VALUE …), which names no user. If each line is a user and each "
            "index an item, write one line for each pair: "
            f'awk \'{{for (i = 2; i <= NF; i++) {{split($i, f, ":"); print NR "," f[1] "," f[2]}}}}\' {label} > log.csv, '
            'and pass log.csv with names="user,item,weight".'
        )
    if whole and sum(_FFM.fullmatch(line) is not None for line in whole) * 2 > len(whole):
        raise SourceError(
            f"{label} is in the form of libffm (LABEL FIELD:INDEX:VALUE …), which does not name the fields of users and items. Where these "
            "are the first and the second, write one line for each: "
            f'awk \'{{split($2, u, ":"); split($3, i, ":"); print u[2] "," i[2] "," $1}}\' {label} > log.csv, and pass log.csv with '
            'names="user,item,label".'
        )
