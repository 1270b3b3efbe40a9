"""Sources of a log: files of any common format, folders, data frames and SQL queries.

Each file, frame or query becomes a ``SourcePart``: a table expression for DuckDB, with its column names and types. The
format of a file follows from its content first and from its name second.
"""

import contextlib
import dataclasses
import functools
import gzip
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal, quote_path
from leanrec.data.ingest.forms.archives import UnpackedFile, unpack_file
from leanrec.data.ingest.forms.containers.members import Member, choose_members, read_columns
from leanrec.data.ingest.forms.documents import convert_document
from leanrec.data.ingest.forms.folders import FoundFile, find_files
from leanrec.data.ingest.forms.formats import FileHead, detect_format, name_format, read_head
from leanrec.data.ingest.forms.json_text import (
    clean_lines,
    convert_literals,
    drop_byte_order_mark,
    json_scan,
    keep_text,
    unwrap_array,
)
from leanrec.data.ingest.forms.lines import open_lines
from leanrec.data.ingest.forms.nested import is_nested
from leanrec.data.ingest.forms.programs.prefixed_json import convert_prefixed
from leanrec.data.ingest.forms.programs.record_blocks import convert_blocks
from leanrec.data.ingest.forms.tables import open_arrow, write_avro_lines
from leanrec.data.ingest.forms.typed_header import drop_below_names, strip_types
from leanrec.data.ingest.forms.values import convert_columns
from leanrec.data.ingest.meaning.column_names import list_roles
from leanrec.data.ingest.text_files import (
    DelimitedFile,
    convert_to_utf8,
    extend_scan,
    find_encoding,
    guess_types,
    open_delimited,
)
from leanrec.errors import SettingError, SourceError

__all__ = ["Source", "SourcePart", "SqlQuery", "describe_source", "open_parts"]

_MAX_BLANK = 1000
_MAX_TABLES = 100
_EXAMPLE = '{"user": 1, "item": 2}'
_INDEX_COLUMN = re.compile(r"__index_level_\d+__")


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
        lines: the file of JSON lines, whose broken lines are found when it is read; None for other formats.
        rejected: table of the unreadable lines (line, csv_line, reason) once the text was read, else "".
        notes: repairs made while reading, in sentences.
        paths: path to a value inside lists of the source (``events.aid``) → column that has it.
        sequences: columns of text whose header says that each cell is a list.
    """

    label: str
    scan: str
    types: Mapping[str, str]
    form: str
    event_type: str | None = None
    size: int = 0
    file: DelimitedFile | None = None
    lines: Path | None = None
    rejected: str = ""
    notes: tuple[str, ...] = ()
    paths: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sequences: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in the order of the table."""
        return tuple(self.types)

    def is_field(self, name: str) -> bool:
        """Whether a column has the fields of delimited text as DuckDB reads them: empty ones are NULL, quoted or not."""
        file = self.file
        return file is not None and self.scan == file.scan() and name in file.columns and name not in file.computed

    @functools.cached_property
    def nested(self) -> frozenset[str]:
        """Names of the columns that hold lists, structs or maps."""
        return frozenset(name for name, column_type in self.types.items() if is_nested(column_type))


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


def open_parts(
    engine: SqlEngine,
    source: Source,
    *,
    name: str = "log",
    positions: bool = False,
    layout: str | None = None,
) -> list[SourcePart]:
    """Open the tables of ``source``. Raises SourceError if one cannot be read.

    Args:
        engine: the connection.
        source: see ``Source``.
        name: prefix of the tables that are registered in the engine, and key of ``engine.names``.
        positions: columns are given by number: a first line of delimited text that may be names or data is data.
        layout: layout of text whose lines may have no columns, one of ``LAYOUTS``; None: found from the first lines.
    """
    names = engine.names.get(name)
    layout = "long" if layout is None and (positions or names is not None) else layout
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
            found = _FileReader(engine, positions, names, layout, name).open_files(
                find_files(Path(each).expanduser()), table
            )
        else:
            engine.register_table(table, each)
            label = describe_source(each)
            found = [SourcePart(label, table, _column_types(engine, table, label), "frame")]
        found = [drop_below_names(engine, strip_types(convert_columns(engine, part))) for part in found]
        found = [_name_positions(part, names) for part in found]
        parts += [dataclasses.replace(part, event_type=event_type) for part in found]
    if not parts:
        raise SourceError("A source must name at least one file. Got none.")
    if names is not None and all(part.file is None and not part.paths for part in parts):
        argument = "names" if name == "log" else name.replace("table", "names")
        raise SettingError(
            f"{argument} needs delimited text. {parts[0].label} has names of its own; leave {argument} out."
        )
    return parts


