"""What a log is: its tables, and which column means what in each of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from leanrec.data.engine import SqlEngine, quote_identifier
from leanrec.data.ingest.columns import ColumnRoles, find_columns, plain_name
from leanrec.data.ingest.link_files import LINK_ROLES
from leanrec.data.ingest.sources import Source, SourcePart, open_parts
from leanrec.data.ingest.timestamps import is_number
from leanrec.errors import ColumnError

__all__ = ["LogSchema", "understand"]

_TABLE_KEYS = ("items.id", "users.id", *LINK_ROLES)
_MUST_BE_NUMBERS = {"rating": "rating", "weight": "weight", "label": "label"}


@dataclasses.dataclass(frozen=True)
class LogSchema:
    """The tables of a log and their columns.

    Attributes:
        parts: the tables.
        columns: of each part.
        warnings: columns that look like something and were left out.
    """

    parts: tuple[SourcePart, ...]
    columns: tuple[ColumnRoles, ...]
    warnings: tuple[str, ...]

    def listed(self) -> dict[str, dict[str, str]]:
        """Table → {role: column}; tables that are alike are listed once."""
        listed: dict[str, dict[str, str]] = {}
        for part, cols in zip(self.parts, self.columns, strict=True):
            found = cols.found() | ({"content": ", ".join(cols.content)} if cols.content else {})
            if found not in listed.values():
                listed[part.event_type or part.label] = found
        return listed


def understand(engine: SqlEngine, source: Source, given: Mapping[str, str]) -> LogSchema:
    """Open the source and find its columns. Raises SourceError and ColumnError."""
    roles = {role: column for role, column in given.items() if role not in _TABLE_KEYS}
    positions = bool(roles) and all(column.replace(",", "").replace(" ", "").isdigit() for column in roles.values())
    parts = open_parts(engine, source, positions=positions)
    columns, warnings = [], []
    for part in parts:
        mine = _given_here(roles, part, parts)
        cols, left_out = _checked(engine, part, find_columns(part.names, mine, part.label), mine)
        columns.append(cols)
        warnings += left_out
    return LogSchema(tuple(parts), tuple(columns), tuple(dict.fromkeys(warnings)))


def _given_here(given: Mapping[str, str], part: SourcePart, parts: Sequence[SourcePart]) -> dict[str, str]:
    """The given columns, without optional ones that only other tables of the log have."""

    def has(table: SourcePart, column: str) -> bool:
        return plain_name(column) in map(plain_name, table.names)

    return {
        role: column
        for role, column in given.items()
        if role in {"user", "item"} or has(part, column) or not any(has(each, column) for each in parts)
    }


def _without(cols: ColumnRoles, role: str) -> ColumnRoles:
    nothing: dict[str, Any] = {role: None}
    return dataclasses.replace(cols, **nothing)


def _checked(engine: SqlEngine, part: SourcePart, cols: ColumnRoles, given: Mapping[str, str]) -> tuple[ColumnRoles, list[str]]:
    """Columns whose type fits their role. One that only its name spoke for is left out; one that was given must fit."""
    warnings = []
    for role, what in _MUST_BE_NUMBERS.items():
        column = getattr(cols, role)
        if column is None or is_number(part.types[column]):
            continue
        if role in given:
            raise ColumnError(
                f"The {what} must be a number. The column {column!r} of {part.label} holds "
                f"{_first_value(engine, part, column)}; name another column."
            )
        warnings.append(f"{part.label}: the column {column!r} holds no numbers and was not taken for the {what}.")
        cols = _without(cols, role)
    if part.event_type is not None:
        return dataclasses.replace(cols, event_type=None, label=None), warnings
    if cols.event_type is not None and "event_type" not in given and is_number(part.types[cols.event_type]):
        warnings.append(
            f"{part.label}: the column {cols.event_type!r} holds numbers and was not taken for the event type. "
            f"If it is, name it: columns={{'event_type': {cols.event_type!r}}}."
        )
        cols = dataclasses.replace(cols, event_type=None)
    return cols, warnings


def _first_value(engine: SqlEngine, part: SourcePart, column: str) -> str:
    scan = part.scan if part.file is None else part.file.glance()
    found = engine.fetch_rows(
        f"SELECT {quote_identifier(column)}::VARCHAR FROM {scan} WHERE {quote_identifier(column)} IS NOT NULL LIMIT 1", part.label
    )
    return repr(found[0][0]) if found else "no value"
