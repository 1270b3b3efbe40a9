"""Links from files: triples about items, and trust or friendship between users, of any form that a log may have.

Columns are found by their usual names. A text file of three columns (two will do for users) whose first line holds none
of those names has no line of names, and its columns mean what their order says.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.engine import SqlEngine, quote_identifier, to_table_column
from leanrec.data.ingest.columns import plain_name
from leanrec.data.ingest.csv_repair import copy_parts, count_aside
from leanrec.data.ingest.row_reader import id_expression
from leanrec.data.ingest.sources import Source, SourcePart, open_parts
from leanrec.data.links import ItemLinks, UserLinks
from leanrec.data.vocabulary import Vocabulary
from leanrec.errors import ColumnError, DataError, SourceError
from leanrec.types import Int32Array

__all__ = ["LINK_ROLES", "FoundLinks", "attach", "read_links"]

# Table → role → usual names, as in plain_name; earlier names win. The last role of user links may be missing.
_USUAL: dict[str, dict[str, tuple[str, ...]]] = {
    "item_links": {
        "head": ("head", "subject", "subj", "source", "from", "item", "itemid", "headid", "h", "s"),
        "relation": ("relation", "predicate", "pred", "property", "rel", "edge", "link", "relationid", "type", "r", "p"),
        "tail": ("tail", "object", "obj", "target", "to", "entity", "value", "tailid", "t", "o"),
    },
    "user_links": {
        "user": ("user", "userid", "source", "from", "trustor", "truster", "trustorid", "follower", "followerid", "user1", "userid1", "u"),
        "friend": (
            "friend", "friendid", "trustee", "trusteeid", "trusts", "trusted", "trustedid", "followee", "followeeid", "followed",
            "target", "to", "contact", "user2", "userid2", "v",
        ),
        "weight": ("weight", "w", "trust", "trustvalue", "trustlevel", "strength", "value", "score"),
    },
}  # fmt: skip
_OPTIONAL = {"weight"}
_WORDS = {"item_links": "item links", "user_links": "user links"}

LINK_ROLES = tuple(f"{table}.{role}" for table, roles in _USUAL.items() for role in roles)
"""What ``columns`` may name beside the roles of the log: ``item_links.head`` and so on."""


@dataclasses.dataclass(frozen=True)
class FoundLinks:
    """Links as they were read.

    Attributes:
        item_links: the triples, or None.
        user_links: the links between users, or None.
        rejected: reason → rows.
        columns: file → role → column.
        notes: what reading them had to put right, and what they hold, in sentences.
    """

    item_links: ItemLinks | None = None
    user_links: UserLinks | None = None
    rejected: Mapping[str, int] = dataclasses.field(default_factory=dict)
    columns: Mapping[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_links(
    engine: SqlEngine, item_links: Source | None, user_links: Source | None, given: Mapping[str, str]
) -> FoundLinks:
    """Read both, where they are asked for. Rows that cannot be used are set aside and counted.

    ``given`` names columns: ``{"item_links.head": "subject"}``. Raises SourceError, ColumnError, and DataError where no
    row of a file can be used. Cost O(T log T).
    """
    found: dict[str, Any] = {}
    aside: dict[str, int] = {}
    columns: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    for table, source in (("item_links", item_links), ("user_links", user_links)):
        if source is not None:
            rows = _rows(engine, table, source, given)
            found[table] = (_item_links if table == "item_links" else _user_links)(engine, rows)
            aside |= {f"{_WORDS[table]}: {reason}": n for reason, n in rows.rejected.items() if n}
            columns[_WORDS[table]] = rows.columns
            notes += rows.notes
    return FoundLinks(**found, rejected=aside, columns=columns, notes=tuple(notes))


def attach(data: Dataset, found: FoundLinks) -> tuple[Dataset, tuple[str, ...]]:
    """The data set with the links, and what they hold in sentences.

    People whom only links know become users without events, after those of the log. Raises DataError where no link
    is about an item or a user of the data.
    """
    notes = []
    if found.item_links is not None:
        notes.append(_about_items(found.item_links, data))
    users, table = data.users, data.user_table
    if found.user_links is not None:
        users, note = _with_people(found.user_links, data)
        notes.append(note)
        if table is not None and len(users) > len(table):
            table = table.take(np.concatenate([np.arange(len(table)), np.full(len(users) - len(table), -1)]))
    linked = dataclasses.replace(
        data, users=users, user_table=table, item_links=found.item_links, user_links=found.user_links
    )
    return linked, tuple(notes)


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Rows in DuckDB: ``<table>_rows`` with a column c0, c1, … for each role, in the order of the file.

    Attributes:
        label: the file, for messages.
        columns: role → its column.
        rows: how many.
        rejected: reason → lines that are no rows.
        notes: what reading them had to put right.
    """

    label: str
    columns: dict[str, str]
    rows: int
    rejected: dict[str, int]
    notes: tuple[str, ...]


