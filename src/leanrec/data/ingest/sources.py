"""Where a log comes from: files of any usual form, a folder, a frame, an SQL query.

Each file, frame or query becomes a ``Part``: a table expression that DuckDB scans, with its column names and
types. What a file is, its content decides first and its name second.
"""

import dataclasses
import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from leanrec.data.engine import SqlEngine, quote_literal
from leanrec.data.ingest.text_files import PACKED, DelimitedFile, guess_types, open_delimited
from leanrec.data.ingest.transcoding import recoded
from leanrec.errors import SourceError

__all__ = ["SourcePart", "Source", "SqlQuery", "describe_source", "open_parts"]

_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".pq")
_HEAD = 65_536
_ARRAY = "format = 'array'"
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
"""A path, a list of paths, {"event_type": path}, a pandas, Polars or Arrow frame, ``"sql:SELECT …"`` or ``SqlQuery``."""


@dataclasses.dataclass(frozen=True)
class SourcePart:
    """One table of a log.

    Attributes:
        label: what to call it in messages and in the quarantine file.
        scan: SQL table expression.
        types: column name → DuckDB type. In delimited text it is what the first rows look like.
        form: "csv", "json", "parquet", "frame" or "sql".
        event_type: the event type of all its rows, or None.
        size: bytes on disk; 0 = unknown.
        file: delimited text as it lies on disk; None for other forms.
        aside: table of the lines that could not be read (line, csv_line, reason) once the text was read, else "".
        notes: what reading it had to put right, in sentences.
    """

    label: str
    scan: str
    types: Mapping[str, str]
    form: str
    event_type: str | None = None
    size: int = 0
    file: DelimitedFile | None = None
    aside: str = ""
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in the order of the table."""
        return tuple(self.types)


def describe_source(source: Source) -> str:
    """The source in a few words, for people."""
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
    """The tables of ``source``. Raises SourceError: what cannot be read, where, and what to do.

    Args:
        engine: reads them.
        source: see ``Source``.
        name: prefix for what has to be registered in the engine.
        positions: delimited text has no line of names; its columns are called "1", "2", …
    """
    named: list[tuple[str | None, Source]] = [(None, source)]
    if isinstance(source, Mapping):
        named = [(str(event_type), each) for event_type, each in source.items()]
    elif isinstance(source, list | tuple):
        named = [(None, each) for each in source]
    parts: list[SourcePart] = []
    for event_type, each in named:
        opened = _open_one(engine, each, positions, f"leanrec_{name}_{len(parts)}")
        parts += [dataclasses.replace(part, event_type=event_type) for part in opened]
    if not parts:
        raise SourceError("A source must name at least one file. Got none.")
    return parts


def _open_one(engine: SqlEngine, source: Source, positions: bool, name: str) -> list[SourcePart]:
    if isinstance(source, SqlQuery):
        return [_query(engine, source, name)]
    if isinstance(source, str) and source.lower().startswith("sql:"):
        return [_query(engine, SqlQuery(source[4:]), name)]
    if isinstance(source, str | os.PathLike):
        files = _files(Path(source).expanduser())
        return [_file(engine, file, positions, f"{name}_{i}") for i, file in enumerate(files)]
    engine.register_table(name, source)
    label = describe_source(source)
    return [SourcePart(label, name, _types(engine, name, label), "frame")]


def _query(engine: SqlEngine, sql: SqlQuery, name: str) -> SourcePart:
    if sql.database is not None:
        path = Path(sql.database).expanduser()
        if not path.is_file():
            raise SourceError(f"{path} does not exist, so the query cannot run. Check the path of the database.")
        engine.execute(f"ATTACH {quote_literal(path)} AS leanrec_source (READ_ONLY)", f"The database {path}")
        engine.execute("USE leanrec_source", f"The database {path}")
    try:
        # Kept as a table: a query may be costly, and may give another order when it is asked again.
        engine.execute(f"CREATE TEMP TABLE {name} AS {sql.query.strip().rstrip(';')}", f"The query {sql.query.strip()!r}")
    finally:
        if sql.database is not None:
            engine.execute("USE memory")
            engine.execute("DETACH leanrec_source")
    return SourcePart("the query", f"temp.{name}", _types(engine, f"temp.{name}", "The query"), "sql")


def _types(engine: SqlEngine, scan: str, what: str) -> dict[str, str]:
    return {row[0]: row[1] for row in engine.fetch_rows(f"DESCRIBE SELECT * FROM {scan}", what)}


def _files(path: Path) -> list[Path]:
    if (path / "manifest.json").is_file():
        raise SourceError(
            f"{path} is a folder that leanrec wrote, not a log, and cannot be read beside other files or as a table. "
            "If it is a data set, name it alone; otherwise name the log that it was made of."
        )
    if path.is_dir():
        return _folder(path)
    if path.exists():
        return [path]
    if any(character in str(path) for character in "*?["):
        found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())  # noqa: PTH207 - the pattern may be absolute
        if not found:
            raise SourceError(f"No file matches {path}. Check the pattern; it is expanded from {Path.cwd()}.")
        return found
    near = [each.name for each in _siblings(path)][:8]
    there = f" In {path.parent} there is: {', '.join(near)}." if near else ""
    raise SourceError(f"{path} does not exist.{there} Check the path.")


def _siblings(path: Path) -> list[Path]:
    try:
        return sorted(each for each in path.parent.iterdir() if _form_by_name(each))
    except OSError:
        return []


def _folder(path: Path) -> list[Path]:
    hidden = (".", "_")
    files = sorted(
        each for each in path.rglob("*") if each.is_file() and not each.name.startswith(hidden) and _form_by_name(each)
    )
    if not files:
        raise SourceError(f"The folder {path} holds no data. It must hold files ending in {', '.join(_SUFFIXES)}.")
    forms = sorted({_form_by_name(each) for each in files})
    if len(forms) > 1:
        raise SourceError(
            f"The folder {path} must hold one log in files of one form. It holds {' and '.join(forms)}; "
            f"name one file or a pattern, such as {path / ('*' + files[0].suffix)}."
        )
    return files


def _form_by_name(path: Path) -> str:
    name = path.name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    forms = {
        ".parquet": "parquet",
        ".pq": "parquet",
        ".jsonl": "json",
        ".ndjson": "json",
        ".json": "json",
        ".csv": "csv",
        ".tsv": "csv",
    }
    return next((form for suffix, form in forms.items() if name.endswith(suffix)), "")


def _file(engine: SqlEngine, source: Path, positions: bool, name: str) -> SourcePart:
    path = recoded(engine, source)
    form = _form(path)
    if form == "parquet":
        scan = f"read_parquet({quote_literal(path)}, file_row_number = true)"
        types = _types(engine, scan, str(path))
        types.pop("file_row_number", None)
        return SourcePart(str(source), scan, types, form, size=path.stat().st_size)
    if form == "json":
        lines = "format = 'newline_delimited', ignore_errors = true"
        scan = f"read_json({quote_literal(path)}, {_ARRAY if _is_json_array(path) else lines}, sample_size = 20480)"
        types = _types(engine, scan, str(path))
        if tuple(types) == ("json",):
            raise SourceError(f"{path} holds no JSON objects. Each line must be one, such as {_EXAMPLE}.")
        return SourcePart(str(source), scan, types, form, size=path.stat().st_size)
    file = open_delimited(engine, path, positions=positions, rejects=f"{name}_rejects")
    return SourcePart(str(source), file.scan(), guess_types(engine, file), form, size=path.stat().st_size, file=file)


def _form(path: Path) -> str:
    """What the file is; raises SourceError where it is nothing that can be read."""
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEAD)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    if not head:
        raise SourceError(f"{path} is empty: it has no byte. Check how it was written.")
    if head.startswith(b"PAR1"):
        return "parquet"
    named = _form_by_name(path)
    if path.suffix.lower() in PACKED:
        return named or "csv"
    if named == "parquet":
        raise SourceError(
            f"{path} is named as Parquet and is not: it does not begin with PAR1. It is damaged or of another form."
        )
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError(
            f"{path} is UTF-16 text. Say so: --encoding utf-16, or encoding='utf-16'; or save it as UTF-8."
        )
    if b"\0" in head:
        place = head.index(b"\0")
        raise SourceError(
            f"{path} is a binary file (a zero byte at offset {place}), not delimited text, JSON lines or "
            "Parquet. Export it as one of these."
        )
    if named == "json" or head.lstrip().startswith((b"{", b"[{")):
        return "json"
    return "csv"


def _is_json_array(path: Path) -> bool:
    if path.suffix.lower() in PACKED:
        return False
    with path.open("rb") as handle:
        return handle.read(_HEAD).lstrip().startswith(b"[")
