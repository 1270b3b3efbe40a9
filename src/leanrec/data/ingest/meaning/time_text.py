"""Times in text, in the notations that programs print, as SQL: ISO 8601, RFC 2822, ctime, Apache logs, and time zones.

A time is understood with all of its text, zone included, or not at all: DuckDB's own cast ignores what it does not know
at the end. Times without a zone are UTC.
"""

from collections.abc import Sequence

from leanrec.data.engine import quote_literal

__all__ = ["NOTATIONS", "parse_text", "parse_with"]

NOTATIONS = (
    "%Y/%m/%d %H:%M:%S", "%Y/%m/%d", "%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d %b %Y", "%b %d, %Y", "%m %d, %Y",
    "%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S", "%d %b %Y %H:%M:%S", "%d %b %Y %H:%M", "%d/%b/%Y:%H:%M:%S", "%d/%b/%Y",
    "%d-%b-%y", "%d-%b-%Y", "%d-%b-%y %H:%M:%S", "%d-%b-%Y %H:%M:%S", "%d-%b-%Y %H:%M", "%d %B %Y", "%B %d, %Y", "%A, %B %d, %Y",
    "%b %d, %Y %H:%M:%S", "%b %d, %Y %I:%M:%S %p", "%b %d, %Y, %I:%M:%S %p", "%b %d, %Y %I:%M %p", "%b %d, %Y, %I:%M %p",
    "%B %d, %Y %I:%M %p", "%B %d, %Y, %I:%M %p", "%b %d %Y %I:%M%p", "%b %d %Y %H:%M:%S", "%a %b %d %Y %H:%M:%S", "%a %b %d %Y",
    "%Y-%m-%d %I:%M:%S %p", "%Y-%m-%d %I:%M %p", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S.%f", "%Y/%m/%d %I:%M:%S %p", "%Y.%m.%d",
    "%Y.%m.%d %H:%M:%S", "%Y-%m-%d-%H.%M.%S.%f", "%Y-%m-%dT%H", "%Y-%m-%d %H", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ", "%Y%m%dT%H%M",
    "%Y%m%d %H:%M:%S", "%Y%m%d %H%M%S", "%Y年%m月%d日", "%Y年%m月%d日 %H:%M:%S",
)  # fmt: skip
"""Notations without a zone that DuckDB's cast does not read, in strptime format."""

_ZONED = (
    "%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %H:%M:%S %z", "%d %b %Y %H:%M:%S %z", "%d/%b/%Y:%H:%M:%S %z", "[%d/%b/%Y:%H:%M:%S %z]",
    "%a %b %d %Y %H:%M:%S %z", "%Y/%m/%d %H:%M:%S %z", "%d.%m.%Y %H:%M:%S %z", "%A, %d-%b-%y %H:%M:%S %z", "%d-%b-%Y %H:%M:%S %z",
    "%b %d, %Y %I:%M:%S %p %z", "%b %d, %Y, %I:%M:%S %p %z", "%b %d, %Y %H:%M:%S %z", "%Y-%m-%d %I:%M:%S %p %z", "%Y%m%dT%H%M%S%z",
    "%Y%m%dT%H%M%S %z", "%a, %d %b %Y %H:%M %z", "%d %b %Y %H:%M %z",
)  # fmt: skip

# Abbreviations with one meaning. Others (IST, BST, CST) are several zones, and are not understood.
_ZONES = {
    "UTC": "+0000", "GMT": "+0000", "UT": "+0000", "WET": "+0000", "WEST": "+0100", "CET": "+0100", "CEST": "+0200", "MEZ": "+0100",
    "MESZ": "+0200", "EET": "+0200", "EEST": "+0300", "MSK": "+0300", "EST": "-0500", "EDT": "-0400", "CDT": "-0500", "MST": "-0700",
    "MDT": "-0600", "PST": "-0800", "PDT": "-0700", "AKST": "-0900", "AKDT": "-0800", "HST": "-1000", "JST": "+0900", "KST": "+0900",
    "AEST": "+1000", "AEDT": "+1100", "NZST": "+1200", "NZDT": "+1300",
}  # fmt: skip
_ISO_ZONED = (
    r"\d{4}-\d{1,2}-\d{1,2}[T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
    r"(Z|[+-]\d{2}(:?\d{2})?| (Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Europe|Indian|Pacific|Etc|US)/[A-Za-z_/+-]+)"
)


