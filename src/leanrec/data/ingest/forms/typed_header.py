"""Types and meanings in headers: ``user_id:token`` of RecBole, and lines below the names such as ``int,int,float``."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.ingest.forms.values import text_expression
from leanrec.data.ingest.meaning.column_names import list_roles, split_words

if TYPE_CHECKING:
    from leanrec.data.ingest.sources import SourcePart

__all__ = ["TYPED_SUFFIXES", "count_below_names", "drop_below_names", "strip_types"]

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
_PAIR = re.compile(r"\('([^']*)', '([^']*)'\)")
_UNNAMED = re.compile(r"Unnamed: \d+(?:_level_\d+)?")
_RULE = re.compile(r"[-=_~]{2,}")
_NOTHING = re.compile(r"[-–—.*/]+|n/?a|none|nan|null", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?\s*")
_DIGIT = re.compile(r"\d")
_MAX_BELOW = 3
_FEW = 0.1
_SAMPLE = 100
_MAX_COLUMNS = 200


def strip_types(part: "SourcePart") -> "SourcePart":
    """Return the table with the names of its columns alone, where every name of its header ends in a type of RecBole.

    Numbers are ``DOUBLE`` in ``types``, and all else is text. Columns of sequences are kept as text in ``types``;
    their names are in ``sequences``. A frame may have such names too, or pairs of names as pandas reads a header of two
    lines: ``('user_id', 'int')``. Any other table is returned as it is.
    """
    file = part.file
    names = list(part.types) if file is None else list(file.names)
    typed = [_TYPED.fullmatch(name.strip()) for name in names]
    found = {match["name"].strip(): _TYPES[match["type"]] for match in typed if match is not None}
    if file is None:
        plain = list(found) if typed and all(typed) else _join_pairs(names)
        return part if len(set(plain)) < len(names) else _rename_columns(part, plain, found)
    if not typed or not all(typed) or len(found) < len(typed):
        return part
    named = dataclasses.replace(file, names=tuple(found), header=True)
    renamed = dict(zip(file.names, found, strict=True))
    types = {renamed.get(name, name): "VARCHAR" for name in part.types}
    types |= {name: "DOUBLE" for name, column_type in found.items() if column_type == "DOUBLE"}
    return dataclasses.replace(part, scan=named.scan(), types=types, file=named, sequences=_list_sequences(found))


def _rename_columns(part: "SourcePart", names: Sequence[str], found: Mapping[str, str]) -> "SourcePart":
    """Return a table that is no text with new names of its columns, of which ``found`` has the declared types."""
    pairs = zip(part.types, names, strict=True)
    renamed = ", ".join(f"{quote_identifier(old)} AS {quote_identifier(new)}" for old, new in pairs)
    number = ", file_row_number" if part.form == "parquet" else ""
    types = dict(zip(names, part.types.values(), strict=True))
    sequences = _list_sequences({name: each for name, each in found.items() if types.get(name) == "VARCHAR"})
    return dataclasses.replace(
        part, scan=f"(SELECT {renamed}{number} FROM {part.scan})", types=types, sequences=sequences
    )


def _list_sequences(found: Mapping[str, str]) -> frozenset[str]:
    return frozenset(name for name, column_type in found.items() if column_type.endswith("]"))


def _join_pairs(names: Sequence[str]) -> list[str]:
    """Return one name for each pair of names; empty for other names. A type, a unit and a level without a name do not count."""
    matches = [_PAIR.fullmatch(name) for name in names]
    pairs = [match.groups() for match in matches if match is not None]
    if len(pairs) < len(names):
        return []
    full = [[level for level in pair if level and not _UNNAMED.fullmatch(level)] for pair in pairs]
    has_types = all(len(pair) < 2 or _TYPE.fullmatch(pair[1]) or _UNIT.fullmatch(pair[1]) for pair in full)
    return [" ".join(pair[:1] if has_types else pair) for pair in full]


def count_below_names(names: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the number of first rows that have the types, units or meanings of the columns: ``int,int``, ``-,-,s``, ``user id,item id``.

    Each cell of such a row is a word for one of these, or a word above numbers, and no value of the rows below. At least half
    of the cells must be such words: a first row may be unlike the others by chance.
    """
    for count in range(min(_MAX_BELOW, len(rows) - 1), 0, -1):
        if all(_tells_about(names, cells, rows[count:]) for cells in rows[:count]):
            return count
    return 0


def drop_below_names(engine: SqlEngine, part: "SourcePart") -> "SourcePart":
    """Return a table without the rows that ``count_below_names`` finds, as a frame has them that was read from such a text.

    Text is returned as it is: its lines are found when it is opened. So is a table with a column of another type than text,
    which has no such row. Where several of these texts were joined, the rows come again, and are left out everywhere.
    """
    names = list(part.types)
    is_text = part.form == "csv" or not set(part.types.values()) <= {"VARCHAR", "JSON"}
    if is_text or not 2 <= len(names) <= _MAX_COLUMNS:
        return part
    cells = [f"{text_expression(name, each)}::VARCHAR" for name, each in part.types.items()]
    rows = engine.fetch_rows(f"SELECT {', '.join(cells)} FROM {part.scan} LIMIT {_SAMPLE}", part.label)
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    below = texts[: count_below_names(names, texts)]
    if not below:
        return part
    tests = [
        " AND ".join(f"{cell} = {quote_literal(text)}" for cell, text in zip(cells, row, strict=True) if text)
        for row in below
    ]
    kept = " AND ".join(f"NOT coalesce({test}, false)" for test in tests)
    told = f"{part.label}: {'a row tells' if len(below) == 1 else f'{len(below)} rows tell'} about the columns: {', '.join(below[0][:6])}."
    # The numbers of the rows of a file are no longer those of the table.
    return dataclasses.replace(
        part,
        scan=f"(SELECT {', '.join(map(quote_identifier, names))} FROM {part.scan} WHERE {kept})",
        form="sql" if part.form == "parquet" else part.form,
        notes=(*part.notes, told),
    )


def _tells_about(names: Sequence[str], cells: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the cells of a row say something about their columns, and are none of their values."""
    told, filled = 0, [(i, cell.strip()) for i, cell in enumerate(cells) if cell.strip()]
    # Files that are written one after another repeat these lines.
    rows = [row for row in rows if row not in (cells, names)]
    if len(filled) < 2 or len(cells) > max(len(names), 2):
        return False
    if all(_RULE.fullmatch(cell) for _, cell in filled):
        return True  # the line below the names that sqlcmd and other programs print
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
