"""Timestamps in any common format as seconds: numbers of any unit, ISO dates, and dates in other notations.

``13/03/2024`` and ``12/25/2023`` are read where the column decides: one order of day and month fits its values and the
other does not. Where the values do not decide, a DataError asks for the format.
"""

import dataclasses
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.ingest.meaning.column_names import split_words
from leanrec.data.ingest.meaning.id_forms import is_missing
from leanrec.data.ingest.meaning.time_counts import (
    CERTAIN_COUNTS,
    DAYS,
    NAMED_FORMATS,
    ORDINAL,
    WORD_FORMATS,
    find_count,
)
from leanrec.data.ingest.meaning.time_text import NOTATIONS, ZONED, is_plain, parse_text, parse_with
from leanrec.data.ingest.sources import SourcePart
from leanrec.errors import DataError, SettingError, SourceError

if TYPE_CHECKING:
    from leanrec.data.ingest.schema import ColumnRoles

__all__ = [
    "FIRST_TIMESTAMP",
    "FORMS",
    "TimeFormat",
    "find_fractions",
    "find_time_format",
    "is_integer",
    "is_number",
    "may_be_time",
]

FIRST_TIMESTAMP = 631_152_000  # 1990-01-01
_LAST_TIMESTAMP = 4_102_444_800  # 2100-01-01
FORMS = (
    "seconds, milli-, micro- or nanoseconds since 1970, 2024-03-13, 2024-03-13T13:05:00+01:00, 2024/03/13, 13.03.2024, 20240313, "
    "13 Mar 2024, Mar 13, 2024, Wed Mar 13 13:05:00 2024, Wed, 13 Mar 2024 13:05:00 +0100, 13/Mar/2024:13:05:00 +0100, and 13/03/2024 or 03/13/2024 where the values decide which comes first"
)
"""Time formats that are understood, for messages."""

_INTEGER = re.compile(r"^(U?(TINY|SMALL)INT|U?INTEGER|BIGINT)$")
_NUMBER = re.compile(r"INT|DOUBLE|FLOAT|DECIMAL|REAL|HUGE")
_COMPACT = ("%Y%m%d", "%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d%H%M%S%g")
_TIMES_OF_DAY = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", ", %H:%M:%S")
_SAMPLE = 1000
_CERTAIN = {
    "timestamp",
    "ts",
    "time",
    "date",
    "datetime",
    "eventtime",
    "eventtimestamp",
    "eventdate",
    "createdat",
    "unixtime",
}
_FAR_MORE = 999
# Notations of words are certain where nearly all values have them; numbers only where all have.
_MOST = 0.95


def _date_formats(first: str, second: str, separators: str) -> tuple[str, ...]:
    # Two-digit years come first: with the four-digit format, "24" would be the year 24.
    days = [f"{first}{mark}{second}{mark}{year}" for year in ("%y", "%Y") for mark in separators]
    before = ("%H:%M ", "%H:%M:%S ", "%I:%M %p ", "%I:%M:%S %p ")
    return tuple(day + time for day in days for time in _TIMES_OF_DAY) + tuple(
        time + day for day in days for time in before
    )


_DAY_FIRST, _MONTH_FIRST = _date_formats("%d", "%m", "/-."), _date_formats("%m", "%d", "/-")


def is_integer(column_type: str) -> bool:
    """Whether the DuckDB type holds whole numbers that fit int64."""
    return bool(_INTEGER.match(column_type))


def is_number(column_type: str) -> bool:
    """Whether the DuckDB type holds numbers."""
    return bool(_NUMBER.search(column_type)) or column_type == "BOOLEAN"


