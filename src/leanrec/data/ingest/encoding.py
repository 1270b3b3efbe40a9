"""From own ids to rows: the dictionaries of users and items, and the log in order, read back in blocks of users.

The work is DuckDB's: distinct ids, two hash joins and one sort, all parallel, all able to spill. Python sees
numpy blocks of rows only; no object is made for an event.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from leanrec.data.engine import SqlEngine, quote_literal
from leanrec.data.event_types import resolve_event_weights
from leanrec.data.ingest.row_reader import trimmed
from leanrec.data.ingest.staging import StagedLog, trim_ids
from leanrec.errors import ColumnError
from leanrec.types import Float32Array, IdArray, Int32Array, Int64Array

__all__ = ["LogBlock", "EncodedLog", "encode", "fetch_ids", "find_ids", "make_dictionary"]

_MAX_EVENT_TYPES = 120
_IDS_AT_ONCE = 100_000


@dataclasses.dataclass(frozen=True, eq=False)
class LogBlock:
    """Rows of the ordered log that hold whole users.

    Attributes:
        start: position of the first row in the ordered log.
        user: (n,) codes, ascending.
        item: (n,) codes.
        time: (n,) seconds, or the order within the user; 0 where the log has neither.
        event_type: (n,) codes into ``event_types`` of the log.
        amount: (n,) the weight column, None where the log has none.
        rating: (n,) ratings with NaN for none, None where the log has none.
        sequence: (n,) number of the row as read, None where nobody asked.
    """

    start: int
    user: Int32Array
    item: Int32Array
    time: Int64Array
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
        engine: holds it as the table ``log``.
        events: E.
        users: number of user codes.
        items: number of item codes.
        per_user: (users,) events of each user.
        columns: names of the optional columns that are there: t, k, w, v, seq.
        event_types: name → weight, in the order of the codes.
        unknown_types: event types whose names say nothing about their weight.
        spellings: spellings of event types that count as one, such as "View, view".
        block_rows: about how many rows a block holds.
    """

    engine: SqlEngine
    events: int
    users: int
    items: int
    per_user: Int64Array
    columns: tuple[str, ...]
    event_types: Mapping[str, float]
    unknown_types: tuple[str, ...]
    spellings: tuple[str, ...]
    block_rows: int

    @property
    def timed(self) -> bool:
        """Whether the log itself tells a time or an order."""
        return "t" in self.columns

    def blocks(self) -> Iterator[LogBlock]:
        """The log from front to back. Cost: one scan; memory for one block, or for the largest user."""
        ends = np.cumsum(self.per_user)
        start = 0
        while start < self.events:
            last = np.searchsorted(ends, min(start + self.block_rows, self.events), side="right") - 1
            end = (
                int(ends[last])
                if last >= 0 and ends[last] > start
                else int(ends[np.searchsorted(ends, start, side="right")])
            )
            yield self._block(start, end)
            start = end

    def _block(self, start: int, end: int) -> LogBlock:
        columns = ", ".join(("u", "i", *self.columns))
        raw = self.engine.fetch_arrays(f"SELECT {columns} FROM log WHERE rowid >= {start} AND rowid < {end}")
        n = end - start
        return LogBlock(
            start=start,
            user=raw["u"],
            item=raw["i"],
            # The order of a file is often that of its ids: it is kept, but nobody may take it for time.
            time=raw.get("t", np.zeros(n, np.int64)),
            event_type=raw.get("k", np.zeros(n, np.int8)),
            amount=raw.get("w"),
            rating=raw.get("v"),
            sequence=raw.get("seq"),
        )


def find_ids(engine: SqlEngine, staged: StagedLog) -> int:
    """Make ``users_found`` and ``items_found``, the distinct ids of the log; the number of rows whose ids had blanks around them.

    In delimited text these are taken away. Only the distinct ids are looked at, unless there is one with blanks.
    """
    blank = [_distinct(engine, staged, *each) for each in (("users", "usr"), ("items", "itm"))]
    if not any(blank):
        return 0
    rows = trim_ids(engine, staged)
    for each in (("users", "usr"), ("items", "itm")):
        _distinct(engine, staged, *each)
    return rows


