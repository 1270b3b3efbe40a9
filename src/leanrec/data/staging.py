"""SQL that brings every source to one form: who, what, when, how much, and why a row cannot be used.

``stage`` makes the table ``staged``: one row for each row read, in the order read. ``judge`` adds what only
the whole log can tell (is its time a clock, which ratings are outside the scale) as the view ``judged``.
"""

import dataclasses
import re
import time
from collections.abc import Mapping, Sequence

from leanrec.data.cleaning import Cleaning
from leanrec.data.columns import Columns
from leanrec.data.engine import Engine, ident, text
from leanrec.data.sources import Part
from leanrec.errors import SettingError

__all__ = ["REASONS", "Profile", "Staged", "id_expression", "is_integer", "is_number", "judge", "stage"]

REASONS = (
    "",
    "missing user",
    "missing item",
    "missing kind",
    "missing time",
    "time not understood",
    "missing rating",
    "rating is not a finite number",
    "missing weight",
    "weight is not a finite number",
    "negative weight",
    "label is not 0 or 1",
    "time before 1990 or in the future",
    "negative order",
    "rating outside the range",
    "before since",
    "from until on",
    "duplicate",
    "bot: far more events than other users",
    "bot: too many events in one day",
    "outlier: weight far above the others",
    "fewer events than the k-core asks",
    "unreadable line",
)
_CODE = {reason: code for code, reason in enumerate(REASONS)}
_INTEGER = re.compile(r"^(U?(TINY|SMALL)INT|U?INTEGER|BIGINT)$")
_NUMBER = re.compile(r"INT|DOUBLE|FLOAT|DECIMAL|REAL|HUGE")
_STRPTIME = (
    "['%Y/%m/%d %H:%M:%S', '%Y/%m/%d', '%d.%m.%Y', '%d %b %Y', '%b %d, %Y', '%m %d, %Y', '%a %b %d %H:%M:%S %z %Y']"
)
_FIRST_CLOCK = 631_152_000  # 1990-01-01
_DAY = 86_400
# Scales that ratings usually have; the narrowest that holds nearly all of them tells which are outside.
_SCALES = ((0, 1), (-1, 1), (1, 3), (1, 4), (0.5, 4), (1, 5), (0.5, 5), (0, 5), (1, 6), (1, 7), (1, 10), (0.5, 10), (0, 10), (-10, 10), (0, 100), (-100, 100))  # fmt: skip
_NEARLY_ALL = 0.999


@dataclasses.dataclass(frozen=True)
class Staged:
    """What ``stage`` made.

    Attributes:
        parts: the tables that were read.
        columns: of each part.
        firsts: number of rows before each part.
        rows: rows read, without unreadable lines.
        integer_users: ids of users are BIGINT in SQL; otherwise VARCHAR.
        integer_items: the same for items.
        untyped_users: the ids come from text only, so that "12" may well be the number 12.
        untyped_items: the same for items.
        raw: whether the text of each field was kept for a quarantine file.
        is_view: the rows stay in their files and are read again by each query.
    """

    parts: tuple[Part, ...]
    columns: tuple[Columns, ...]
    firsts: tuple[int, ...]
    rows: int
    integer_users: bool
    integer_items: bool
    untyped_users: bool
    untyped_items: bool
    raw: bool
    is_view: bool = False

    def has(self, role: str) -> bool:
        """Whether any part has a column for ``role``."""
        return any(getattr(columns, role) is not None for columns in self.columns)

    @property
    def kind_named(self) -> bool:
        """Whether the log itself says what each event is."""
        return _kind_named(self.parts, self.columns)


@dataclasses.dataclass(frozen=True)
class Profile:
    """What the whole log tells about single rows.

    Attributes:
        clock: times are seconds since 1970 (otherwise an order, or nothing).
        scale: lowest and highest rating allowed, or None.
    """

    clock: bool
    scale: tuple[float, float] | None


def _kind_named(parts: Sequence[Part], columns: Sequence[Columns]) -> bool:
    return any(cols.kind or cols.label for cols in columns) or any(part.kind for part in parts)


def is_integer(kind: str) -> bool:
    """Whether the DuckDB type holds whole numbers that fit int64."""
    return bool(_INTEGER.match(kind))


def is_number(kind: str) -> bool:
    """Whether the DuckDB type holds numbers."""
    return bool(_NUMBER.search(kind)) or kind == "BOOLEAN"


