"""JSON: objects by line, in an array or one after the other, and lines of Python literals."""

import ast
import contextlib
import csv
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

from leanrec.data.engine import SqlEngine, quote_literal, quote_path
from leanrec.data.ingest.rejects import UNREADABLE
from leanrec.data.ingest.text_files import line_scan
from leanrec.errors import SourceError

__all__ = [
    "LENIENT",
    "clean_lines",
    "convert_literals",
    "drop_byte_order_mark",
    "find_json_layout",
    "json_scan",
    "keep_text",
    "unwrap_array",
]

LENIENT = ", ignore_errors = true"
"""Option of a scan of JSON lines that makes a row of missing values from a broken line."""

_BLOCK = 1_000_000
_MARK = b"\xef\xbb\xbf"
_BUFFER = 16_000_000
_MAX_LINE = 16_000_000
_MAX_TEXT = 100_000
_TAIL = 65_536
_FIELD = rb'"[^"\\]*"\s*:\s*(?:"[^"\\]*"|[-+.\w]+)'
_WRAPPER = re.compile(rb"\s*\{\s*(?:" + _FIELD + rb'\s*,\s*)*"[^"\\]*"\s*:\s*(?P<array>\[)\s*\{')
_WRAPPER_END = re.compile(rb"\](?:\s*,\s*" + _FIELD + rb")*\s*\}\s*\Z")
_LONG = re.compile(rb"[\[:,\s](?:[2-9]\d{19}|1[89]\d{18}|\d{21,})\s*[,}\]]")
_LAYOUTS = {"json": "newline_delimited", "json array": "array", "json objects": "unstructured"}


def find_json_layout(text: str) -> str:
    """Return "json" (one object a line), "json array", "json objects" (of several lines) or "python" (literals by line).

    ``text`` is the begin of the text, without blanks before it.
    """
    if text.startswith("["):
        return "json array"
    first, newline, more = text.partition("\n")
    if not newline:
        return "python" if _is_literal(first) else "json"
    if first.rstrip().endswith(("{", ",", "[")) and more[:1] in {" ", "\t", "\n", "\r", '"'}:
        return "json objects"
    return "python" if _is_literal(first) else "json"


def _is_literal(line: str) -> bool:
    """Whether a line is a dictionary in Python, and no JSON object."""
    if not line.startswith("{"):
        return False
    with contextlib.suppress(ValueError):
        json.loads(line)
        return False
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        return isinstance(ast.literal_eval(line.strip()), dict)
    return bool(re.match(r"\{u?'", line))


def json_scan(path: Path, layout: str) -> str:
    """Return the SQL table expression of a JSON file."""
    options = f"hive_partitioning = false, format = '{_LAYOUTS[layout]}'{LENIENT if layout == 'json' else ''}"
    return f"read_json({quote_path(path)}, {options}, sample_size = 20480)"


def keep_text(scan: str, types: Mapping[str, str], head: bytes) -> tuple[str, dict[str, str]]:
    """Return a scan, and its types, in which texts stay texts, and numbers beyond 64 bits keep their digits.

    DuckDB takes 03-04-2024 for a date with the month or the day first, and prints the letters of a UUID and the digits of a
    long number in its own way.
    """
    guessed = r"UUID|DATE|TIME|TIMESTAMP(?: WITH TIME ZONE|_NS|_MS|_S)?" + (r"|DOUBLE" if _LONG.search(head) else "")
    pattern = re.compile(rf"(?<![^\s(])(?:{guessed})(?=[,)\[]|$)")
    kept = {name: pattern.sub("VARCHAR", each) for name, each in types.items()}
    if kept == dict(types):
        return scan, kept
    columns = ", ".join(f"{quote_literal(name)}: {quote_literal(each)}" for name, each in kept.items())
    return f"{scan.removesuffix(')')}, columns = {{{columns}}})", kept


def drop_byte_order_mark(engine: SqlEngine, path: Path) -> Path:
    """Return an unpacked copy without the byte order mark, which DuckDB takes for a part of the first object."""
    packed = path.suffix.lower() == ".gz"
    target = engine.new_path(path.stem if packed else path.name)
    with cast("BinaryIO", gzip.open(path)) if packed else path.open("rb") as source, target.open("wb") as copy:
        copy.write(source.read(_BLOCK).removeprefix(_MARK))
        engine.copy_stream(source, copy, str(path))
    return target