def _distinct(engine: SqlEngine, staged: StagedLog, name: str, column: str) -> bool:
    """Make the table of distinct ids; whether one that comes from delimited text may have blanks around it."""
    engine.execute(
        f"CREATE OR REPLACE TEMP TABLE {name}_found AS SELECT DISTINCT {column} AS id FROM staged WHERE {column} IS NOT NULL"
    )
    if not any(part.form == "csv" for part in staged.parts):
        return False
    return bool(engine.fetch_rows(f"SELECT 1 FROM {name}_found WHERE id <> {trimmed('id')} LIMIT 1"))


def make_dictionary(engine: SqlEngine, name: str, *, untyped: bool) -> bool:
    """Make the table ``name`` of ``<name>_found``: the ids in sorted order; ``rowid`` is the code.

    Ids from text files sort and are kept as numbers where each of them is the plain form of one ("007" is
    not).
    Returns whether that is so.
    """
    plain = untyped and bool(
        engine.fetch_rows(
            "SELECT coalesce(bool_and(coalesce(try_cast(id AS BIGINT)::VARCHAR = id::VARCHAR, false)), "
            f"false) FROM {name}_found"
        )[0][0]
    )
    engine.execute(f"CREATE TEMP TABLE {name} AS SELECT id FROM {name}_found ORDER BY {'id::BIGINT' if plain else 'id'}")
    engine.execute(f"DROP TABLE {name}_found")
    return plain


def fetch_ids(engine: SqlEngine, name: str, *, numbers: bool) -> IdArray:
    """(n,) the ids of a dictionary: int64, or StringDType. At most 100,000 at a time are Python objects."""
    size = int(engine.fetch_rows(f"SELECT count(*) FROM {name}")[0][0])
    if numbers:
        return engine.fetch_arrays(f"SELECT id::BIGINT AS id FROM {name} ORDER BY rowid")["id"].astype(np.int64)
    ids = np.empty(size, np.dtypes.StringDType())
    for start in range(0, size, _IDS_AT_ONCE):
        some = engine.fetch_arrays(
            f"SELECT id FROM {name} WHERE rowid >= {start} AND rowid < {start + _IDS_AT_ONCE} ORDER BY rowid"
        )["id"]
        ids[start : start + len(some)] = some
    return ids


def encode(
    engine: SqlEngine,
    staged: StagedLog,
    *,
    clocked: bool,
    event_weights: Mapping[str, float] | None,
    keep_sequence: bool,
    block_rows: int,
) -> EncodedLog:
    """Make the table ``log`` from ``judged`` and the dictionaries ``users`` and ``items``.

    Rows that were read into a table are dropped on the way unless ``keep_sequence`` says that they are
    still needed.

    Args:
        engine: holds them.
        staged: what was read.
        clocked: there is a time or an order to sort by.
        event_types: weights that were given.
        keep_sequence: keep the number of each row as read, for the quarantine file.
        block_rows: rows of a block.
    """
    spelt = _event_types(engine, staged, event_weights)
    weights, unknown = resolve_event_weights(list(spelt), event_weights)
    fields = _fields(staged, list(spelt.values()), clocked=clocked)
    coded = (
        f"SELECT users.rowid::INTEGER AS u, items.rowid::INTEGER AS i, {''.join(f'{v} AS {n}, ' for n, v in fields.items())}j.seq::BIGINT AS seq "
        "FROM judged AS j JOIN users ON j.usr = users.id JOIN items ON j.itm = items.id WHERE j.reason = 0"
    )
    if not (staged.is_view or keep_sequence):
        # The text of the ids is let go before the sort, not after it: that is the peak of memory.
        engine.execute(f"CREATE TEMP TABLE unsorted AS {coded}")
        forget_rows(engine)
        coded = "SELECT * FROM unsorted"
    if keep_sequence:
        fields["seq"] = "seq"
    columns, order = ", ".join(("u", "i", *fields)), "u, t, seq" if clocked else "u, seq"
    engine.execute(f"CREATE TEMP TABLE log AS SELECT {columns} FROM ({coded}) ORDER BY {order}")
    engine.execute("DROP TABLE IF EXISTS unsorted")
    several = (", ".join(sorted(each)) for each in spelt.values() if len(each) > 1)
    return _encoded(engine, tuple(fields), weights, tuple(unknown), tuple(several), block_rows)


