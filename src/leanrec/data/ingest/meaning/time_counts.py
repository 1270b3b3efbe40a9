"""Times of other programs: Excel days, .NET ticks, Julian days, months, quarters, weeks, and months in words."""

from collections.abc import Sequence

from leanrec.data.engine import quote_literal
from leanrec.data.ingest.meaning.calendars import CALENDARS, parse_calendar

__all__ = [
    "CERTAIN_COUNTS",
    "DAYS",
    "NAMED_FORMATS",
    "ORDINAL",
    "PERIOD_FORMATS",
    "WORD_FORMATS",
    "describe_doubt",
    "find_count",
    "guess_count",
    "parse_named",
]

DAYS = "excel days"
"""Days since 1899-12-30. Whole numbers of this size may be something else, so that the name of the column must mean a date."""

CERTAIN_COUNTS = ("dotnet ticks", "filetime", "webkit microseconds", "julian days")
"""Numbers whose size says what they are: as seconds since 1970 or a part of them they would be in no log."""

PERIOD_FORMATS = ("months", "quarters", "iso weeks")
"""Months, quarters and weeks of a year, as the time at which they begin."""

ORDINAL = "ordinal dates"
"""The year and the number of the day in it: 2024073 or 2024-073. As a number it is a date only where the name means one."""

WORD_FORMATS = ("months in words", "marked dates", "json dates", *PERIOD_FORMATS, ORDINAL, *CALENDARS)
"""Notations of text that no strptime format reads."""

_NAMED_COUNTS = {
    "tick": "dotnet ticks",
    "filetime": "filetime",
    "jd": "julian days",
    "julian": "julian days",
    "mjd": "modified julian days",
    "datenum": "matlab days",
    "matlab": "matlab days",
    "excel": DAYS,
    "xldate": DAYS,
}

NAMED_FORMATS = (
    DAYS,
    *CERTAIN_COUNTS,
    "unix days",
    "apple seconds",
    "modified julian days",
    "matlab days",
    *WORD_FORMATS,
)
"""Formats that have a name instead of a strptime format."""

# Number at 1970, and microseconds of one unit.
_COUNTS = {
    DAYS: ("25569", 86_400_000_000),
    "julian days": ("2440587.5", 86_400_000_000),
    "unix days": ("0", 86_400_000_000),
    "apple seconds": ("-978307200", 1_000_000),
    "modified julian days": ("40587", 86_400_000_000),
    "matlab days": ("719529", 86_400_000_000),
}
# Numbers of the years 2000 to 2030 (of seconds since 2001: from 2010 on, before the first logs of recommenders).
_DOUBTS = (
    (DAYS, "days as Excel counts them", 36_526, 47_848),
    ("unix days", "days since 1970", 10_957, 22_279),
    ("apple seconds", "seconds since 2001, as Apple counts them", 283_996_800, 820_454_400),
    ("modified julian days", "modified Julian days", 51_544, 62_867),
    ("matlab days", "days as MATLAB counts them", 730_486, 741_809),
)
# Numbers of the years 2000 to 2030, where they may be times.
_LIKELY = {
    "dotnet ticks": (630_822_816_000_000_000, 640_290_528_000_000_000),
    "filetime": (125_911_584_000_000_000, 135_379_296_000_000_000),
    "webkit microseconds": (12_591_158_400_000_000, 13_537_929_600_000_000),
    "julian days": (2_451_544, 2_462_503),
    DAYS: (36_526, 47_848),
    "matlab days": (730_486, 741_809),
    "modified julian days": (51_544, 62_867),
}
_FINE_COUNTS = {
    "dotnet ticks": ("621355968000000000", 10),
    "filetime": ("116444736000000000", 10),
    "webkit microseconds": ("11644473600000000", 1),
}
# English, German, French, Spanish, Portuguese, Italian, Dutch, Polish, the Nordic languages, Turkish, Russian; longer words come first.
_MONTHS = (
    "january januar janvier janeiro januari gennaio enero jan janv ene gen jän jänner stycznia ocak января янв",
    "february februar février fevrier febrero fevereiro febbraio februari feb fév févr fev lutego şubat февраля фев",
    "march märz maerz mars marzo março marco maart mar mär mrt marca mart marts марта мар",
    "april avril abril aprile apr avr abr kwietnia nisan апреля апр",
    "may mai mayo maio maggio mei mag maja maj mayıs мая май",
    "june juni juin junio junho giugno jun giu czerwca haziran июня июн",
    "july juli juillet julio julho luglio jul juil lug lipca temmuz июля июл",
    "august août aout agosto augustus aug ago sierpnia ağustos augusti августа авг",
    "september septembre septiembre setembro settembre sep sept set września eylül сентября сен сент",
    "october oktober octobre octubre outubro ottobre oct okt out ott października ekim октября окт",
    "november novembre noviembre novembro nov listopada kasım ноября ноя",
    "december dezember décembre decembre diciembre dezembro dicembre dec dez déc dic grudnia aralık desember декабря дек",
)
# 2023年5月11日 下午10:06, 2023년 05월 11일 22시 06분, 2023. 5. 11. 오후 10:06:08, and 2023/5/11 下午10:06.
_MARKED = quote_literal(
    r"^\s*([0-9]{4})\s*[年년./-]\s*([0-9]{1,2})\s*[月월./-]\s*([0-9]{1,2})\s*[日일.]?(?:\s*[(][^)]{1,3}[)])?"
    r"(?:\s*(오전|오후|上午|下午|午前|午後)?\s*([0-9]{1,2})\s*[:時时点點시]\s*([0-9]{1,2})\s*[:分분]?\s*([0-9]{1,2})?\s*[秒초]?)?\s*$"
)
_WORDS = sorted(
    ((word, f"{number:02d}") for number, words in enumerate(_MONTHS, 1) for word in words.split()),
    key=lambda each: -len(each[0]),
)


