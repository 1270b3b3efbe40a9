"""Times in several columns: a date beside a time of day, a year beside a month, and a column for each period."""

import dataclasses
import re
from collections.abc import Collection, Sequence

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.event_types import normalize_name
from leanrec.data.ingest.meaning.column_names import guess_role, split_words
from leanrec.data.ingest.meaning.time_counts import PERIOD_FORMATS, parse_named
from leanrec.data.ingest.meaning.time_periods import Period, find_calendar, list_single_times
from leanrec.data.ingest.sources import SourcePart
from leanrec.data.ingest.text_files import extend_scan
from leanrec.data.ingest.timestamps import is_number

__all__ = ["TimeParts", "combine_times", "holds_clocks", "unpivot_periods"]

_DATES = frozenset(["date", "dat", "dt", "datum", "fecha", "дата", "日期"])
_CLOCKS = frozenset(
    [
        "time",
        "clock",
        "hhmm",
        "hhmmss",
        "hourmin",
        "uhrzeit",
        "zeit",
        "hora",
        "heure",
        "ora",
        "tijd",
        "tid",
        "время",
        "时间",
    ]
)
_HOURS = frozenset(["hour", "hr", "stunde", "小时"])
_DAYS = (["day"], ["day", "no"], ["day", "nr"], ["day", "number"], ["day", "num"], ["day", "index"], ["day", "id"])
_COMPLETE = frozenset(["timestamp", "tstamp", "ts", "datetime", "unix", "epoch"])
_COMPLETE_ENDS = (["created", "at"], ["time", "ms"], ["time", "us"], ["time", "ns"])
_SAMPLE = 1000
_MIDNIGHT = quote_literal(r"[T ]0?0:00(:00)?([.]0+)?Z?$")
_COMPACT_DATE = quote_literal(r"^([0-9]{4})([0-9]{2})([0-9]{2})$")
# A date has three numbers, or a month in letters between two, and no time of day.
_DATE = quote_literal(r"[0-9]{1,4}[-/. ]+([0-9]{1,2}|[A-Za-z]{3,9})[-/., ]+[0-9]{1,4}")
_TEXT_CLOCK = quote_literal(r"([01]?[0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?( ?[AaPp][Mm])?")
_CLOCK_ALONE = quote_literal(r"[0-9]{1,3}:[0-5][0-9](:[0-5][0-9]([.,][0-9]+)?)?( ?[AaPp]\.?[Mm]\.?)?")
_NUMBER_CLOCK = quote_literal(r"(([01]?[0-9]|2[0-3])?[0-5])?[0-9]|([01]?[0-9]|2[0-3])[0-5][0-9][0-5][0-9]")
_HOUR = quote_literal(r"([01]?[0-9]|2[0-3])([.]0)?")
_DAY = 86_400
_MIN_PERIODS = 3
_YEAR = re.compile(r"(19|20)[0-9]{2}|[-'Qq][0-9]{2}$")
_MIN_CLOCKS = 20


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
            name = self.names[0]
            return f'The values of the column {name!r} are read as times. For no time pass columns={{"time": None}}.'
        listed = f"{', '.join(map(repr, self.names[:-1]))} and {self.names[-1]!r}"
        return (
            f"The columns {listed} are read as one time. To use one of them alone, pass "
            f'columns={{"time": "{self.names[0]}"}}; for no time, columns={{"time": None}}.'
        )


def combine_times(engine: SqlEngine, part: SourcePart, given: Collection[str]) -> tuple[SourcePart, TimeParts | None]:
    """Return the table with a column of text that has the time of several columns, and these columns; None where there are none.

    The single columns are left out of the table, except ``given`` ones. The first thousand values decide.

    * A date (or the number of a day) and a time of day (``order_date``, ``order_time``; ``date``, ``hour``) are one time.
      Their names differ in these words only, or there is one of each and one is called by this word alone.
    * A year with a quarter, month or week, a day and an hour, of these names, are one time.
    * A single column of a name such as month, order_week, Ticks or endTime has times such as 2024-03, Jan 2024, 2024-W11, 202403, days
      since 1970, or what its name says.
    """
    every = [split_words(name) for name in part.names]
    if any((words[-1:] and words[-1] in _COMPLETE) or words[-2:] in _COMPLETE_ENDS for words in every):
        return part, None
    pair = _find_pair([name for name in part.names if name not in part.nested])
    if pair is not None and (value := _join_pair(engine, part, *pair)) is not None:
        return _add_column(part, pair, value, given)
    by_name = {normalize_name(name): name for name in reversed(part.names) if name not in part.nested}
    if any(guess_role(name) == "time" for name in part.names):
        return part, None
    calendar = find_calendar(by_name)
    if calendar is not None and _fits_all(engine, part, calendar.test):
        return _add_column(part, calendar.names, calendar.value, given)
    # Shorter names are more certain: month comes before billing_month.
    texts = {name for name in by_name.values() if not is_number(part.types[name])}
    singles = (list(list_single_times(name, is_text=name in texts)) for name in sorted(by_name.values(), key=len))
    found = next(filter(None, (_find_fitting(engine, part, each) for each in singles if each)), None)
    if found is None:
        return part, None
    if found.value:
        return _add_column(part, found.names, found.value, given)
    return part, TimeParts(found.names, found.names[0])


