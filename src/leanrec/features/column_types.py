"""Inference of column types: text, category, labels, number, time, or dropped, with the reason."""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from leanrec.data.table import Table
from leanrec.features.base import Column, to_numbers, to_seconds, to_texts
from leanrec.features.categorical import find_separator

__all__ = ["COLUMN_TYPES", "ColumnType", "infer_column", "infer_column_types"]

COLUMN_TYPES = ("text", "category", "labels", "number", "time", "dropped")

_ID_NAME = re.compile(r"(^|[_\s-])(id|ids|uuid|guid|asin|isbn|sku|key|index|row)$|Id$|ID$")
_LINK_NAME = re.compile(r"(url|uri|href|link|image|img|photo|picture|poster|thumbnail)s?$", re.IGNORECASE)
_LINK = re.compile(r"^(https?:)?//\S+$|^\S+\.(jpe?g|png|gif|webp|svg)$", re.IGNORECASE)
_TIME_NAME = re.compile(r"(time|date|stamp|released?|created|published|updated|added|_at|_on)", re.IGNORECASE)
_DATE = re.compile(r"^\d{4}-\d{2}(-\d{2}([T ].*)?)?$")


class ColumnType(NamedTuple):
    """The inferred type of a column.

    Attributes:
        column: name of the column.
        kind: one of ``COLUMN_TYPES``.
        reason: why the type was inferred.
    """

    column: str
    kind: str
    reason: str


def infer_column_types(table: Table) -> tuple[ColumnType, ...]:
    """The type of each column, in the order of the table. O(cells)."""
    return tuple(infer_column(name, column) for name, column in table.columns.items())


def infer_column(name: str, column: Column) -> ColumnType:
    """The type of one column."""
    if column.dtype.kind == "M":
        is_empty = bool(np.isnat(column).all())
        return (
            ColumnType(name, "dropped", "every cell is missing")
            if is_empty
            else ColumnType(name, "time", "it holds dates")
        )
    infer = _infer_numbers if column.dtype.kind in "fiub" else _infer_strings
    return ColumnType(name, *infer(name, column))


def _infer_numbers(name: str, column: Column) -> tuple[str, str]:
    numbers = to_numbers(column)
    numbers = numbers[np.isfinite(numbers)]
    distinct = np.unique(numbers)
    if len(distinct) < 2:
        return _dropped_as_constant(len(numbers))
    whole = bool((numbers == np.floor(numbers)).all())
    if whole and _ID_NAME.search(name):
        return "dropped", "its name is that of an id"
    gapless = distinct[-1] - distinct[0] + 1 == len(numbers) == len(distinct)
    if whole and gapless and distinct[0] in {0, 1} and len(distinct) > 20:
        return "dropped", f"it counts the rows: {len(distinct)} whole numbers without a gap"
    seconds = to_seconds(numbers)
    if _TIME_NAME.search(name) and ((seconds > 1e8) & (seconds < 1e10)).mean() > 0.9:
        return "time", "its name and values are those of seconds since 1970"
    return "number", f"{len(distinct)} distinct numbers"


def _infer_strings(name: str, column: Column) -> tuple[str, str]:
    texts = [text.strip() for text in to_texts(column)]
    filled = [text for text in texts if text]
    distinct = set(filled)
    if len(distinct) < 2:
        return _dropped_as_constant(len(filled))
    if _LINK_NAME.search(name) or _share(filled, lambda text: bool(_LINK.match(text))) > 0.9:
        return "dropped", "it holds links"
    if _share(filled, lambda text: bool(_DATE.match(text))) > 0.95:
        return "time", "it holds dates"
    one_word = _share(filled, lambda text: len(text.split()) == 1)
    if one_word > 0.95 and (_ID_NAME.search(name) or _is_code(filled, distinct)):
        return "dropped", f"it looks like an id: {len(distinct)} of {len(filled)} cells differ"
    if np.isfinite(to_numbers(np.array(filled, dtype=np.dtypes.StringDType()))).mean() > 0.95:
        return _infer_numbers(name, to_numbers(column))
    return _infer_words(filled, distinct)


def _infer_words(filled: list[str], distinct: set[str]) -> tuple[str, str]:
    separator = find_separator(filled)
    if separator:
        return "labels", f"repeated labels, separated by {separator!r}"
    words = sum(len(text.split()) for text in distinct) / len(distinct)
    length = sum(map(len, distinct)) / len(distinct)
    if len(filled) >= 2 * len(distinct) and words <= 4 and length <= 40:
        return "category", f"{len(distinct)} values, {len(filled) / len(distinct):.0f} cells each on average"
    return "text", f"{len(distinct)} texts of {words:.1f} words on average"


def _dropped_as_constant(filled: int) -> tuple[str, str]:
    return ("dropped", "every filled cell is the same") if filled else ("dropped", "every cell is missing")


def _is_code(filled: list[str], distinct: set[str]) -> bool:
    """Whether the cells are codes: almost all differ, and almost all hold digits and letters."""
    return (
        len(distinct) > 20
        and len(distinct) > 0.95 * len(filled)
        and _share(filled, lambda text: any(map(str.isdigit, text)) and any(map(str.isalpha, text))) > 0.9
        # A Chinese title with a digit is one word too; codes are ASCII.
        and all(map(str.isascii, filled))
    )


def _share(texts: list[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, texts)) / len(texts)