def id_expression(name: str, kind: str, integer: bool) -> str:
    """An own id as BIGINT or VARCHAR; NULL where it is missing."""
    column = ident(name)
    if integer:
        return f"{column}::BIGINT"
    if kind in {"DOUBLE", "FLOAT", "REAL"}:
        whole = f"{column} = trunc({column}) AND abs({column}) < 9e15"
        return f"CASE WHEN isnan({column}) THEN NULL WHEN {whole} THEN {column}::BIGINT::VARCHAR ELSE {column}::VARCHAR END"
    return f"nullif({_as_text(name, kind)}, '')"


def stage(
    engine: Engine,
    parts: Sequence[Part],
    columns: Sequence[Columns],
    *,
    raw: bool,
    key_types: tuple[str | None, str | None],
) -> Staged:
    """Make ``staged``. Parquet stays where it is (a view reads it again); anything else is read once, into a table.

    Args:
        engine: the connection.
        parts: the tables.
        columns: of each part.
        raw: keep the text of each field for a quarantine file.
        key_types: types of the id columns of the user and the item table, None where there is no table.
    """
    integer = [
        _all_integer(parts, columns, role, extra) for role, extra in zip(("user", "item"), key_types, strict=True)
    ]
    view = not raw and all(part.form == "parquet" for part in parts)
    counts: list[int] = []
    firsts: list[int] = []
    if view:
        counts = [int(engine.rows(f"SELECT count(*) FROM {part.scan}", part.label)[0][0]) for part in parts]
        firsts = [sum(counts[:i]) for i in range(len(parts))]
    named = _kind_named(parts, columns)
    selects = [
        _select(part, cols, i, (integer[0], integer[1]), columns, named, raw)
        for i, (part, cols) in enumerate(zip(parts, columns, strict=True))
    ]
    if view:
        sequence = [
            f"SELECT file_row_number + {first} AS seq, * FROM ({select})"
            for first, select in zip(firsts, selects, strict=True)
        ]
        engine.run(f"CREATE TEMP VIEW staged AS {' UNION ALL BY NAME '.join(sequence)}", parts[0].label)
    else:
        engine.run(f"CREATE TEMP TABLE staged_rows AS {' UNION ALL BY NAME '.join(selects)}", parts[0].label)
        engine.run("CREATE TEMP VIEW staged AS SELECT rowid AS seq, * FROM staged_rows")
        by_part = dict(engine.rows("SELECT part, count(*) FROM staged_rows GROUP BY part")) if len(parts) > 1 else None
        whole = engine.rows("SELECT count(*) FROM staged_rows")[0][0]
        counts = [int(whole)] if by_part is None else [int(by_part.get(i, 0)) for i in range(len(parts))]
        firsts = [sum(counts[:i]) for i in range(len(parts))]
    return Staged(
        tuple(parts),
        tuple(columns),
        tuple(firsts),
        sum(counts),
        integer[0],
        integer[1],
        untyped_users=_untyped(parts, columns, "user"),
        untyped_items=_untyped(parts, columns, "item"),
        raw=raw,
        is_view=view,
    )


def _all_integer(parts: Sequence[Part], columns: Sequence[Columns], role: str, extra: str | None) -> bool:
    kinds = [part.types[getattr(cols, role)] for part, cols in zip(parts, columns, strict=True) if part.form != "csv"]
    if len(kinds) < len(parts):
        return False
    return all(map(is_integer, kinds)) and (extra is None or is_integer(extra))


def _untyped(parts: Sequence[Part], columns: Sequence[Columns], role: str) -> bool:
    """Text files have no types, and other types than text (doubles, big integers) print as numbers."""
    return all(
        part.form == "csv" or part.types[getattr(cols, role)] not in {"VARCHAR", "JSON"}
        for part, cols in zip(parts, columns, strict=True)
    )


def _as_text(name: str, kind: str) -> str:
    # A cast of JSON text keeps the quotation marks.
    return f"({ident(name)} ->> '$')" if kind == "JSON" else f"{ident(name)}::VARCHAR"