@dataclasses.dataclass(frozen=True)
class TimeFormat:
    """How the times of a log are written.

    Attributes:
        formats: strptime formats to try before the common ones.
        only: accept only ``formats``.
        iso_only: all of the first values of every table are numbers, ISO 8601 or one of ``formats``, so text in another
            notation is rejected.
        has_fractions: some times have fractions of a second, which are kept for the order and for duplicates.
    """

    formats: tuple[str, ...] = ()
    only: bool = False
    iso_only: bool = False
    has_fractions: bool = False

    def to_fraction(self, name: str, column_type: str) -> str:
        """SQL: the part of a time below a second (of an order: below one), in nanoseconds, INTEGER; 0 where there is none."""
        column = quote_identifier(name)
        if column_type == "TIMESTAMP_NS":
            return f"coalesce((epoch_ns({column}) % 1000000000 + 1000000000) % 1000000000, 0)::INTEGER"
        if column_type.startswith("TIMESTAMP"):
            return _below_second(column)
        whole = (
            "CASE WHEN {0} >= 100000000000000000 THEN {0} % 1000000000 WHEN {0} >= 100000000000000 THEN {0} % 1000000 * 1000 "
            "WHEN {0} >= 100000000000 THEN {0} % 1000 * 1000000 ELSE 0 END"
        )
        if self.only or column_type in {"DATE", "BOOLEAN"}:
            return "0::INTEGER" if column_type != "VARCHAR" else _below_second(parse_with(column, self.formats))
        if is_integer(column_type):
            return f"coalesce({whole.format(f'{column}::BIGINT')}, 0)::INTEGER"
        scaled = _scale_number("n_time", "/")
        number = f"least(round(({scaled} - floor({scaled})) * 1000000), 999999)::INTEGER * 1000"
        if column_type != "VARCHAR":
            return f"coalesce({number}, 0)::INTEGER" if _NUMBER.search(column_type) else "0::INTEGER"
        # Whole numbers do not go through DOUBLE, which has too few digits for nanoseconds.
        digits = f"try_cast({column} AS BIGINT)"
        return (
            f"CASE WHEN n_time IS NULL THEN {_below_second(parse_text(column, self.formats, iso_only=self.iso_only))} "
            f"WHEN contains({column}, '.') THEN coalesce({number}, 0) ELSE coalesce({whole.format(digits)}, 0) END::INTEGER"
        )

    def to_seconds(self, name: str, column_type: str, *, is_order: bool) -> str:
        """SQL: the column as whole seconds, or as an order; NULL where it is not understood.

        The unit of a number follows from its size: seconds reach the year 5138 below 1e11.
        """
        column = quote_identifier(name)
        if column_type.startswith(("TIMESTAMP", "DATE")):
            has_type = column_type in {"TIMESTAMP", "TIMESTAMP WITH TIME ZONE"}
            return f"try_cast(floor(epoch({column if has_type else f'{column}::TIMESTAMP'})) AS BIGINT)"
        if self.only:
            return f"try_cast(floor(epoch({_parse_formats(column, column_type, self.formats)})) AS BIGINT)"
        if column_type in {"BIGINT", "UINTEGER"}:
            return _scale_number(f"{column}::BIGINT", "//")
        if is_integer(column_type):
            return f"{column}::BIGINT"
        number = f"try_cast(floor({_scale_number('n_time', '/')}) AS BIGINT)"
        if _NUMBER.search(column_type):
            return number
        if column_type != "VARCHAR":
            return "NULL::BIGINT"
        if is_order:
            return "try_cast(floor(n_time) AS BIGINT)"
        text = f"epoch({parse_text(column, self.formats, iso_only=self.iso_only)})"
        return f"CASE WHEN n_time IS NULL THEN try_cast(floor({text}) AS BIGINT) ELSE {number} END"


def _parse_formats(column: str, column_type: str, formats: Sequence[str]) -> str:
    """SQL: a date that is written in one of the formats, as a timestamp."""
    if column_type != "VARCHAR":
        # Days have fractions; a date of eight digits has none, although its type may be DOUBLE.
        column = f"{column}::VARCHAR" if set(formats) & {*NAMED_FORMATS} else f"try_cast({column} AS BIGINT)::VARCHAR"
    return parse_with(column, formats)


def _below_second(stamp: str) -> str:
    """SQL: the nanoseconds of a timestamp below a second; 0 where it is missing."""
    return f"coalesce((epoch_us({stamp}) % 1000000 + 1000000) % 1000000 * 1000, 0)::INTEGER"