def _rows(engine: SqlEngine, table: str, source: Source, given: Mapping[str, str]) -> _Rows:
    parts = open_parts(engine, source, name=table)
    if all(_headless(table, part) for part in parts):
        parts = open_parts(engine, source, name=f"{table}_plain", positions=True)
    columns = [_columns(table, part, given) for part in parts]

    def copy(read: Sequence[SourcePart]) -> list[int]:
        selects = []
        for number, (part, cols) in enumerate(zip(read, columns, strict=True)):
            fields = [f"{_cell(part, cols.get(role), role)} AS c{i}" for i, role in enumerate(_USUAL[table])]
            selects.append(f"SELECT {', '.join(fields)}, {number} AS part FROM {part.scan}")
        everything = " UNION ALL ".join(selects)
        engine.execute(f"CREATE OR REPLACE TEMP TABLE {table}_rows AS {everything}", parts[0].label)
        counts = dict(engine.fetch_rows(f"SELECT part, count(*) FROM {table}_rows GROUP BY part"))
        return [int(counts.get(number, 0)) for number in range(len(read))]

    read, counts = copy_parts(engine, parts, copy)
    notes = tuple(note for part in read for note in part.notes)
    return _Rows(parts[0].label, columns[0], sum(counts), count_aside(engine, read), notes)


def _headless(table: str, part: SourcePart) -> bool:
    """Whether delimited text has as many columns as there are roles, and no usual name in its first line."""
    roles = _USUAL[table]
    usual = {name for names in roles.values() for name in names}
    fits = len(part.names) == len(roles) or len(part.names) == len(set(roles) - _OPTIONAL)
    return part.form == "csv" and fits and not usual & set(map(plain_name, part.names))


def _columns(table: str, part: SourcePart, given: Mapping[str, str]) -> dict[str, str]:
    """Role → column. Raises ColumnError."""
    roles = _USUAL[table]
    own = {plain_name(name): name for name in reversed(part.names)}
    found: dict[str, str] = {}
    headless = part.form == "csv" and all(name.isdigit() for name in part.names)
    for place, (role, usual) in enumerate(roles.items(), 1):
        asked = given.get(f"{table}.{role}")
        names = (str(place),) if headless else usual
        names = names if asked is None else (plain_name(asked),)
        column = next((own[name] for name in names if name in own and own[name] not in found.values()), None)
        if column is not None:
            found[role] = column
        elif asked is not None or role not in _OPTIONAL:
            raise ColumnError(_missing(table, role, asked, part))
    return found


def _missing(table: str, role: str, asked: str | None, part: SourcePart) -> str:
    there = f"Its columns are: {', '.join(map(repr, part.names[:30]))}."
    looked = f"Looked for {', '.join(_USUAL[table][role][:5])} and the like."
    what = f"no {role} column" if asked is None else f"no column {asked!r}, which was named as the {role}"
    shape = "head, relation, tail" if table == "item_links" else "user, friend and, where there is one, weight"
    return (
        f"{part.label} has {what}. {there} {looked if asked is None else ''} The {_WORDS[table]} must have the columns {shape}. "
        f'Name it: --column {table}.{role}=COLUMN, or columns={{"{table}.{role}": "COLUMN"}}.'
    ).replace("  ", " ")


def _cell(part: SourcePart, column: str | None, role: str) -> str:
    """SQL: an id as text, NULL where it is missing; a weight as a number, NaN where it is none and 1 where there are none."""
    if role == "weight":
        return "1::DOUBLE" if column is None else f"coalesce(try_cast({quote_identifier(column)} AS DOUBLE), 'nan'::DOUBLE)"
    assert column is not None  # noqa: S101 - every other role has been found
    column_type = "VARCHAR" if part.form == "csv" else part.types[column]
    return id_expression(column, column_type, integer=False, trim=part.form == "csv")


def _item_links(engine: SqlEngine, rows: _Rows) -> ItemLinks:
    missing = [(f"missing {role}", f"c{i} IS NULL") for i, role in enumerate(_USUAL["item_links"])]
    _judge(engine, "item_links", rows, missing, "c0, c1, c2", "repeated triple (it counts once)")
    nodes, codes = _codes(engine, "item_links", ("c0", "c2"))
    relations, relation = _codes(engine, "item_links", ("c1",))
    return ItemLinks(codes[0], relation[0], codes[1], Vocabulary(nodes, "entity"), relations)


