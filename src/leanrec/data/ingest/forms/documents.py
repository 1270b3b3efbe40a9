"""JSON documents: one object or array that is a whole table, as pandas and dictionaries of ratings are written.

DuckDB reads the document once and writes its rows as JSON lines, which are then read as any others.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal, quote_path
from leanrec.data.ingest.forms.containers.json_trees import find_table, read_tree
from leanrec.data.ingest.meaning.column_names import guess_role

__all__ = ["convert_document"]

_KEY = rb'"(?:[^"\\]|\\.)*"\s*:\s*'
_BEGIN = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\[\s*\[|\{\s*" + _KEY + rb"(?:\{|\[\s*(?!\{)))")
# Plain fields before the first object, which JSON lines have too.
_LATER = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{\s*(?:" + _KEY + rb'(?:"[^"\\]*"|[-+.\w]+)\s*,\s*)+' + _KEY + rb"\{")
_MIN_SIZE = 16_000_000
_MAX_SIZE = 1_000_000_000
_PACKED = 20
_MAX_NAMES = 1000
_MAX_DEPTH = 2
_MIN_ROWS = 3


class _Entries(NamedTuple):
    """The entries of a document that is one object.

    Attributes:
        names: the first keys.
        inner: the keys of the first value, where it is an object.
        size: number of entries.
        objects: entries whose value is an object.
        arrays: entries whose value is an array.
        forms: number of different lists of keys.
        digits: entries whose key is a number.
        numbers: whether all values of the values are numbers.
        lists: whether all values of the values are plain, or arrays.
    """

    names: Sequence[str]
    inner: Sequence[str]
    size: int
    objects: int
    arrays: int
    forms: int
    digits: int
    numbers: bool
    lists: bool


def convert_document(engine: SqlEngine, path: Path, head: bytes, label: str) -> tuple[Path, str] | None:
    """Return a copy as JSON lines of a document that is a table in another form, and a note; None for other files.

    The forms: a column of each name (``{"user": {"0": …}}``), a row of each number (``{"0": {"user": …}}``), names beside
    arrays of values (``{"columns": […], "data": [[…]]}``), arrays alone, items of users (``{user: [item]}``), and trees of
    users and items (``{user: {item: rating}}``). Cost: O(bytes) time and disk, and the document in memory.
    """
    if not _BEGIN.match(head) and (b"\n{" in head or not _LATER.match(head)):
        return None
    size = path.stat().st_size * (_PACKED if path.suffix.lower() in {".gz", ".zst"} else 1) + 1_000_000
    options = f"format = 'unstructured', maximum_object_size = {min(max(size, _MIN_SIZE), _MAX_SIZE)}"
    scan = f"read_json_objects({quote_path(path)}, {options}, hive_partitioning = false)"
    if size > _MAX_SIZE:
        return None
    first = engine.fetch_rows(f"SELECT json_type(json) FROM {scan} LIMIT 2", label)
    if len(first) != 1:
        return None
    found = _read_arrays(engine, scan, label) if first[0][0] == "ARRAY" else _read_object(engine, scan, label)
    if found is None:
        return None
    query, note = found
    target = engine.new_path(f"{path.name.partition('.')[0]}.jsonl")
    lines = query if query.startswith("SELECT v FROM") else f"SELECT to_json(t) FROM ({query}) t"
    plain = "FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIM '\x1d'"
    engine.execute(f"COPY ({lines}) TO {quote_literal(target)} ({plain})", label)
    return target, f"{label}: {note}"


def _has_role(name: str) -> bool:
    """Whether a name means a user, an item, a time or a rating, alone or with ``_id`` at its end."""
    return guess_role(name) is not None or guess_role(f"{name}_id") is not None


def _read_arrays(engine: SqlEngine, scan: str, label: str) -> tuple[str, str] | None:
    """Return the query of ``[[user, item, …], …]``; a first array of names is the header."""
    rows = f"SELECT unnest(json_extract(json, '$[*]')) AS v FROM {scan}"
    first = engine.fetch_rows(f"SELECT json_type(v), v ->> '$[*]' FROM ({rows}) LIMIT 1", label)
    if not first or first[0][0] != "ARRAY":
        return None
    cells = [str(each) for each in first[0][1]]
    is_header = len(set(cells)) == len(cells) and any(map(_has_role, cells))
    names = cells if is_header else [str(i) for i in range(1, len(cells) + 1)]
    rows += " OFFSET 1" if is_header else ""
    told = "the first array has the names of the columns" if is_header else "the columns are called 1, 2, …"
    return _select_cells(rows, names), f"each array was read as one row; {told}."


def _select_cells(rows: str, names: Sequence[str]) -> str:
    """SQL: one column for each position in the arrays ``v``."""
    fields = ", ".join(f"json_extract(v, '$[{i}]') AS {quote_identifier(name)}" for i, name in enumerate(names))
    return f"SELECT {fields} FROM ({rows})"


def _read_object(engine: SqlEngine, scan: str, label: str, depth: int = 0) -> tuple[str, str] | None:
    """Return the query of an object whose entries are columns, rows, or what users did."""
    entries = f"SELECT unnest(json_keys(json)) AS k, unnest(json_extract(json, '$.*')) AS v FROM {scan}"
    is_number = "list_contains(['UBIGINT', 'BIGINT', 'DOUBLE', 'HUGEINT', 'NULL'], json_type(x))"
    is_plain = "json_type(x) <> 'OBJECT'"
    values = "CASE json_type(v) WHEN 'OBJECT' THEN json_extract(v, '$.*') ELSE json_extract(v, '$[*]') END"
    tests = (
        f"list(k)[:{_MAX_NAMES}], first(json_keys(v))[:{_MAX_NAMES}], count(*), count_if(json_type(v) = 'OBJECT'), "
        "count_if(json_type(v) = 'ARRAY'), count(DISTINCT json_keys(v)), count_if(regexp_full_match(k, '[0-9]+')), "
        f"bool_and(len(list_filter(values, lambda x: NOT {is_number})) = 0), "
        f"bool_and(len(list_filter(values, lambda x: NOT {is_plain})) = 0)"
    )
    row = engine.fetch_rows(f"SELECT {tests} FROM (SELECT *, {values} AS values FROM ({entries}))", label)[0]
    found = _Entries(*row)
    if {"columns", "data"} <= set(found.names) and found.arrays >= 2:
        columns = engine.fetch_rows(f"SELECT json ->> '$.columns[*]' FROM {scan}", label)[0][0]
        rows = f"SELECT unnest(json_extract(json, '$.data[*]')) AS v FROM {scan}"
        note = "each array of 'data' was read as one row, with the names in 'columns'."
        return (_select_cells(rows, columns), note) if len(set(map(str.lower, columns))) == len(columns) else None
    if found.size == found.objects == 1 and depth < _MAX_DEPTH:
        return _read_object(engine, f"(SELECT v AS json FROM ({entries}))", label, depth + 1)
    table = find_table(engine, entries, label) if found.objects and depth < _MAX_DEPTH else None
    if table is not None:
        inner = f"(SELECT v AS json FROM ({entries}) WHERE k = {quote_literal(table)})"
        return _read_object(engine, inner, label, depth + 1)
    has_names = any(map(_has_role, found.names))
    if found.size and found.objects == found.size:
        read = _read_objects(found, scan, entries)
        is_tree = not has_names and sum(map(_has_role, found.inner)) < 2
        return read or (read_tree(engine, entries, label) if is_tree else None)
    if found.size > 1 and found.arrays == found.size and found.lists and not has_names:
        query = f'SELECT k AS "user", v AS "items" FROM ({entries})'
        return query, "each key was read as a user, and the elements of its list as the items of the user."
    return None


def _read_objects(found: _Entries, scan: str, entries: str) -> tuple[str, str] | None:
    """Return the query of an object of objects that are columns or rows."""
    names, inner = found.names, found.inner
    is_counted = list(inner) == [str(i) for i in range(len(inner))] or all(each.isdigit() for each in inner)
    has_names = any(map(_has_role, names))
    if found.forms == 1 and inner and is_counted and (has_names or not found.numbers):
        if any('"' in each for each in names) or found.size >= _MAX_NAMES or found.digits:
            return None
        paths = [quote_literal(f'$."{each}".*') for each in names]
        fields = (
            f"unnest(json_extract(json, {path})) AS {quote_identifier(name)}"
            for name, path in zip(names, paths, strict=True)
        )
        return f"SELECT {', '.join(fields)} FROM {scan}", "each key was read as a column, as pandas writes them."
    rows_named = sum(map(_has_role, inner)) > 1
    is_numbered = found.digits == found.size and found.forms == 1 and not found.numbers and found.lists
    if is_numbered or (rows_named and (found.digits == found.size or found.size >= _MIN_ROWS)):
        return f"SELECT v FROM ({entries})", "each object under a key was read as one row."
    return None