def _name_positions(part: SourcePart, names: Sequence[str] | None) -> SourcePart:
    """Return a table without names of its own, such as arrays in JSON, with the given names of its columns."""
    positions = [str(i) for i in range(1, len(part.types) + 1)]
    if names is None or part.file is not None or list(part.types) != positions or len(names) > len(positions):
        return part
    new = [*names, *positions[len(names) :]]
    renamed = ", ".join(
        f"{quote_identifier(old)} AS {quote_identifier(name)}" for old, name in zip(positions, new, strict=True)
    )
    types = dict(zip(new, part.types.values(), strict=True))
    paths = dict(zip(positions, new, strict=True))
    return dataclasses.replace(part, scan=f"(SELECT {renamed} FROM {part.scan})", types=types, paths=paths)


def _run_query(engine: SqlEngine, sql: SqlQuery, name: str) -> SourcePart:
    what = f"The query {sql.query.strip()!r}"
    query = engine.check_select(sql.query, what)
    if sql.database is not None:
        path = Path(sql.database).expanduser()
        if not path.is_file():
            raise SourceError(f"{path} does not exist, so the query cannot run. Check the path of the database.")
        engine.execute(f"ATTACH {quote_literal(path)} AS leanrec_source (READ_ONLY)", f"The database {path}")
        engine.execute("USE leanrec_source", f"The database {path}")
    try:
        # Kept as a table: a query may be costly, and may return another order when it runs again.
        engine.execute(f"CREATE TEMP TABLE {name} AS {query}", what)
    finally:
        if sql.database is not None:
            engine.execute("USE memory")
            engine.execute("DETACH leanrec_source")
    return SourcePart("the query", f"temp.{name}", _column_types(engine, f"temp.{name}", "The query"), "sql")


def _column_types(engine: SqlEngine, scan: str, what: str) -> dict[str, str]:
    return {row[0]: row[1] for row in engine.fetch_rows(f"DESCRIBE SELECT * FROM {scan}", what)}


