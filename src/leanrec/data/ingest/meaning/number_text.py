"""Numbers with thousands separators, such as ``1.234``, ``1,234.5``, ``1 234`` and ``1'234``, and amounts of money."""

import dataclasses
import re
from collections.abc import Mapping
from typing import NamedTuple

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.ingest.forms.values import text_expression
from leanrec.data.ingest.sources import SourcePart

__all__ = ["NumberMarks", "WholeNumbers", "find_marks"]

_SAMPLE = 1000
_BLANKS = " \u00a0\u202f\u2009"
_SPACES = f"{_BLANKS}'’"
_SIGNS = "$€£¥₹₽"
# Shapes of numbers: each digit is a 9, a leading zero a z. A single group of three digits is thousands or decimals.
_SMALL, _LARGE = "[9z]9{0,2}", "[9z]9{3,}"
_ONE_GROUP = {".": "9{1,3}[.]999", ",": "9{1,3},999"}
_DECIMAL = {
    ",": f"[z9]?9*,9+|9{{1,3}}([.]999){{2,}}(,9+)?|9{{1,3}}([.{_SPACES}]999)+,9+",
    ".": f"[z9]?9*[.]9+|9{{1,3}}(,99)*([,{_SPACES}]999)+[.]9+|9{{1,3}}(,999){{2,}}|9{{1,2}}(,99)+,999",
}
_SPACED = f"9{{1,3}}([{_SPACES}]999)+([.,]9+)?"
_MARKED = "|".join((*_ONE_GROUP.values(), *_DECIMAL.values(), _SPACED))


class _Shape(NamedTuple):
    """Values of one shape: how many there are, how many of them end in 0, and one of them."""

    rows: int
    zeros: int
    example: str


@dataclasses.dataclass(frozen=True)
class NumberMarks:
    """How the numbers of a column are written.

    Attributes:
        decimal: the decimal mark, "." or ","; the other one, blanks and apostrophes separate thousands.
    """

    decimal: str

    def read(self, column: str) -> str:
        """SQL: a text as DOUBLE; NULL where it is no such number."""
        groups = f"(,[0-9]{{2,3}})*[,{_SPACES}][0-9]{{3}}([{_SPACES}][0-9]{{3}})*"
        if self.decimal == ",":
            groups = f"([.{_SPACES}][0-9]{{3}})+"
        number = f"([0-9]*|[1-9][0-9]{{0,2}}{groups})([{self.decimal}][0-9]+)?"
        around = f"[{_BLANKS}]*[{_SIGNS}]?[{_BLANKS}]*"
        pattern = quote_literal(f"[{_BLANKS}]*[+-]?{around}{number}{around}")
        digits = f"regexp_replace({column}, {quote_literal(f'[^0-9{self.decimal}+-]')}, '', 'g')"
        return (
            f"CASE WHEN regexp_full_match({column}, {pattern}) THEN try_cast(replace({digits}, ',', '.') AS DOUBLE) END"
        )


@dataclasses.dataclass(frozen=True)
class WholeNumbers:
    """Numbers of which the first values are all whole: a later 1.234 is more likely a thousand than a fraction, and is neither."""

    def read(self, column: str) -> str:
        """SQL: a text as DOUBLE; NULL where it is no number, or in doubt."""
        doubt = f"contains({column}, '.') AND regexp_full_match(trim({column}), '[1-9][0-9]{{0,2}}([.][0-9]{{3}})+')"
        return f"CASE WHEN {doubt} THEN NULL ELSE try_cast({column} AS DOUBLE) END"


def find_marks(engine: SqlEngine, part: SourcePart, column: str) -> tuple[NumberMarks | WholeNumbers | None, str]:
    """Return how the numbers of a column of text are written, None where they have no such marks, and what to tell about it.

    The first thousand values decide. A dot before three digits separates thousands where some values are below a thousand,
    none is above it without a dot, and the file has decimal commas or ``;`` between its fields, or a value ends in 0, which
    a decimal would not have. ``engine.decimal`` says how all numbers are written, where it is given.
    """
    is_text = part.form == "csv" or part.types[column] in {"VARCHAR", "JSON"}
    if not is_text:
        return None, ""
    if engine.decimal is not None:
        return NumberMarks(engine.decimal), ""
    shapes = _count_shapes(engine, part, column)
    marked = [shape for name, shape in shapes.items() if re.fullmatch(_MARKED, name) or set(name) & set(_SIGNS)]
    known = _count(shapes, f"{_SMALL}|{_LARGE}|{_MARKED}")
    if part.form == "csv" and _count(shapes, f"{_SMALL}|{_LARGE}") >= _SAMPLE:
        return WholeNumbers(), ""
    if not marked or 2 * known <= sum(shape.rows for shape in shapes.values()):
        return None, ""
    decimal, doubt = _find_decimal(engine, part, shapes)
    if decimal is None and not doubt:
        return None, ""
    marks = NumberMarks(decimal or ".")
    examples = sorted((len(shape.example), shape.example) for shape in marked)
    read = [(text, f"SELECT {marks.read(quote_literal(text))}") for _, text in examples]
    example, number = next(
        (text, found) for text, select in read if (found := engine.fetch_rows(select)[0][0]) is not None
    )
    told = f"Numbers such as {example} in the column {column!r} of {part.label} are read as {number:.15g}."
    if doubt:
        told += f' If the mark in them means something else, pass decimal="{"," if marks.decimal == "." else "."}".'
    return marks if decimal else None, told


