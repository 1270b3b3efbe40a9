"""Long tables: one row for each property of an item (id, property, value, optional time), read as one row for each id."""

import dataclasses

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.event_types import normalize_name
from leanrec.data.ingest.sources import SourcePart

__all__ = ["LongTable", "find_long_table", "widen_table"]

_PROPERTY = (
    "property",
    "attribute",
    "attributename",
    "propertyname",
    "feature",
    "featurename",
    "variable",
    "field",
    "key",
)
_VALUE = ("value", "attributevalue", "propertyvalue", "featurevalue")
_TIME = ("timestamp", "time", "date", "datetime", "ts", "updatedat", "createdat", "validfrom")
_MAX_PROPERTIES = 100


@dataclasses.dataclass(frozen=True)
class LongTable:
    """The columns of a long table.

    Attributes:
        key: the id.
        name: the name of the property.
        value: its value.
        time: since when it has the value; None: later rows are newer.
    """

    key: str
    name: str
    value: str
    time: str | None


def find_long_table(part: SourcePart, key: str) -> LongTable | None:
    """Return the columns of a long table; None where the table has no columns for a property and its value, or has others."""
    names = {normalize_name(name): name for name in part.names if name != key}
    name = next((names[each] for each in _PROPERTY if each in names), None)
    value = next((names[each] for each in _VALUE if each in names), None)
    time = next((names[each] for each in _TIME if each in names), None)
    if name is None or value is None or len(names) > 3 or (len(names) == 3 and time is None):
        return None
    return LongTable(key, name, value, time)


def widen_table(engine: SqlEngine, role: str, columns: dict[str, str], long: LongTable) -> tuple[dict[str, str], str]:
    """Make ``<role>_all`` with one row for each id from its long form; return property → column, and a note.

    ``columns`` maps the names of the file to the columns of ``<role>_all``. The latest value of each property counts. Of many
    properties the hundred that most ids have are kept. Cost: one aggregation.
    """
    name, value = (f"{quote_identifier(columns[each])}::VARCHAR" for each in (long.name, long.value))
    order = "rowid"
    if long.time is not None:
        text = f"{quote_identifier(columns[long.time])}::VARCHAR"
        stamp = f"coalesce(try_cast({text} AS DOUBLE), epoch(try_cast({text} AS TIMESTAMP)), 0)"
        order = f"({stamp}, rowid)"
    engine.execute(
        f"CREATE TEMP TABLE {role}_long AS SELECT id, {name} AS property, arg_max({value}, {order}) AS value FROM {role}_all "
        f"WHERE id IS NOT NULL AND {name} IS NOT NULL GROUP BY ALL"
    )
    counted = f"SELECT property, count(value) AS n FROM {role}_long GROUP BY property ORDER BY n DESC, property"
    properties = [str(row[0]) for row in engine.fetch_rows(counted)]
    kept = properties[:_MAX_PROPERTIES]
    fields = ", ".join(f"max(value) FILTER (property = {quote_literal(each)}) AS c{i}" for i, each in enumerate(kept))
    engine.execute(f"CREATE OR REPLACE TEMP TABLE {role}_all AS SELECT id, {fields} FROM {role}_long GROUP BY id")
    engine.execute(f"DROP TABLE {role}_long")
    left = len(properties) - len(kept)
    more = f" {left:,} properties of fewer {role}s were left out." if left else ""
    return {each: f"c{i}" for i, each in enumerate(kept)}, (
        f"The {role} table has one row for each {long.name} of each {role}: it was read as {len(kept):,} columns with the latest "
        f"{long.value} of each.{more}"
    )