def _select(
    part: Part,
    cols: Columns,
    number: int,
    integer: tuple[bool, bool],
    every: Sequence[Columns],
    kind_named: bool,
    raw: bool,
) -> str:
    """The rows of one part in the common form. Three levels, so that each cast is written, and done, once."""
    types = {role: "VARCHAR" if part.form == "csv" else part.types[column] for role, column in cols.found().items()}
    fields = {
        "part": f"{number}::SMALLINT",
        "usr": id_expression(cols.user, types["user"], integer[0]),
        "itm": id_expression(cols.item, types["item"], integer[1]),
    }
    if any(each.time for each in every):
        fields["t"] = "NULL::BIGINT" if cols.time is None else _seconds(cols.time, types["time"], cols.is_order)
    if any(each.value for each in every):
        fields["v"] = "NULL::FLOAT" if cols.value is None else f"try_cast({ident(cols.value)} AS FLOAT)"
    if any(each.weight for each in every):
        fields["w"] = "1::FLOAT" if cols.weight is None else f"try_cast({ident(cols.weight)} AS FLOAT)"
    if kind_named:
        fields["kind"] = _kind(part, cols, types)
    passed = [
        f"{ident(column)} AS o_{role}"
        for role in ("time", "value", "weight")
        if (column := getattr(cols, role)) is not None
    ]
    extra = {"file_row_number": "file_row_number"} if part.form == "parquet" else {}
    if raw:
        for role in ("user", "item", "time", "value", "weight"):
            extra[f"raw_{role}"] = (
                _as_text(cols.found()[role], types[role]) if role in cols.found() else "NULL::VARCHAR"
            )
    number_of_time = "" if cols.time is None else f", try_cast({ident(cols.time)} AS DOUBLE) AS n_time"
    if cols.time is not None and not (types["time"] == "VARCHAR" or _NUMBER.search(types["time"])):
        number_of_time = ""
    inner = ", ".join([*(f"{value} AS {name}" for name, value in (fields | extra).items()), *passed])
    outer = ", ".join([*fields, *extra, f"({_bad(part, cols, types, fields, kind_named)})::TINYINT AS bad"])
    return f"SELECT {outer} FROM (SELECT {inner} FROM (SELECT *{number_of_time} FROM {part.scan}))"


def _kind(part: Part, cols: Columns, types: Mapping[str, str]) -> str:
    if part.kind is not None:
        return text(part.kind)
    if cols.kind is not None:
        return f"nullif(trim({_as_text(cols.kind, types['kind'])}), '')"
    if cols.label is not None:
        label = f"try_cast({ident(cols.label)} AS DOUBLE)"
        return f"CASE {label} WHEN 1 THEN 'click' WHEN 0 THEN 'impression' END"
    return "'interaction'"


def _seconds(name: str, kind: str, is_order: bool) -> str:
    """Time as whole seconds. The unit of a number follows from its size: seconds reach the year 5138 below 1e11."""
    column = ident(name)
    if kind.startswith(("TIMESTAMP", "DATE")):
        stamp = column if kind in {"TIMESTAMP", "TIMESTAMP WITH TIME ZONE"} else f"{column}::TIMESTAMP"
        return f"try_cast(floor(epoch({stamp})) AS BIGINT)"
    if kind in {"BIGINT", "UINTEGER"}:
        return _scaled(f"{column}::BIGINT", "//")
    if is_integer(kind):
        return f"{column}::BIGINT"
    if _NUMBER.search(kind):
        return f"try_cast(floor({_scaled('n_time', '/')}) AS BIGINT)"
    if kind != "VARCHAR":
        return "NULL::BIGINT"
    if is_order:
        return "try_cast(n_time AS BIGINT)"
    # A plain cast to TIMESTAMP forgets the offset from UTC; the one that heeds it is slower.
    tail = f"substr({column}, 20)"
    offset = f"contains({tail}, '+') OR contains({tail}, '-')"
    stamp = f"coalesce(try_cast({column} AS TIMESTAMP), try_strptime({column}, {_STRPTIME}))"
    seconds = f"CASE WHEN {offset} THEN epoch(try_cast({column} AS TIMESTAMPTZ)) ELSE epoch({stamp}) END"
    number = f"try_cast(floor({_scaled('n_time', '/')}) AS BIGINT)"
    return f"CASE WHEN n_time IS NULL THEN try_cast(floor({seconds}) AS BIGINT) ELSE {number} END"


def _scaled(number: str, divide: str) -> str:
    steps = (("100000000000000000", "1000000000"), ("100000000000000", "1000000"), ("100000000000", "1000"))
    cases = " ".join(f"WHEN {number} >= {above} THEN {number} {divide} {unit}" for above, unit in steps)
    return f"CASE WHEN {number} < 100000000000 THEN {number} {cases} ELSE {number} END"