def _user_links(engine: SqlEngine, rows: _Rows) -> UserLinks:
    reasons = [
        ("missing user", "c0 IS NULL"),
        ("missing friend", "c1 IS NULL"),
        ("user linked to the same user", "c0 = c1"),
        ("weight is not a number above zero", "NOT c2 BETWEEN 1e-30 AND 1e30"),
    ]
    _judge(engine, "user_links", rows, reasons, "c0, c1", "repeated link (the first one was kept)")
    people, codes = _codes(engine, "user_links", ("c0", "c1"))
    weight = engine.fetch_arrays("SELECT c2 FROM user_links_kept ORDER BY place")["c2"]
    return UserLinks(codes[0], codes[1], np.asarray(weight).astype(np.float32), Vocabulary(people, "user"))


def _judge(engine: SqlEngine, table: str, rows: _Rows, reasons: list[tuple[str, str]], key: str, repeated: str) -> None:
    """Make ``<table>_kept`` of the rows that nothing speaks against, and count the others by reason."""
    cases = " ".join(f"WHEN {condition} THEN {i}" for i, (_, condition) in enumerate(reasons))
    engine.execute(
        f"CREATE TEMP TABLE {table}_good AS SELECT *, rowid AS place, CASE {cases} ELSE -1 END AS reason FROM {table}_rows"
    )
    counts = dict(engine.fetch_rows(f"SELECT reason, count(*) FROM {table}_good GROUP BY reason"))
    rows.rejected.update({name: int(counts[i]) for i, (name, _) in enumerate(reasons) if i in counts})
    engine.execute(
        f"CREATE TEMP TABLE {table}_kept AS SELECT * FROM {table}_good WHERE place IN "
        f"(SELECT min(place) FROM {table}_good WHERE reason = -1 GROUP BY {key})"
    )
    kept = int(engine.fetch_rows(f"SELECT count(*) FROM {table}_kept")[0][0])
    rows.rejected[repeated] = int(counts.get(-1, 0)) - kept
    if not kept:
        listed = "; ".join(f"{reason}: {n:,}" for reason, n in rows.rejected.items() if n) or "it has no row"
        error = DataError if rows.rows else SourceError
        raise error(f"No row of the {_WORDS[table]} {rows.label} can be used: {listed}. Check its columns.")


def _codes(engine: SqlEngine, table: str, columns: tuple[str, ...]) -> tuple[NDArray[Any], list[Int32Array]]:
    """The distinct texts of the columns, sorted, and the codes of each column."""
    every = " UNION ALL ".join(f"SELECT {column} AS id FROM {table}_kept" for column in columns)
    distinct = f"SELECT DISTINCT id FROM ({every})"
    numbered = f"SELECT id, row_number() OVER (ORDER BY id) - 1 AS code FROM ({distinct})"
    engine.execute(f"CREATE OR REPLACE TEMP TABLE {table}_ids AS {numbered}")
    ids = engine.fetch_arrays(f"SELECT id FROM {table}_ids ORDER BY code")["id"]
    codes = []
    for column in columns:
        joined = f"SELECT code FROM {table}_kept JOIN {table}_ids ON {column} = id ORDER BY place"
        codes.append(np.asarray(engine.fetch_arrays(joined)["code"]).astype(np.int32))
    return to_table_column(ids), codes


def _about_items(links: ItemLinks, data: Dataset) -> str:
    linked = int(links.find_linked_items(data.items).sum())
    if not linked:
        raise DataError(
            f"None of the {len(links.nodes):,} heads and tails of the item links is the id of an item. Item ids look like: "
            f"{_some(data.items)}; heads and tails like: {_some(links.nodes)}. Bring the triples with the ids of the log."
        )
    return (
        f"Item links: {len(links):,} triples of {len(links.relations):,} relations about "
        f"{linked:,} of {len(data.items):,} items."
    )


def _with_people(links: UserLinks, data: Dataset) -> tuple[Vocabulary, str]:
    """The users with those whom only links know, and what the links hold."""
    known = data.users.rows(links.people.ids, missing=-1) >= 0
    if not known.any():
        raise DataError(
            f"None of the {len(links.people):,} people of the user links is a user of the log. User ids look like: "
            f"{_some(data.users)}; those of the links like: {_some(links.people)}. Bring the links with the ids of the log."
        )
    new = links.people.ids[~known]
    numbers = data.users.ids.dtype.kind == "i"
    fitting = [each for each in new.tolist() if not numbers or _is_whole(each)]
    users = data.users.with_ids(fitting)
    note = (
        f"User links: {len(links):,} among {int(known.sum()):,} of {len(data.users):,} users and "
        f"{len(new):,} of whom nothing else is known."
    )
    if len(fitting) < len(new):
        note += f" {len(new) - len(fitting):,} of those have ids that are no whole numbers, as the others are, and stay out."
    return users, note


def _is_whole(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 19 and str(int(text)) == text


def _some(ids: Vocabulary) -> str:
    return ", ".join(str(each) for each in ids.ids[:3].tolist())
