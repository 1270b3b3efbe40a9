"""Times in text, in the notations that programs print, as SQL: ISO 8601, RFC 2822, ctime, Apache logs, and time zones.

A time is understood with all of its text, zone included, or not at all: DuckDB's own cast ignores what it does not know
at the end. Times without a zone are UTC.
"""

from collections.abc import Sequence

from leanrec.data.engine import quote_literal
from leanrec.data.ingest.meaning.time_counts import NAMED_FORMATS, parse_named

__all__ = ["NOTATIONS", "ZONED", "has_offset", "is_plain", "parse_text", "parse_with"]

NOTATIONS = (
    "%Y/%m/%d %H:%M:%S", "%Y/%m/%d", "%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d %b %Y", "%b %d, %Y", "%m %d, %Y",
    "%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S", "%d %b %Y %H:%M:%S", "%d %b %Y %H:%M", "%d/%b/%Y:%H:%M:%S", "%d/%b/%Y",
    "%d-%b-%y", "%d-%b-%Y", "%d-%b-%y %H:%M:%S", "%d-%b-%Y %H:%M:%S", "%d-%b-%Y %H:%M", "%d %B %Y", "%B %d, %Y", "%A, %B %d, %Y",
    "%b %d, %Y %H:%M:%S", "%b %d, %Y %I:%M:%S %p", "%b %d, %Y, %I:%M:%S %p", "%b %d, %Y %I:%M %p", "%b %d, %Y, %I:%M %p",
    "%B %d, %Y %I:%M %p", "%B %d, %Y, %I:%M %p", "%b %d %Y %I:%M%p", "%b %d %Y %H:%M:%S", "%a %b %d %Y %H:%M:%S", "%a %b %d %Y",
    "%Y-%m-%d %I:%M:%S %p", "%Y-%m-%d %I:%M %p", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S.%f", "%Y/%m/%d %I:%M:%S %p", "%Y.%m.%d",
    "%Y.%m.%d %H:%M:%S", "%Y-%m-%d-%H.%M.%S.%f", "%Y-%m-%dT%H", "%Y-%m-%d %H", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ", "%Y%m%dT%H%M",
    "%A, %d-%b-%y %H:%M:%S", "%a, %d %b %Y %H:%M", "%Y%m%d %H:%M:%S", "%Y%m%d %H%M%S", "%Y年%m月%d日", "%Y年%m月%d日 %H:%M:%S",
    "%d %b %Y, %H:%M", "%d %b %Y, %H:%M:%S", "%d.%m.%y %H.%M", "%d.%m.%Y %H.%M", "%Y-%m", "%d-%b-%y %I.%M.%S.%f %p",
    "%d-%b-%y %I.%M.%S %p", "%A, %d %B %Y %H:%M:%S", "%A, %d %B %Y %H:%M", "%A, %d %B %Y", "%A %d %B %Y", "datetime.datetime(%Y, %m, %d, %H, %M, %S, %f)",
    "datetime.datetime(%Y, %m, %d, %H, %M, %S)", "datetime.datetime(%Y, %m, %d, %H, %M)", "datetime.date(%Y, %m, %d)",
)  # fmt: skip
"""Notations without a zone that DuckDB's cast does not read, in strptime format."""

ZONED = (
    "%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %H:%M:%S %z", "%d %b %Y %H:%M:%S %z", "%d/%b/%Y:%H:%M:%S %z", "[%d/%b/%Y:%H:%M:%S %z]",
    "%Y/%m/%d %H:%M:%S %z", "%Y%m%dT%H%M%S%z",
)  # fmt: skip
"""Frequent notations with an offset, in strptime format. Others are understood too, only slower."""