def parse_text(column: str, formats: Sequence[str] = ()) -> str:
    """SQL: a text as TIMESTAMP in UTC; NULL where it is not understood. ``formats`` are tried first.

    Nearly all texts are plain ISO, without a word or sign after the date: they cost one cast.
    """
    given = [parse_with(column, formats)] if formats else []
    plain = ", ".join([*given, f"try_cast({column} AS TIMESTAMP)", parse_with(column, NOTATIONS)])
    zoned = _normalize_zone(f"trim({column})")
    iso = f"regexp_replace({zoned}, ' ([+-][0-9:]+)$', '\\1')"
    comma = f"regexp_replace({zoned}, '^([0-9]{{4}}-[0-9-]+[T ][0-9:]+),([0-9]+)$', '\\1.\\2')"
    is_iso = f"regexp_full_match({iso}, {quote_literal(_ISO_ZONED)})"
    is_comma = f"regexp_full_match({comma}, '[0-9]{{4}}-[0-9]{{1,2}}-[0-9]{{1,2}}[T ][0-9:]+[.][0-9]+')"
    formats_zoned = f"try_strptime({zoned}, [{', '.join(map(quote_literal, _ZONED))}]) AT TIME ZONE 'UTC'"
    odd = [
        *given,
        (
            f"CASE WHEN {is_iso} THEN try_cast({iso} AS TIMESTAMPTZ) AT TIME ZONE 'UTC' "
            f"WHEN {is_comma} THEN try_cast({comma} AS TIMESTAMP) END"
        ),
        parse_with(column, NOTATIONS),
        formats_zoned,
    ]
    is_plain = f"ltrim(substr({column}, 9), '0123456789:. TZ') = ''"
    return f"CASE WHEN {is_plain} THEN coalesce({plain}) ELSE coalesce({', '.join(odd)}) END"


def parse_with(column: str, formats: Sequence[str]) -> str:
    """SQL: a text in one of the strptime formats as TIMESTAMP."""
    return f"try_strptime({column}, [{', '.join(map(quote_literal, formats))}])"


def _normalize_zone(text: str) -> str:
    """SQL: the text with its zone as a blank and an offset, such as `` -0700``; names of regions stay."""
    # 15:00 GMT-0700 (Pacific Daylight Time), 15:00 +0000 UTC, 15:00+01:00[Europe/Berlin]
    text = f"regexp_replace({text}, ' [(][^)]*[)]$', '')"
    text = f"regexp_replace({text}, '(GMT|UTC)([+-][0-9]{{4}})$', '\\2')"
    text = f"regexp_replace({text}, '([+-][0-9:]{{4,5}}) [A-Z]{{3,5}}$', '\\1')"
    text = f"regexp_replace({text}, '([+-][0-9]{{2}}:?[0-9]{{2}}|Z)[[][A-Za-z_/+-]+[]]$', '\\1')"
    cases = " ".join(f"WHEN {quote_literal(name)} THEN {quote_literal(offset)}" for name, offset in _ZONES.items())
    # The name comes last, or before the year as in Thu Aug 17 15:00:00 PDT 2017.
    name = f"regexp_extract({text}, '[ 0-9]([A-Z]{{2,5}})( [0-9]{{4}})?$', 1)"
    replaced = f"regexp_replace({text}, ' *[A-Z]{{2,5}}(( [0-9]{{4}})?)$', ' ' || (CASE {name} {cases} END) || '\\1')"
    return f"coalesce({replaced}, {text})"
