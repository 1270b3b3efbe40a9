"""Times in several columns: a date beside a time of day, and years, months and days, read as one time."""

import dataclasses
from collections.abc import Collection, Sequence

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.ingest.meaning.column_names import guess_role, split_words
from leanrec.data.ingest.sources import SourcePart
from leanrec.data.ingest.text_files import extend_scan

__all__ = ["TimeParts", "combine_times"]

_DATES = frozenset(["date", "dat", "dt", "datum", "fecha", "дата", "日期"])
_CLOCKS = frozenset(
    ["time", "clock", "hhmm", "uhrzeit", "zeit", "hora", "heure", "ora", "tijd", "tid", "время", "时间"]
)
_COMPLETE = frozenset(["timestamp", "ts", "datetime", "unix", "epoch"])
_CALENDAR = ("year", "month", "day")
_PERIODS = ("day", "week", "month", "yearmonth", "yearweek", "period")
_SAMPLE = 1000
# 2024-03-13, 2024-03 and 2024-W11 are times under a name that means a number of days, weeks or months elsewhere.
_PERIOD = quote_literal(r"[0-9]{4}-([0-9]{2}-[0-9]{2}|[0-9]{2}|W[0-9]{2})")
_MIDNIGHT = quote_literal(r"[T ]0?0:00(:00)?([.]0+)?Z?$")
_COMPACT_DATE = quote_literal(r"^([0-9]{4})([0-9]{2})([0-9]{2})$")
# A date has three numbers, or a month in letters between two, and no time of day.
_DATE = quote_literal(r"[0-9]{1,4}[-/. ]+([0-9]{1,2}|[A-Za-z]{3,9})[-/., ]+[0-9]{1,4}")
_TEXT_CLOCK = quote_literal(r"([01]?[0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?( ?[AaPp][Mm])?")
_NUMBER_CLOCK = quote_literal(r"(([01]?[0-9]|2[0-3])?[0-5])?[0-9]|([01]?[0-9]|2[0-3])[0-5][0-9][0-5][0-9]")


@dataclasses.dataclass(frozen=True)
class TimeParts:
    """Columns that are one time together.

    Attributes:
        names: the columns.
        time: name of the column that has the time as text.
    """

    names: tuple[str, ...]
    time: str

    def describe(self) -> str:
        """Return how the time was read, in sentences."""
        if len(self.names) == 1:
            return (
                f'The values of the column {self.time!r} are read as times. For no time pass columns={{"time": None}}.'
            )
        listed = f"{', '.join(map(repr, self.names[:-1]))} and {self.names[-1]!r}"
        return (
            f"The columns {listed} are read as one time. To use one of them alone, pass "
            f'columns={{"time": "{self.names[0]}"}}; for no time, columns={{"time": None}}.'
        )


def combine_times(engine: SqlEngine, part: SourcePart, given: Collection[str]) -> tuple[SourcePart, TimeParts | None]:
    """Return the table with a column of text that has the time of several columns, and these columns; None where there are none.

    The single columns are left out of the table, except ``given`` ones.
    A date and a time of day must have names that differ in these words only (``order_date``, ``order_time``), and the first
    thousand values must be dates and times of day. A year, month and day must have these names, and numbers that fit.
    """
    every = [split_words(name) for name in part.names]
    if any((words[-1:] and words[-1] in _COMPLETE) or words[-2:] == ["created", "at"] for words in every):
        return part, None
    pair = _find_pair(part.names)
    if pair is not None and _fits_pair(engine, part, *pair):
        return _add_column(part, pair, _join_clock(*pair), given)
    by_name = {name.lower(): name for name in part.names}
    if any(guess_role(name) == "time" for name in part.names):
        return part, None
    for name in (by_name[each] for each in _PERIODS if each in by_name):
        fits = f"coalesce(bool_and(regexp_full_match({_text(name)}, {_PERIOD})), false)"
        if engine.fetch_rows(f"SELECT {fits} FROM {_sample(part)}", part.label)[0][0]:
            return part, TimeParts((name,), name)
    if not all(name in by_name for name in _CALENDAR):
        return part, None
    calendar = tuple(by_name[name] for name in (*_CALENDAR, "hour") if name in by_name)
    if not _fits_calendar(engine, part, calendar):
        return part, None
    day = " || '-' || ".join(
        f"lpad({_text(name)}, {width}, '0')" for name, width in zip(calendar, (4, 2, 2), strict=False)
    )
    hour = f" || ' ' || lpad({_text(calendar[-1])}, 2, '0') || ':00'" if len(calendar) > len(_CALENDAR) else ""
    return _add_column(part, calendar, day + hour, given)


