"""Item and user tables: read beside the log, or gathered from the log's own content columns."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from leanrec.data.engine import SqlEngine, quote_identifier, to_table_column
from leanrec.data.ingest.columns import ColumnRoles, find_key
from leanrec.data.ingest.csv_repair import copy_parts, count_aside
from leanrec.data.ingest.row_reader import id_expression
from leanrec.data.ingest.sources import Source, SourcePart, open_parts
from leanrec.data.ingest.staging import StagedLog
from leanrec.data.table import Table
from leanrec.errors import SourceError

__all__ = [
    "LoadedTable",
    "SideTable",
    "SideTables",
    "content_table",
    "load_table",
    "open_sides",
    "open_table",
    "read_columns",
]

_NUMBER = re.compile(r"^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL.*|BOOLEAN)$")


@dataclasses.dataclass(frozen=True)
class SideTable:
    """A table of items or users that was found and not read yet.

    Attributes:
        role: "item" or "user".
        part: where it is.
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
    def untyped(self) -> bool:
        """Whether ids are text only because the file is."""
        return self.part.form == "csv" or self.key_type not in {"VARCHAR", "JSON"}


@dataclasses.dataclass(frozen=True)
class LoadedTable:
    """A table in DuckDB: ``<role>_rows`` with the column ``id`` and one row for each id.

    Attributes:
        role: "item" or "user".
        columns: own name → column in DuckDB.
        rows: rows read.
        missing: rows set aside for want of an id.
        repeated: rows set aside because an earlier row has the id.
        unreadable: reason → lines that are no rows.
        notes: what reading it had to put right.
    """

    role: str
    columns: dict[str, str]
    rows: int = 0
    missing: int = 0
    repeated: int = 0
    unreadable: Mapping[str, int] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_table(engine: SqlEngine, source: Source, role: str, columns: Sequence[ColumnRoles], given: str | None) -> SideTable:
    """Find the table and its id column. Raises SourceError or ColumnError."""
    parts = open_parts(engine, source, name=f"{role}_table")
    if len(parts) > 1:
        raise SourceError(
            f"The {role} table must be one file or frame. Got {len(parts)}: "
            f"{', '.join(part.label for part in parts[:5])}."
        )
    part = parts[0]
    return SideTable(
        role, part, find_key(part.names, role, (getattr(cols, role) for cols in columns), given, part.label)
    )


def load_table(engine: SqlEngine, table: SideTable, *, integer: bool) -> LoadedTable:
    """Read the table into ``<role>_rows``. Of rows with one id the first is kept."""
    role, part = table.role, table.part
    names = [name for name in part.names if name != table.key]
    fields = [f"{_value(name, part)} AS c{i}" for i, name in enumerate(names)]
    identity = id_expression(table.key, table.key_type, integer, trim=part.form == "csv")
    listed = ", ".join([f"{identity} AS id", *fields])

    def copy(parts: Sequence[SourcePart]) -> list[int]:
        engine.execute(f"CREATE OR REPLACE TEMP TABLE {role}_all AS SELECT {listed} FROM {parts[0].scan}", part.label)
        return [int(engine.fetch_rows(f"SELECT count(*) FROM {role}_all")[0][0])]

    (part,), (rows,) = copy_parts(engine, [part], copy)
    missing, distinct = engine.fetch_rows(f"SELECT count(*) - count(id), count(DISTINCT id) FROM {role}_all")[0]
    engine.execute(
        f"CREATE TEMP TABLE {role}_rows AS SELECT * FROM {role}_all "
        f"WHERE rowid IN (SELECT min(rowid) FROM {role}_all WHERE id IS NOT NULL GROUP BY id)"
    )
    engine.execute(f"DROP TABLE {role}_all")
    return LoadedTable(
        role,
        {name: f"c{i}" for i, name in enumerate(names)},
        rows=rows,
        missing=missing,
        repeated=rows - missing - distinct,
        unreadable=count_aside(engine, [part]),
        notes=part.notes,
    )