def _find_decimal(engine: SqlEngine, part: SourcePart, shapes: Mapping[str, _Shape]) -> tuple[str | None, bool]:
    """Return the decimal mark, None where DuckDB reads the numbers as they are, and whether that is in doubt."""
    groups = {mark: _count(shapes, pattern) for mark, pattern in _ONE_GROUP.items()}
    # Several groups and shapes that are no thousands decide.
    sure = {
        mark: sum(
            shape.rows
            for name, shape in shapes.items()
            if re.fullmatch(_DECIMAL[mark], name) and not re.fullmatch(_ONE_GROUP[mark], name)
        )
        for mark in groups
    }
    others = _count(shapes, _SPACED) or any(set(name) & set(_SIGNS) for name in shapes)
    if sure["."] and sure[","]:
        return None, False
    if sure[","]:
        return (",", False) if groups["."] or others or _count(shapes, "9{1,3}([.]999)+(,9+)?") else (None, False)
    if sure["."] or not any(groups.values()):
        return (".", False) if groups[","] or others or _count(shapes, ".*,.*") else (None, False)
    if all(groups.values()):
        return None, False
    mark = "." if groups["."] else ","
    small, large = _count(shapes, _SMALL), _count(shapes, _LARGE)
    zeros = sum(shape.zeros for name, shape in shapes.items() if re.fullmatch(_ONE_GROUP[mark], name))
    is_local = (part.file is not None and part.file.delimiter == ";") or _has_decimal_commas(engine, part)
    if mark == ",":
        # Where commas are decimal marks, 1,250 is decimal unless numbers without a comma say that 1,250 is a thousand.
        is_decimal = bool(large) or (is_local and not (zeros and small))
        return (None, is_local) if is_decimal else (".", True)
    is_decimal = bool(large) or not small or not (is_local or zeros)
    return (None, not large and bool(is_local or small)) if is_decimal else (",", True)


def _count(shapes: Mapping[str, _Shape], pattern: str) -> int:
    return sum(shape.rows for name, shape in shapes.items() if re.fullmatch(pattern, name))


def _count_shapes(engine: SqlEngine, part: SourcePart, column: str) -> dict[str, _Shape]:
    """Count the first values by their shape, without sign."""
    text = f"trim({text_expression(column, part.types[column])}::VARCHAR, {quote_literal(f'{_BLANKS}+-')})"
    scan = part.scan if part.file is None else part.file.preview_scan()
    bare = f"regexp_replace(x, {quote_literal(f'^[{_SIGNS}][{_BLANKS}]*|[{_BLANKS}]*[{_SIGNS}]$')}, '')"
    signs = f"regexp_extract(x, {quote_literal(f'^[{_SIGNS}]|[{_SIGNS}]$')})"
    shape = f"regexp_replace(regexp_replace({bare}, '^0', 'z'), '[0-9]', '9', 'g')"
    rows = engine.fetch_rows(
        f"SELECT {shape}, count(*), count_if(ends_with({bare}, '0')), min(x), max({signs}) "
        f"FROM (SELECT {text} AS x FROM {scan} LIMIT {_SAMPLE}) WHERE x <> '' GROUP BY 1",
        part.label,
    )
    found = {name: _Shape(count, zeros, example) for name, count, zeros, example, _ in rows}
    if any(sign for *_, sign in rows):
        found["$"] = _Shape(0, 0, next(example for *_, example, sign in rows if sign))
    return found


def _has_decimal_commas(engine: SqlEngine, part: SourcePart) -> bool:
    """Whether most values of a column are numbers with a decimal comma, which no thousands are."""
    if part.file is None:
        return False
    names = [quote_identifier(name) for name in part.file.columns]
    sure = quote_literal(r"[+-]?([0-9]*,([0-9]{1,2}|[0-9]{4,})|0,[0-9]+)")
    tests = " OR ".join(f"count_if(regexp_full_match(trim({name}), {sure})) * 2 > count({name})" for name in names)
    return bool(
        engine.fetch_rows(
            f"SELECT {tests} FROM (SELECT * FROM {part.file.preview_scan()} LIMIT {_SAMPLE})", part.label
        )[0][0]
    )
