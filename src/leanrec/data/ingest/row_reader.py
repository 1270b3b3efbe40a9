"""The SQL that reads one table of a log in the common form: who, what, when, how much, and why a row cannot be used."""

import dataclasses
from collections.abc import Mapping, Sequence

from leanrec.data.engine import quote_identifier, quote_literal
from leanrec.data.ingest.columns import ColumnRoles
from leanrec.data.ingest.reject_reasons import CODE
from leanrec.data.ingest.sources import SourcePart
from leanrec.data.ingest.text_files import decimal_comma
from leanrec.data.ingest.timestamps import TimeForm, is_integer, is_number

__all__ = ["RowReader", "all_integer", "id_expression", "trimmed"]

_BLANKS = quote_literal(" \t\u00a0")


def trimmed(value: str) -> str:
    """SQL: an id without the blanks around it, which in delimited text belong to nobody."""
    return f"trim({value}, {_BLANKS})"


def id_expression(name: str, column_type: str, integer: bool, *, trim: bool = False) -> str:
    """SQL: an own id as BIGINT or VARCHAR; NULL where it is missing."""
    column = quote_identifier(name)
    if integer:
        return f"{column}::BIGINT"
    if column_type in {"DOUBLE", "FLOAT", "REAL"}:
        whole = f"{column} = trunc({column}) AND abs({column}) < 9e15"
        return f"CASE WHEN isnan({column}) THEN NULL WHEN {whole} THEN {column}::BIGINT::VARCHAR ELSE {column}::VARCHAR END"
    value = _as_text(name, column_type)
    return f"nullif({trimmed(value) if trim else value}, '')"


def _as_text(name: str, column_type: str) -> str:
    # A cast of JSON text keeps the quotation marks.
    return f"({quote_identifier(name)} ->> '$')" if column_type == "JSON" else f"{quote_identifier(name)}::VARCHAR"


@dataclasses.dataclass(frozen=True)
class RowReader:
    """How the tables of a log are brought to one form.

    Attributes:
        columns: of each table.
        integer: whether the ids of users, and of items, are BIGINT in SQL; otherwise VARCHAR.
        has_event_types: whether the log itself says what each event is.
        times: how times are written.
        raw: keep the text of each field too.
    """

    columns: tuple[ColumnRoles, ...]
    integer: tuple[bool, bool]
    has_event_types: bool
    times: TimeForm
    raw: bool

    def select(self, part: SourcePart, number: int) -> str:
        """The rows of a table. Three levels, so that each cast is written, and done, once."""
        cols = self.columns[number]
        types = {role: "VARCHAR" if part.form == "csv" else part.types[name] for role, name in cols.found().items()}
        fields = {"part": f"{number}::SMALLINT"} | self._fields(part, cols, types)
        extra = {"file_row_number": "file_row_number"} if part.form == "parquet" else {}
        if self.raw:
            extra |= _raw(cols, types)
        passed = [
            f"{quote_identifier(column)} AS o_{role}"
            for role in ("time", "rating", "weight")
            if (column := getattr(cols, role)) is not None
        ]
        inner = ", ".join([*(f"{value} AS {name}" for name, value in (fields | extra).items()), *passed])
        outer = ", ".join([*fields, *extra, f"({self._bad(part, cols, types, timed='t' in fields)})::TINYINT AS bad"])
        return f"SELECT {outer} FROM (SELECT {inner} FROM (SELECT *{_number_of_time(cols, types)} FROM {part.scan}))"

    def _has(self, role: str) -> bool:
        return any(getattr(cols, role) for cols in self.columns)

    def _fields(self, part: SourcePart, cols: ColumnRoles, types: Mapping[str, str]) -> dict[str, str]:
        fields = {
            "usr": id_expression(cols.user, types["user"], self.integer[0]),
            "itm": id_expression(cols.item, types["item"], self.integer[1]),
        }
        if self._has("time"):
            fields["t"] = "NULL::BIGINT"
            if cols.time is not None:
                fields["t"] = self.times.seconds(cols.time, types["time"], is_order=cols.is_order)
        if self._has("rating"):
            fields["v"] = "NULL::FLOAT" if cols.rating is None else _number(cols.rating, part)
        if self._has("weight"):
            fields["w"] = "1::FLOAT" if cols.weight is None else _number(cols.weight, part)
        if self.has_event_types:
            fields["event_type"] = _event_type(part, cols, types)
        return fields

    def _bad(self, part: SourcePart, cols: ColumnRoles, types: Mapping[str, str], *, timed: bool) -> str:
        """Code of the first reason for which a row of the inner select cannot be used, 0 = none."""
        cases = [("usr IS NULL", "missing user"), ("itm IS NULL", "missing item")]
        if part.event_type is None and (cols.event_type or cols.label):
            cases.append(("event_type IS NULL", "missing event type" if cols.event_type else "label is not 0 or 1"))
        if timed:
            empty = "true" if cols.time is None else _is_empty("o_time", types["time"])
            cases += [(f"t IS NULL AND {empty}", "missing time"), ("t IS NULL", "time not understood")]
        if cols.rating is not None:
            empty = _is_empty("o_rating", types["rating"])
            if not self.has_event_types:
                cases.append((f"v IS NULL AND {empty}", "missing rating"))
            cases.append((f"(v IS NULL AND NOT {empty}) OR NOT isfinite(v)", "rating is not a finite number"))
        if cols.weight is not None:
            cases += [
                (f"w IS NULL AND {_is_empty('o_weight', types['weight'])}", "missing weight"),
                ("w IS NULL OR NOT isfinite(w)", "weight is not a finite number"),
                ("w < 0", "negative weight"),
            ]
        return f"CASE {' '.join(f'WHEN {test} THEN {CODE[reason]}' for test, reason in cases)} ELSE 0 END"


