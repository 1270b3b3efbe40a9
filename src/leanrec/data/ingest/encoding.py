"""Encoding of a log: dictionaries of user and item ids, and the ordered log in blocks of users.

DuckDB does the work: distinct ids, two hash joins and one sort, all parallel, all able to spill to disk. Python gets
NumPy blocks of rows only; no Python object is created for an event.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from leanrec.data.engine import SqlEngine, quote_literal
from leanrec.data.event_types import name_amount, resolve_event_weights
from leanrec.data.ingest.meaning.id_forms import IdForms, describe_rounded, find_id_form
from leanrec.data.ingest.staging import StagedLog, clean_ids, trimmed
from leanrec.errors import ColumnError, DataError
from leanrec.types import Float32Array, IdArray, Int32Array, Int64Array

__all__ = ["EncodedLog", "LogBlock", "encode_log", "fetch_ids", "find_ids", "make_dictionary"]

_MAX_EVENT_TYPES = 120
_ID_BLOCK = 100_000
_MAX_INTEGER = 2**31 - 1


@dataclasses.dataclass(frozen=True, eq=False)
class LogBlock:
    """Rows of the ordered log with all events of whole users.

    Attributes:
        start: position of the first row in the ordered log.
        user: (n,) codes, ascending.
        item: (n,) codes.
        time: (n,) seconds, or the order within the user; 0 where the log has neither.
        fraction: (n,) nanoseconds below the second, None where the log has none.
        event_type: (n,) codes into ``event_types`` of the log.
        amount: (n,) the weight column, None where the log has none.
        rating: (n,) ratings with NaN for none, None where the log has none.
        sequence: (n,) number of the row as read, None unless it was kept.
    """

    start: int
    user: Int32Array
    item: Int32Array
    time: Int64Array
    fraction: Int32Array | None
    event_type: NDArray[np.int8]
    amount: Float32Array | None
    rating: Float32Array | None
    sequence: Int64Array | None

    def __len__(self) -> int:
        return len(self.user)


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedLog:
    """The log in DuckDB as codes, sorted by (user, time), ties in the order read.

    Attributes:
        engine: has it as the table ``log``.
        events: E.
        is_complete: every row read is an event.
        users: number of user codes.
        items: number of item codes.
        per_user: (users,) events of each user.
        columns: names of the optional columns that are present: t, f, k, w, v, seq.
        event_types: name → weight, in the order of the codes.
        unknown_types: event types without a default weight.
        spellings: spellings of event types that count as one, such as "View, view".
        block_rows: approximate number of rows of a block.
    """

    engine: SqlEngine
    events: int
    is_complete: bool
    users: int
    items: int
    per_user: Int64Array
    columns: tuple[str, ...]
    event_types: Mapping[str, float]
    unknown_types: tuple[str, ...]
    spellings: tuple[str, ...]
    block_rows: int

    @property
    def has_time(self) -> bool:
        """Whether the log has times or an order."""
        return "t" in self.columns

    def blocks(self) -> Iterator[LogBlock]:
        """Yield the log in order. Cost: one scan; memory for one block, or for the largest user."""
        ends = np.cumsum(self.per_user)
        columns = ", ".join(("i", *self.columns))
        start = first = 0
        while start < self.events:
            # At least one whole user with events.
            least = int(np.searchsorted(ends, start, side="right")) + 1
            stop = max(least, int(np.searchsorted(ends, start + self.block_rows, side="right")))
            end = int(ends[stop - 1])
            raw = self.engine.fetch_arrays(f"SELECT {columns} FROM log WHERE rowid >= {start} AND rowid < {end}")
            yield LogBlock(
                start=start,
                user=np.repeat(np.arange(first, stop, dtype=np.int32), self.per_user[first:stop]),
                item=raw["i"],
                # The order of a file is often that of its ids: rows keep it, but it must not be used as time.
                time=raw["t"].astype(np.int64, copy=False) if "t" in raw else np.zeros(end - start, np.int64),
                fraction=raw.get("f"),
                event_type=raw.get("k", np.zeros(end - start, np.int8)),
                amount=raw.get("w"),
                rating=raw.get("v"),
                sequence=raw["seq"].astype(np.int64, copy=False) if "seq" in raw else None,
            )
            start, first = end, stop


def find_ids(engine: SqlEngine, staged: StagedLog, tables: Mapping[str, str]) -> IdForms:
    """Make ``users_found`` and ``items_found``, the distinct ids of the log; return how ids differ from their text.

    In delimited text blanks around ids are removed. Words for nothing are missing ids, and 13085.0 is 13085 where all ids
    are whole numbers. Only the distinct ids are checked, unless one has such a form. ``tables`` maps users and items to the SQL of the ids
    of their table, where there is one. Raises DataError where half of the ids are rounded.
    """
    columns = (("users", "usr"), ("items", "itm"))
    has_blanks = [_find_distinct_ids(engine, staged, *each) for each in columns]
    users, items = (find_id_form(engine, f"{name}_found", others=tables.get(name, "")) for name, _ in columns)
    for role, form in (("User", users), ("Item", items)):
        if form.damaged and not engine.allow_rejects:
            raise DataError(f"{describe_rounded(role, form)} To go on with these ids, pass allow_rejects=True.")
    if not (any(has_blanks) or users or items):
        return IdForms()
    forms = IdForms(users, items, trim=any(has_blanks))
    rows = clean_ids(engine, staged, forms)
    for each in columns:
        _find_distinct_ids(engine, staged, *each)
    return dataclasses.replace(forms, trimmed_rows=rows)


def _find_distinct_ids(engine: SqlEngine, staged: StagedLog, name: str, column: str) -> bool:
    """Make the table of distinct ids; return whether one that comes from delimited text may have blanks around it."""
    engine.execute(
        f"CREATE OR REPLACE TEMP TABLE {name}_found AS SELECT DISTINCT {column} AS id FROM staged WHERE {column} IS NOT NULL"
    )
    if not any(part.form == "csv" for part in staged.parts):
        return False
    return bool(engine.fetch_rows(f"SELECT 1 FROM {name}_found WHERE id <> {trimmed('id')} LIMIT 1"))


def make_dictionary(engine: SqlEngine, name: str, *, untyped: bool) -> bool:
    """Make the table ``name`` of ``<name>_found``: the ids in sorted order; ``rowid`` is the code.

    Ids from text files are sorted and kept as numbers where each of them is the canonical form of one ("007" is not).
    Returns whether that is so.
    """
    canonical = "coalesce(try_cast(id AS BIGINT)::VARCHAR = id::VARCHAR, false)"
    test = f"SELECT coalesce(bool_and({canonical}), false) FROM {name}_found"
    are_numbers = untyped and bool(engine.fetch_rows(test)[0][0])
    order = "id::BIGINT" if are_numbers else "id"
    engine.execute(f"CREATE TEMP TABLE {name} AS SELECT id FROM {name}_found ORDER BY {order}")
    engine.execute(f"DROP TABLE {name}_found")
    return are_numbers


def fetch_ids(engine: SqlEngine, name: str, *, numbers: bool) -> IdArray:
    """(n,) the ids of a dictionary: int64, or StringDType. At most 100,000 are Python objects at the same time."""
    if numbers:
        return engine.fetch_arrays(f"SELECT id::BIGINT AS id FROM {name} ORDER BY rowid")["id"].astype(np.int64)
    size = int(engine.fetch_rows(f"SELECT count(*) FROM {name}")[0][0])
    ids = np.empty(size, np.dtypes.StringDType())
    for start in range(0, size, _ID_BLOCK):
        which = f"rowid >= {start} AND rowid < {start + _ID_BLOCK}"
        block = engine.fetch_arrays(f"SELECT id FROM {name} WHERE {which} ORDER BY rowid")["id"]
        ids[start : start + len(block)] = block
    return ids


def encode_log(
    engine: SqlEngine,
    staged: StagedLog,
    *,
    has_time: bool,
    span: tuple[int, int] | None,
    event_weights: Mapping[str, float] | None,
    keep_sequence: bool,
    block_rows: int,
) -> EncodedLog:
    """Make the table ``log`` from ``validated`` and the dictionaries ``users`` and ``items``.

    Rows that were read into a table are dropped on the way unless ``keep_sequence`` needs them.

    Args:
        engine: has the tables.
        staged: the rows read.
        has_time: there is a time or an order to sort by.
        span: first and last time, None where they are not known.
        event_weights: given weights of event types.
        keep_sequence: keep the number of each row as read, for the quarantine file.
        block_rows: rows of a block.
    """
    spellings = _group_spellings(engine, staged, event_weights)
    weights, unknown = resolve_event_weights(list(spellings), event_weights)
    # The sort is the peak of memory: times and row numbers take four bytes where they can.
    is_short = span is not None and -_MAX_INTEGER < span[0] <= span[1] < _MAX_INTEGER
    fields = {"t": "j.t::INTEGER" if is_short else "j.t"} if has_time else {}
    number = "INTEGER" if staged.rows < _MAX_INTEGER else "BIGINT"
    if has_time and staged.has_fractions:
        fields["f"] = "j.f"
    if len(spellings) > 1:
        fields["k"] = _type_code(staged, spellings)
    if staged.has("weight"):
        fields["w"] = "j.w"
    if staged.has("rating"):
        fields["v"] = "coalesce(j.v, 'NaN'::FLOAT)"
    optional = "".join(f"{value} AS {name}, " for name, value in fields.items())
    coded = (
        f"SELECT users.rowid::INTEGER AS u, items.rowid::INTEGER AS i, {optional}j.seq::{number} AS seq "
        f"FROM validated AS j JOIN users ON {_match_key(engine, 'users', 'j.usr')} "
        f"JOIN items ON {_match_key(engine, 'items', 'j.itm')} WHERE j.reason = 0"
    )
    if not (staged.is_view or keep_sequence):
        # The text of the ids is dropped before the sort, not after it: the sort is the peak of memory.
        engine.execute(f"CREATE TEMP TABLE unsorted AS {coded}")
        for statement in ("DROP VIEW validated", "DROP VIEW staged", "DROP TABLE staged_rows"):
            engine.execute(statement)
        coded = "SELECT * FROM unsorted"
    if keep_sequence:
        fields["seq"] = "seq"
    columns, order = ", ".join(("u", "i", *fields)), "u, t, seq" if has_time else "u, seq"
    if "f" in fields:
        order = "u, t, f, seq"
    # Columns that are all part of the key are sorted faster than those that follow it.
    order = ", ".join([order, *(name for name in ("i", "k", "w", "v") if name in {"i", *fields})])
    engine.execute(f"CREATE TEMP TABLE log AS SELECT {columns} FROM ({coded}) ORDER BY {order}")
    engine.execute("DROP TABLE IF EXISTS unsorted")
    users, items = (int(engine.fetch_rows(f"SELECT count(*) FROM {name}")[0][0]) for name in ("users", "items"))
    per_user = np.zeros(users, np.int64)
    counted = engine.fetch_arrays("SELECT u, count(*) AS n FROM log GROUP BY u")
    per_user[counted["u"]] = counted["n"]
    return EncodedLog(
        engine,
        int(per_user.sum()),
        int(per_user.sum()) == staged.rows,
        users,
        items,
        per_user,
        columns=tuple(fields),
        event_types=weights,
        unknown_types=tuple(unknown),
        spellings=tuple(", ".join(sorted(each)) for each in spellings.values() if len(each) > 1),
        block_rows=block_rows,
    )


def _type_code(staged: StagedLog, spellings: Mapping[str, list[str]]) -> str:
    """SQL: the code of an event type, which is its position in ``spellings``; 0 where there is none."""
    codes = {name: code for code, names in enumerate(spellings.values()) for name in names}
    cases = " ".join(f"WHEN {quote_literal(name)} THEN {code}" for name, code in codes.items())
    code = f"CASE j.event_type {cases} ELSE 0 END"
    if staged.short_types:
        cases = " ".join(f"WHEN {k} THEN {codes.get(name, 0)}" for k, name in enumerate(staged.short_types))
        code = f"CASE j.k {cases} ELSE {code} END"
    return f"({code})::TINYINT"


def _match_key(engine: SqlEngine, name: str, value: str) -> str:
    """SQL: whether an id of the log is one of a dictionary, by hashes of texts, which are compared faster than texts.

    Ids of the log are in the dictionary, and the hashes of all its ids differ, which is verified.
    """
    is_text = engine.fetch_rows(f"SELECT typeof(id) FROM {name} LIMIT 1") == [("VARCHAR",)]
    if is_text and engine.fetch_rows(f"SELECT count(DISTINCT hash(id)) = count(*) FROM {name}")[0][0]:
        return f"hash({value}) = hash({name}.id)"
    return f"{value} = {name}.id"


def _group_spellings(engine: SqlEngine, staged: StagedLog, given: Mapping[str, float] | None) -> dict[str, list[str]]:
    """Return event type → its spellings, in the order of the files or of the given weights, otherwise sorted.

    ``View`` and ``view`` are one event type, under the most frequent spelling.
    """
    if not staged.has_event_types:
        amounts = {name_amount(columns.weight) for columns in staged.columns if columns.weight is not None}
        name = "rating" if staged.has("rating") else amounts.pop() if len(amounts) == 1 else "interaction"
        return {name: [name]}
    counted = f"SELECT name, n FROM types_found LIMIT {_MAX_EVENT_TYPES + 1}"
    found = {str(name): int(n) for name, n in engine.fetch_rows(counted)}
    if len(found) > _MAX_EVENT_TYPES:
        column = next(columns.event_type for columns in staged.columns if columns.event_type)
        raise ColumnError(
            f"The event type must be one of at most {_MAX_EVENT_TYPES} names. The column {column!r} has more "
            'different values. Name the right column: columns={"event_type": "COLUMN"}.'
        )
    groups: dict[str, list[str]] = {}
    for name in sorted(found, key=lambda name: (-found[name], name)):
        groups.setdefault(name.casefold(), []).append(name)
    wanted = [*(given or {}), *(part.event_type for part in staged.parts if part.event_type)]
    first = {name.casefold(): i for i, name in reversed(list(enumerate(wanted)))}
    order = sorted(groups, key=lambda folded: (first.get(folded, len(wanted)), groups[folded][0]))
    return {groups[folded][0]: groups[folded] for folded in order}