def _encoded(
    engine: SqlEngine,
    columns: tuple[str, ...],
    weights: Mapping[str, float],
    unknown: tuple[str, ...],
    spellings: tuple[str, ...],
    block_rows: int,
) -> EncodedLog:
    users, items = (int(engine.fetch_rows(f"SELECT count(*) FROM {name}")[0][0]) for name in ("users", "items"))
    per_user = np.zeros(users, np.int64)
    counted = engine.fetch_arrays("SELECT u, count(*) AS n FROM log GROUP BY u")
    per_user[counted["u"]] = counted["n"]
    return EncodedLog(
        engine, int(per_user.sum()), users, items, per_user, columns, weights, unknown, spellings, block_rows
    )


def forget_rows(engine: SqlEngine) -> None:
    """Let go of the rows as they were read into a table."""
    for statement in ("DROP VIEW judged", "DROP VIEW staged", "DROP TABLE staged_rows"):
        engine.execute(statement)


def _fields(staged: StagedLog, kinds: Sequence[Sequence[str]], *, clocked: bool) -> dict[str, str]:
    fields = {}
    if clocked:
        fields["t"] = "j.t"
    if len(kinds) > 1:
        cases = " ".join(f"WHEN {quote_literal(name)} THEN {code}" for code, names in enumerate(kinds) for name in names)
        fields["k"] = f"(CASE j.event_type {cases} ELSE 0 END)::TINYINT"
    if staged.has("weight"):
        fields["w"] = "j.w"
    if staged.has("rating"):
        fields["v"] = "coalesce(j.v, 'NaN'::FLOAT)"
    return fields


def _event_types(engine: SqlEngine, staged: StagedLog, given: Mapping[str, float] | None) -> dict[str, list[str]]:
    """Name of each behaviour → its spellings; in the order of the files or of the given weights, otherwise sorted.

    ``View`` and ``view`` are one behaviour, under the spelling that occurs most.
    """
    if not staged.has_event_types:
        name = "rating" if staged.has("rating") else "play" if staged.has("weight") else "interaction"
        return {name: [name]}
    counted = f"SELECT event_type, count(*) FROM staged WHERE event_type IS NOT NULL GROUP BY event_type LIMIT {_MAX_EVENT_TYPES + 1}"
    found = {str(name): int(n) for name, n in engine.fetch_rows(counted)}
    if len(found) > _MAX_EVENT_TYPES:
        name = next(columns.event_type for columns in staged.columns if columns.event_type)
        raise ColumnError(
            f"The event type must be one of a few names. The column {name!r} has more than "
            f"{_MAX_EVENT_TYPES} different values. "
            'Name the right column: --column kind=NAME, or columns={"event_type": "NAME"}.'
        )
    groups: dict[str, list[str]] = {}
    for name in sorted(found, key=lambda name: (-found[name], name)):
        groups.setdefault(name.casefold(), []).append(name)
    wanted = [*(given or {}), *(part.event_type for part in staged.parts if part.event_type)]
    first = {name.casefold(): i for i, name in reversed(list(enumerate(wanted)))}
    order = sorted(groups, key=lambda folded: (first.get(folded, len(wanted)), groups[folded][0]))
    return {groups[folded][0]: groups[folded] for folded in order}
