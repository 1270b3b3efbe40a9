"""Times of any usual form as seconds: numbers of any unit, ISO dates, dates as people write them.

``13/03/2024`` and ``12/25/2023`` are read where the column decides: one order of day and month fits its values and the
other does not. Where nothing decides, nothing is guessed.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.ingest.columns import ColumnRoles
from leanrec.data.ingest.sources import SourcePart
from leanrec.errors import DataError, SettingError, SourceError

__all__ = ["FIRST_CLOCK", "FORMS", "TimeForm", "find_time_form", "is_integer", "is_number"]

FIRST_CLOCK = 631_152_000  # 1990-01-01
_LAST_CLOCK = 4_102_444_800  # 2100-01-01
FORMS = (
    "seconds, milli-, micro- or nanoseconds since 1970, 2024-03-13, 2024-03-13T13:05:00+01:00, 2024/03/13, 13.03.2024, 20240313, "
    "13 Mar 2024, Mar 13, 2024, and 13/03/2024 or 03/13/2024 where the values tell which comes first"
)
"""What is understood as a time, for people."""

_INTEGER = re.compile(r"^(U?(TINY|SMALL)INT|U?INTEGER|BIGINT)$")
_NUMBER = re.compile(r"INT|DOUBLE|FLOAT|DECIMAL|REAL|HUGE")
_USUAL = (
    "%Y/%m/%d %H:%M:%S", "%Y/%m/%d", "%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d %b %Y", "%b %d, %Y", "%m %d, %Y",
    "%a %b %d %H:%M:%S %z %Y",
)  # fmt: skip
_COMPACT = ("%Y%m%d", "%Y%m%d%H%M%S")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", ", %H:%M:%S")
_SAMPLE = 1000
_FAR_MORE = 999


def _orders(first: str, second: str, marks: str) -> tuple[str, ...]:
    # Two digits of the year come first: with four asked for, "24" would be the year 24.
    days = [f"{first}{mark}{second}{mark}{year}" for year in ("%y", "%Y") for mark in marks]
    return tuple(day + clock for day in days for clock in _CLOCKS)


_DAY_FIRST, _MONTH_FIRST = _orders("%d", "%m", "/-."), _orders("%m", "%d", "/-")


def is_integer(column_type: str) -> bool:
    """Whether the DuckDB type holds whole numbers that fit int64."""
    return bool(_INTEGER.match(column_type))


def is_number(column_type: str) -> bool:
    """Whether the DuckDB type holds numbers."""
    return bool(_NUMBER.search(column_type)) or column_type == "BOOLEAN"


@dataclasses.dataclass(frozen=True)
class TimeForm:
    """How the times of a log are written.

    Attributes:
        formats: forms to try before the usual ones, in the letters of strptime.
        only: nothing but ``formats`` is a time.
    """

    formats: tuple[str, ...] = ()
    only: bool = False

    def seconds(self, name: str, column_type: str, *, is_order: bool) -> str:
        """SQL: the column as whole seconds, or as an order; NULL where it is not understood.

        The unit of a number follows from its size: seconds reach the year 5138 below 1e11.
        """
        column = quote_identifier(name)
        if column_type.startswith(("TIMESTAMP", "DATE")):
            stamp = column if column_type in {"TIMESTAMP", "TIMESTAMP WITH TIME ZONE"} else f"{column}::TIMESTAMP"
            return f"try_cast(floor(epoch({stamp})) AS BIGINT)"
        if self.only:
            return f"try_cast(floor(epoch({_written(column, column_type, self.formats)})) AS BIGINT)"
        if column_type in {"BIGINT", "UINTEGER"}:
            return _scaled(f"{column}::BIGINT", "//")
        if is_integer(column_type):
            return f"{column}::BIGINT"
        number = f"try_cast(floor({_scaled('n_time', '/')}) AS BIGINT)"
        if _NUMBER.search(column_type):
            return number
        if column_type != "VARCHAR":
            return "NULL::BIGINT"
        if is_order:
            return "try_cast(n_time AS BIGINT)"
        return f"CASE WHEN n_time IS NULL THEN try_cast(floor({self._text(column)}) AS BIGINT) ELSE {number} END"

    def _text(self, column: str) -> str:
        """Seconds of what is no number."""
        # A plain cast to TIMESTAMP forgets the offset from UTC; the one that heeds it is slower.
        tail = f"substr({column}, 20)"
        offset = f"contains({tail}, '+') OR contains({tail}, '-')"
        own = [_written(column, "VARCHAR", self.formats)] if self.formats else []
        stamp = ", ".join([*own, f"try_cast({column} AS TIMESTAMP)", _written(column, "VARCHAR", _USUAL)])
        return f"CASE WHEN {offset} THEN epoch(try_cast({column} AS TIMESTAMPTZ)) ELSE epoch(coalesce({stamp})) END"


def _written(column: str, column_type: str, formats: Sequence[str]) -> str:
    """SQL: a date that is written in one of the formats, as a moment."""
    value = column if column_type == "VARCHAR" else f"try_cast({column} AS BIGINT)::VARCHAR"
    return f"try_strptime({value}, [{', '.join(map(quote_literal, formats))}])"


def _scaled(number: str, divide: str) -> str:
    steps = (("100000000000000000", "1000000000"), ("100000000000000", "1000000"), ("100000000000", "1000"))
    cases = " ".join(f"WHEN {number} >= {above} THEN {number} {divide} {unit}" for above, unit in steps)
    return f"CASE WHEN {number} < 100000000000 THEN {number} {cases} ELSE {number} END"


@dataclasses.dataclass(frozen=True)
class _Column:
    """A time column that is no moment by its type."""

    label: str
    name: str
    column_type: str
    scan: str

    @property
    def values(self) -> str:
        """SQL: its values as text."""
        column = quote_identifier(self.name)
        value = column if self.column_type == "VARCHAR" else f"try_cast({column} AS BIGINT)::VARCHAR"
        return f"SELECT {value} AS x, {_number(self.name, self.column_type)} AS n_time FROM {self.scan} WHERE {column} IS NOT NULL"


def _number(name: str, column_type: str) -> str:
    return f"try_cast({quote_identifier(name)} AS DOUBLE)" if column_type == "VARCHAR" or _NUMBER.search(column_type) else "NULL::DOUBLE"


def find_time_form(engine: SqlEngine, parts: Sequence[SourcePart], columns: Sequence[ColumnRoles], given: str | None) -> TimeForm:
    """How the times are written, from a look at a thousand of each table.

    The whole column is read only where days and months have to be told apart.

    Raises:
        SettingError: the given format is none, or there is nothing to read with it.
        DataError: nothing tells which comes first, day or month.
    """
    found = list(_columns(parts, columns, orders=given is not None))
    if given is not None:
        return _given_form(engine, found, given)
    usual = TimeForm()
    odd = [column for column in found if _is_odd(engine, column, usual)]
    if not odd:
        return usual
    if all(_fit(engine, column, _COMPACT, whole=True) for column in odd):
        return TimeForm(_COMPACT, only=True)
    odd = [column for column in odd if _fit(engine, column, (*_DAY_FIRST, *_MONTH_FIRST), whole=False)]
    return TimeForm(_likely_first(engine, odd, _which_first(engine, odd))) if odd else usual


def _columns(parts: Sequence[SourcePart], columns: Sequence[ColumnRoles], *, orders: bool) -> Iterator[_Column]:
    for part, cols in zip(parts, columns, strict=True):
        if cols.time is None or (cols.is_order and not orders):
            continue
        column_type = "VARCHAR" if part.form == "csv" else part.types[cols.time]
        if column_type == "VARCHAR" or _NUMBER.search(column_type):
            scan = part.scan if part.file is None else part.file.glance()
            yield _Column(part.label, cols.time, column_type, scan)


def _given_form(engine: SqlEngine, found: Sequence[_Column], given: str) -> TimeForm:
    if not found:
        raise SettingError("time_format goes with a time column of text or numbers. There is none; leave it out.")
    wanted = f"time_format must be written in the letters of strptime, such as %d/%m/%Y %H:%M:%S. Got {given!r}"
    if "%" not in given:
        raise SettingError(f"{wanted}, which has none of them.")
    try:
        engine.execute(f"SELECT try_strptime('x', {quote_literal(given)})", "The format")
    except SourceError as error:
        raise SettingError(f"{wanted}: {error}") from error
    return TimeForm((given,), only=True)


def _is_odd(engine: SqlEngine, column: _Column, usual: TimeForm) -> bool:
    """Whether none of the first values is a moment since 1990 in a usual form."""
    seconds = usual.seconds("x", "VARCHAR", is_order=False)
    sample = f"SELECT x, n_time FROM ({column.values}) LIMIT {_SAMPLE}"
    n, late = engine.fetch_rows(
        f"SELECT count(*), count_if({seconds} BETWEEN {FIRST_CLOCK} AND {_LAST_CLOCK}) FROM ({sample})", column.label
    )[0]
    return bool(n) and not late


def _fit(engine: SqlEngine, column: _Column, formats: Sequence[str], *, whole: bool) -> bool:
    """Whether the formats make moments since 1990 of one of the first values, or of nearly all of them."""
    sample = f"SELECT x FROM ({column.values}) WHERE trim(x) <> '' LIMIT {_SAMPLE}"
    n, fitting = engine.fetch_rows(
        f"SELECT count(*), count_if(epoch({_written('x', 'VARCHAR', formats)}) BETWEEN {FIRST_CLOCK} AND {_LAST_CLOCK}) FROM ({sample})",
        column.label,
    )[0]
    return bool(fitting) and (not whole or fitting * 2 > n)


def _which_first(engine: SqlEngine, odd: Sequence[_Column]) -> tuple[str, ...]:
    day, month = (_written("x", "VARCHAR", formats) for formats in (_DAY_FIRST, _MONTH_FIRST))
    values = " UNION ALL ".join(f"SELECT x FROM ({column.values})" for column in odd)
    only_day, only_month, day_value, month_value, either = engine.fetch_rows(
        "SELECT count_if(d IS NOT NULL AND m IS NULL), count_if(d IS NULL AND m IS NOT NULL), "
        "any_value(x) FILTER (d IS NOT NULL AND m IS NULL), any_value(x) FILTER (d IS NULL AND m IS NOT NULL), "
        f"min(x) FILTER (d IS NOT NULL AND m IS NOT NULL AND d <> m) FROM (SELECT x, {day} AS d, {month} AS m FROM ({values}))",
        odd[0].label,
    )[0]
    if only_day > _FAR_MORE * only_month or (either is None and not only_month):
        return _DAY_FIRST
    if only_month > _FAR_MORE * only_day:
        return _MONTH_FIRST
    raise DataError(_undecided(engine, odd[0], either, day_value, month_value))


def _likely_first(engine: SqlEngine, odd: Sequence[_Column], formats: Sequence[str]) -> tuple[str, ...]:
    """The formats with those of the first values in front: each one that does not fit takes its time."""
    counts = ", ".join(
        f"count_if(epoch(try_strptime(x, {quote_literal(each)})) BETWEEN {FIRST_CLOCK} AND {_LAST_CLOCK})" for each in formats
    )
    fitting = engine.fetch_rows(f"SELECT {counts} FROM ({odd[0].values} LIMIT {_SAMPLE})", odd[0].label)[0]
    return tuple(sorted(formats, key=lambda each: -(fitting[formats.index(each)] or 0)))


def _undecided(engine: SqlEngine, column: _Column, either: str, day: str | None, month: str | None) -> str:
    first, second = _format_of(engine, day or either, _DAY_FIRST), _format_of(engine, month or either, _MONTH_FIRST)
    value, why = either or day, "no value tells which"
    if day and month:
        why = f"the values contradict each other: {day!r} can only be the one, {month!r} only the other"
    return (
        f"The times in the column {column.name!r} of {column.label}, such as {value!r}, have the day or the month first, and {why}. "
        f'Say it: --time-format "{first}" or --time-format "{second}", in Python time_format="{first}" or time_format="{second}".'
    )


def _format_of(engine: SqlEngine, value: str, formats: Sequence[str]) -> str:
    tests = ", ".join(f"try_strptime({quote_literal(value)}, {quote_literal(each)}) IS NOT NULL" for each in formats)
    fits = engine.fetch_rows(f"SELECT {tests}")[0]
    return next((each for each, fit in zip(formats, fits, strict=True) if fit), formats[0])