def parse_named(column: str, name: str) -> str:
    """SQL: a text in one of ``NAMED_FORMATS`` as TIMESTAMP in UTC; NULL where it is none. Days are rounded to seconds."""
    if name in _COUNTS:
        zero, unit = _COUNTS[name]
        seconds = f"round((try_cast({column} AS DOUBLE) - {zero}) * {unit // 1_000_000})"
        return f"CASE WHEN abs({seconds}) < 1e11 THEN make_timestamp({seconds}::BIGINT * 1000000) END"
    if name in _FINE_COUNTS:
        zero, divisor = _FINE_COUNTS[name]
        return f"make_timestamp((try_cast({column} AS BIGINT) - {zero}) // {divisor})"
    if name == ORDINAL:
        text = f"regexp_extract({column}, '^ *([0-9]{{4}}-?[0-9]{{3}})([.]0)? *$', 1)"
        return f"try_strptime(replace({text}, '-', ''), '%Y%j')"
    if name in PERIOD_FORMATS:
        return {"months": _parse_year_months, "quarters": _parse_quarters, "iso weeks": _parse_weeks}[name](column)
    if name == "json dates":
        digits = f"regexp_extract({column}, '^/Date[(]([0-9]{{9,14}})([+-][0-9]{{4}})?[)]/$', 1)"
        return f"make_timestamp(try_cast({digits} AS BIGINT) * 1000)"
    if name in CALENDARS:
        return parse_calendar(column, name)
    return _parse_marked(column) if name == "marked dates" else _parse_months(column)


def describe_doubt(first: int, last: int) -> str | None:
    """Return what the numbers of a log may mean instead of seconds since 1970, in a sentence; None where nothing is in doubt.

    Args:
        first: smallest number.
        last: largest number.
    """
    for name, what, low, high in _DOUBTS:
        if low <= first and last <= high:
            return f'The times are numbers from {first} to {last}. If they are {what}, pass time_format="{name}".'
    return None


def find_count(words: Sequence[str]) -> str | None:
    """Return the format of numbers in a column whose name has these words: of ``Ticks`` .NET ticks; None where they say nothing."""
    if {"date", "num"} <= set(words):
        return "matlab days"
    return next((_NAMED_COUNTS[word] for word in words if word in _NAMED_COUNTS), None)


def guess_count(low: float, high: float) -> str | None:
    """Return the format of times in which all numbers of a column would be of the years 2000 to 2030; None where there is none."""
    return next((name for name, (first, last) in _LIKELY.items() if first <= low and high <= last), None)


def _extract_groups(text: str, forms: Sequence[tuple[str, int, int]]) -> tuple[str, str]:
    """SQL: two groups of the first form that matches; each form is an expression and the numbers of its groups."""
    first, second = (
        ", ".join(f"nullif(regexp_extract({text}, {quote_literal(form)}, {groups[i]}), '')" for form, *groups in forms)
        for i in (0, 1)
    )
    return f"coalesce({first})", f"coalesce({second})"


def _parse_year_months(column: str) -> str:
    """SQL: ``Jan 2024``, ``Jan-24``, ``2024 January``, ``01/2024``, ``2024/01``, ``2024M01`` or ``2024年1月`` as TIMESTAMP."""
    text = f"lower(trim({column}))"
    words = "|".join(word for word, _ in _WORDS)
    forms = (
        (r"^([0-9]{4})(?:[-/. ]|m| m)([0-9]{1,2})$", 1, 2),
        (r"^([0-9]{4})[年년] ?([0-9]{1,2})[月월]$", 1, 2),
        (r"^([0-9]{1,2})[-/. ]([0-9]{4})$", 2, 1),
        (rf"^({words})[.]?(?:[-/ ']| de )?([0-9]{{4}})$", 2, 1),
        (rf"^({words})[.]?(?:-| ?['’])([0-9]{{2}})$", 2, 1),
        (rf"^([0-9]{{4}})[-/ ]?({words})[.]?$", 1, 2),
    )
    year, month = _extract_groups(text, forms)
    return f"try_strptime(right('20' || {year}, 4) || '-' || coalesce({_number_month(month)}, {month}), '%Y-%m')"