def _scale_number(number: str, divide: str) -> str:
    """SQL: a number in seconds, milli-, micro- or nanoseconds, as seconds."""
    steps = (("100000000000000000", "1000000000"), ("100000000000000", "1000000"), ("100000000000", "1000"))
    cases = " ".join(f"WHEN {number} >= {above} THEN {number} {divide} {unit}" for above, unit in steps)
    return f"CASE WHEN {number} < 100000000000 THEN {number} {cases} ELSE {number} END"


@dataclasses.dataclass(frozen=True)
class _TimeColumn:
    """A time column of text or numbers."""

    label: str
    name: str
    column_type: str
    scan: str

    @property
    def values(self) -> str:
        """SQL: its values as text, and as a number where they are one."""
        column = quote_identifier(self.name)
        value = column if self.column_type == "VARCHAR" else f"{column}::VARCHAR"
        has_numbers = self.column_type == "VARCHAR" or _NUMBER.search(self.column_type)
        number = f"try_cast({column} AS DOUBLE)" if has_numbers else "NULL::DOUBLE"
        return f"SELECT {value} AS x, {number} AS n_time FROM {self.scan} WHERE {column} IS NOT NULL"


def may_be_time(engine: SqlEngine, part: SourcePart, name: str, is_order: bool) -> bool:
    """Whether a column may be the time that its name means: one of its first thousand values is a number or a date.

    A column that is called time, date or timestamp is one in any case: values that are not understood are an error then.
    """
    column_type = "VARCHAR" if part.form == "csv" else part.types[name]
    if column_type != "VARCHAR" or (not is_order and re.sub(r"[\W_]", "", name).lower() in _CERTAIN):
        return (column_type != "VARCHAR" and not column_type.endswith(("[]", ")"))) or column_type == "VARCHAR"
    scan = part.scan if part.file is None else part.file.preview_scan()
    column = _TimeColumn(part.label, name, column_type, scan)
    dates = (*_COMPACT, *_DAY_FIRST, *_MONTH_FIRST, *WORD_FORMATS)
    sample = f"SELECT x, n_time FROM ({column.values}) WHERE trim(x) <> '' LIMIT {_SAMPLE}"
    tests = ["n_time IS NOT NULL"]
    if not is_order:
        # The expression of all notations takes longer to plan, which counts in a folder of many files.
        times = (TimeFormat(iso_only=True), TimeFormat(dates))
        tests += [f"{each.to_seconds('x', 'VARCHAR', is_order=False)} IS NOT NULL" for each in times]
    for test in tests:
        n, fitting = engine.fetch_rows(f"SELECT count(*), count_if({test}) FROM ({sample})", part.label)[0]
        if fitting or not n:
            return True
    return False


def find_time_format(
    engine: SqlEngine, parts: Sequence[SourcePart], columns: Sequence["ColumnRoles"], given: str | None
) -> TimeFormat:
    """Find how the times are written, from a thousand values of each table.

    The whole column is read only where the order of day and month must be found.

    Raises:
        SettingError: the given format is not valid, or there is no column to read with it.
        DataError: the values do not decide whether the day or the month comes first.
    """
    found = []
    for part, cols in zip(parts, columns, strict=True):
        if cols.time is None or (cols.is_order and given is None):
            continue
        column_type = "VARCHAR" if part.form == "csv" else part.types[cols.time]
        if column_type == "VARCHAR" or _NUMBER.search(column_type):
            scan = part.scan if part.file is None else part.file.preview_scan()
            found.append(_TimeColumn(part.label, cols.time, column_type, scan))
    if given is not None:
        return _check_given_format(engine, found, given)
    if not found:
        return TimeFormat(iso_only=True)
    _sample_values(engine, found)
    is_date = all({"date", "datum", "datetime", "fecha", "data"} & set(split_words(column.name)) for column in found)
    named = {find_count(split_words(column.name)) for column in found} - {None}
    counts = [*CERTAIN_COUNTS, *([DAYS] if is_date else []), *([ORDINAL] if is_date or "julian days" in named else [])]
    counts += [each for each in named if each is not None]
    if (count := _find_named(engine, counts)) is not None:
        return count
    simple = TimeFormat(iso_only=True)
    if _reads_all(engine, simple):
        return simple
    times = _find_formats(engine, found)
    simple = dataclasses.replace(times, iso_only=True)
    if times.only or _reads_all(engine, simple):
        return times if times.only else simple
    return _find_named(engine, WORD_FORMATS, _MOST) or times


