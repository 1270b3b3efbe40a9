"""First values of columns that a role may have: whether they are filled, constant, or different in every row."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.event_types import are_event_types
from leanrec.data.ingest.meaning.column_names import split_words
from leanrec.data.ingest.meaning.id_forms import is_missing
from leanrec.data.ingest.sources import SourcePart

__all__ = [
    "ColumnValues",
    "count_values",
    "depends_on_item",
    "describe_no_types",
    "find_type_column",
    "find_weak_role",
    "holds_small_numbers",
]

_SAMPLE = 1000
_MIN_ROWS = 20
_MIN_ITEMS = 10
_MIN_NUMBERS = 3
_LARGE_SAMPLE = 10_000
_MOST = 0.9
_MAX_TYPES = 20
# 2024-03-13, 13.3.2024 14:05 and 3/13/24.
_DATE = "^[0-9]{1,4}([-./][0-9]{1,4}){2}([ T].*)?$"
_LINE_IDS = frozenset(["itemid", "lineitemid", "orderitemid"])


class ColumnValues(NamedTuple):
    """Counts of the first rows of a table.

    Attributes:
        rows: number of rows.
        filled: rows with a value.
        distinct: number of distinct values.
    """

    rows: int
    filled: int
    distinct: int


def count_values(engine: SqlEngine, part: SourcePart, columns: Sequence[str]) -> dict[str, ColumnValues]:
    """Count the values of columns in the first thousand rows; words for nothing are no values."""
    fields = ", ".join(f"{quote_identifier(name)}::VARCHAR AS c{i}" for i, name in enumerate(columns))
    counts = ", ".join(
        f"count(c{i}) FILTER (NOT {is_missing(f'c{i}')}), count(DISTINCT c{i}) FILTER (NOT {is_missing(f'c{i}')})"
        for i in range(len(columns))
    )
    scan = part.scan if part.file is None else part.file.preview_scan()
    rows, *found = engine.fetch_rows(
        f"SELECT count(*), {counts} FROM (SELECT {fields} FROM {scan} LIMIT {_SAMPLE})", part.label
    )[0]
    return {name: ColumnValues(rows, found[2 * i], found[2 * i + 1]) for i, name in enumerate(columns)}


def find_weak_role(
    found: Mapping[str, str], other: Mapping[str, str | None], values: Mapping[str, ColumnValues]
) -> tuple[str, str] | None:
    """Return a role whose column is worse than another one that may have it, and why; None where there is none.

    A column is weak where most of its values are missing and those of the other are there, and as the item where it is
    constant, or where it numbers the lines of orders.

    Args:
        found: role → column.
        other: role → the column that would have the role without that one.
        values: column → counts.
    """
    for role, column in found.items():
        instead = other.get(role)
        if instead is None:
            continue
        one, two = values[column], values[instead]
        if 2 * one.filled < one.rows and two.filled >= _MOST * two.rows:
            return role, f"no value in {one.rows - one.filled:,} of the first {one.rows:,} rows"
        if role != "item" or one.rows < _MIN_ROWS or two.filled < _MOST * two.rows:
            continue
        if one.distinct == 1 and two.distinct > 1:
            return role, "the same value in all of the first rows"
        is_line = "".join(split_words(column)) in _LINE_IDS and one.distinct == one.rows
        if is_line and 2 * two.distinct <= two.rows:
            return role, "another value in each of the first rows, as the numbers of lines have"
    return None


def describe_no_types(engine: SqlEngine, part: SourcePart, column: str) -> str | None:
    """Say why the first thousand values of a column cannot be names of event types; None where they can.

    They cannot where there are none, where nearly all are dates, and where most rows have a text of their own.
    """
    scan = part.scan if part.file is None else part.file.preview_scan()
    text = f"nullif(trim({quote_identifier(column)}::VARCHAR), '')"
    filled, distinct, dates = engine.fetch_rows(
        f"SELECT count(t), count(DISTINCT t), count_if(regexp_matches(t, {quote_literal(_DATE)})) "
        f"FROM (SELECT {text} AS t FROM {scan} LIMIT {_SAMPLE})",
        part.label,
    )[0]
    if not filled:
        return "no values in the first rows"
    if dates >= _MOST * filled:
        return "dates"
    return "another text in most of the first rows" if filled >= _MIN_ROWS and 2 * distinct > filled else None


def find_type_column(engine: SqlEngine, part: SourcePart, columns: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the first column of text whose values in the first thousand rows are all words for event types, and the words.

    None where there is none. The names of the columns may be anything: ``verb``, ``op``, ``tipo``.
    """
    texts = [name for name in columns if part.types[name] in {"VARCHAR", "JSON"}]
    if not texts:
        return None
    scan = part.scan if part.file is None else part.file.preview_scan()
    fields = ", ".join(f"nullif(trim({quote_identifier(name)}::VARCHAR), '') AS c{i}" for i, name in enumerate(texts))
    found = ", ".join(
        f"CASE WHEN count(DISTINCT c{i}) BETWEEN 2 AND {_MAX_TYPES} THEN list_sort(list(DISTINCT c{i})) END"
        for i in range(len(texts))
    )
    rows = engine.fetch_rows(f"SELECT {found} FROM (SELECT {fields} FROM {scan} LIMIT {_SAMPLE})", part.label)[0]
    for name, words in zip(texts, rows, strict=True):
        full = [word for word in words or () if word]
        if are_event_types(full):
            return name, full
    return None


def holds_small_numbers(engine: SqlEngine, part: SourcePart, column: str) -> bool:
    """Whether the first thousand values are whole numbers below a million, as counts are and times are not."""
    scan = part.scan if part.file is None else part.file.preview_scan()
    text = f"nullif(trim({quote_identifier(column)}::VARCHAR), '')"
    filled, small = engine.fetch_rows(
        f"SELECT count(t), count_if(try_cast(t AS DOUBLE) = floor(try_cast(t AS DOUBLE)) AND try_cast(t AS DOUBLE) BETWEEN 0 AND 1e6) "
        f"FROM (SELECT {text} AS t FROM {scan} LIMIT {_SAMPLE})",
        part.label,
    )[0]
    return bool(filled and small == filled)


def depends_on_item(engine: SqlEngine, part: SourcePart, user: str, item: str, column: str, role: str) -> bool:
    """Whether a column has one number for each item, as the mean rating or the total plays of an item have, and no opinions.

    Looks at the items of several users in the first ten thousand rows. There must be ten of them, and three different numbers.
    Means have decimals other than a half, and of totals few are the same: users who agree on all items are made up.
    """
    scan = part.scan if part.file is None else part.file.preview_scan()
    fields = ", ".join(
        f"{quote_identifier(name)}::VARCHAR AS {short}" for name, short in ((user, "u"), (item, "i"), (column, "x"))
    )
    items, single, numbers, means = engine.fetch_rows(
        "SELECT count(*), count_if(low = high), count(DISTINCT low), "
        "count_if(2 * try_cast(low AS DOUBLE) <> floor(2 * try_cast(low AS DOUBLE))) FROM (SELECT min(x) AS low, max(x) AS high "
        f"FROM (SELECT {fields} FROM {scan} LIMIT {_LARGE_SAMPLE}) "
        "WHERE x IS NOT NULL AND i IS NOT NULL GROUP BY i HAVING count(DISTINCT u) > 1)",
        part.label,
    )[0]
    if items < _MIN_ITEMS or single < items or numbers < _MIN_NUMBERS:
        return False
    return bool(means > 0 if role == "rating" else 2 * numbers >= items)