def unpivot_periods(engine: SqlEngine, part: SourcePart) -> SourcePart:
    """Return a row for each number in columns that are named by months, quarters, weeks or days (``2024-01``, ``Jan 2024``).

    There must be three of them, all of numbers, beside two others, none of which is called a time. A 0 is no event.
    """
    dated = [name for name in part.names if _YEAR.search(name) and is_number(part.types[name])]
    others = [name for name in part.names if name not in dated]
    has_names = {"period", "count"} & set(map(normalize_name, others)) or any(
        guess_role(name) == "time" for name in others
    )
    if len(dated) < _MIN_PERIODS or len(others) < 2 or has_names or part.nested:
        return part
    stamps = ", ".join(
        f"coalesce(try_cast({text} AS TIMESTAMP), {', '.join(parse_named(text, each) for each in PERIOD_FORMATS)})::DATE::VARCHAR"
        for text in map(quote_literal, dated)
    )
    days = dict(zip(dated, engine.fetch_rows(f"SELECT {stamps}")[0], strict=True))
    if None in days.values() or len({*days.values()}) < len(dated):
        return part
    column_type = "VARCHAR" if part.form == "csv" else "DOUBLE"
    fields = ", ".join(
        f"{quote_identifier(name)}::{column_type} AS {quote_identifier(day)}" for name, day in days.items()
    )
    kept = ", ".join(map(quote_identifier, others))
    listed = ", ".join(map(quote_identifier, days.values()))
    scan = (
        f"(SELECT * FROM (SELECT {kept}, {fields} FROM {part.scan}) UNPIVOT (count FOR period IN ({listed})) "
        "WHERE trim(count::VARCHAR) <> '' AND try_cast(count AS DOUBLE) IS DISTINCT FROM 0)"
    )
    note = (
        f"{part.label}: the {len(dated)} columns from {dated[0]!r} to {dated[-1]!r} are read as periods, with an event for each number that is "
        'not 0, and the number as its weight. If that is wrong, pass layout="long".'
    )
    types = {name: part.types[name] for name in others} | {"period": "VARCHAR", "count": "DOUBLE"}
    form = "sql" if part.form == "parquet" else part.form
    return dataclasses.replace(part, scan=scan, types=types, form=form, file=None, notes=(*part.notes, note))


def _find_pair(names: Sequence[str]) -> tuple[str, str] | None:
    """Return the first date that has a time of day of the same other words, or the only date and the only time of day."""
    clocks: dict[tuple[str, ...], str] = {}
    dates: list[tuple[tuple[str, ...], str]] = []
    for name in names:
        words = split_words(name)
        if words and words[-1] in _CLOCKS | _HOURS:
            clocks.setdefault(tuple(words[:-1]), name)
        elif words and words[-1] in _DATES:
            dates.append((tuple(words[:-1]), name))
    found = next(((name, clocks[rest]) for rest, name in dates if rest in clocks), None)
    if not dates and ["year"] not in map(split_words, names):
        dates = [((), name) for name in names if split_words(name) in _DAYS]
    if found is None and len(dates) == len(clocks) == 1 and (not dates[0][0] or () in clocks):
        return dates[0][1], next(iter(clocks.values()))
    return found


def _text(name: str) -> str:
    return f"trim({quote_identifier(name)}::VARCHAR)"


def _date_text(name: str) -> str:
    """SQL: a date without midnight, and 20240313 as 2024-03-13."""
    return f"regexp_replace(regexp_replace({_text(name)}, {_MIDNIGHT}, ''), {_COMPACT_DATE}, '\\1-\\2-\\3')"


def _sample(part: SourcePart) -> str:
    scan = part.scan if part.file is None else part.file.preview_scan()
    return f"(SELECT * FROM {scan} LIMIT {_SAMPLE})"


def _fits_all(engine: SqlEngine, part: SourcePart, test: str) -> bool:
    """Whether all of the first rows fit."""
    rows, fitting = engine.fetch_rows(f"SELECT count(*), count_if({test}) FROM {_sample(part)}", part.label)[0]
    return bool(rows) and rows == fitting