def _find_named(engine: SqlEngine, names: Sequence[str], share: float = 1.0) -> TimeFormat | None:
    """Return the first of the named formats in which a share of ``time_sample`` are times since 1990 and not in the future.

    Words for nothing, such as N/A, are no values.
    """
    latest = int(time.time()) + 86_400
    tests = ", ".join(
        f"count_if(epoch({parse_with('x', (name,))}) BETWEEN {FIRST_TIMESTAMP} AND {latest})" for name in names
    )
    n, *fitting = engine.fetch_rows(
        f"SELECT count(*), {tests} FROM time_sample WHERE trim(x) <> '' AND NOT {is_missing('x')}"
    )[0]
    name = next((name for name, fits in zip(names, fitting, strict=True) if n and (fits or 0) >= share * n), None)
    if name is None:
        return None
    engine.facts.understood["time"] = name
    return TimeFormat((name,), only=True)


def _sample_values(engine: SqlEngine, found: Sequence[_TimeColumn]) -> None:
    """Make ``time_sample``, the first values of each column: an expression of all notations is planned once for all columns."""
    samples = [
        f"(SELECT {i}::INTEGER AS source, x, n_time FROM ({column.values}) LIMIT {_SAMPLE})"
        for i, column in enumerate(found)
    ]
    select = f"CREATE OR REPLACE TEMP TABLE time_sample AS {' UNION ALL '.join(samples)}"
    engine.execute(select, found[0].label)


def _find_formats(engine: SqlEngine, found: Sequence[_TimeColumn]) -> TimeFormat:
    """Return the format of times that are not all numbers or ISO 8601, from ``time_sample``."""
    odd = _find_odd(engine)
    if not odd:
        return TimeFormat(_find_notations(engine))
    if odd <= _find_fitting(engine, _COMPACT, most=True):
        return TimeFormat(_COMPACT, only=True)
    odd &= _find_fitting(engine, (*_DAY_FIRST, *_MONTH_FIRST), most=False)
    if not odd:
        return TimeFormat(_find_notations(engine))
    formats = _find_date_order(engine, [found[i] for i in sorted(odd)])
    # Formats that fit the first values come first: each format that does not fit costs time.
    counts = ", ".join(
        f"count_if(epoch(try_strptime(x, {quote_literal(each)})) BETWEEN {FIRST_TIMESTAMP} AND {_LAST_TIMESTAMP})"
        for each in formats
    )
    fitting = engine.fetch_rows(f"SELECT {counts} FROM time_sample WHERE source = {min(odd)}")[0]
    return TimeFormat(tuple(sorted(formats, key=lambda each: -(fitting[formats.index(each)] or 0))))


def _find_notations(engine: SqlEngine) -> tuple[str, ...]:
    """Return the formats of the first values that are no plain ISO times, most frequent first: they are fast then."""
    formats = (*NOTATIONS, *ZONED)
    tests = ", ".join(
        f"count_if(epoch({parse_with('x', (each,))}) BETWEEN {FIRST_TIMESTAMP} AND {_LAST_TIMESTAMP})"
        for each in formats
    )
    row = engine.fetch_rows(f"SELECT {tests} FROM time_sample WHERE n_time IS NULL AND NOT {is_plain('x')}")[0]
    counts = {each: n or 0 for each, n in zip(formats, row, strict=True)}
    return tuple(sorted((each for each in counts if counts[each]), key=lambda each: -counts[each]))


