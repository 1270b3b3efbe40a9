"""Nested columns: fields of structs become columns, and lists become one row for each event.

What to do follows from the types of the columns and, where several columns are lists, from the first rows. The rows
themselves are read by DuckDB in one stream.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import duckdb

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.event_types import normalize_name
from leanrec.data.ingest.meaning.column_names import guess_role, split_words
from leanrec.errors import ColumnError

if TYPE_CHECKING:
    from leanrec.data.ingest.sources import SourcePart

__all__ = [
    "describe_columns",
    "find_parallel",
    "find_role",
    "flatten_structs",
    "is_nested",
    "is_sequence",
    "name_singular",
    "pair_values",
    "take_keys",
    "unnest_events",
    "unnest_lists",
]

_NUMBERS = ("INT", "DOUBLE", "FLOAT", "DECIMAL")
_MAX_DEPTH = 5
# Objects that only say of which type a value is: extended JSON of MongoDB, and the JSON of DynamoDB.
_TAGGED_NUMBERS = {
    "$numberInt": "BIGINT",
    "$numberLong": "BIGINT",
    "$numberDouble": "DOUBLE",
    "$numberDecimal": "DOUBLE",
}
_TYPE_TAGS = frozenset(("$oid", "$date", "$uuid", "$symbol", "S", "N", "BOOL", "M", "L", "SS", "NS", *_TAGGED_NUMBERS))
_TAGGED_LIST = re.compile(
    r'STRUCT\("?(?P<tag>\$oid|\$date|\$uuid|\$number\w+|S|N)"? (?P<type>VARCHAR|BIGINT|DOUBLE|TIMESTAMP)\)\[\]'
)
# Objects around the row itself, and the fields that Elasticsearch adds to each.
_ENVELOPES = frozenset(("_source", "Item"))
_HIT_FIELDS = frozenset(("_index", "_type", "_score", "_version", "_routing", "_seq_no", "_primary_term", "sort"))
_SAMPLE = 1000
_LONG_SAMPLE = 20_480
# Objects of these names hold facts about an event, a user or an item: their keys are no items.
_PROPERTIES = frozenset(
    [
        "property",
        "attribute",
        "param",
        "parameter",
        "trait",
        "context",
        "metadata",
        "meta",
        "detail",
        "option",
        "setting",
        "header",
    ]
)
# Columns whose cells list items in the order of their events.
_SEQUENCES = frozenset(
    (
        "history", "sequence", "seq", "session", "basket", "cart", "itemlist", "itemseq", "itemidlist", "itemidseq", "clicks", "clicked",
        "views", "viewed", "purchases", "purchased", "orders", "plays", "played", "watched", "read", "liked", "likes", "interactions", "events",
    )
)  # fmt: skip


def is_nested(column_type: str) -> bool:
    """Whether a DuckDB type is a list, a struct or a map."""
    return column_type.endswith("]") or column_type.startswith(("STRUCT(", "MAP("))


def name_singular(name: str) -> str:
    """Return the name of one value of a column of lists: ``item_ids`` → ``item_id``, ``movies`` → ``movie``."""
    for ending in ("_list", "_seq", "List", "Seq"):
        name = name.removesuffix(ending)
    if name.endswith("ies") and len(name) > len("series"):
        return f"{name[:-3]}y"
    return (
        name[:-1]
        if name.endswith("s") and not name.endswith("ss") and normalize_name(name) not in {"news", "ts"}
        else name
    )


def is_sequence(name: str) -> bool:
    """Whether the name of a column says that each cell lists the items of several events."""
    return normalize_name(name) in _SEQUENCES


def find_role(
    part: "SourcePart", role: str, given: Mapping[str, str], role_names: Mapping[str, Collection[str]]
) -> str | None:
    """Return the column that is given for a role or has one of its names, None where there is none."""
    by_name = {normalize_name(name): name for name in reversed(tuple(part.types))}
    if role in given:
        wanted = part.paths.get(given[role], given[role])
        return wanted if wanted in part.types else by_name.get(normalize_name(wanted))
    common = next((by_name[name] for name in role_names.get(role, ()) if name in by_name), None)
    # properties.item is an item, as properties.item_id is.
    return common or next(
        (name for name in part.types if guess_role(name) == role or name.lower().endswith(f".{role}")), None
    )


def describe_columns(engine: SqlEngine, scan: str, label: str) -> dict[str, str]:
    """Return column → DuckDB type of a table expression."""
    return {row[0]: row[1] for row in engine.fetch_rows(f"DESCRIBE SELECT * FROM {scan}", label)}


def flatten_structs(part: "SourcePart") -> "SourcePart":
    """Return the table with a column for each field of its structs, named by the path to it: ``properties.product_id``."""
    for _ in range(_MAX_DEPTH):
        part = _unwrap_lists(part)
        if not any(map(_is_struct, part.types.values())):
            break
        fields: dict[str, str] = {}
        types: dict[str, str] = {}
        paths = dict(part.paths)
        for name, column_type in part.types.items():
            quoted = quote_identifier(name)
            if not _is_struct(column_type):
                fields[name], types[name] = quoted, column_type
                continue
            found = _read_fields(column_type)
            is_typed = len(found) == 1 and set(found) <= _TYPE_TAGS
            for field, field_type in found.items():
                is_whole = is_typed or (name in _ENVELOPES and field not in {*part.types, *types})
                path = (name if is_typed else field) if is_whole else f"{name}.{field}"
                if path not in part.types or is_typed:
                    value = f"struct_extract({quoted}, {quote_literal(field)})"
                    number = _TAGGED_NUMBERS.get(field) if is_typed and field_type == "VARCHAR" else None
                    fields[path] = f"try_cast({value} AS {number})" if number else value
                    types[path] = number or field_type
                    paths |= {f"{each}.{field}": path for each in _list_paths(part, name)}
        select = [f"{value} AS {quote_identifier(name)}" for name, value in fields.items()]
        # A table of Parquet keeps the numbers of its rows.
        select += ["file_row_number"] if part.form == "parquet" else []
        part = dataclasses.replace(
            part, scan=f"(SELECT {', '.join(select)} FROM {part.scan})", types=types, paths=paths
        )
    return part


def _unwrap_lists(part: "SourcePart") -> "SourcePart":
    """Return the table with plain lists in place of lists of typed values: ``[{"$oid": "a"}]`` is ``["a"]``."""
    if {"_source", "_index"} <= set(part.types):
        # What Elasticsearch says about a hit is not about its document.
        kept = {name: each for name, each in part.types.items() if name not in _HIT_FIELDS}
        part = dataclasses.replace(part, types=kept)
    found = {name: match for name, each in part.types.items() if (match := _TAGGED_LIST.fullmatch(each))}
    if not found:
        return part
    values = ", ".join(
        f"list_transform({quote_identifier(name)}, lambda x: struct_extract(x, {quote_literal(match['tag'])})) AS {quote_identifier(name)}"
        for name, match in found.items()
    )
    types = {name: f"{found[name]['type']}[]" if name in found else each for name, each in part.types.items()}
    return dataclasses.replace(part, scan=f"(SELECT * REPLACE ({values}) FROM {part.scan})", types=types)


def _list_paths(part: "SourcePart", column: str) -> list[str]:
    """Return the name of a column and its path in the source, where it was inside a list."""
    return [column, *(path for path, name in part.paths.items() if name == column)]


def _is_struct(column_type: str) -> bool:
    return column_type.startswith("STRUCT(") and not column_type.endswith("]")


def unnest_events(
    engine: SqlEngine, part: "SourcePart", given: Mapping[str, str], role_names: Mapping[str, Collection[str]]
) -> "SourcePart":
    """Return the table of a log with one row for each event, where its rows hold lists of events.

    A log whose plain columns have a user and an item keeps its rows: its lists describe the items.

    Args:
        engine: the connection.
        part: the table.
        given: role → column, or path to a value inside lists and structs (``events.aid``).
        role_names: role → normalized common names.

    Raises:
        ColumnError: several lists may hold the events.
    """
    for _ in range(_MAX_DEPTH):
        part = _join_plain_items(engine, flatten_structs(part), given, role_names)
        column = _choose_list(engine, part, given, role_names)
        if column is None:
            break
        part = pair_values(engine, _drop_counts(engine, part, given, role_names), column)
        if part.types[column].startswith("STRUCT("):
            part = _unnest_structs(part, column, role_names)
        else:
            lists = {column: quote_identifier(column)} | {
                name: quote_identifier(name)
                for name, each in part.types.items()
                if each.endswith("]") and not each.startswith("STRUCT(")
            }
            part = unnest_lists(engine, part, find_parallel(engine, part, lists), role_names)
    return part


def _drop_counts(
    engine: SqlEngine, part: "SourcePart", given: Mapping[str, str], role_names: Mapping[str, Collection[str]]
) -> "SourcePart":
    """Return a document of one object without the numbers and times beside its list that are not those of events.

    These are counts, such as ``count``; where users and items are inside the list, all numbers, such as ``hits.total.value``, and
    the times of the document, such as ``exported_at``.
    """
    numbers = [
        name
        for name, each in part.types.items()
        if (each.startswith(_NUMBERS) or each == "BIGINT") and not each.endswith("]") and name not in given.values()
    ]
    outer = dataclasses.replace(part, types={name: each for name, each in part.types.items() if not is_nested(each)})
    if all(find_role(outer, role, given, role_names) is None for role in ("user", "item")):
        times = [name for name in outer.types if guess_role(name) == "time" and name not in {*numbers, *given.values()}]
        dropped = numbers + times
    else:
        dropped = [
            name
            for name in numbers
            if guess_role(name) == "weight" or normalize_name(name) in role_names.get("weight", ())
        ]
    rows = f"SELECT count(*) FROM (SELECT 1 FROM {part.scan} LIMIT 2)"
    if not dropped or engine.fetch_rows(rows, part.label)[0][0] != 1:
        return part
    note = f"{part.label}: these values stand beside the list of events and were not used: {', '.join(dropped)}."
    types = {name: each for name, each in part.types.items() if name not in dropped}
    return dataclasses.replace(part, types=types, notes=(*part.notes, note))


def take_keys(
    engine: SqlEngine, part: "SourcePart", given: Mapping[str, str], role_names: Mapping[str, Collection[str]]
) -> "SourcePart":
    """Return the table with structs in place of maps whose keys are names of columns, as properties of many kinds have."""
    maps = [name for name, each in part.types.items() if each.startswith("MAP(VARCHAR, ") and not each.endswith("]")]
    known = {name for names in role_names.values() for name in names}
    for name in maps:
        quoted = quote_identifier(name)
        rows = f"SELECT unnest(map_keys({quoted})) AS k FROM (SELECT {quoted} FROM {part.scan} LIMIT {_SAMPLE})"
        counts = engine.fetch_rows(f"SELECT k, count(*) FROM ({rows}) GROUP BY k", part.label)
        wanted = {path.removeprefix(f"{name}.") for path in given.values()}
        keys = [key for key, _ in counts if normalize_name(key) in known or key in wanted]
        if not any(normalize_name(key) in {*role_names["user"], *role_names["item"]} or key in wanted for key in keys):
            continue
        fields = ", ".join(f"{quote_literal(key)}: to_json({quoted}[{quote_literal(key)}]) ->> '$'" for key in keys)
        scan = f"(SELECT * REPLACE ({{{fields}}} AS {quoted}) FROM {part.scan})"
        types = {**part.types, **describe_columns(engine, f"(SELECT {quoted} FROM {scan})", part.label)}
        note = f"{part.label}: {name!r} has many different fields, of which these were read: {', '.join(keys)}."
        form = "sql" if part.form == "parquet" else part.form
        part = dataclasses.replace(part, scan=scan, types=types, form=form, notes=(*part.notes, note))
    return part


def _join_plain_items(
    engine: SqlEngine, part: "SourcePart", given: Mapping[str, str], role_names: Mapping[str, Collection[str]]
) -> "SourcePart":
    """Return one row for each item where some rows have a plain item and others a list of them, as views and orders have."""
    lists = [name for name, each in part.types.items() if each.startswith("STRUCT(") and each.endswith("]")]
    plain = dataclasses.replace(part, types={name: each for name, each in part.types.items() if not is_nested(each)})
    item = find_role(plain, "item", given, role_names) if lists else None
    if item is None:
        return part
    prefix, dot, leaf = item.rpartition(".")
    for name in lists:
        fields, quoted = _list_fields(part, name), quote_identifier(name)
        if leaf not in fields:
            continue
        tests = ", ".join(
            f"count_if({quote_identifier(item)} IS {test} AND len({quoted}) > 0)" for test in ("NULL", "NOT NULL")
        )
        only, both = engine.fetch_rows(
            f"SELECT {tests} FROM (SELECT * FROM {part.scan} LIMIT {_LONG_SAMPLE})", part.label
        )[0]
        if not only or both:
            continue
        values = {each: quote_identifier(each) for each in part.types if each != name}
        for field in fields:
            path, value = f"{prefix}{dot}{field}", f"struct_extract(e, {quote_literal(field)})"
            same = part.types.get(path, fields[field]) == fields[field]
            outer = values.get(path, "NULL")
            values[path] = f"coalesce({value}, {outer})" if same else f"coalesce({value}::VARCHAR, {outer}::VARCHAR)"
        select = ", ".join(f"{value} AS {quote_identifier(each)}" for each, value in values.items())
        rows = f"SELECT *, unnest(CASE WHEN len({quoted}) > 0 THEN {quoted} ELSE [NULL] END) AS e FROM {part.scan}"
        scan = f"(SELECT {select} FROM ({rows}))"
        note = (
            f"{part.label}: where {item!r} has no value, each element of the lists in {name!r} was read as one event."
        )
        return _replace_rows(part, scan, describe_columns(engine, scan, part.label), part.paths, note)
    return part


def _choose_list(
    engine: SqlEngine, part: "SourcePart", given: Mapping[str, str], role_names: Mapping[str, Collection[str]]
) -> str | None:
    """Return the column of lists that holds the events, None where each row is an event."""
    lists = [name for name, each in part.types.items() if each.endswith("]") or each.startswith("MAP(")]
    if not lists:
        return None
    named = [part.paths.get(column, column) for role, column in given.items() if role in role_names]
    for name in lists:
        begins = tuple(f"{path}." for path in _list_paths(part, name))
        if any(each == name or each.startswith(begins) for each in named):
            return name
    clicked, shown = ([name for name in lists if normalize_name(name).endswith(each)] for each in ("clicked", "inview"))
    if len(clicked) == len(shown) == 1 and not part.types[clicked[0]].startswith("STRUCT(") and "item" not in given:
        return clicked[0]
    plain = dataclasses.replace(part, types={name: each for name, each in part.types.items() if name not in lists})
    missing = [role for role in ("user", "item") if find_role(plain, role, given, role_names) is None]
    if not missing:
        return None
    structs = {name: tuple(_list_fields(part, name)) for name in lists if part.types[name].startswith("STRUCT(")}
    # A list of items is known by the name of a field, of the list and the field (items and id), or of the list.
    known = {
        name: {
            normalize_name(each)
            for each in (*structs[name], *(f"{name_singular(name)}{field}" for field in structs[name]))
        }
        if name in structs
        else {normalize_name(name), normalize_name(name_singular(name))}
        for name in lists
    }
    for role in missing:
        fitting = [name for name in lists if known[name] & set(role_names[role])]
        if len(fitting) == 1:
            return fitting[0]
    if "item" not in missing:
        return None
    lists = [name for name in lists if not _holds_properties(engine, part, name)]
    candidates = [name for name in structs if name in lists] or [name for name in lists if is_sequence(name)] or lists
    if len(candidates) <= 1:
        return next(iter(candidates), None)
    paths = [f"{name}.{field}" for name in candidates for field in structs.get(name, ())] or candidates
    raise ColumnError(
        f"{part.label} has no item column, and several columns hold lists: {', '.join(map(repr, lists[:10]))}. Name the one that "
        f'holds the items: columns={{"item": "PATH"}}, where PATH is one of {", ".join(map(repr, paths[:20]))}.'
    )


def _holds_properties(engine: SqlEngine, part: "SourcePart", name: str) -> bool:
    """Whether a list or a map describes the event: by its name, or since it is empty in all of the first rows."""
    is_map = part.types[name].startswith("MAP(") and not part.types[name].endswith("]")
    if is_map and set(split_words(name)[-1:]) & _PROPERTIES:
        return True
    size = f"{'cardinality' if is_map else 'len'}({quote_identifier(name)})"
    rows = f"SELECT {size} AS n FROM {part.scan} LIMIT {_SAMPLE}"
    return not engine.fetch_rows(f"SELECT count_if(n > 0) FROM ({rows})", part.label)[0][0]


def pair_values(engine: SqlEngine, part: "SourcePart", column: str) -> "SourcePart":
    """Return the table with lists of structs in place of a map (item → rating), or of lists of lists of one length.

    The fields of a list of ``[item, time]`` are named "1", "2", ….
    """
    quoted, column_type = quote_identifier(column), part.types[column]
    if column_type.startswith("MAP(") and not column_type.endswith("]"):
        values = column_type.rpartition(", ")[2].removesuffix(")")
        rated = "rating" if any(each in values for each in _NUMBERS) else "value"
        value = f"list_transform(map_entries({quoted}), lambda e: {{'item': e.key, '{rated}': e.value}})"
    elif column_type.endswith("[][]") and not column_type.startswith("STRUCT("):
        inner = f"SELECT len(unnest({quoted})) AS n FROM {part.scan} LIMIT {_SAMPLE}"
        shortest, longest = engine.fetch_rows(f"SELECT min(n), max(n) FROM ({inner})", part.label)[0]
        if shortest != longest or not shortest or shortest == 1:
            return part
        text = " ->> '$'" if column_type.startswith("JSON") else ""
        fields = ", ".join(f"'{i}': x[{i}]{text}" for i in range(1, shortest + 1))
        value = f"list_transform({quoted}, lambda x: {{{fields}}})"
    else:
        return part
    scan = f"(SELECT * REPLACE ({value} AS {quoted}) FROM {part.scan})"
    found = describe_columns(engine, f"(SELECT {quoted} FROM {scan})", part.label)
    return dataclasses.replace(part, scan=scan, types={**part.types, **found})


def _list_fields(part: "SourcePart", column: str) -> dict[str, str]:
    """Return field → type of the structs in a column of lists."""
    ((_, element),) = duckdb.sqltype(part.types[column]).children
    return _read_fields(str(element))


def _read_fields(struct: str) -> dict[str, str]:
    """Return field → type of a struct, by its type alone: a document may have hundreds, and each question takes a while."""
    return {field: str(each) for field, each in duckdb.sqltype(struct).children}


def _unnest_structs(part: "SourcePart", column: str, role_names: Mapping[str, Collection[str]]) -> "SourcePart":
    """Return one row for each struct in the lists of a column, with its fields as columns; the other columns repeat."""
    roles = {name for names in role_names.values() for name in names}
    fields = _list_fields(part, column)
    outer = {name: name for name in part.types if name != column}
    inner: dict[str, str] = {}
    for field in fields:
        inner[field] = field
        clashing = next((name for name in outer if name.lower() == field.lower()), None)
        if normalize_name(field) == "id" or (clashing and normalize_name(field) not in roles):
            inner[field] = f"{name_singular(column)}.{field}"
        elif clashing:
            # The time and the type of an event are its own.
            outer[clashing] = f"outer.{clashing}"
    select = [f"{quote_identifier(old)} AS {quote_identifier(new)}" for old, new in outer.items()]
    select += [f"struct_extract(e, {quote_literal(old)}) AS {quote_identifier(new)}" for old, new in inner.items()]
    rows = ", ".join([*map(quote_identifier, outer), f"unnest({quote_identifier(column)}) AS e"])
    types = {new: part.types[old] for old, new in outer.items()} | {new: fields[old] for old, new in inner.items()}
    paths = dict(part.paths)
    for path in _list_paths(part, column):
        paths |= {f"{path}.{old}": new for old, new in inner.items()}
    note = f"{part.label}: each element of the lists in the column {column!r} was read as one event."
    scan = f"(SELECT {', '.join(select)} FROM (SELECT {rows} FROM {part.scan}))"
    return _replace_rows(part, scan, types, paths, note)


def find_parallel(engine: SqlEngine, part: "SourcePart", lists: Mapping[str, str]) -> list[str]:
    """Return the columns whose lists have the same lengths as those of the first one in the first rows, and the first one.

    Args:
        engine: the connection.
        part: the table.
        lists: column → SQL of its list.
    """
    first, *others = lists
    tests = ", ".join(f"count_if(len({lists[name]}) IS DISTINCT FROM len({lists[first]}))" for name in others)
    if not tests:
        return [first]
    scan = part.scan if part.file is None else part.file.preview_scan()
    different = engine.fetch_rows(f"SELECT {tests} FROM (SELECT * FROM {scan} LIMIT {_SAMPLE})", part.label)[0]
    return [first, *(name for name, rows in zip(others, different, strict=True) if not rows)]


def unnest_lists(
    engine: SqlEngine, part: "SourcePart", columns: list[str], role_names: Mapping[str, Collection[str]], note: str = ""
) -> "SourcePart":
    """Return one row for each position in the lists of ``columns``, which have equal lengths; the other columns repeat.

    A shorter list leaves its last values empty. A column is named as one of its values (``ratings`` → ``rating``), and the
    first one, which holds the items, is ``item`` where its name says something else. ``note`` says how the lists were read.
    """
    names = _name_elements(part, columns, role_names)
    select = [
        f"unnest({quote_identifier(old)}) AS {quote_identifier(names[old])}" if old in names else quote_identifier(old)
        for old in part.types
    ]
    scan = f"(SELECT {', '.join(select)} FROM {part.scan})"
    listed = " and ".join(map(repr, columns))
    what = f"the lists in the column {listed}" if len(columns) == 1 else f"the lists of equal length in {listed}"
    note = note or f"{part.label}: each element of {what} was read as one event."
    types = describe_columns(engine, scan, part.label)
    return _replace_rows(part, scan, types, {**part.paths, **names}, note)


def _name_elements(part: "SourcePart", columns: list[str], role_names: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return column of lists → name of the column with its elements."""
    roles = {name for names in role_names.values() for name in names}
    outer = [name for name in part.types if name not in columns]
    # Where another column has the items, the lists are of users.
    items = [*outer, *(columns[1:] if normalize_name(columns[0]) in role_names["user"] else ())]
    has_items = any(normalize_name(name) in role_names["item"] for name in items)
    role = "user" if has_items and not normalize_name(columns[0]).endswith("clicked") else "item"
    taken = {name.lower() for name in part.types}
    names: dict[str, str] = {}
    for column in columns:
        one = name_singular(column)
        if not names and not {normalize_name(column), normalize_name(one)} & set(role_names[role]):
            one = role
        is_better = normalize_name(one) in roles and one.lower() not in taken
        names[column] = one if is_better and (not names or normalize_name(column) not in roles) else column
        taken.add(names[column].lower())
    return names


def _replace_rows(
    part: "SourcePart", scan: str, types: Mapping[str, str], paths: Mapping[str, str], note: str
) -> "SourcePart":
    # The rows are no longer those of the Parquet file.
    form = "sql" if part.form == "parquet" else part.form
    return dataclasses.replace(
        part, scan=scan, types=types, form=form, file=None, paths=paths, notes=(*part.notes, note)
    )