def _find_fitting(engine: SqlEngine, part: SourcePart, periods: Sequence[Period]) -> Period | None:
    """Return the first of the times of a column that all of the first rows have, None where there is none."""
    tests = ", ".join(f"count_if({period.test})" for period in periods)
    rows, *fitting = engine.fetch_rows(f"SELECT count(*), {tests} FROM {_sample(part)}", part.label)[0]
    return next((period for period, fits in zip(periods, fitting, strict=True) if fits == rows > 0), None)


def _join_pair(engine: SqlEngine, part: SourcePart, date: str, clock: str) -> str | None:
    """SQL: a date, or the number of a day, and a time of day as one time; None where the first values are no such.

    Numbers of a time of day must be of at least three digits somewhere, unless they are hours. A day that is only a number
    gives the seconds since the day 0.
    """
    day, hour = _date_text(date), _text(clock)
    tests = (
        f"count_if(regexp_full_match({day}, {_DATE}))",
        f"count_if(try_cast({day} AS BIGINT) BETWEEN 0 AND 7000)",
        f"count_if({day} <> '')",
        f"count_if(regexp_full_match({hour}, {_TEXT_CLOCK}))",
        f"count_if(regexp_full_match({hour}, {_NUMBER_CLOCK}))",
        f"count_if(regexp_full_match({hour}, {_HOUR}))",
        f"count_if({hour} <> '')",
        f"coalesce(max(length({hour})), 0)",
    )
    dates, indexes, days, texts, numbers, whole, hours, digits = engine.fetch_rows(
        f"SELECT {', '.join(tests)} FROM {_sample(part)}", part.label
    )[0]
    is_hour = split_words(clock)[-1] in _HOURS and whole == hours
    if not days or not hours or not (is_hour or 2 * texts > hours or (numbers == hours and digits >= 3)):
        return None
    text = f"lpad(nullif({hour}, ''), CASE WHEN length({hour}) < 5 THEN 4 ELSE 6 END, '0')"
    text = f"rtrim(regexp_replace({text}, '([0-9]{{2}})([0-9]{{2}})([0-9]{{2}})?$', '\\1:\\2:\\3'), ':')"
    text = f"CASE WHEN regexp_full_match({hour}, {_NUMBER_CLOCK}) THEN {text} ELSE nullif({hour}, '') END"
    if is_hour:
        text = f"lpad(regexp_extract(nullif({hour}, ''), '^[0-9]+'), 2, '0') || ':00'"
    if 2 * dates > days:
        return f"{day} || coalesce(' ' || ({text}), '')"
    if indexes < days or texts or hours < days:
        return None
    return f"(try_cast({day} AS BIGINT) * {_DAY} + epoch(try_cast({text} AS TIME))::BIGINT)::VARCHAR"


def holds_clocks(engine: SqlEngine, part: SourcePart, name: str) -> bool:
    """Whether the first values are times of day or durations, such as 22:06, 00:05:25 or 2206: they give no order without a date.

    Of numbers, twenty values or more, all of them below 2400 with minutes below 60, and some of three digits or more, are no order.
    """
    if part.types[name] not in {"VARCHAR", "DOUBLE"} and "INT" not in part.types[name]:
        return False
    text = f"regexp_replace({_text(name)}, '[.]0$', '')"
    n, texts, fitting, digits, distinct = engine.fetch_rows(
        f"SELECT count(nullif(x, '')), count_if(regexp_full_match(x, {_CLOCK_ALONE})), "
        f"count_if(regexp_full_match(x, {_NUMBER_CLOCK})), coalesce(max(length(x)), 0), count(DISTINCT x) FROM (SELECT {text} AS x FROM {_sample(part)})",
        part.label,
    )[0]
    if n and texts == n:
        return True
    return bool(n >= _MIN_CLOCKS and fitting == n and digits in {3, 4} and distinct * 2 >= _MIN_CLOCKS)


def _add_column(
    part: SourcePart, names: tuple[str, ...], value: str, given: Collection[str]
) -> tuple[SourcePart, TimeParts]:
    found = TimeParts(names, " + ".join(names) if len(names) > 1 else f"{names[0]} as a date")
    types = {name: column_type for name, column_type in part.types.items() if name not in names or name in given}
    types[found.time] = "VARCHAR"
    if part.file is None:
        return dataclasses.replace(part, scan=extend_scan(part.scan, (), {found.time: value}), types=types), found
    file = dataclasses.replace(part.file, computed={found.time: value})
    return dataclasses.replace(part, file=file, scan=file.scan(), types=types), found