# Abbreviations with one meaning. Others (IST, BST, CST) are several zones, and are not understood.
_ZONES = {
    "UTC": "+0000", "GMT": "+0000", "UT": "+0000", "WET": "+0000", "WEST": "+0100", "CET": "+0100", "CEST": "+0200", "MEZ": "+0100",
    "MESZ": "+0200", "EET": "+0200", "EEST": "+0300", "MSK": "+0300", "EST": "-0500", "EDT": "-0400", "CDT": "-0500", "MST": "-0700",
    "MDT": "-0600", "PST": "-0800", "PDT": "-0700", "AKST": "-0900", "AKDT": "-0800", "HST": "-1000", "JST": "+0900", "KST": "+0900",
    "AEST": "+1000", "AEDT": "+1100", "NZST": "+1200", "NZDT": "+1300",
}  # fmt: skip
_DATE = r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
_CLOCK = r"[T ][0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?"
_REGION = r"(Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Europe|Indian|Pacific|Etc|US)/[A-Za-z_/+-]+"
_PLAIN = quote_literal(rf" *{_DATE}({_CLOCK} ?Z?)? *")
_OFFSET = quote_literal(rf"{_DATE}{_CLOCK}[+-][0-9]{{2}}(:?[0-9]{{2}})?")
_CLOCK_OFFSET = quote_literal(r"(:[0-9]{2}(?: [AP]M)?|T[0-9]{6}) ?([+-])([0-9]{2}):?([0-9]{2})((?: [0-9]{4})?)$")
_CALL = quote_literal(
    r"""^(?:pd\.|pandas\.|np\.|numpy\.)?(?:Timestamp|ISODate|datetime64)\(['"]([^'"]+)['"](?:, *[a-z]+=[^)]*)?\)$"""
)
_ISO_ZONED = quote_literal(rf"{_DATE}{_CLOCK}(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?| {_REGION})")


def parse_text(column: str, formats: Sequence[str] = (), *, iso_only: bool = False) -> str:
    """SQL: a text as TIMESTAMP in UTC; NULL where it is not understood. ``formats`` are tried first.

    Plain ISO costs one cast, and one of ``formats`` half a microsecond. Any other notation costs fifty microseconds, so
    that those of the first values should be among ``formats``. The expression of all notations takes ten milliseconds to
    plan; with ``iso_only``, which reads ISO 8601 and ``formats`` alone, it is short.
    """
    given = [parse_with(column, formats)] if formats else []
    plain = ", ".join([f"try_cast({column} AS TIMESTAMP)", *given])
    offset = ", ".join([f"try_cast({column} AS TIMESTAMPTZ) AT TIME ZONE 'UTC'", *given])
    if iso_only:
        other = f" ELSE {given[0]}" if given else ""
        return f"CASE WHEN {is_plain(column)} THEN coalesce({plain}) WHEN {has_offset(column)} THEN coalesce({offset}){other} END"
    return (
        f"CASE WHEN {is_plain(column)} THEN coalesce({plain}) "
        f"WHEN {has_offset(column)} THEN coalesce({offset}) "
        f"ELSE coalesce({', '.join([*given, *_parse_odd(column)])}) END"
    )


def is_plain(column: str) -> str:
    """SQL: whether a text is an ISO date or time without a zone, or with Z."""
    return f"({column} LIKE '____-__-_____:__:__' OR regexp_full_match({column}, {_PLAIN}))"


def has_offset(column: str) -> str:
    """SQL: whether a text is an ISO time with an offset."""
    return f"regexp_full_match({column}, {_OFFSET})"


def _parse_odd(column: str) -> list[str]:
    """SQL: a text in the notations that are no plain ISO, as TIMESTAMP, in several expressions of which the first counts."""
    iso = _bind(
        "iso",
        "regexp_replace(zoned, ' ([+-][0-9:]+)$', '\\1')",
        f"CASE WHEN regexp_full_match(iso, {_ISO_ZONED}) THEN try_cast(iso AS TIMESTAMPTZ) AT TIME ZONE 'UTC' END",
    )
    comma = _bind(
        "comma",
        "regexp_replace(zoned, '^([0-9]{4}-[0-9-]+[T ][0-9:]+),([0-9]+)$', '\\1.\\2')",
        f"CASE WHEN regexp_full_match(comma, {_PLAIN}) THEN try_cast(comma AS TIMESTAMP) END",
    )
    others = f"coalesce({iso}, {comma}, {_subtract_offset('zoned')})"
    return [parse_with(column, NOTATIONS), _bind("zoned", _normalize_zone(f"trim({column})"), others)]


