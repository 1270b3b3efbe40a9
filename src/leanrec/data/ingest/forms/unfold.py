"""One row for each event: applies the form of a log (nested columns, lists in cells, a matrix) to its table."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.ingest.csv_repair import copy_parts
from leanrec.data.ingest.forms.listed_items import (
    find_cell_lists,
    find_earlier_items,
    name_behaviors,
    read_earlier_items,
    read_impressions,
    split_cells,
)
from leanrec.data.ingest.forms.nested import (
    describe_columns,
    find_role,
    flatten_structs,
    is_nested,
    take_keys,
    unnest_events,
    unnest_lists,
)
from leanrec.data.ingest.forms.wide import is_wide, melt_matrix, take_header
from leanrec.data.ingest.sources import SourcePart

__all__ = ["unfold_events"]

_SAMPLE = 1000
_OBJECT = r"^\s*(\{|\[\s*\{)"
_TYPES = re.compile(r'(?<=[:\[])"(?:[A-Z]+)"')


def unfold_events(
    engine: SqlEngine,
    part: SourcePart,
    given: Mapping[str, str],
    role_names: Mapping[str, Collection[str]],
    layout: str | None,
) -> SourcePart:
    """Return the table of a log with one row for each event. A flat table is returned as it is.

    The types of the columns decide, and for text the first thousand rows. Text that is unfolded is read into a table of its
    own first, so that damaged lines are repaired and counted as in any other text.

    Args:
        engine: the connection.
        part: the table.
        given: role → column.
        role_names: role → normalized common names.
        layout: one of ``LAYOUTS``; None: found from the table.

    Raises:
        ColumnError: several columns of lists may hold the events.
    """
    if layout == "long":
        return flatten_structs(part)
    if layout in {None, "wide"}:
        part = take_header(part, role_names, is_given=layout is not None)
    if layout == "wide" or (layout is None and is_wide(part, given, role_names)):
        return melt_matrix(
            engine, _load_text(engine, flatten_structs(part)), given, role_names, is_given=layout is not None
        )
    part = _parse_cells(engine, take_keys(engine, part, given, role_names), given, role_names)
    if any(is_nested(column_type) for column_type in part.types.values()):
        return unnest_events(engine, part, given, role_names)
    part = part if "user" in given else name_behaviors(engine, part)
    if (earlier := find_earlier_items(engine, part, given, role_names)) is not None:
        return _guess_numbers(engine, read_earlier_items(_load_text(engine, part), earlier, given, role_names))
    lists = find_cell_lists(engine, part, given, role_names)
    if lists is None:
        return part
    part = _load_text(engine, part)
    if lists.impressions is not None:
        return _guess_numbers(engine, read_impressions(engine, part, lists, given, role_names))
    assert lists.items is not None  # noqa: S101 - lists without impressions have items
    note = (
        f"{part.label}: the cells of the column {lists.items!r} were read as lists, and each element as one event. To keep each "
        'cell as one id, pass layout="long".'
    )
    columns = [lists.items, *lists.parallel]
    return _guess_numbers(engine, unnest_lists(engine, split_cells(part, lists), columns, role_names, note))


def _parse_cells(
    engine: SqlEngine, part: SourcePart, given: Mapping[str, str], role_names: Mapping[str, Collection[str]]
) -> SourcePart:
    """Return the table with structs in place of JSON objects in cells, where its own columns lack a user or an item."""
    begins = {path.partition(".")[0] for path in given.values() if path not in part.types}
    own = {find_role(part, role, given, role_names) for role in ("user", "item")}
    texts = [
        name
        for name, each in part.types.items()
        if each in {"VARCHAR", "JSON"} and (None in own or name in own or name in begins)
    ]
    if not texts:
        return part
    scan = part.scan if part.file is None else part.file.preview_scan()
    fields = ", ".join(f"{quote_identifier(name)}::VARCHAR AS c{i}" for i, name in enumerate(texts))
    begin = quote_literal(_OBJECT)
    tests = ", ".join(
        f"count(nullif(c{i}, '')) > 0 AND count_if(regexp_matches(c{i}, {begin}) AND json_valid(c{i})) = count(nullif(c{i}, '')), "
        f"to_json(json_group_structure(CASE WHEN regexp_matches(c{i}, {begin}) AND json_valid(c{i}) THEN c{i}::JSON END))::VARCHAR"
        for i in range(len(texts))
    )
    row = engine.fetch_rows(f"SELECT {tests} FROM (SELECT {fields} FROM {scan} LIMIT {_SAMPLE})", part.label)[0]
    found = {name: row[2 * i + 1] for i, name in enumerate(texts) if row[2 * i]}
    if not found:
        return part
    part = _load_text(engine, part)
    replaced = []
    for name, structure in found.items():
        column = f"{quote_identifier(name)}::VARCHAR"
        shape = quote_literal(_TYPES.sub('"VARCHAR"', structure)) if part.form == "csv" else quote_literal(structure)
        value = f"json_transform(CASE WHEN json_valid({column}) THEN {column} END, {shape})"
        replaced.append(f"{value} AS {quote_identifier(name)}")
    scan = f"(SELECT * REPLACE ({', '.join(replaced)}) FROM {part.scan})"
    types = {
        **part.types,
        **describe_columns(engine, f"(SELECT {', '.join(map(quote_identifier, found))} FROM {scan})", part.label),
    }
    note = (
        f"{part.label}: the cells of {', '.join(map(repr, found))} are JSON objects; their fields were read as columns."
    )
    form = "sql" if part.form == "parquet" else part.form
    return dataclasses.replace(part, scan=scan, types=types, form=form, notes=(*part.notes, note))


def _load_text(engine: SqlEngine, part: SourcePart) -> SourcePart:
    """Read a text file into a table, repaired where necessary. Other tables stay where they are."""
    if part.file is None:
        return part
    table = f"{part.file.rejects}_text"

    def copy_text(parts: Sequence[SourcePart]) -> list[int]:
        engine.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT * FROM {parts[0].scan}", part.label)
        return [int(engine.fetch_rows(f"SELECT count(*) FROM {table}")[0][0])]

    (read,), _ = copy_parts(engine, [part], copy_text)
    return dataclasses.replace(read, scan=table, file=None)


def _guess_numbers(engine: SqlEngine, part: SourcePart) -> SourcePart:
    """Return a table of text with DOUBLE as the type of columns where most of the first values are numbers."""
    if part.form != "csv":
        return part
    tests = ", ".join(f"count(try_cast({c} AS DOUBLE)) * 2 > count({c})" for c in map(quote_identifier, part.types))
    row = engine.fetch_rows(f"SELECT {tests} FROM (SELECT * FROM {part.scan} LIMIT {_SAMPLE})", part.label)[0]
    types = {name: "DOUBLE" if number else "VARCHAR" for name, number in zip(part.types, row, strict=True)}
    return dataclasses.replace(part, types=types)
