"""Types and meanings in headers: ``user_id:token`` of RecBole, and lines below the names such as ``int,int,float``."""

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from leanrec.data.ingest.meaning.column_names import list_roles, split_words

if TYPE_CHECKING:
    from leanrec.data.ingest.sources import SourcePart

__all__ = ["TYPED_SUFFIXES", "count_below_names", "strip_types"]

TYPED_SUFFIXES = (".inter", ".user", ".item", ".kg", ".link", ".net")
"""Endings of RecBole's files, which are text with tabs between the columns."""

_TYPED = re.compile(r"(?P<name>.+):(?P<type>token|float|token_seq|float_seq)")
_TYPES = {"token": "VARCHAR", "float": "DOUBLE", "token_seq": "VARCHAR[]", "float_seq": "DOUBLE[]"}
# Types of Python, pandas, Arrow, Spark, R, SQL and Orange, perhaps with a size, a unit or the type of the elements.
_TYPE = re.compile(
    r"<?\s*(?:(?:nullable|lowcardinality|optional|list|array|set)\s*[(<\[]\s*)*(?:np\.|numpy\.|pd\.|pl\.|pa\.|builtins\.)?"
    r"(?:u?int(?:eger)?\d*|int\dt?|(?:tiny|small|medium|big|huge|ubig)int|(?:big)?serial|long|short|byte|bytes|blob|binary|varbinary|float\d*|double"
    r"|real|decimal\d*|numeric|number|num|money|str|l?string\w?|utf-?8|text|(?:long|medium|tiny)text|n?varchar2?|n?char|character|chr|symbol"
    r"|categor(?:y|ical)|enum\d*|factor|fct|dbl|lgl|object|any|variant|bool(?:ean)?|bit|logical|date\d*|datetime(?:64|2|offset)?|dttm|time"
    r"|timestamp(?:tz|_?ntz|_?ltz)?|datetimetz|interval|duration|timedelta(?:64)?|uuid|guid|json|token|token_seq|float_seq|continuous|discrete"
    r"|nominal|ordinal|meta|class|ignore)(?:type)?"
    r"(?:\s*(?:\([^()]*\)|\[[^\[\]]*\]|<[^<>]*>)|\s+(?:unsigned|varying|precision|with(?:out)?|time|zone|not|null|primary|key))*[)>\]]*\s*",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r"[(\[{].*[)\]}]|(?:unix|epoch)?\s*(?:s|secs?|seconds?|ms|millis|milliseconds?|us|microseconds?|ns|min|mins|minutes?|h|hrs?|hours?|days?)"
    r"|unix|epoch|utc|unix time|unix timestamp|usd|eur|gbp|[$€£%#]|stars?|points?|counts?|units?|pieces|pcs|\d+(?:\.\d+)?\s*(?:-|–|\.\.|to)\s*\d+",
    re.IGNORECASE,
)
_NOTHING = re.compile(r"[-–—.*/]+|n/?a|none|nan|null", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?\s*")
_DIGIT = re.compile(r"\d")
_MAX_BELOW = 3
_FEW = 0.1


def strip_types(part: "SourcePart") -> "SourcePart":
    """Return the table with the names of its columns alone, where every name of its header ends in a type of RecBole.

    Numbers are ``DOUBLE`` in ``types``, and all else is text. Columns of sequences are kept as text in ``types``;
    their names are in ``sequences``. Any other table is returned as it is.
    """
    file = part.file
    typed = [] if file is None else [_TYPED.fullmatch(name.strip()) for name in file.names]
    if file is None or not typed or not all(typed):
        return part
    found = {match["name"].strip(): _TYPES[match["type"]] for match in typed if match is not None}
    if len(found) < len(typed):
        return part
    named = dataclasses.replace(file, names=tuple(found), header=True)
    renamed = dict(zip(file.names, found, strict=True))
    types = {renamed.get(name, name): "VARCHAR" for name in part.types}
    types |= {name: "DOUBLE" for name, column_type in found.items() if column_type == "DOUBLE"}
    sequences = frozenset(name for name, column_type in found.items() if column_type.endswith("]"))
    return dataclasses.replace(part, scan=named.scan(), types=types, file=named, sequences=sequences)


def count_below_names(names: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the number of first rows that have the types, units or meanings of the columns: ``int,int``, ``-,-,s``, ``user id,item id``.

    Each cell of such a row is a word for one of these, or a word above numbers, and no value of the rows below. At least half
    of the cells must be such words: a first row may be unlike the others by chance.
    """
    for count in range(min(_MAX_BELOW, len(rows) - 1), 0, -1):
        if all(_tells_about(names, cells, rows[count:]) for cells in rows[:count]):
            return count
    return 0


def _tells_about(names: Sequence[str], cells: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the cells of a row say something about their columns, and are none of their values."""
    told, filled = 0, [(i, cell.strip()) for i, cell in enumerate(cells) if cell.strip()]
    # Files that are written one after another repeat these lines.
    rows = [row for row in rows if row not in (cells, names)]
    if len(filled) < 2 or len(cells) > max(len(names), 2):
        return False
    for i, cell in filled:
        name = names[i] if i < len(names) else ""
        tests = (_TYPE.fullmatch, _UNIT.fullmatch, lambda text, name=name: _explains(text, name))
        test = next((each for each in tests if each(cell)), None)
        if test is None and (_NUMBER.fullmatch(cell) or _DIGIT.search(cell)):
            return False
        values = [value for row in rows if i < len(row) and (value := row[i].strip())]
        if cell in values or (test is not None and sum(map(bool, map(test, values))) > _FEW * len(values)):
            return False
        told += test is not None
        is_above = values and sum(_DIGIT.search(value) is not None for value in values) > (1 - _FEW) * len(values)
        if test is None and not (is_above or _NOTHING.fullmatch(cell)):
            return False
    return told > 0 and 2 * told >= sum(_NOTHING.fullmatch(cell) is None for _, cell in filled)


def _explains(text: str, name: str) -> bool:
    """Whether a text has a word of the name of its column, or names one: ``the id of the user`` below ``user_id``."""
    return not _DIGIT.search(text) and bool(set(split_words(text)) & set(split_words(name)) or list_roles([text]))
