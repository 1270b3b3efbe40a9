"""Item and user tables: read beside the log, or collected from the content columns of the log."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal, to_table_column
from leanrec.data.ingest.csv_repair import check_readable, copy_parts, count_rejected
from leanrec.data.ingest.meaning.column_names import holds_codes
from leanrec.data.ingest.meaning.id_forms import IdForms, describe_thousands, find_id_form
from leanrec.data.ingest.meaning.long_tables import find_long_table, widen_table
from leanrec.data.ingest.meaning.matching import best_pair, describe_matches
from leanrec.data.ingest.schema import ColumnRoles, LogSchema, find_key, is_id_name
from leanrec.data.ingest.sources import Source, SourcePart, open_parts
from leanrec.data.ingest.staging import StagedLog, id_expression
from leanrec.data.table import Table
from leanrec.errors import SourceError

__all__ = [
    "LoadedTable",
    "SideTable",
    "SideTables",
    "choose_ids",
    "collect_content",
    "load_table",
    "open_side_tables",
    "open_table",
    "read_columns",
]

_CODE = quote_literal(r"^\s*[+-]?(0[0-9]|[0-9]{16})")  # a number that would not print as it is written
_MIN_ITEMS = 5
_SAMPLE = 20_000
_VARYING = 0.3  # of the items with several events
_NUMBER = re.compile(r"^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL.*|BOOLEAN)$")


@dataclasses.dataclass(frozen=True)
class SideTable:
    """A table of items or users that was opened and not read yet.

    Attributes:
        role: "item" or "user".
        part: the table.
        key: its id column.
    """

    role: str
    part: SourcePart
    key: str

    @property
    def key_type(self) -> str:
        """DuckDB type of the id column."""
        return "VARCHAR" if self.part.form == "csv" else self.part.types[self.key]

    @property
    def is_untyped(self) -> bool:
        """Whether ids are text only because the file has no types."""
        return self.part.form == "csv" or self.key_type not in {"VARCHAR", "JSON"}


@dataclasses.dataclass(frozen=True)
class LoadedTable:
    """A table in DuckDB: ``<role>_rows`` with the column ``id`` and one row for each id.

    Attributes:
        role: "item" or "user".
        columns: original name → column in DuckDB.
        rows: rows read.
        missing: rows rejected because the id is missing.
        repeated: rows rejected because an earlier row has the same id.
        unreadable: reject reason → lines that are not rows.
        notes: repairs made while reading.
    """

    role: str
    columns: dict[str, str]
    rows: int = 0
    missing: int = 0
    repeated: int = 0
    unreadable: Mapping[str, int] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_table(
    engine: SqlEngine, source: Source, role: str, columns: Sequence[ColumnRoles], given: str | None
) -> SideTable:
    """Open the table and find its id column. Raises SourceError or ColumnError."""
    parts = open_parts(engine, source, name=f"{role}_table", positions=given is not None and given.isdecimal())
    if len(parts) > 1:
        raise SourceError(
            f"The {role} table must be one file or frame. Got {len(parts)}: "
            f"{', '.join(part.label for part in parts[:5])}."
        )
    part = parts[0]
    key = find_key(part.names, role, (getattr(cols, role) for cols in columns), given, part.label)
    return SideTable(role, part, key)


def load_table(engine: SqlEngine, table: SideTable, *, integer: bool) -> LoadedTable:
    """Read the table into ``<role>_rows``. Of rows with the same id the first is kept."""
    role, part = table.role, table.part
    names = [name for name in part.names if name != table.key]
    fields = [f"{_cell_expression(name, part)} AS c{i}" for i, name in enumerate(names)]
    identity = id_expression(table.key, table.key_type, integer, trim=part.form == "csv")
    select = ", ".join([f"{identity} AS id", *fields])

    def copy_table(parts: Sequence[SourcePart]) -> list[int]:
        engine.execute(f"CREATE OR REPLACE TEMP TABLE {role}_all AS SELECT {select} FROM {parts[0].scan}", part.label)
        return [int(engine.fetch_rows(f"SELECT count(*) FROM {role}_all")[0][0])]

    (part,), (rows,) = copy_parts(engine, [part], copy_table)
    check_readable(engine, part, rows, f"{role} table")
    notes = part.notes
    if form := find_id_form(engine, f"{role}_all", others=f"SELECT id FROM {role}s_found", settled=True):
        notes += (describe_thousands(f"{role.capitalize()} table", form),) if form.thousands else ()
        engine.execute(f"UPDATE {role}_all SET id = {form.apply('id')}")
    missing, distinct = engine.fetch_rows(f"SELECT count(*) - count(id), count(DISTINCT id) FROM {role}_all")[0]
    columns = {name: f"c{i}" for i, name in enumerate(names)}
    long = find_long_table(part, table.key)
    if long is not None and rows - missing > distinct:
        columns, note = widen_table(engine, role, columns, long)
        notes, rows, missing = (*notes, note), distinct, 0
    engine.execute(
        f"CREATE TEMP TABLE {role}_rows AS SELECT * FROM {role}_all "
        f"WHERE rowid IN (SELECT min(rowid) FROM {role}_all WHERE id IS NOT NULL GROUP BY id)"
    )
    engine.execute(f"DROP TABLE {role}_all")
    return LoadedTable(
        role,
        columns,
        rows=rows,
        missing=missing,
        repeated=rows - missing - distinct,
        unreadable=count_rejected(engine, [part]),
        notes=notes,
    )


def collect_content(engine: SqlEngine, staged: StagedLog, forms: IdForms) -> LoadedTable | None:
    """Collect ``item_rows`` from the log: the first text of each item in each content column. None: no content columns.

    A text that differs between events of one item, such as the title of a review, describes the event and is left out.
    """
    names = list(dict.fromkeys(name for cols in staged.columns for name in cols.content))
    varying = _find_varying(engine, staged, names)
    names = [name for name in names if name not in varying]
    notes = tuple(
        f"Not used: {name} (a text that differs between events of one item, so that it describes the event, not the item)."
        for name in varying
    )
    if not names:
        return LoadedTable("item", {}, notes=notes) if notes else None
    selects = []
    for number, (part, cols) in enumerate(zip(staged.parts, staged.columns, strict=True)):
        if not cols.content:
            continue
        is_text = part.form == "csv"
        column_type = "VARCHAR" if is_text else part.types[cols.item]
        identity = id_expression(cols.item, column_type, staged.integer_items, trim=forms.trim and is_text)
        identity = forms.items.apply(identity)
        fields = [
            f"{_cell_expression(name, part) if name in cols.content else 'NULL'} AS c{i}"
            for i, name in enumerate(names)
        ]
        position = "file_row_number" if part.form == "parquet" else "row_number() OVER ()"
        select = ", ".join([f"{identity} AS id", *fields, f"{number} AS part", f"{position} AS position"])
        selects.append(f"SELECT {select} FROM {part.scan}")
    firsts = ", ".join(f"arg_min(c{i}, (part, position)) FILTER (c{i} IS NOT NULL) AS c{i}" for i in range(len(names)))
    engine.execute(
        f"CREATE TEMP TABLE item_rows AS SELECT id, {firsts} FROM ({' UNION ALL BY NAME '.join(selects)}) "
        "WHERE id IS NOT NULL GROUP BY id",
        staged.parts[0].label,
    )
    return LoadedTable("item", {name: f"c{i}" for i, name in enumerate(names)}, notes=notes)


def _find_varying(engine: SqlEngine, staged: StagedLog, names: Sequence[str]) -> list[str]:
    """Return the content columns of texts that differ between events of one item, judged by the first rows of each table."""
    varying: set[str] = set()
    for part, cols in zip(staged.parts, staged.columns, strict=True):
        asked = [name for name in names if name in cols.content and not _NUMBER.match(part.types[name])]
        if not asked or varying.issuperset(asked):
            continue
        fields = ", ".join(f"{quote_identifier(name)}::VARCHAR AS c{i}" for i, name in enumerate(asked))
        scan = part.scan if part.file is None else part.file.preview_scan()
        sample = f"SELECT {quote_identifier(cols.item)}::VARCHAR AS id, {fields} FROM {scan} LIMIT {_SAMPLE}"
        compared = ", ".join(f"min(c{i}) <> max(c{i}) AS d{i}, count(c{i}) AS n{i}" for i in range(len(asked)))
        counts = ", ".join(f"count_if(d{i} AND n{i} > 1), count_if(n{i} > 1)" for i in range(len(asked)))
        found = engine.fetch_rows(f"SELECT {counts} FROM (SELECT {compared} FROM ({sample}) GROUP BY id)", part.label)[
            0
        ]
        varying |= {
            name
            for i, name in enumerate(asked)
            if (found[2 * i] or 0) > max(_VARYING * (found[2 * i + 1] or 0), _MIN_ITEMS)
        }
    return [name for name in names if name in varying]


def _cell_expression(name: str, part: SourcePart) -> str:
    """SQL: a cell as text or as a number; NULL where it is empty."""
    column, column_type = quote_identifier(name), part.types[name]
    if part.form == "csv":
        return f"nullif({column}, '')"
    if _NUMBER.match(column_type):
        return id_expression(name, column_type, integer=False) if holds_codes(name) else f"{column}::DOUBLE"
    if column_type.endswith("[]"):
        return f"nullif(array_to_string({column}, '|'), '')"
    return f"nullif({column} ->> '$', '')" if column_type == "JSON" else f"nullif({column}::VARCHAR, '')"


def read_columns(engine: SqlEngine, loaded: LoadedTable, dictionary: str) -> Table | None:
    """Return one row for each id of ``dictionary``, in its order. Columns of numbers in a text file become numbers.

    Codes stay text: columns with a zero at the beginning of a number (0114709), with more digits than a float64 has, or with a
    name such as zip or category_id; and so do titles that happen to be numbers (1917).
    """
    if not loaded.columns:
        return None
    tests = ", ".join(
        "false"
        if holds_codes(name)
        else f"count({c}) > 0 AND count(try_cast({c} AS DOUBLE)) = count({c}) AND NOT bool_or(regexp_matches({c}::VARCHAR, {_CODE}))"
        for name, c in loaded.columns.items()
    )
    numeric = engine.fetch_rows(f"SELECT {tests} FROM {loaded.role}_rows")[0]
    fields = [
        f"r.{c}::DOUBLE AS {c}" if number else f"r.{c}::VARCHAR AS {c}"
        for c, number in zip(loaded.columns.values(), numeric, strict=True)
    ]
    columns = engine.fetch_arrays(
        f"SELECT {', '.join(fields)} FROM {dictionary} AS d LEFT JOIN {loaded.role}_rows AS r ON d.id = "
        "r.id ORDER BY d.rowid"
    )
    return Table({name: to_table_column(columns[c]) for name, c in loaded.columns.items()})


@dataclasses.dataclass
class SideTables:
    """The item and the user table, opened and then loaded."""

    items: SideTable | None
    users: SideTable | None
    loaded_items: LoadedTable | None = None
    loaded_users: LoadedTable | None = None
    matches: list[str] = dataclasses.field(default_factory=list)

    @property
    def key_types(self) -> tuple[str | None, str | None]:
        """DuckDB types of the id columns: user table, item table."""
        users, items = (None if side is None else side.key_type for side in (self.users, self.items))
        return users, items

    def select_ids(self) -> dict[str, str]:
        """SQL: users and items → the first ids of their table, as text."""
        tables = {"users": self.users, "items": self.items}
        return {
            name: f"SELECT {id_expression(side.key, side.key_type, integer=False)} AS id "
            f"FROM {side.part.scan if side.part.file is None else side.part.file.preview_scan()}"
            for name, side in tables.items()
            if side is not None
        }

    def load(self, engine: SqlEngine, staged: StagedLog, forms: IdForms) -> None:
        """Read both; without an item table, collect content from the log, whose ids have these forms."""
        if self.users is not None:
            self.loaded_users = load_table(engine, self.users, integer=staged.integer_users)
        if self.items is not None:
            self.loaded_items = load_table(engine, self.items, integer=staged.integer_items)
        else:
            self.loaded_items = collect_content(engine, staged, forms)

    def count_matches(self, engine: SqlEngine) -> None:
        """Note how many ids of the log each table has. Raises DataError where a table has none of them."""
        for side in filter(None, (self.items, self.users)):
            if note := describe_matches(engine, side.role, side.part.label, side.key):
                self.matches.append(note)

    def count_rejected(self) -> dict[str, int]:
        """Return reject reason → rows of the tables."""
        counts: dict[str, int] = {}
        for loaded in filter(None, (self.loaded_items, self.loaded_users)):
            counts |= {f"{loaded.role} table: {reason}": lines for reason, lines in loaded.unreadable.items()}
            if loaded.missing:
                counts[f"{loaded.role} table: missing id"] = loaded.missing
            if loaded.repeated:
                counts[f"{loaded.role} table: repeated id (the first row was kept)"] = loaded.repeated
        return counts

    def list_notes(self) -> tuple[str, ...]:
        """Return how the tables match the log, and what was left out or repaired, in sentences."""
        loaded = filter(None, (self.loaded_items, self.loaded_users))
        return (*self.matches, *(note for each in loaded for note in each.notes))

    def to_dict(self) -> dict[str, dict[str, str]]:
        """Return table → its id column."""
        return {f"{side.role} table": {"id": side.key} for side in (self.items, self.users) if side is not None}


def open_side_tables(
    engine: SqlEngine,
    items: Source | None,
    users: Source | None,
    columns: Sequence[ColumnRoles],
    given: Mapping[str, str | None],
) -> SideTables:
    """Open both tables before the log is read: the types of their ids decide how ids are compared."""
    return SideTables(
        items=None if items is None else open_table(engine, items, "item", columns, given.get("items.id")),
        users=None if users is None else open_table(engine, users, "user", columns, given.get("users.id")),
    )


def choose_ids(
    engine: SqlEngine, schema: LogSchema, tables: SideTables, given: Mapping[str, str | None]
) -> tuple[LogSchema, SideTables]:
    """Return the schema and the tables with the id columns that match best, where there are several that may be meant.

    ``asin`` and ``parent_asin`` both name items; the item table decides which of them is the id. Columns that are given stay.
    Cost: one scan of a table that leaves a choice.
    """
    if tables.items is not None:
        schema = schema.leave_out_content()
    for role, side in (("item", tables.items), ("user", tables.users)):
        if side is None:
            continue
        part, cols = schema.parts[0], schema.columns[0]
        now, taken = getattr(cols, role), {*cols.to_dict().values()}
        logs = [now, *(name for name in part.names if is_id_name(role, name) and name not in taken)]
        keys = [side.key, *(name for name in side.part.names if is_id_name(role, name) and name != side.key)]
        logs = logs[:1] if given.get(role) else logs
        keys = keys[:1] if given.get(f"{role}s.id") else keys
        best = best_pair(engine, part, logs, side.part, keys) if len(logs) * len(keys) > 1 else None
        if best is None or best == (now, side.key):
            continue
        schema = schema.rename_column(role, now, best[0])
        chosen: dict[str, Any] = {f"{role}s": dataclasses.replace(side, key=best[1])}
        tables = dataclasses.replace(tables, **chosen)
        tables.matches.append(
            f"The {role}s of the log are in {best[0]!r}: of {', '.join(map(repr, logs))} its ids match the {role} table best."
        )
    return schema, tables
