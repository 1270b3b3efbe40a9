"""Every source in one form: who, what, when, how much, and why a row cannot be used.

``stage`` makes the table ``staged``: one row for each row read, in the order read. ``judge`` adds what only
the whole log can tell (is its time a clock, which ratings are outside the scale) as the view ``judged``.
"""

import dataclasses
import time
from collections.abc import Sequence

from leanrec.data.engine import SqlEngine
from leanrec.data.ingest.cleaning import CleaningRules
from leanrec.data.ingest.columns import ColumnRoles
from leanrec.data.ingest.csv_repair import copy_parts
from leanrec.data.ingest.reject_reasons import CODE
from leanrec.data.ingest.row_reader import RowReader, all_integer, trimmed
from leanrec.data.ingest.sources import SourcePart
from leanrec.data.ingest.timestamps import FIRST_CLOCK, find_time_form
from leanrec.errors import SettingError

__all__ = ["LogProfile", "StagedLog", "example", "judge", "stage", "trim_ids"]

_DAY = 86_400
# Scales that ratings usually have; the narrowest that holds nearly all of them tells which are outside.
_SCALES = ((0, 1), (-1, 1), (1, 3), (1, 4), (0.5, 4), (1, 5), (0.5, 5), (0, 5), (1, 6), (1, 7), (1, 10), (0.5, 10), (0, 10), (-10, 10), (0, 100), (-100, 100))  # fmt: skip
_NEARLY_ALL = 0.999


@dataclasses.dataclass(frozen=True)
class StagedLog:
    """What ``stage`` made.

    Attributes:
        parts: the tables that were read.
        reading: how they were brought to one form.
        firsts: number of rows before each part.
        rows: rows read, without unreadable lines.
        untyped_users: the ids come from text only, so that "12" may well be the number 12.
        untyped_items: the same for items.
        is_view: the rows stay in their files and are read again by each query.
    """

    parts: tuple[SourcePart, ...]
    reading: RowReader
    firsts: tuple[int, ...]
    rows: int
    untyped_users: bool
    untyped_items: bool
    is_view: bool = False

    def has(self, role: str) -> bool:
        """Whether any part has a column for ``role``."""
        return any(getattr(columns, role) is not None for columns in self.columns)

    @property
    def columns(self) -> tuple[ColumnRoles, ...]:
        """The columns of each part."""
        return self.reading.columns

    @property
    def integer_users(self) -> bool:
        """Whether ids of users are BIGINT in SQL; otherwise they are VARCHAR."""
        return self.reading.integer[0]

    @property
    def integer_items(self) -> bool:
        """The same for items."""
        return self.reading.integer[1]

    @property
    def has_event_types(self) -> bool:
        """Whether the log itself says what each event is."""
        return self.reading.has_event_types


@dataclasses.dataclass(frozen=True)
class LogProfile:
    """What the whole log tells about single rows.

    Attributes:
        clock: times are seconds since 1970 (otherwise an order, or nothing).
        scale: lowest and highest rating allowed, or None.
        inferred: whether the scale was found in the ratings, not given.
        outside: a rating that an inferred scale leaves out, or None.
    """

    clock: bool
    scale: tuple[float, float] | None
    inferred: bool = False
    outside: float | None = None