def _find_pair(names: Sequence[str]) -> tuple[str, str] | None:
    """Return the first date that has a time of day of the same other words."""
    clocks = {
        tuple(words[:-1]): name for name in reversed(names) if (words := split_words(name)) and words[-1] in _CLOCKS
    }
    dates = [(tuple(words[:-1]), name) for name in names if (words := split_words(name)) and words[-1] in _DATES]
    return next(((name, clocks[rest]) for rest, name in dates if rest in clocks), None)


def _text(name: str) -> str:
    return f"trim({quote_identifier(name)}::VARCHAR)"


def _date_text(name: str) -> str:
    """SQL: a date without midnight, and 20240313 as 2024-03-13."""
    return f"regexp_replace(regexp_replace({_text(name)}, {_MIDNIGHT}, ''), {_COMPACT_DATE}, '\\1-\\2-\\3')"


def _sample(part: SourcePart) -> str:
    scan = part.scan if part.file is None else part.file.preview_scan()
    return f"(SELECT * FROM {scan} LIMIT {_SAMPLE})"


def _fits_pair(engine: SqlEngine, part: SourcePart, date: str, clock: str) -> bool:
    """Whether the first values are dates, and times of day. Numbers must be of at least three digits somewhere."""
    if date in part.nested or clock in part.nested:
        return False
    day, hour = _date_text(date), _text(clock)
    tests = (
        f"count_if(regexp_full_match({day}, {_DATE}))",
        f"count_if({day} <> '')",
        f"count_if(regexp_full_match({hour}, {_TEXT_CLOCK}))",
        f"count_if(regexp_full_match({hour}, {_NUMBER_CLOCK}))",
        f"count_if({hour} <> '')",
        f"coalesce(max(length({hour})), 0)",
    )
    dates, days, texts, numbers, hours, digits = engine.fetch_rows(
        f"SELECT {', '.join(tests)} FROM {_sample(part)}", part.label
    )[0]
    are_hours = 2 * texts > hours or (numbers == hours and digits >= 3)
    return bool(days and hours) and 2 * dates > days and are_hours


def _join_clock(date: str, clock: str) -> str:
    """SQL: a date and a time of day as one text; the date alone where there is no time of day."""
    digits = f"lpad({_text(clock)}, CASE WHEN length({_text(clock)}) < 5 THEN 4 ELSE 6 END, '0')"
    colons = f"regexp_replace({digits}, '([0-9]{{2}})([0-9]{{2}})([0-9]{{2}})?$', '\\1:\\2:\\3')"
    hour = f"CASE WHEN regexp_full_match({_text(clock)}, {_NUMBER_CLOCK}) THEN rtrim({colons}, ':') ELSE nullif({_text(clock)}, '') END"
    return f"{_date_text(date)} || coalesce(' ' || ({hour}), '')"


def _fits_calendar(engine: SqlEngine, part: SourcePart, names: Sequence[str]) -> bool:
    """Whether all of the first values are years since 1990, months, days and hours."""
    limits = ((1990, 2099), (1, 12), (1, 31), (0, 23))
    tests = " AND ".join(
        f"try_cast({_text(name)} AS BIGINT) BETWEEN {low} AND {high}"
        for name, (low, high) in zip(names, limits, strict=False)
    )
    rows, fitting = engine.fetch_rows(f"SELECT count(*), count_if({tests}) FROM {_sample(part)}", part.label)[0]
    return bool(rows) and rows == fitting


def _add_column(
    part: SourcePart, names: tuple[str, ...], value: str, given: Collection[str]
) -> tuple[SourcePart, TimeParts]:
    found = TimeParts(names, " + ".join(names))
    types = {name: column_type for name, column_type in part.types.items() if name not in names or name in given}
    types[found.time] = "VARCHAR"
    if part.file is None:
        return dataclasses.replace(part, scan=extend_scan(part.scan, (), {found.time: value}), types=types), found
    file = dataclasses.replace(part.file, computed={found.time: value})
    return dataclasses.replace(part, file=file, scan=file.scan(), types=types), found