def _bind(name: str, value: str, body: str) -> str:
    """SQL: an expression in which a name stands for a value. Written out at each use, it would take far longer to plan and run."""
    return f"list_transform([{value}], lambda {name}: {body})[1]"


def _subtract_offset(zoned: str) -> str:
    """SQL: a text in one of ``NOTATIONS`` and an offset, at the end or before the year, as TIMESTAMP in UTC.

    DuckDB's own directive for offsets takes a thousand times as long as the subtraction.
    """
    hours, minutes = (f"try_cast(regexp_extract({zoned}, {_CLOCK_OFFSET}, {group}) AS INTEGER)" for group in (3, 4))
    shift = f"to_minutes(({hours} * 60 + {minutes}) * (CASE regexp_extract({zoned}, {_CLOCK_OFFSET}, 2) WHEN '-' THEN -1 ELSE 1 END))"
    local = f"regexp_replace({zoned}, {_CLOCK_OFFSET}, '\\1\\5')"
    return f"CASE WHEN regexp_matches({zoned}, {_CLOCK_OFFSET}) THEN {parse_with(local, NOTATIONS)} - {shift} END"


def parse_with(column: str, formats: Sequence[str]) -> str:
    """SQL: a text in one of the strptime formats, or of the formats with a name, as TIMESTAMP in UTC."""
    named = [each for each in formats if each in NAMED_FORMATS]
    zoned = [each for each in formats if "%z" in each]
    local = [each for each in formats if each not in {*zoned, *named}]
    parsed = [
        f"try_strptime({column}, [{', '.join(map(quote_literal, each))}]){utc}"
        for each, utc in ((local, ""), (zoned, " AT TIME ZONE 'UTC'"))
        if each
    ]
    parsed += [parse_named(column, each) for each in named]
    return parsed[0] if len(parsed) == 1 else f"coalesce({', '.join(parsed)})"


def _normalize_zone(text: str) -> str:
    """SQL: the text with its zone as a blank and an offset, such as `` -0700``; names of regions stay."""
    # A call as Python and MongoDB print it, of Timestamp, datetime64 or ISODate with a text, is that text.
    text = f"regexp_replace({text}, {_CALL}, '\\1')"
    # [15:00 -0700], 15:00 GMT-0700 (Pacific Daylight Time), 15:00 +0000 UTC, 15:00+01:00[Europe/Berlin]
    text = f"regexp_replace({text}, '^[[](.*)[]]$', '\\1')"
    text = f"regexp_replace({text}, ' [(][^)]*[)]$', '')"
    text = f"regexp_replace({text}, '(GMT|UTC)([+-][0-9]{{4}})$', '\\2')"
    text = f"regexp_replace({text}, '([+-][0-9:]{{4,5}}) [A-Z]{{3,5}}$', '\\1')"
    text = f"regexp_replace({text}, '([+-][0-9]{{2}}:?[0-9]{{2}}|Z)[[][A-Za-z_/+-]+[]]$', '\\1')"
    cases = " ".join(f"WHEN {quote_literal(name)} THEN {quote_literal(offset)}" for name, offset in _ZONES.items())
    # The name comes last, or before the year as in Thu Aug 17 15:00:00 PDT 2017.
    zone = "regexp_extract(named, '[ 0-9]([A-Z]{2,5})( [0-9]{4})?$', 1)"
    replaced = f"regexp_replace(named, ' *[A-Z]{{2,5}}(( [0-9]{{4}})?)$', ' ' || (CASE {zone} {cases} END) || '\\1')"
    return _bind("named", text, f"coalesce({replaced}, named)")