@dataclasses.dataclass(frozen=True)
class _FileReader:
    """Opens files as tables.

    Attributes:
        engine: the connection.
        positions: see ``open_parts``.
        names: names of the columns of delimited text.
        layout: see ``open_parts``.
        role: what the table is: ``name`` of ``open_parts``.
    """

    engine: SqlEngine
    positions: bool
    names: Sequence[str] | None
    layout: str | None
    role: str

    def open_files(self, files: Sequence[FoundFile], name: str) -> list[SourcePart]:
        """Open the files of one source. Empty ones are skipped if they are parts of a folder."""
        full = [each for each in files if not (each.is_part and _is_blank(each.path))]
        if not full:
            raise SourceError(f"{files[0].path.parent} has files without content only. Check how they were written.")
        told = _tell_files(files, full)
        full, note = self._choose_files(full)
        parts: list[SourcePart] = []
        for found in full:
            for unpacked in unpack_file(self.engine, found.path, self.role, found.member):
                part = self._open_file(unpacked, f"{name}_{len(parts)}")
                part = _add_partitions(part, found.partitions)
                notes = (unpacked.note, *part.notes)
                parts.append(dataclasses.replace(part, notes=tuple(note for note in notes if note)))
        parts = _agree_on_names(self.engine, parts, given=self.names is not None)
        told += [note] * bool(note)
        return [dataclasses.replace(parts[0], notes=(*told, *parts[0].notes)), *parts[1:]]

    def _choose_files(self, files: list[FoundFile]) -> tuple[list[FoundFile], str]:
        """Return the files of the log where a folder has tables of other roles too, and a sentence about these, else all files.

        Raises SourceError where no table is certain, or where one table has files of several formats.
        """
        members = {each.path.as_posix(): each for each in files}
        base = Path(os.path.commonpath([each.path.parent for each in files]))
        tables = [
            Member(each.path.relative_to(base).as_posix(), each.path.stat().st_size, partial(self._list_columns, each))
            for each in files
        ]
        families = list({table.family: table for table in reversed(tables)}.values())
        if not files[0].is_part or len(families) == 1 or self.role not in {"log", "item_table", "user_table"}:
            return files, ""
        columns = [names for table in families[:_MAX_TABLES] if (names := table.list_columns())]
        if len({frozenset(list_roles(names)) for names in columns}) > 1:
            chosen, note = choose_members(str(base), tables, self.role)
            return [members[(base / table.name).as_posix()] for table in chosen], note
        forms = sorted({name_format(each.path) for each in files})
        if len(forms) > 1:
            raise SourceError(
                f"The folder {base} must have one log in files of one format. It has {' and '.join(forms)}; "
                f"pass one file or a pattern, such as {base / ('*' + files[0].path.suffix)}."
            )
        return files, ""

    def _list_columns(self, found: FoundFile) -> list[str]:
        """Return the names of the columns of a file, and of its partitions; empty where it has none."""
        with contextlib.suppress(SourceError):
            head = read_head(self.engine, found.path)
            names = read_columns(head.data)
            if head.data.startswith(b"PAR1"):
                names = list(_column_types(self.engine, f"read_parquet({quote_path(head.path)})", str(found.path)))
            return [*names, *found.partitions] if names else []
        return []

    def _open_file(self, unpacked: UnpackedFile, name: str) -> SourcePart:
        label, engine = unpacked.label, self.engine
        path = convert_to_utf8(engine, unpacked.path, engine.encoding)
        head = read_head(engine, path)
        notes: tuple[str, ...] = ()
        if engine.encoding is None and (encoding := find_encoding(head.data)):
            head = read_head(engine, convert_to_utf8(engine, head.path, encoding))
            notes = (f"{label} was read as {encoding.upper()} text.",)
        prefixed = self.names is None and self.layout is None and engine.delimiter is None
        if prefixed and (objects := convert_prefixed(engine, head.path, head.data, label)) is not None:
            head, notes = read_head(engine, objects[0]), (*notes, objects[1])
        form, size = detect_format(head, label), unpacked.path.stat().st_size
        if form == "parquet":
            part = self._open_parquet(head.path, label)
        elif form in {"arrow", "feather", "orc"}:
            engine.register_table(name, open_arrow(head.path, form, label))
            part = SourcePart(label, name, _column_types(engine, name, label), "frame")
        elif form == "avro":
            lines = FileHead(write_avro_lines(engine, head.path, label), b"", complete=True)
            part = self._open_json(lines, "json", label, name)
        elif form != "csv":
            part = self._open_json(head, form, label, name)
        else:
            part = self._open_text(head, label, name)
        return dataclasses.replace(part, size=size, notes=(*notes, *part.notes))

    def _open_parquet(self, path: Path, label: str) -> SourcePart:
        # Folders above the given path are no partitions.
        scan = f"read_parquet({quote_path(path)}, file_row_number = true, hive_partitioning = false)"
        types = _column_types(self.engine, scan, label)
        index = tuple(each for each in types if _INDEX_COLUMN.fullmatch(each))
        types = {each: kind for each, kind in types.items() if each != "file_row_number" and each not in index}
        notes = (f"{label}: the index of the frame ({', '.join(index)}) was ignored.",) if index else ()
        return SourcePart(label, extend_scan(scan, index, {}), types, "parquet", notes=notes)

    def _open_json(self, head: FileHead, form: str, label: str, name: str) -> SourcePart:
        path, rejected = head.path, ""
        notes: tuple[str, ...] = ()
        if form == "python":
            rejected = f"{name}_rejects"
            path = convert_literals(self.engine, path, rejected)
            notes = (f"{label} has lines of Python dictionaries, not JSON; they were converted.",)
        elif head.data.startswith(b"\xef\xbb\xbf"):
            path = drop_byte_order_mark(self.engine, path)
        if form != "python" and (copied := convert_document(self.engine, path, head.data, label)) is not None:
            path, form, notes = copied[0], "json", (copied[1],)
        elif form in {"json", "json objects"} and (array := unwrap_array(self.engine, path, head.data)) is not None:
            path, form = array, "json array"
            notes = (f"{label} is one object around a list; each element of the list was read as one row.",)
        layout = "json" if form == "python" else form
        scan = json_scan(path, layout)
        types = _column_types(self.engine, scan, label)
        if tuple(types) == ("json",) and form == "json":
            rejected = f"{name}_rejects"
            path, note = clean_lines(self.engine, path, rejected, label)
            scan, notes = json_scan(path, layout), (note,)
            types = _column_types(self.engine, scan, label) if path.stat().st_size else types
        if tuple(types) == ("json",):
            raise SourceError(f"{label} has no JSON objects. Each line must be one, such as {_EXAMPLE}.")
        scan, types = keep_text(scan, types, head.data)
        lines = path if form == "json" else None
        return SourcePart(label, scan, types, "json", lines=lines, rejected=rejected, notes=notes)

    def _open_text(self, head: FileHead, label: str, name: str) -> SourcePart:
        notes = []
        if self.layout is None and (blocks := convert_blocks(self.engine, head.path, head.data, label)) is not None:
            head = read_head(self.engine, blocks[0])
            notes.append(f"{label}: {blocks[1]}")
        if (table := open_lines(head.path, self.layout, label)) is not None:
            return SourcePart(label, table.scan, table.types, "csv", notes=(table.note,))
        file = open_delimited(
            self.engine,
            head.path,
            head.data,
            label=label,
            positions=self.positions,
            names=self.names,
            rejects=f"{name}_rejects",
        )
        if file.ignored:
            notes.append(f"{label}: the first column has no name and counts the rows; it was ignored.")
        if file.titles:
            text = next((line.strip() for line in file.titles if line.strip()), "")
            what = "line before the table was" if len(file.titles) == 1 else "lines before the table were"
            notes.append(f"{label}: {len(file.titles)} {what} skipped, the first is {text[:60]!r}.")
        if file.note:
            notes.append(f"{label}: {file.note}")
        if file.header and self.positions:
            notes.append(f"{label}: the first line has names ({', '.join(file.first[:6])}) and was not read as a row.")
        if file.header and self.names is not None:
            notes.append(
                f"{label}: the first line has names ({', '.join(file.first[:6])}); the given names replace them."
            )
        return SourcePart(label, file.scan(), guess_types(self.engine, file), "csv", file=file, notes=tuple(notes))