def find_fractions(
    engine: SqlEngine, parts: Sequence[SourcePart], columns: Sequence["ColumnRoles"], times: TimeFormat
) -> TimeFormat:
    """Return the format with ``has_fractions``, from a thousand values of each table."""
    samples: dict[str, list[str]] = {}
    for part, cols in zip(parts, columns, strict=True):
        if cols.time is None:
            continue
        column_type = "VARCHAR" if part.form == "csv" else part.types[cols.time]
        scan, column = part.scan if part.file is None else part.file.preview_scan(), quote_identifier(cols.time)
        number = (
            f"try_cast({column} AS DOUBLE)" if column_type == "VARCHAR" or is_number(column_type) else "NULL::DOUBLE"
        )
        sample = f"(SELECT {column} AS x, {number} AS n_time FROM {scan} WHERE {column} IS NOT NULL LIMIT {_SAMPLE})"
        samples.setdefault(column_type, []).append(sample)
    for column_type, each in samples.items():
        test = f"coalesce(bool_or({times.to_fraction('x', column_type)} <> 0), false)"
        if engine.fetch_rows(f"SELECT {test} FROM ({' UNION ALL '.join(each)})")[0][0]:
            return dataclasses.replace(times, has_fractions=True)
    return times


def _check_given_format(engine: SqlEngine, found: Sequence[_TimeColumn], given: str) -> TimeFormat:
    if not found:
        raise SettingError("time_format needs a time column of text or numbers. There is none; leave it out.")
    if given in NAMED_FORMATS:
        engine.facts.understood["time"] = given
        return TimeFormat((given,), only=True)
    wanted = f"time_format must be a strptime format, such as %d/%m/%Y %H:%M:%S. Got {given!r}"
    if "%" not in given:
        raise SettingError(f"{wanted}, which has no % directive.")
    try:
        engine.execute(f"SELECT try_strptime('x', {quote_literal(given)})", "The format")
    except SourceError as error:
        raise SettingError(f"{wanted}: {error}") from error
    return TimeFormat((given,), only=True)


def _find_odd(engine: SqlEngine) -> set[int]:
    """Return the columns in whose first values no common format finds a timestamp since 1990."""
    seconds = TimeFormat().to_seconds("x", "VARCHAR", is_order=False)
    test = f"coalesce(bool_or({seconds} BETWEEN {FIRST_TIMESTAMP} AND {_LAST_TIMESTAMP}), false)"
    rows = engine.fetch_rows(f"SELECT source FROM time_sample GROUP BY source HAVING NOT {test}")
    return {source for (source,) in rows}


def _reads_all(engine: SqlEngine, times: TimeFormat) -> bool:
    """Whether the format reads all of the first values, and finds a timestamp since 1990 in each column."""
    seconds = times.to_seconds("x", "VARCHAR", is_order=False)
    late = f"coalesce(bool_or(seconds BETWEEN {FIRST_TIMESTAMP} AND {_LAST_TIMESTAMP}), false)"
    fits = f"SELECT count(seconds) = count(*) AND {late} AS fits FROM (SELECT source, {seconds} AS seconds FROM time_sample) GROUP BY source"
    return bool(engine.fetch_rows(f"SELECT coalesce(bool_and(fits), true) FROM ({fits})")[0][0])


def _find_fitting(engine: SqlEngine, formats: Sequence[str], *, most: bool) -> set[int]:
    """Return the columns of which a first value (or, with ``most``, most of them) is a timestamp since 1990 in one of the formats."""
    test = f"epoch({_parse_formats('x', 'VARCHAR', formats)}) BETWEEN {FIRST_TIMESTAMP} AND {_LAST_TIMESTAMP}"
    counted = f"SELECT source, count(*), count_if({test}) FROM time_sample WHERE trim(x) <> '' GROUP BY source"
    return {source for source, n, fitting in engine.fetch_rows(counted) if fitting and (not most or fitting * 2 > n)}


class _DateVotes(NamedTuple):
    """Dates of one column by the order of day and month: how many are day or month first only, and one of each kind."""

    only_day: int
    only_month: int
    day_value: str | None
    month_value: str | None
    either: str | None

    @property
    def order(self) -> str:
        """Return "day" or "month", "" where the values do not decide."""
        is_day, is_month = self.only_day > _FAR_MORE * self.only_month, self.only_month > _FAR_MORE * self.only_day
        return "day" if is_day else "month" if is_month else ""