def _bad(part: Part, cols: Columns, types: Mapping[str, str], fields: Mapping[str, str], kind_named: bool) -> str:
    """Code of the first reason for which a row of the inner select cannot be used, 0 = none."""
    cases = [("usr IS NULL", "missing user"), ("itm IS NULL", "missing item")]
    if part.kind is None and (cols.kind or cols.label):
        cases.append(("kind IS NULL", "missing kind" if cols.kind else "label is not 0 or 1"))
    if "t" in fields:
        empty = "true" if cols.time is None else _is_empty("o_time", types["time"])
        cases += [(f"t IS NULL AND {empty}", "missing time"), ("t IS NULL", "time not understood")]
    if cols.value is not None:
        empty = _is_empty("o_value", types["value"])
        if not kind_named:
            cases.append((f"v IS NULL AND {empty}", "missing rating"))
        cases.append((f"(v IS NULL AND NOT {empty}) OR NOT isfinite(v)", "rating is not a finite number"))
    if cols.weight is not None:
        cases += [
            (f"w IS NULL AND {_is_empty('o_weight', types['weight'])}", "missing weight"),
            ("w IS NULL OR NOT isfinite(w)", "weight is not a finite number"),
            ("w < 0", "negative weight"),
        ]
    return f"CASE {' '.join(f'WHEN {test} THEN {_CODE[reason]}' for test, reason in cases)} ELSE 0 END"


def _is_empty(column: str, kind: str) -> str:
    return f"({column} IS NULL OR trim({column}) = '')" if kind == "VARCHAR" else f"({column} IS NULL)"


def judge(engine: Engine, staged: Staged, cleaning: Cleaning) -> Profile:
    """Make the view ``judged`` = ``staged`` and the code of the reason why a row is set aside, 0 = kept."""
    profile = Profile(_is_clock(engine, staged), _scale(engine, staged, cleaning))
    cases = ["WHEN bad > 0 THEN bad"]
    if profile.clock:
        latest = int(time.time()) + _DAY
        cases.append(f"WHEN t < {_FIRST_CLOCK} OR t > {latest} THEN {_CODE['time before 1990 or in the future']}")
    elif staged.has("time"):
        cases.append(f"WHEN t < 0 THEN {_CODE['negative order']}")
    if profile.scale is not None:
        cases.append(
            f"WHEN v NOT BETWEEN {profile.scale[0]!r} AND {profile.scale[1]!r} THEN {_CODE['rating outside the range']}"
        )
    cases += _window(cleaning, profile.clock)
    engine.run(f"CREATE TEMP VIEW judged AS SELECT *, CASE {' '.join(cases)} ELSE 0 END::TINYINT AS reason FROM staged")
    return profile


def _window(cleaning: Cleaning, clock: bool) -> list[str]:
    since, until = cleaning.window()
    if not clock and (since, until) != (None, None):
        raise SettingError(
            "since and until need times that are a clock. This log has an order, or nothing, in their "
            "place; leave them out."
        )
    cases = [] if since is None else [f"WHEN t < {since!r} THEN {_CODE['before since']}"]
    return cases if until is None else [*cases, f"WHEN t >= {until!r} THEN {_CODE['from until on']}"]


def _is_clock(engine: Engine, staged: Staged) -> bool:
    """A clock has most of its times after 1990; anything else is an order."""
    if not staged.has("time") or any(columns.is_order for columns in staged.columns):
        return False
    times, late = engine.rows(f"SELECT count(t), count_if(t >= {_FIRST_CLOCK}) FROM staged")[0]
    return bool(times) and late * 2 > times


def _scale(engine: Engine, staged: Staged, cleaning: Cleaning) -> tuple[float, float] | None:
    if not staged.has("value"):
        return None
    if cleaning.rating_range is not None:
        return cleaning.rating_range
    tests = ", ".join(f"count_if(v BETWEEN {low} AND {high})" for low, high in _SCALES)
    n, lowest, highest, *inside = engine.rows(
        f"SELECT count(*), min(v), max(v), {tests} FROM staged WHERE isfinite(v)"
    )[0]
    if not n:
        return None
    fitting = [scale for scale, count in zip(_SCALES, inside, strict=True) if count >= _NEARLY_ALL * n]
    low, high = min(fitting, key=lambda scale: scale[1] - scale[0], default=(lowest, highest))
    return float(low), float(high)