def stage(
    engine: SqlEngine,
    parts: Sequence[SourcePart],
    columns: Sequence[ColumnRoles],
    *,
    raw: bool,
    key_types: tuple[str | None, str | None],
    time_format: str | None = None,
) -> StagedLog:
    """Make ``staged``. Parquet stays where it is (a view reads it again); anything else is read once, into a table.

    Text in which lines or quotes do not add up is read once more, mended.

    Args:
        engine: the connection.
        parts: the tables.
        columns: of each part.
        raw: keep the text of each field for a quarantine file.
        key_types: types of the id columns of the user and the item table, None where there is no table.
        time_format: how times are written, in the letters of strptime; None = in any usual way.
    """
    users, items = (all_integer(parts, columns, *each) for each in zip(("user", "item"), key_types, strict=True))
    named = any(cols.event_type or cols.label for cols in columns) or any(part.event_type for part in parts)
    times = find_time_form(engine, parts, columns, time_format)
    reading = RowReader(tuple(columns), (users, items), named, times, raw)
    view = not raw and all(part.form == "parquet" for part in parts)
    if view:
        counts = _leave(engine, parts, reading)
    else:
        parts, counts = copy_parts(engine, parts, lambda each: _copy(engine, each, reading))
        engine.execute("CREATE TEMP VIEW staged AS SELECT rowid AS seq, * FROM staged_rows")
    return StagedLog(
        tuple(parts),
        reading,
        tuple(sum(counts[:i]) for i in range(len(parts))),
        sum(counts),
        untyped_users=_untyped(parts, columns, "user"),
        untyped_items=_untyped(parts, columns, "item"),
        is_view=view,
    )


def _leave(engine: SqlEngine, parts: Sequence[SourcePart], reading: RowReader) -> list[int]:
    """Make the view ``staged`` over the files; the rows of each."""
    counts = [int(engine.fetch_rows(f"SELECT count(*) FROM {part.scan}", part.label)[0][0]) for part in parts]
    selects = [
        f"SELECT file_row_number + {sum(counts[:i])} AS seq, * FROM ({reading.select(part, i)})"
        for i, part in enumerate(parts)
    ]
    engine.execute(f"CREATE TEMP VIEW staged AS {' UNION ALL BY NAME '.join(selects)}", parts[0].label)
    return counts


def _copy(engine: SqlEngine, parts: Sequence[SourcePart], reading: RowReader) -> list[int]:
    """Read into the table ``staged_rows``; the rows of each part."""
    selects = [reading.select(part, i) for i, part in enumerate(parts)]
    engine.execute(f"CREATE OR REPLACE TEMP TABLE staged_rows AS {' UNION ALL BY NAME '.join(selects)}", parts[0].label)
    if len(parts) == 1:
        return [int(engine.fetch_rows("SELECT count(*) FROM staged_rows")[0][0])]
    by_part = dict(engine.fetch_rows("SELECT part, count(*) FROM staged_rows GROUP BY part"))
    return [int(by_part.get(i, 0)) for i in range(len(parts))]


def _untyped(parts: Sequence[SourcePart], columns: Sequence[ColumnRoles], role: str) -> bool:
    """Text files have no types, and other types than text (doubles, big integers) print as numbers."""
    return all(
        part.form == "csv" or part.types[getattr(cols, role)] not in {"VARCHAR", "JSON"}
        for part, cols in zip(parts, columns, strict=True)
    )


def trim_ids(engine: SqlEngine, staged: StagedLog) -> int:
    """Take the blanks around ids away where they come from delimited text; the number of rows that had some."""
    texts = [i for i, part in enumerate(staged.parts) if part.form == "csv"]
    here = f"part IN ({', '.join(map(str, texts))})"
    usr, itm = (f"CASE WHEN {here} THEN nullif({trimmed(name)}, '') ELSE {name} END" for name in ("usr", "itm"))
    spaced = f"{here} AND (usr <> {trimmed('usr')} OR itm <> {trimmed('itm')})"
    rows = int(engine.fetch_rows(f"SELECT count(*) FROM staged_rows WHERE {spaced}")[0][0])
    bad = (
        f"CASE WHEN ({usr}) IS NULL THEN {CODE['missing user']} WHEN ({itm}) IS NULL AND (bad = 0 OR bad > {CODE['missing item']}) "
        f"THEN {CODE['missing item']} ELSE bad END::TINYINT"
    )
    engine.execute(
        f"CREATE OR REPLACE TEMP VIEW staged AS SELECT rowid AS seq, * REPLACE ({usr} AS usr, {itm} AS itm, {bad} AS bad) FROM staged_rows"
    )
    return rows