def _find_date_order(engine: SqlEngine, odd: Sequence[_TimeColumn]) -> tuple[str, ...]:
    """Return the formats with the day or with the month first. Raises DataError where the values do not decide."""
    day, month = (_parse_formats("x", "VARCHAR", formats) for formats in (_DAY_FIRST, _MONTH_FIRST))
    values = " UNION ALL ".join(f"SELECT {i} AS source, x FROM ({column.values})" for i, column in enumerate(odd))
    votes = {
        odd[source]: _DateVotes(*each)
        for source, *each in engine.fetch_rows(
            "SELECT source, count_if(d IS NOT NULL AND m IS NULL), count_if(d IS NULL AND m IS NOT NULL), "
            "any_value(x) FILTER (d IS NOT NULL AND m IS NULL), any_value(x) FILTER (d IS NULL AND m IS NOT NULL), "
            "min(x) FILTER (d IS NOT NULL AND m IS NOT NULL AND d <> m) "
            f"FROM (SELECT source, x, {day} AS d, {month} AS m FROM ({values})) GROUP BY source ORDER BY source",
            odd[0].label,
        )
    }
    every = _DateVotes(
        sum(each.only_day for each in votes.values()),
        sum(each.only_month for each in votes.values()),
        *(next(filter(None, found), None) for found in list(zip(*votes.values(), strict=True))[2:]),
    )
    first, second = (
        next((column for column in votes if votes[column].order == order), None) for order in ("day", "month")
    )
    if first is not None and second is not None:
        frames = ", ".join(
            f"pandas.read_csv({column.label!r}, sep=None, engine='python', parse_dates=[{column.name!r}], dayfirst={each.order == 'day'})"
            for column, each in votes.items()
            if each.order
        )
        is_open = any(not each.order for each in votes.values())
        more = " Some files fit both orders; add these with the order that you know." if is_open else ""
        raise DataError(
            f"The times of all files must have one order of day and month. Those of {first.label}, such as {votes[first].day_value!r}, have "
            f"the day first, those of {second.label}, such as {votes[second].month_value!r}, the month.{more} Read them in Python: "
            f"ingest([{frames}])."
        )
    order = every.order or ("day" if every.either is None and not every.only_month else "")
    if order:
        _tell_decided(engine, votes, order)
        return _DAY_FIRST if order == "day" else _MONTH_FIRST
    formats = (
        _match_format(engine, every.day_value or every.either or "", _DAY_FIRST),
        _match_format(engine, every.month_value or every.either or "", _MONTH_FIRST),
    )
    why = "no value decides which"
    if every.day_value and every.month_value:
        why = f"the values contradict each other: {every.day_value!r} must be day first, {every.month_value!r} month first"
    raise DataError(
        f"The times in the column {odd[0].name!r} of {odd[0].label}, such as {every.either or every.day_value!r}, have the day or the month "
        f'first, and {why}. Pass time_format="{formats[0]}" or time_format="{formats[1]}".'
    )


def _tell_decided(engine: SqlEngine, votes: Mapping[_TimeColumn, _DateVotes], order: str) -> None:
    """Warn where the dates of a file fit both orders, and those of another file decide."""
    decided = next((column for column in votes if votes[column].order == order), None)
    open_ones = [column for column in votes if not votes[column].order and votes[column].either is not None]
    if decided is not None and open_ones:
        column, others = open_ones[0], len(open_ones) - 1
        more = f" and of {others} other file{'s' * (others > 1)}" if others else ""
        engine.facts.warn(
            f"The times of {column.label}{more}, such as {votes[column].either!r}, fit both orders of day and month; those of "
            f"{decided.label} decide that the {order} comes first."
        )


def _match_format(engine: SqlEngine, value: str, formats: Sequence[str]) -> str:
    """Return the first format that fits the value."""
    tests = ", ".join(f"try_strptime({quote_literal(value)}, {quote_literal(each)}) IS NOT NULL" for each in formats)
    fits = engine.fetch_rows(f"SELECT {tests}")[0]
    return next((each for each, fit in zip(formats, fits, strict=True) if fit), formats[0])
