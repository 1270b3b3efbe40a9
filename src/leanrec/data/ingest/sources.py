"""Sources of a log: files of any common format, folders, data frames and SQL queries.

Each file, frame or query becomes a ``SourcePart``: a table expression for DuckDB, with its column names and types. The
format of a file follows from its content first and from its name second.
"""

import dataclasses
import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from leanrec.data.engine import SqlEngine, quote_literal
from leanrec.data.ingest.text_files import PACKED, DelimitedFile, convert_to_utf8, guess_types, open_delimited
from leanrec.errors import SourceError

__all__ = ["Source", "SourcePart", "SqlQuery", "describe_source", "open_parts"]

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_HEAD = 65_536
_EXAMPLE = '{"user": 1, "item": 2}'


@dataclasses.dataclass(frozen=True)
class SqlQuery:
    """A query as a source.

    Attributes:
        query: one SELECT in DuckDB's SQL; it may read files itself.
        database: a DuckDB file whose tables the query names, or None.
    """

    query: str
    database: str | Path | None = None


Source: TypeAlias = Any
"""A path, a list of paths, {event type: path}, a pandas, Polars or Arrow frame, ``"sql:SELECT …"`` or ``SqlQuery``."""


@dataclasses.dataclass(frozen=True)
class SourcePart:
    """One table of a log.

    Attributes:
        label: its name in messages and in the quarantine file.
        scan: SQL table expression.
        types: column name → DuckDB type; for delimited text, guessed from the first rows.
        form: "csv", "json", "parquet", "frame" or "sql".
        event_type: the event type of all its rows, or None.
        size: bytes on disk; 0 = unknown.
        file: the file of delimited text; None for other formats.
        rejected: table of the unreadable lines (line, csv_line, reason) once the text was read, else "".
        notes: repairs made while reading, in sentences.
    """

    label: str
    scan: str
    types: Mapping[str, str]
    form: str
    event_type: str | None = None
    size: int = 0
    file: DelimitedFile | None = None
    rejected: str = ""
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in the order of the table."""
        return tuple(self.types)


def describe_source(source: Source) -> str:
    """Describe the source in a few words, for reports and messages."""
    if isinstance(source, SqlQuery):
        return f"sql:{source.query}"[:200]
    if isinstance(source, str | Path):
        return str(source)[:200]
    if isinstance(source, Mapping):
        return ", ".join(f"{event_type}={describe_source(each)}" for event_type, each in source.items())[:200]
    if isinstance(source, list | tuple):
        return ", ".join(map(describe_source, source))[:200]
    return f"a {type(source).__module__.partition('.')[0]} {type(source).__name__}"


def open_parts(engine: SqlEngine, source: Source, *, name: str = "log", positions: bool = False) -> list[SourcePart]:
    """Open the tables of ``source``. Raises SourceError if one cannot be read.

    Args:
        engine: the connection.
        source: see ``Source``.
        name: prefix of the tables that are registered in the engine.
        positions: delimited text has no header; its columns are named "1", "2", …
    """
    named: list[tuple[str | None, Source]] = [(None, source)]
    if isinstance(source, Mapping):
        named = [(str(event_type), each) for event_type, each in source.items()]
    elif isinstance(source, list | tuple):
        named = [(None, each) for each in source]
    parts: list[SourcePart] = []
    for event_type, each in named:
        table, found = f"leanrec_{name}_{len(parts)}", []
        if isinstance(each, SqlQuery):
            found = [_run_query(engine, each, table)]
        elif isinstance(each, str) and each.lower().startswith("sql:"):
            found = [_run_query(engine, SqlQuery(each[4:]), table)]
        elif isinstance(each, str | os.PathLike):
            files = _find_files(Path(each).expanduser())
            found = [_open_file(engine, file, positions, f"{table}_{i}") for i, file in enumerate(files)]
        else:
            engine.register_table(table, each)
            label = describe_source(each)
            found = [SourcePart(label, table, _column_types(engine, table, label), "frame")]
        parts += [dataclasses.replace(part, event_type=event_type) for part in found]
    if not parts:
        raise SourceError("A source must name at least one file. Got none.")
    return parts


def _run_query(engine: SqlEngine, sql: SqlQuery, name: str) -> SourcePart:
    if sql.database is not None:
        path = Path(sql.database).expanduser()
        if not path.is_file():
            raise SourceError(f"{path} does not exist, so the query cannot run. Check the path of the database.")
        engine.execute(f"ATTACH {quote_literal(path)} AS leanrec_source (READ_ONLY)", f"The database {path}")
        engine.execute("USE leanrec_source", f"The database {path}")
    try:
        # Kept as a table: a query may be costly, and may return another order when it runs again.
        engine.execute(
            f"CREATE TEMP TABLE {name} AS {sql.query.strip().rstrip(';')}", f"The query {sql.query.strip()!r}"
        )
    finally:
        if sql.database is not None:
            engine.execute("USE memory")
            engine.execute("DETACH leanrec_source")
    return SourcePart("the query", f"temp.{name}", _column_types(engine, f"temp.{name}", "The query"), "sql")


def _column_types(engine: SqlEngine, scan: str, what: str) -> dict[str, str]:
    return {row[0]: row[1] for row in engine.fetch_rows(f"DESCRIBE SELECT * FROM {scan}", what)}


def _find_files(path: Path) -> list[Path]:
    """Return the files of a path, a pattern or a folder."""
    if (path / "manifest.json").is_file():
        raise SourceError(
            f"{path} is a folder that leanrec wrote, not a log, and cannot be read beside other files or as a table. "
            "If it is a data set, pass it alone; otherwise pass the log that it was made from."
        )
    if path.is_dir():
        return _list_folder(path)
    if path.exists():
        return [path]
    if any(character in str(path) for character in "*?["):
        found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())  # noqa: PTH207 - the pattern may be absolute
        if not found:
            raise SourceError(f"No file matches {path}. Check the pattern; it is relative to {Path.cwd()}.")
        return found
    try:
        near = sorted(each.name for each in path.parent.iterdir() if _format_by_name(each))[:8]
    except OSError:
        near = []
    there = f" In {path.parent} there is: {', '.join(near)}." if near else ""
    raise SourceError(f"{path} does not exist.{there} Check the path.")


def _list_folder(path: Path) -> list[Path]:
    hidden = (".", "_")
    files = sorted(
        each
        for each in path.rglob("*")
        if each.is_file() and not each.name.startswith(hidden) and _format_by_name(each)
    )
    if not files:
        raise SourceError(f"The folder {path} has no data. It must have files ending in {', '.join(_SUFFIXES)}.")
    forms = sorted({_format_by_name(each) for each in files})
    if len(forms) > 1:
        raise SourceError(
            f"The folder {path} must have one log in files of one format. It has {' and '.join(forms)}; "
            f"pass one file or a pattern, such as {path / ('*' + files[0].suffix)}."
        )
    return files


def _format_by_name(path: Path) -> str:
    """Return the format that the name of a file means, "" for other names."""
    name = path.name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return next((form for suffix, form in _SUFFIXES.items() if name.endswith(suffix)), "")


def _open_file(engine: SqlEngine, source: Path, positions: bool, name: str) -> SourcePart:
    path = convert_to_utf8(engine, source)
    form, head = _detect_format(path)
    if form == "parquet":
        scan = f"read_parquet({quote_literal(path)}, file_row_number = true)"
        types = _column_types(engine, scan, str(path))
        types.pop("file_row_number", None)
        return SourcePart(str(source), scan, types, form, size=path.stat().st_size)
    if form == "json":
        is_array = path.suffix.lower() not in PACKED and head.lstrip().startswith(b"[")
        options = "format = 'array'" if is_array else "format = 'newline_delimited', ignore_errors = true"
        scan = f"read_json({quote_literal(path)}, {options}, sample_size = 20480)"
        types = _column_types(engine, scan, str(path))
        if tuple(types) == ("json",):
            raise SourceError(f"{path} has no JSON objects. Each line must be one, such as {_EXAMPLE}.")
        return SourcePart(str(source), scan, types, form, size=path.stat().st_size)
    file = open_delimited(engine, path, positions=positions, rejects=f"{name}_rejects")
    types = guess_types(engine, file)
    return SourcePart(str(source), file.scan(), types, form, size=path.stat().st_size, file=file)


def _detect_format(path: Path) -> tuple[str, bytes]:
    """Return the format of a file and its first bytes. Raises SourceError where it is not a format that can be read."""
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEAD)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    if not head:
        raise SourceError(f"{path} is empty: it has no bytes. Check how it was written.")
    if head.startswith(b"PAR1"):
        return "parquet", head
    named = _format_by_name(path)
    if path.suffix.lower() in PACKED:
        return named or "csv", head
    if named == "parquet":
        raise SourceError(
            f"{path} is named as Parquet but does not begin with PAR1. It is damaged or has another format."
        )
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError(f"{path} is UTF-16 text. Pass encoding='utf-16', or save it as UTF-8.")
    if b"\0" in head:
        raise SourceError(
            f"{path} is a binary file (a zero byte at offset {head.index(0)}), not delimited text, JSON lines or "
            "Parquet. Export it as one of these."
        )
    is_json = named == "json" or head.lstrip().startswith((b"{", b"[{"))
    return "json" if is_json else "csv", head