def example(engine: SqlEngine, staged: StagedLog, reason: str) -> str | None:
    """The text of a field that was set aside for this reason; the first rows are read again for it."""
    what = reason.partition(" ")[0]
    role = "rating" if what == "rating" else what
    reading = dataclasses.replace(staged.reading, raw=True)
    test = f"bad = {CODE[reason]}"
    if reason == "time before 1990 or in the future":
        test = f"t < {FIRST_CLOCK} OR t > {_latest()}"
    for i, part in enumerate(staged.parts):
        if getattr(staged.columns[i], role, None) is not None:
            found = engine.fetch_rows(f"SELECT raw_{role} FROM ({reading.select(part, i)}) WHERE {test} LIMIT 1", part.label)
            if found:
                return str(found[0][0])
    return None


def _latest() -> int:
    return int(time.time()) + _DAY


def judge(engine: SqlEngine, staged: StagedLog, cleaning: CleaningRules) -> LogProfile:
    """Make the view ``judged`` = ``staged`` and the code of the reason why a row is set aside, 0 = kept."""
    scale, inferred = _scale(engine, staged, cleaning), cleaning.rating_range is None
    outside = _outside(engine, scale) if inferred and scale is not None else None
    profile = LogProfile(_is_clock(engine, staged), scale, inferred and scale is not None, outside)
    cases = ["WHEN bad > 0 THEN bad"]
    if profile.clock:
        cases.append(f"WHEN t < {FIRST_CLOCK} OR t > {_latest()} THEN {CODE['time before 1990 or in the future']}")
    elif staged.has("time"):
        cases.append(f"WHEN t < 0 THEN {CODE['negative order']}")
    if profile.scale is not None:
        cases.append(
            f"WHEN v NOT BETWEEN {profile.scale[0]!r} AND {profile.scale[1]!r} THEN {CODE['rating outside the range']}"
        )
    cases += _window(cleaning, profile.clock)
    engine.execute(f"CREATE TEMP VIEW judged AS SELECT *, CASE {' '.join(cases)} ELSE 0 END::TINYINT AS reason FROM staged")
    return profile


def _outside(engine: SqlEngine, scale: tuple[float, float]) -> float | None:
    found = engine.fetch_rows(
        f"SELECT v FROM staged WHERE isfinite(v) AND v NOT BETWEEN {scale[0]!r} AND {scale[1]!r} LIMIT 1"
    )
    return float(found[0][0]) if found else None


def _window(cleaning: CleaningRules, clock: bool) -> list[str]:
    since, until = cleaning.window()
    if not clock and (since, until) != (None, None):
        raise SettingError(
            "since and until need times that are a clock. This log has an order, or nothing, in their "
            "place; leave them out."
        )
    cases = [] if since is None else [f"WHEN t < {since!r} THEN {CODE['before since']}"]
    return cases if until is None else [*cases, f"WHEN t >= {until!r} THEN {CODE['from until on']}"]


def _is_clock(engine: SqlEngine, staged: StagedLog) -> bool:
    """A clock has most of its times after 1990; anything else is an order."""
    if not staged.has("time") or any(columns.is_order for columns in staged.columns):
        return False
    times, late = engine.fetch_rows(f"SELECT count(t), count_if(t >= {FIRST_CLOCK}) FROM staged")[0]
    return bool(times) and late * 2 > times


def _scale(engine: SqlEngine, staged: StagedLog, cleaning: CleaningRules) -> tuple[float, float] | None:
    if not staged.has("rating"):
        return None
    if cleaning.rating_range is not None:
        return cleaning.rating_range
    tests = ", ".join(f"count_if(v BETWEEN {low} AND {high})" for low, high in _SCALES)
    n, lowest, highest, *inside = engine.fetch_rows(
        f"SELECT count(*), min(v), max(v), {tests} FROM staged WHERE isfinite(v)"
    )[0]
    if not n:
        return None
    fitting = [scale for scale, count in zip(_SCALES, inside, strict=True) if count >= _NEARLY_ALL * n]
    low, high = min(fitting, key=lambda scale: scale[1] - scale[0], default=(lowest, highest))
    return float(low), float(high)