def all_integer(parts: Sequence[SourcePart], columns: Sequence[ColumnRoles], role: str, extra: str | None) -> bool:
    """Whether the ids of a role are whole numbers by their type everywhere, in the table ``extra`` is the type of too."""
    types = [part.types[getattr(cols, role)] for part, cols in zip(parts, columns, strict=True) if part.form != "csv"]
    if len(types) < len(parts):
        return False
    return all(map(is_integer, types)) and (extra is None or is_integer(extra))


def _raw(cols: ColumnRoles, types: Mapping[str, str]) -> dict[str, str]:
    found = cols.found()
    return {
        f"raw_{role}": _as_text(found[role], types[role]) if role in found else "NULL::VARCHAR"
        for role in ("user", "item", "time", "rating", "weight")
    }


def _number_of_time(cols: ColumnRoles, types: Mapping[str, str]) -> str:
    if cols.time is None or not (types["time"] == "VARCHAR" or is_number(types["time"])):
        return ""
    return f", try_cast({quote_identifier(cols.time)} AS DOUBLE) AS n_time"


def _number(name: str, part: SourcePart) -> str:
    number = f"try_cast({quote_identifier(name)} AS FLOAT)"
    if part.file is None:
        return number
    return f"coalesce({number}, {decimal_comma(quote_identifier(name), part.file.delimiter, 'FLOAT')})"


def _event_type(part: SourcePart, cols: ColumnRoles, types: Mapping[str, str]) -> str:
    if part.event_type is not None:
        return quote_literal(part.event_type)
    if cols.event_type is not None:
        return f"nullif(trim({_as_text(cols.event_type, types['event_type'])}), '')"
    if cols.label is not None:
        label = f"try_cast({quote_identifier(cols.label)} AS DOUBLE)"
        return f"CASE {label} WHEN 1 THEN 'click' WHEN 0 THEN 'impression' END"
    return "'interaction'"


def _is_empty(column: str, column_type: str) -> str:
    return f"({column} IS NULL OR trim({column}) = '')" if column_type == "VARCHAR" else f"({column} IS NULL)"
