"""What each column of a table is: text, category, labels, number, time, or nothing to learn from; and why."""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from leanrec.data.table import Table
from leanrec.features.base import Column, as_numbers, as_seconds, as_texts
from leanrec.features.categorical import find_separator

__all__ = ["KINDS", "ColumnKind", "infer", "infer_column"]

KINDS = ("text", "category", "labels", "number", "time", "dropped")

_ID_NAME = re.compile(r"(^|[_\s-])(id|ids|uuid|guid|asin|isbn|sku|key|index|row)$|Id$|ID$")
_LINK_NAME = re.compile(r"(url|uri|href|link|image|img|photo|picture|poster|thumbnail)s?$", re.IGNORECASE)
_LINK = re.compile(r"^(https?:)?//\S+$|^\S+\.(jpe?g|png|gif|webp|svg)$", re.IGNORECASE)
_TIME_NAME = re.compile(r"(time|date|stamp|released?|created|published|updated|added|_at|_on)", re.IGNORECASE)
_DATE = re.compile(r"^\d{4}-\d{2}(-\d{2}([T ].*)?)?$")


class ColumnKind(NamedTuple):
    """What a column was taken for.

    Attributes:
        column: its name.
        kind: one of ``KINDS``.
        reason: what it was seen by.
    """

    column: str
    kind: str
    reason: str


def infer(table: Table) -> tuple[ColumnKind, ...]:
    """The kind of each column, in the order of the table. O(cells)."""
    return tuple(infer_column(name, column) for name, column in table.columns.items())


def infer_column(name: str, column: Column) -> ColumnKind:
    """The kind of one column."""
    look: Callable[[str, Column], tuple[str, str]]
    if column.dtype.kind == "M":
        look = _look_at_dates
    elif column.dtype.kind in "fiub":
        look = _look_at_numbers
    else:
        look = _look_at_texts
    return ColumnKind(name, *look(name, column))


def _look_at_dates(name: str, column: Column) -> tuple[str, str]:  # noqa: ARG001 - one shape for all looks
    return ("time", "it holds dates") if not np.isnat(column).all() else ("dropped", "every cell is missing")


def _look_at_numbers(name: str, column: Column) -> tuple[str, str]:
    numbers = as_numbers(column)
    numbers = numbers[np.isfinite(numbers)]
    distinct = np.unique(numbers)
    if len(distinct) < 2:
        return _no_news(len(numbers))
    whole = bool((numbers == np.floor(numbers)).all())
    if whole and _ID_NAME.search(name):
        return "dropped", "its name says that it is an id"
    gapless = distinct[-1] - distinct[0] + 1 == len(numbers) == len(distinct)
    if whole and gapless and distinct[0] in {0, 1} and len(distinct) > 20:
        return "dropped", f"it counts the rows: {len(distinct)} whole numbers without a gap"
    seconds = as_seconds(numbers)
    if _TIME_NAME.search(name) and ((seconds > 1e8) & (seconds < 1e10)).mean() > 0.9:
        return "time", "its name and size say seconds since 1970"
    return "number", f"{len(distinct)} distinct numbers"


def _look_at_texts(name: str, column: Column) -> tuple[str, str]:
    texts = [text.strip() for text in as_texts(column)]
    filled = [text for text in texts if text]
    distinct = set(filled)
    if len(distinct) < 2:
        return _no_news(len(filled))
    if _LINK_NAME.search(name) or _share(filled, lambda text: bool(_LINK.match(text))) > 0.9:
        return "dropped", "it holds links"
    if _share(filled, lambda text: bool(_DATE.match(text))) > 0.95:
        return "time", "it holds dates"
    one_word = _share(filled, lambda text: len(text.split()) == 1)
    if one_word > 0.95 and (_ID_NAME.search(name) or _is_code(filled, distinct)):
        return "dropped", f"it looks like an id: {len(distinct)} of {len(filled)} cells differ"
    if np.isfinite(as_numbers(np.array(filled, dtype=np.dtypes.StringDType()))).mean() > 0.95:
        return _look_at_numbers(name, as_numbers(column))
    return _look_at_words(filled, distinct)


def _look_at_words(filled: list[str], distinct: set[str]) -> tuple[str, str]:
    separator = find_separator(filled)
    if separator:
        return "labels", f"the same labels come again, {separator!r} between them"
    words = sum(len(text.split()) for text in distinct) / len(distinct)
    length = sum(map(len, distinct)) / len(distinct)
    if len(filled) >= 2 * len(distinct) and words <= 4 and length <= 40:
        return "category", f"{len(distinct)} values come {len(filled) / len(distinct):.0f} times each"
    return "text", f"{len(distinct)} texts of {words:.1f} words on average"


def _no_news(filled: int) -> tuple[str, str]:
    return ("dropped", "every filled cell is the same") if filled else ("dropped", "every cell is missing")


def _is_code(filled: list[str], distinct: set[str]) -> bool:
    """Whether the cells are codes: almost all differ, and almost all hold digits and letters."""
    return (
        len(distinct) > 20
        and len(distinct) > 0.95 * len(filled)
        and _share(filled, lambda text: any(map(str.isdigit, text)) and any(map(str.isalpha, text))) > 0.9
        # A title in Chinese is one word with a digit, too; codes are plain letters.
        and all(map(str.isascii, filled))
    )


def _share(texts: list[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, texts)) / len(texts)