def content_table(
    engine: SqlEngine, parts: Sequence[SourcePart], columns: Sequence[ColumnRoles], *, integer: bool, trim: bool
) -> LoadedTable | None:
    """Gather ``item_rows`` from the log: for each item the first text given in each content column. None: no content."""
    names = list(dict.fromkeys(name for cols in columns for name in cols.content))
    if not names:
        return None
    selects = []
    for number, (part, cols) in enumerate(zip(parts, columns, strict=True)):
        if not cols.content:
            continue
        column_type = "VARCHAR" if part.form == "csv" else part.types[cols.item]
        fields = [f"{_value(name, part) if name in cols.content else 'NULL'} AS c{i}" for i, name in enumerate(names)]
        order = "file_row_number" if part.form == "parquet" else "row_number() OVER ()"
        listed = ", ".join(
            [
                f"{id_expression(cols.item, column_type, integer, trim=trim and part.form == 'csv')} AS id",
                *fields,
                f"{number} AS part",
                f"{order} AS place",
            ]
        )
        selects.append(f"SELECT {listed} FROM {part.scan}")
    firsts = ", ".join(f"arg_min(c{i}, (part, place)) FILTER (c{i} IS NOT NULL) AS c{i}" for i in range(len(names)))
    engine.execute(
        f"CREATE TEMP TABLE item_rows AS SELECT id, {firsts} FROM ({' UNION ALL BY NAME '.join(selects)}) "
        "WHERE id IS NOT NULL GROUP BY id",
        parts[0].label,
    )
    return LoadedTable("item", {name: f"c{i}" for i, name in enumerate(names)})


def _value(name: str, part: SourcePart) -> str:
    """A cell as text or as a number; NULL where it is empty."""
    column, column_type = quote_identifier(name), part.types[name]
    if part.form == "csv":
        return f"nullif({column}, '')"
    if _NUMBER.match(column_type):
        return f"{column}::DOUBLE"
    if column_type.endswith("[]"):
        return f"nullif(array_to_string({column}, '|'), '')"
    return f"nullif({column} ->> '$', '')" if column_type == "JSON" else f"nullif({column}::VARCHAR, '')"


def read_columns(engine: SqlEngine, loaded: LoadedTable, dictionary: str) -> Table | None:
    """One row for each id of ``dictionary``, in its order. A column of numbers in a text file becomes numbers."""
    if not loaded.columns:
        return None
    tests = ", ".join(
        f"count({c}) > 0 AND count(try_cast({c} AS DOUBLE)) = count({c})" for c in loaded.columns.values()
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
    """The item and the user table on their way into a Dataset."""

    items: SideTable | None
    users: SideTable | None
    loaded_items: LoadedTable | None = None
    loaded_users: LoadedTable | None = None

    @property
    def key_types(self) -> tuple[str | None, str | None]:
        """DuckDB types of the id columns: user table, item table."""
        users, items = (None if side is None else side.key_type for side in (self.users, self.items))
        return users, items

    def load(self, engine: SqlEngine, staged: StagedLog, *, trim: bool) -> None:
        """Read both; without an item table, gather content from the log, whose ids have blanks around them if ``trim``."""
        if self.users is not None:
            self.loaded_users = load_table(engine, self.users, integer=staged.integer_users)
        if self.items is not None:
            self.loaded_items = load_table(engine, self.items, integer=staged.integer_items)
        else:
            self.loaded_items = content_table(
                engine, staged.parts, staged.columns, integer=staged.integer_items, trim=trim
            )

    def rejected(self) -> dict[str, int]:
        """Reason → rows of the tables that were set aside."""
        counts: dict[str, int] = {}
        for loaded in filter(None, (self.loaded_items, self.loaded_users)):
            counts |= {f"{loaded.role} table: {reason}": lines for reason, lines in loaded.unreadable.items()}
            if loaded.missing:
                counts[f"{loaded.role} table: missing id"] = loaded.missing
            if loaded.repeated:
                counts[f"{loaded.role} table: repeated id (the first row was kept)"] = loaded.repeated
        return counts

    def notes(self) -> tuple[str, ...]:
        """What reading the tables had to put right, in sentences."""
        return tuple(note for loaded in (self.loaded_items, self.loaded_users) if loaded for note in loaded.notes)

    def listed(self) -> dict[str, dict[str, str]]:
        """Table → its id column."""
        return {f"{side.role} table": {"id": side.key} for side in (self.items, self.users) if side is not None}


def open_sides(
    engine: SqlEngine,
    items: Source | None,
    users: Source | None,
    columns: Sequence[ColumnRoles],
    given: Mapping[str, str],
) -> SideTables:
    """Find both tables before the log is read: the types of their ids decide how ids are compared."""
    return SideTables(
        items=None if items is None else open_table(engine, items, "item", columns, given.get("items.id")),
        users=None if users is None else open_table(engine, users, "user", columns, given.get("users.id")),
    )