def _parse_quarters(column: str) -> str:
    """SQL: ``2024-Q1``, ``Q1 2024``, ``1Q24`` or, in Romance languages, ``T1 2024`` as TIMESTAMP."""
    text = f"upper(trim({column}))"
    forms = (
        (r"^([0-9]{4})[-/. ]?[QT]([1-4])$", 1, 2),
        (r"^[QT]([1-4])[-/. ']*([0-9]{4}|[0-9]{2})$", 2, 1),
        (r"^([1-4])[QT][-/. ']*([0-9]{4}|[0-9]{2})$", 2, 1),
    )
    year, quarter = _extract_groups(text, forms)
    return f"try_strptime(right('20' || {year}, 4) || '-' || (try_cast({quarter} AS BIGINT) * 3 - 2), '%Y-%m')"


def _parse_weeks(column: str) -> str:
    """SQL: ``2024-W05``, ``2024W5``, ``W05 2024``, ``KW 5/2024`` or ``2024-W05-3`` as TIMESTAMP."""
    text = f"upper(trim({column}))"
    year_first = quote_literal(r"^([0-9]{4})[- ]?(?:W|KW|CW|WEEK)[ -]?([0-9]{1,2})(?:-([1-7]))?$")
    week_first = quote_literal(r"^(?:W|KW|CW|WK|WEEK)[. -]*([0-9]{1,2})[ ,/-]+([0-9]{4})$")
    year, week = (
        f"coalesce(nullif(regexp_extract({text}, {year_first}, {i}), ''), regexp_extract({text}, {week_first}, {3 - i}))"
        for i in (1, 2)
    )
    day = f"coalesce(nullif(regexp_extract({text}, {year_first}, 3), ''), '1')"
    return f"try_strptime({year} || '-W' || lpad({week}, 2, '0') || '-' || {day}, '%G-W%V-%u')"


def _number_month(word: str) -> str:
    """SQL: the number of a month in words, NULL for another text. A map is planned faster than a CASE of all words."""
    months = f"MAP([{', '.join(quote_literal(each) for each, _ in _WORDS)}], [{', '.join(repr(number) for _, number in _WORDS)}])"
    return f"map_extract({months}, {word})[1]"


def _parse_marked(column: str) -> str:
    """SQL: a date with marks for year, month and day, and perhaps a time before or after noon, as TIMESTAMP. See ``_MARKED``."""
    year, month, day, half, hour, minute, second = (f"regexp_extract({column}, {_MARKED}, {i})" for i in range(1, 8))
    hours = f"try_cast({hour} AS INTEGER)"
    noon = f"CASE WHEN {half} IN ('오전', '上午', '午前') THEN {hours} % 12 WHEN {half} <> '' THEN {hours} % 12 + 12 ELSE {hours} END"
    clock = f"coalesce({noon}, 0) || ':' || coalesce(nullif({minute}, ''), '0') || ':' || coalesce(nullif({second}, ''), '0')"
    return f"try_strptime({year} || '-' || {month} || '-' || {day} || ' ' || {clock}, '%Y-%m-%d %H:%M:%S')"


def _parse_months(column: str) -> str:
    """SQL: ``11. Mai 2023``, ``11 mai 2023 à 22h06``, ``11 de mayo de 2023`` or ``May 11th, 2023`` as TIMESTAMP."""
    text = f"regexp_replace(lower(trim({column})), '([0-9])(st|nd|rd|th|er|º)([ ,])', '\\1\\3')"
    text = f"regexp_replace({text}, '([0-9\\pL])[.,]+( |$)', '\\1 ', 'g')"
    text = f"regexp_replace(regexp_replace({text}, ' (de|del|of|à|um|at|le|kl|om) ', ' ', 'g'), ' (de|del|of|à|um|at) ', ' ', 'g')"
    text = f"regexp_replace(regexp_replace({text}, ' г( |$)', ' '), ' ([0-9]{{1,2}})h([0-9]{{2}})$', ' \\1:\\2')"
    text = f"trim(regexp_replace({text}, ' +', ' ', 'g'))"
    words = "|".join(word for word, _ in _WORDS)
    clock = "( [0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?)?( [ap]m)?"
    day_first = quote_literal(rf"^([0-9]{{1,2}}) ({words}) ([0-9]{{4}}){clock}$")
    month_first = quote_literal(rf"^({words}) ([0-9]{{1,2}}) ([0-9]{{4}}){clock}$")
    ordered = f"regexp_replace({text}, {month_first}, '\\2 \\1 \\3\\4\\5')"
    month = _number_month(f"regexp_extract({ordered}, {day_first}, 2)")
    formats = "['%d %m %Y', '%d %m %Y %H:%M', '%d %m %Y %H:%M:%S', '%d %m %Y %I:%M %p', '%d %m %Y %I:%M:%S %p']"
    return f"try_strptime(regexp_replace({ordered}, {day_first}, '\\1 ' || {month} || ' \\3\\4\\5'), {formats})"
