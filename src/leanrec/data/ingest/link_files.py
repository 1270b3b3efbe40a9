"""Links from files: knowledge graph triples about items, and trust or friendship between users, in any format of a log.

Columns are found by common names. A text file of three columns (two are enough for users) whose first line has none of
these names has no header, and its columns are in the order of the roles.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.engine import SqlEngine, quote_identifier, to_table_column
from leanrec.data.event_types import normalize_name
from leanrec.data.ingest.csv_repair import check_readable, copy_parts, count_rejected
from leanrec.data.ingest.forms.unfold import unfold_events
from leanrec.data.ingest.meaning.id_forms import describe_thousands, find_id_form
from leanrec.data.ingest.sources import Source, SourcePart, open_parts
from leanrec.data.ingest.staging import id_expression
from leanrec.data.links import ItemLinks, UserLinks
from leanrec.data.merge import add_ids
from leanrec.data.vocabulary import Vocabulary
from leanrec.errors import ColumnError, DataError, SourceError
from leanrec.types import Int32Array

__all__ = ["LinkFiles", "add_links", "read_links"]

# Table → role → common names, normalized; earlier names win. The weight of user links is optional.
_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "item_links": {
        "head": ("head", "subject", "subj", "source", "from", "item", "itemid", "headid", "h", "s"),
        "relation": ("relation", "predicate", "pred", "property", "rel", "edge", "link", "relationid", "type", "r", "p"),
        "tail": ("tail", "object", "obj", "target", "to", "entity", "value", "tailid", "t", "o"),
    },
    "user_links": {
        "user": ("user", "userid", "source", "sourceid", "from", "trustor", "truster", "trustorid", "follower", "followerid", "user1", "userid1", "u"),
        "friend": (
            "friend", "friendid", "trustee", "trusteeid", "trusts", "trusted", "trustedid", "followee", "followeeid", "followed",
            "target", "targetid", "to", "contact", "user2", "userid2", "v",
        ),
        "weight": ("weight", "w", "trust", "trustvalue", "trustlevel", "strength", "value", "score"),
    },
}  # fmt: skip
_OPTIONAL = {"weight"}
# A file of these columns says which entity of the triples is which item, as RecBole's .link files do.
_ENTITY_NAMES = {"itemid", "entityid"}
_WHOLE_NUMBER = re.compile("0|-?[1-9][0-9]{0,17}")
_TITLES = {"item_links": "item links", "user_links": "user links"}


@dataclasses.dataclass(frozen=True)
class LinkFiles:
    """The links that were read from files.

    Attributes:
        item_links: the triples, or None.
        user_links: the links between users, or None.
        rejected: reject reason → rows.
        columns: file → role → column.
        notes: repairs made while reading, in sentences.
    """

    item_links: ItemLinks | None = None
    user_links: UserLinks | None = None
    rejected: Mapping[str, int] = dataclasses.field(default_factory=dict)
    columns: Mapping[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_links(
    engine: SqlEngine, item_links: Source | None, user_links: Source | None, given: Mapping[str, str | None]
) -> LinkFiles:
    """Read the given files of links. Rows that cannot be used are rejected and counted.

    ``given`` names columns: ``{"item_links.head": "subject"}``. Raises SourceError, ColumnError, and DataError where no
    row of a file can be used. Cost: O(T log T).
    """
    found: dict[str, Any] = {}
    rejected: dict[str, int] = {}
    columns: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    for table, source in (("item_links", item_links), ("user_links", user_links)):
        if source is not None:
            rows = _load_rows(engine, table, source, given)
            found[table] = (_build_item_links if table == "item_links" else _build_user_links)(engine, rows)
            rejected |= {f"{_TITLES[table]}: {reason}": n for reason, n in rows.rejected.items() if n}
            columns[_TITLES[table]] = rows.columns
            notes += rows.notes
    return LinkFiles(**found, rejected=rejected, columns=columns, notes=tuple(notes))


def add_links(data: Dataset, found: LinkFiles) -> tuple[Dataset, tuple[str, ...]]:
    """Return the data set with the links, and their contents in sentences.

    People who occur only in links become users without events, after those of the log. Raises DataError where no link
    is about an item or a user of the data.
    """
    notes = []
    if (item_links := found.item_links) is not None:
        n_linked = int(item_links.find_linked_items(data.items).sum())
        if not n_linked:
            raise DataError(
                f"At least one head or tail of the item links must be an item id. Got {len(item_links.nodes):,} others. Item "
                f"ids look like: {_first_ids(data.items)}; heads and tails like: {_first_ids(item_links.nodes)}. Pass the "
                "triples with the ids of the log."
            )
        notes.append(
            f"Item links: {len(item_links):,} triples of {len(item_links.relations):,} relations about "
            f"{n_linked:,} of {len(data.items):,} items."
        )
    if found.user_links is not None:
        users, note = _add_people(found.user_links, data)
        notes.append(note)
        data = add_ids(data, users, data.items)
    return dataclasses.replace(data, item_links=item_links, user_links=found.user_links), tuple(notes)


def _add_people(links: UserLinks, data: Dataset) -> tuple[Vocabulary, str]:
    """Return the users with the people who occur only in links, and a description of the links."""
    known = data.users.rows(links.people.ids, missing=-1) >= 0
    if not known.any():
        raise DataError(
            f"At least one person of the user links must be a user of the log. Got {len(links.people):,} others. User ids "
            f"look like: {_first_ids(data.users)}; those of the links like: {_first_ids(links.people)}. Pass the links with "
            "the ids of the log."
        )
    new = links.people.ids[~known].tolist()
    has_numbers = data.users.ids.dtype.kind == "i"
    fitting = [each for each in new if not has_numbers or _WHOLE_NUMBER.fullmatch(each)]
    note = (
        f"User links: {len(links):,} among {int(known.sum()):,} of {len(data.users):,} users; "
        f"people without events: {len(new):,}."
    )
    if len(fitting) < len(new):
        note += f" {len(new) - len(fitting):,} of these left out: ids must be whole numbers, like those of the log."
    return data.users.with_ids(fitting), note


@dataclasses.dataclass(frozen=True)
class _LoadedLinks:
    """Rows in DuckDB: ``<table>_rows`` with a column c0, c1, … for each role, in the order of the file.

    Attributes:
        label: the file, for messages.
        columns: role → its column.
        rows: number of rows.
        rejected: reject reason → lines that are not rows.
        notes: repairs made while reading.
    """

    label: str
    columns: dict[str, str]
    rows: int
    rejected: dict[str, int]
    notes: tuple[str, ...]


def _load_rows(engine: SqlEngine, table: str, source: Source, given: Mapping[str, str | None]) -> _LoadedLinks:
    opened = open_parts(engine, source, name=table)
    entities = [
        part for part in opened if table == "item_links" and set(map(normalize_name, part.names)) == _ENTITY_NAMES
    ]
    parts = [part for part in opened if part not in entities]
    if not parts:
        raise SourceError(
            f"{opened[0].label} has the entities of items and no triples. Pass the file of triples beside it."
        )
    roles = _NAMES[table]
    common = {name for names in roles.values() for name in names}
    sizes = {len(roles), len(set(roles) - _OPTIONAL)}
    # Delimited text with one column for each role, and none of their names in the first line, has no header.
    if all(
        part.form == "csv" and len(part.names) in sizes and not common & set(map(normalize_name, part.names))
        for part in parts
    ):
        parts = open_parts(engine, source, name=f"{table}_plain", positions=True)
    if table == "user_links":
        parts = [_list_friends(engine, part, given) for part in parts]
    columns = [_find_link_columns(table, part, given) for part in parts]

    def copy_rows(read: Sequence[SourcePart]) -> list[int]:
        selects = []
        for number, (part, cols) in enumerate(zip(read, columns, strict=True)):
            fields = [f"{_cell_expression(part, cols.get(role), role)} AS c{i}" for i, role in enumerate(roles)]
            selects.append(f"SELECT {', '.join(fields)}, {number} AS part FROM {part.scan}")
        all_rows = " UNION ALL ".join(selects)
        engine.execute(f"CREATE OR REPLACE TEMP TABLE {table}_rows AS {all_rows}", parts[0].label)
        counts = dict(engine.fetch_rows(f"SELECT part, count(*) FROM {table}_rows GROUP BY part"))
        return [int(counts.get(number, 0)) for number in range(len(read))]

    read, counts = copy_parts(engine, parts, copy_rows)
    told = []
    for i, role in enumerate(roles):
        if role != "weight" and (form := find_id_form(engine, f"{table}_rows", f"c{i}")):
            told += [describe_thousands(f"{_TITLES[table].capitalize()}: {role}", form)] if form.thousands else []
            engine.execute(f"UPDATE {table}_rows SET c{i} = {form.apply(f'c{i}')}")
    for part in entities:
        _replace_entities(engine, part)
    for part, n_rows in zip(read, counts, strict=True):
        check_readable(engine, part, n_rows, _TITLES[table])
    notes = (*(note for part in read for note in part.notes), *told)
    return _LoadedLinks(parts[0].label, columns[0], sum(counts), count_rejected(engine, read), notes)


def _replace_entities(engine: SqlEngine, part: SourcePart) -> None:
    """Give the entities of a file of items and entities the ids of their items; of several items the first one by name."""
    by_name = {normalize_name(name): name for name in part.names}
    item, entity = (_cell_expression(part, by_name[name], "head") for name in ("itemid", "entityid"))
    engine.execute(
        f"CREATE OR REPLACE TEMP TABLE item_links_entities AS SELECT {entity} AS entity, min({item}) AS item FROM {part.scan} GROUP BY ALL",
        part.label,
    )
    for column in ("c0", "c2"):
        engine.execute(
            f"UPDATE item_links_rows SET {column} = e.item FROM item_links_entities AS e WHERE {column} = e.entity AND e.item IS NOT NULL"
        )


def _list_friends(engine: SqlEngine, part: SourcePart, given: Mapping[str, str | None]) -> SourcePart:
    """Return the table with one row for each friend, where its rows or cells list the friends of a user."""
    roles = {"user": _NAMES["user_links"]["user"], "item": _NAMES["user_links"]["friend"]}
    named = {"user": given.get("user_links.user"), "item": given.get("user_links.friend")}
    part = unfold_events(engine, part, {role: column for role, column in named.items() if column}, roles, None)
    if part.form == "csv" and part.file is None and part.names == ("user", "item"):
        # Lines of a user and all friends of the user.
        scan = f'(SELECT "user", item AS friend FROM {part.scan})'
        part = dataclasses.replace(part, scan=scan, types={"user": "VARCHAR", "friend": "VARCHAR"})
    return part


def _find_link_columns(table: str, part: SourcePart, given: Mapping[str, str | None]) -> dict[str, str]:
    """Return role → column. Raises ColumnError."""
    by_name = {normalize_name(name): name for name in reversed(part.names)}
    found: dict[str, str] = {}
    has_positions = part.form == "csv" and all(name.isdigit() for name in part.names)
    for position, (role, common) in enumerate(_NAMES[table].items(), 1):
        wanted = given.get(f"{table}.{role}")
        wanted = part.paths.get(wanted or "", wanted)
        if wanted is not None and normalize_name(wanted) not in by_name and wanted.isdecimal():
            # As in a log, a column may be named by its number.
            wanted = dict(enumerate(part.names, 1)).get(int(wanted), wanted)
        names = (str(position),) if has_positions else common
        names = names if wanted is None else (normalize_name(wanted),)
        column = next(
            (by_name[each] for each in names if each in by_name and by_name[each] not in found.values()), None
        )
        if column is not None:
            found[role] = column
        elif wanted is not None or role not in _OPTIONAL:
            searched = f" Looked for {', '.join(common[:5])} and similar names." if wanted is None else ""
            what = f"no {role} column" if wanted is None else f"no column {wanted!r}, which was named as the {role}"
            shape = "head, relation, tail" if table == "item_links" else "user, friend and, optionally, weight"
            raise ColumnError(
                f"{part.label} has {what}. Its columns are: {', '.join(map(repr, part.names[:30]))}.{searched} The "
                f"{_TITLES[table]} must have the columns {shape}. "
                f'Name it: columns={{"{table}.{role}": "COLUMN"}}.'
            )
    return found


def _cell_expression(part: SourcePart, column: str | None, role: str) -> str:
    """SQL: an id as text, NULL where it is missing; a weight as a number, NaN where it is not a number, 1 without a column."""
    if role == "weight":
        return (
            "1::DOUBLE"
            if column is None
            else f"coalesce(try_cast({quote_identifier(column)} AS DOUBLE), 'nan'::DOUBLE)"
        )
    assert column is not None  # noqa: S101 - every other role was found
    column_type = "VARCHAR" if part.form == "csv" else part.types[column]
    return id_expression(column, column_type, integer=False, trim=part.form == "csv")


def _build_item_links(engine: SqlEngine, rows: _LoadedLinks) -> ItemLinks:
    missing = [(f"missing {role}", f"c{i} IS NULL") for i, role in enumerate(_NAMES["item_links"])]
    _keep_valid_rows(engine, "item_links", rows, missing, "c0, c1, c2", "repeated triple (it counts once)")
    nodes, codes = _encode_columns(engine, "item_links", ("c0", "c2"))
    relations, relation = _encode_columns(engine, "item_links", ("c1",))
    return ItemLinks(codes[0], relation[0], codes[1], Vocabulary(nodes, "entity"), relations)


def _build_user_links(engine: SqlEngine, rows: _LoadedLinks) -> UserLinks:
    reasons = [
        ("missing user", "c0 IS NULL"),
        ("missing friend", "c1 IS NULL"),
        ("user linked to the same user", "c0 = c1"),
        ("weight is not a number above zero", "NOT c2 BETWEEN 1e-30 AND 1e30"),
    ]
    _keep_valid_rows(engine, "user_links", rows, reasons, "c0, c1", "repeated link (the first one was kept)")
    people, codes = _encode_columns(engine, "user_links", ("c0", "c1"))
    weight = engine.fetch_arrays("SELECT c2 FROM user_links_kept ORDER BY position")["c2"]
    return UserLinks(codes[0], codes[1], np.asarray(weight).astype(np.float32), Vocabulary(people, "user"))


def _keep_valid_rows(
    engine: SqlEngine, table: str, rows: _LoadedLinks, reasons: list[tuple[str, str]], key: str, repeated: str
) -> None:
    """Make ``<table>_kept`` of the valid rows, and count the others by reject reason."""
    cases = " ".join(f"WHEN {condition} THEN {i}" for i, (_, condition) in enumerate(reasons))
    engine.execute(
        f"CREATE TEMP TABLE {table}_checked AS SELECT *, rowid AS position, CASE {cases} ELSE -1 END AS reason FROM {table}_rows"
    )
    counts = dict(engine.fetch_rows(f"SELECT reason, count(*) FROM {table}_checked GROUP BY reason"))
    rows.rejected.update({name: int(counts[i]) for i, (name, _) in enumerate(reasons) if i in counts})
    engine.execute(
        f"CREATE TEMP TABLE {table}_kept AS SELECT * FROM {table}_checked WHERE position IN "
        f"(SELECT min(position) FROM {table}_checked WHERE reason = -1 GROUP BY {key})"
    )
    kept = int(engine.fetch_rows(f"SELECT count(*) FROM {table}_kept")[0][0])
    rows.rejected[repeated] = int(counts.get(-1, 0)) - kept
    if not kept:
        listed = "; ".join(f"{reason}: {n:,}" for reason, n in rows.rejected.items() if n) or "it has no rows"
        error = DataError if rows.rows else SourceError
        raise error(f"No row of the {_TITLES[table]} {rows.label} can be used: {listed}. Check its columns.")


def _encode_columns(engine: SqlEngine, table: str, columns: tuple[str, ...]) -> tuple[NDArray[Any], list[Int32Array]]:
    """Return the distinct texts of the columns, sorted, and the codes of each column."""
    texts = " UNION ALL ".join(f"SELECT {column} AS id FROM {table}_kept" for column in columns)
    numbered = f"SELECT id, row_number() OVER (ORDER BY id) - 1 AS code FROM (SELECT DISTINCT id FROM ({texts}))"
    engine.execute(f"CREATE OR REPLACE TEMP TABLE {table}_ids AS {numbered}")
    ids = engine.fetch_arrays(f"SELECT id FROM {table}_ids ORDER BY code")["id"]
    codes = []
    for column in columns:
        joined = f"SELECT code FROM {table}_kept JOIN {table}_ids ON {column} = id ORDER BY position"
        codes.append(np.asarray(engine.fetch_arrays(joined)["code"]).astype(np.int32))
    return to_table_column(ids), codes


def _first_ids(ids: Vocabulary) -> str:
    return ", ".join(str(each) for each in ids.ids[:3].tolist())
