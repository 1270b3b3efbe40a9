"""Dates with the years of other calendars: Thailand, Japan, Taiwan and Iran, in any digits, as SQL.

Each is certain by its years: logs of recommenders have none before 1990, and the years of two calendars are never the same.
The Persian leap years follow the cycle of 33 years, which is exact from 1178 to 1633 AP (K. M. Borkowski, "The Persian
calendar for 3000 years", Earth, Moon, and Planets 74, 1996).
"""

import re

from leanrec.data.engine import quote_literal

__all__ = ["CALENDARS", "describe_year", "parse_calendar"]

CALENDARS = ("buddhist years", "japanese eras", "minguo years", "persian dates")
"""Calendars that are read, by their names as time formats."""

_DIGITS = ("๐๑๒๓๔๕๖๗๘๙", "۰۱۲۳۴۵۶۷۸۹", "٠١٢٣٤٥٦٧٨٩", "０１２３４５６７８９")
_CLOCK = r"(?:[\sT,]*(?:เวลา)?\s*([0-9]{1,2})[:.時时]([0-9]{1,2})(?:[:.分]([0-9]{1,2}))?(?:[.,][0-9]+)?[秒分]?\s*(?:น\.?|Z)?)?\s*$"
_BUDDHIST = r"(?:พ\.?ศ\.?\s*)?(2[45][0-9]{2})"
_DAY_FIRST = rf"^\s*([0-9]{{1,2}})[/.\s-]+([0-9]{{1,2}})[/.\s-]+{_BUDDHIST}{_CLOCK}"
_YEAR_FIRST = rf"^\s*{_BUDDHIST}[/.-]([0-9]{{1,2}})[/.-]([0-9]{{1,2}}){_CLOCK}"
_ERA = rf"^\s*(令和|平成|昭和|[RHS])\.?\s*(元|[0-9]{{1,2}})\s*[年/.-]\s*([0-9]{{1,2}})\s*[月/.-]\s*([0-9]{{1,2}})日?{_CLOCK}"
_MINGUO = rf"^\s*((?:民國|民国)\s*[789][0-9]|(?:民國|民国)?\s*1[01][0-9])\s*[年/.-]\s*([0-9]{{1,2}})\s*[月/.-]\s*([0-9]{{1,2}})日?{_CLOCK}"
_PERSIAN = rf"^\s*(13[6-9][0-9]|14[0-9]{{2}})[/.-]([0-9]{{1,2}})[/.-]([0-9]{{1,2}}){_CLOCK}"
_THAI_MONTHS = (
    ("มกราคม", "ม.ค."), ("กุมภาพันธ์", "ก.พ."), ("มีนาคม", "มี.ค."), ("เมษายน", "เม.ย."), ("พฤษภาคม", "พ.ค."), ("มิถุนายน", "มิ.ย."),
    ("กรกฎาคม", "ก.ค."), ("สิงหาคม", "ส.ค."), ("กันยายน", "ก.ย."), ("ตุลาคม", "ต.ค."), ("พฤศจิกายน", "พ.ย."), ("ธันวาคม", "ธ.ค."),
)  # fmt: skip


def describe_year(text: str) -> str:
    """Return what to do about a date with the year of a calendar that is not read, in a sentence; "" for other text."""
    year = int(match[1]) if (match := re.match(r"\s*([0-9]{4})[/-]", text)) else 0
    if 1410 <= year <= 1470:
        return (
            "Its year is one of the Islamic calendar: write the dates of the Gregorian calendar, which "
            "hijridate.Hijri.fromisoformat('1445-02-07').to_gregorian() gives in Python with the package hijridate. "
        )
    if 2533 <= year <= 2600:
        return "Its year is one of the Buddhist calendar of Thailand: write the dates with the year less 543. "
    return ""


def parse_calendar(column: str, name: str) -> str:
    """SQL: a text with a date of one of ``CALENDARS`` as TIMESTAMP; NULL where it is none."""
    text = f"{column}::VARCHAR"
    for digits in _DIGITS:
        text = f"translate({text}, {quote_literal(digits)}, '0123456789')"
    if name == "buddhist years":
        for number, words in enumerate(_THAI_MONTHS, 1):
            for word in words:
                text = f"replace({text}, {quote_literal(word)}, '{number}')"
        parsed = (
            f"coalesce({_build('d', _DAY_FIRST, (3, 2, 1), 4, -543)}, {_build('d', _YEAR_FIRST, (1, 2, 3), 4, -543)})"
        )
    elif name == "japanese eras":
        text = f"replace({text}, '元', '1')"
        era = f"regexp_extract(d, {quote_literal(_ERA)}, 1)"
        offset = f"CASE WHEN {era} IN ('令和', 'R') THEN 2018 WHEN {era} IN ('平成', 'H') THEN 1988 ELSE 1925 END"
        parsed = _build("d", _ERA, (2, 3, 4), 5, offset)
    elif name == "minguo years":
        parsed = _build("d", _MINGUO, (1, 2, 3), 4, 1911)
    else:
        parsed = _build_persian("d")
    # The digits are replaced once, and not in each part of the expression, which would take long to plan.
    return f"list_transform([{text}], lambda d: {parsed})[1]"


def _build(text: str, pattern: str, date: tuple[int, int, int], clock: int, offset: int | str) -> str:
    """SQL: the groups of a pattern as TIMESTAMP: those of year, month and day, and hour, minute and second from ``clock`` on."""
    year, month, day = (f"try_cast(ltrim({_extract(text, pattern, group)}, '民國国 ') AS INTEGER)" for group in date)
    return f"try_strptime(({year} + ({offset})) || '-' || {month} || '-' || {day} || {_write_clock(text, pattern, clock)}, '%Y-%m-%d %H:%M:%S')"


def _build_persian(text: str) -> str:
    """SQL: a Persian date as TIMESTAMP, by the number of its day. 1 Farvardin 1403 is 2024-03-20."""
    year, month, day = (f"try_cast({_extract(text, _PERSIAN, group)} AS INTEGER)" for group in (1, 2, 3))
    cycle = f"({year} + 1595)"
    begin = f"(365 * {cycle} + {cycle} // 33 * 8 + ({cycle} % 33 + 3) // 4)"
    first = 365 * 2998 + 2998 // 33 * 8 + (2998 % 33 + 3) // 4
    before = f"CASE WHEN {month} < 7 THEN ({month} - 1) * 31 ELSE ({month} - 7) * 30 + 186 END"
    is_date = (
        f"{year} < 1410 AND {month} BETWEEN 1 AND 12 AND {day} BETWEEN 1 AND CASE WHEN {month} < 7 THEN 31 ELSE 30 END"
    )
    found = f"(DATE '2024-03-20' + ({begin} - {first} + {before} + {day} - 1)::INTEGER)"
    clock = _write_clock(text, _PERSIAN, 4)
    return f"CASE WHEN {is_date} THEN try_strptime({found}::VARCHAR || {clock}, '%Y-%m-%d %H:%M:%S') END"


def _write_clock(text: str, pattern: str, first: int) -> str:
    """SQL: the time of day in three groups of a pattern as text with a blank before it; midnight where there is none."""
    parts = [f"coalesce(nullif({_extract(text, pattern, group)}, ''), '0')" for group in range(first, first + 3)]
    return "' ' || " + " || ':' || ".join(parts)


def _extract(text: str, pattern: str, group: int) -> str:
    return f"regexp_extract({text}, {quote_literal(pattern)}, {group})"