def _is_blank(path: Path) -> bool:
    """Whether a file has no content. Only small files can be blank."""
    if path.stat().st_size >= _MAX_BLANK:
        return False
    data = path.read_bytes()
    with contextlib.suppress(OSError, EOFError):
        data = gzip.decompress(data)
    return not data.strip()


def _tell_files(files: Sequence[FoundFile], full: Sequence[FoundFile]) -> list[str]:
    """Return which files of a folder were skipped, and which columns the names of its folders became, in sentences."""
    told = []
    if empty := [each.path for each in files if each not in full]:
        listed = ", ".join(map(str, empty[:3])) + (" …" if len(empty) > 3 else "")
        told.append(
            f"{len(empty):,} {'file has' if len(empty) == 1 else 'files have'} no content and did not count: {listed}."
        )
    if names := dict.fromkeys(name for each in full for name in each.partitions):
        told.append(f"The names of folders became columns: {', '.join(names)}.")
    return told


def _add_partitions(part: SourcePart, partitions: Mapping[str, str | None]) -> SourcePart:
    """Return the table with the partitions as columns, where the file has no column of that name."""
    own = {name.lower() for name in part.types}
    new = {name: value for name, value in partitions.items() if name.lower() not in own}
    if not new:
        return part
    if part.file is not None:
        file = dataclasses.replace(part.file, partitions=new)
        kinds = {
            name: "DOUBLE" if value and re.fullmatch(r"-?\d+(\.\d+)?", value) else "VARCHAR"
            for name, value in new.items()
        }
        return dataclasses.replace(part, file=file, scan=file.scan(), types={**part.types, **kinds})
    constants, kinds = {}, {}
    for name, value in new.items():
        kinds[name] = "BIGINT" if value and re.fullmatch(r"0|-?[1-9]\d{0,17}", value) else "VARCHAR"
        constants[name] = f"{'NULL' if value is None else quote_literal(value)}::{kinds[name]}"
    return dataclasses.replace(part, scan=extend_scan(part.scan, (), constants), types={**part.types, **kinds})


def _agree_on_names(engine: SqlEngine, parts: list[SourcePart], *, given: bool) -> list[SourcePart]:
    """Give the names of the parts with a header to those without one: ``split`` writes the header into the first part only."""
    with_names = next((part.file for part in parts if part.file is not None and part.file.score > 0), None)
    if with_names is None or given:
        return parts
    agreed = []
    for part in parts:
        file = part.file
        if file is None or file.score > 0 or file.first == with_names.first or len(file.names) != len(with_names.names):
            agreed.append(part)
            continue
        file = dataclasses.replace(file, names=with_names.names, header=False, ignored=with_names.ignored)
        note = f"{part.label} has no names in its first line; its columns are those of {with_names.path.name}."
        agreed.append(
            dataclasses.replace(
                part, file=file, scan=file.scan(), types=guess_types(engine, file), notes=(*part.notes, note)
            )
        )
    return agreed