def unwrap_array(engine: SqlEngine, path: Path, head: bytes) -> Path | None:
    """Return a copy of the array in a large file that is one object around it: ``{"count": 3, "data": [{…}, …]}``.

    None for a small file, which DuckDB reads as one object, and for a file of several objects. Fields beside the array must
    be plain values, and are left out. Cost: two passes over the bytes.
    """
    begin = _WRAPPER.match(head)
    size = path.stat().st_size
    if begin is None or path.suffix.lower() in {".gz", ".zst"} or size < _MAX_LINE:
        return None
    with path.open("rb") as source:
        source.seek(max(0, size - _TAIL))
        tail = source.read()
        end = _WRAPPER_END.search(tail)
        if end is None:
            return None
        source.seek(0)
        before = b""
        while data := source.read(_BLOCK):
            # Another object at the begin of a line: the file has several.
            if b"\n{" in before[-1:] + data:
                return None
            before = data
        source.seek(begin.start("array"))
        target = engine.new_path(path.name)
        length = size - len(tail) + end.start() + 1 - begin.start("array")
        with target.open("wb") as copy:
            while length and (data := source.read(min(_BLOCK, length))):
                engine.check_disk(len(data), str(path))
                copy.write(data)
                length -= len(data)
    return target


def clean_lines(engine: SqlEngine, path: Path, table: str, label: str) -> tuple[Path, str]:
    """Return a copy of JSON lines without those that are no object, and a sentence about these, "" where there are none.

    They are listed in ``table``. Cost: O(bytes) time and disk.
    """
    target = engine.new_path(f"{table}.jsonl")
    options = f"buffer_size = {_BUFFER * 2}, max_line_size = {_MAX_LINE}"
    lines = line_scan(path, _BUFFER).replace(f"buffer_size = {_BUFFER}", options)
    is_object = "CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END"
    engine.execute(
        f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT line_number AS line, left(line, {_MAX_TEXT}) AS csv_line, "
        f"{quote_literal(UNREADABLE)} AS reason FROM (SELECT line, row_number() OVER () AS line_number FROM {lines}) "
        f"WHERE trim(coalesce(line, '')) <> '' AND NOT {is_object}",
        str(path),
    )
    engine.execute(
        f"COPY (SELECT line FROM {lines} WHERE line IS NOT NULL AND {is_object}) TO {quote_literal(target)} "
        "(FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIM '\x1d')",
        str(path),
    )
    broken, first, text = engine.fetch_rows(f"SELECT count(*), min(line), arg_min(csv_line, line) FROM {table}")[0]
    if not broken:
        return target, ""
    lines = "1 line is" if broken == 1 else f"{broken:,} lines are"
    return target, f"{label}: {lines} no JSON object (the first is line {first:,}: {text[:60]!r})."


def convert_literals(engine: SqlEngine, path: Path, table: str) -> Path:
    """Return a copy of lines of Python dictionaries as JSON lines; other lines are listed in ``table``.

    Cost: O(bytes), about 20 microseconds a line.
    """
    target, aside = engine.new_path(f"{table}.jsonl"), engine.new_path(f"{table}.csv")
    packed = path.suffix.lower() == ".gz"
    if path.suffix.lower() == ".zst":
        raise SourceError(f"{path} has lines of Python dictionaries. Unpack the .zst file first: zstd -d {path}")
    with (
        cast("BinaryIO", gzip.open(path)) if packed else path.open("rb") as source,
        target.open("w", encoding="utf-8") as good,
        aside.open("w", encoding="utf-8", newline="") as bad,
    ):
        rejected = csv.writer(bad)
        for number, line, found in _read_literals(source):
            if found is None:
                rejected.writerow((number, UNREADABLE, line[:_MAX_TEXT]))
            else:
                good.write(json.dumps(found, default=str) + "\n")
    engine.execute(
        f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT * FROM read_csv({quote_literal(aside)}, auto_detect = false, header = false, "
        "quote = '\"', escape = '\"', columns = {'line': 'BIGINT', 'reason': 'VARCHAR', 'csv_line': 'VARCHAR'})",
        str(path),
    )
    return target


def _read_literals(source: BinaryIO) -> Iterator[tuple[int, str, dict[str, object] | None]]:
    """Yield number, text and value of each line; None where it is no dictionary."""
    for number, raw in enumerate(source, 1):
        line = raw.removeprefix(_MARK).decode("utf-8", "replace").strip()
        if not line:
            continue
        found = None
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            found = ast.literal_eval(line)
        yield number, line, found if isinstance(found, dict) else None
