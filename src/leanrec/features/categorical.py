"""One column for each value: a category, or several labels in one cell ("Comedy|Drama")."""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import normalize

from leanrec.features.base import STRINGS, Column, StringArray, as_texts, csr
from leanrec.run import Run
from leanrec.settings import check_at_least
from leanrec.types import CSR, Float32Array

__all__ = [
    "SEPARATORS",
    "Categories",
    "CategoryValues",
    "LabelValues",
    "Labels",
    "find_separator",
    "split_labels",
]

SEPARATORS = ("|", ";", ",", "/")
_NONE = re.compile(r"^(\(no .+ listed\)|n/?a|none|null|nan|unknown)$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Categories:
    """One-hot: 1 in the column of the value. Cost O(n).

    Attributes:
        max_values: most values that get a column, the most frequent first.
        min_items: least number of rows with the value.
    """

    max_values: int = 1_000
    min_items: int = 1

    def __post_init__(self) -> None:
        check_at_least("max_values", self.max_values, 1)
        check_at_least("min_items", self.min_items, 1)

    def fit(self, column: Column, run: Run = Run()) -> "CategoryValues":  # noqa: ARG002 - nothing random
        """Learn the values."""
        values = (text.strip() for text in as_texts(column))
        return CategoryValues(self, _frequent(values, self.max_values, self.min_items)[0])


@dataclasses.dataclass(frozen=True, eq=False)
class CategoryValues:
    """Fitted Categories.

    Attributes:
        settings: what it was fitted with.
        values: (F,) StringDType, sorted.
    """

    settings: Categories
    values: StringArray

    @property
    def names(self) -> tuple[str, ...]:
        """The values."""
        return tuple(self.values.tolist())

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {value: place for place, value in enumerate(self.values.tolist())}

    def transform(self, column: Column) -> CSR:
        """(n, F)."""
        cells = [(text.strip(),) for text in as_texts(column)]
        return _indicator(cells, self._places)


@dataclasses.dataclass(frozen=True)
class Labels:
    """Several labels in one cell, rare ones weighing more (1 + ln (1 + n) / (1 + df)). Rows have unit length.

    Attributes:
        separator: what stands between labels; "" = found by looking at the column.
        rarity: weigh by rarity; False gives every label the same weight.
        max_values: most labels that get a column, the most frequent first.
        min_items: least number of rows with the label.
    """

    separator: str = ""
    rarity: bool = True
    max_values: int = 10_000
    min_items: int = 1

    def __post_init__(self) -> None:
        check_at_least("max_values", self.max_values, 1)
        check_at_least("min_items", self.min_items, 1)

    def fit(self, column: Column, run: Run = Run()) -> "LabelValues":  # noqa: ARG002 - nothing random
        """Learn the separator and the labels."""
        texts = as_texts(column)
        separator = self.separator or find_separator(texts) or SEPARATORS[0]
        cells = (label for text in texts for label in set(split_labels(text, separator)))
        values, items = _frequent(cells, self.max_values, self.min_items)
        weights = 1 + np.log((1 + len(texts)) / (1 + items)) if self.rarity else np.ones(len(items))
        return LabelValues(self, separator, values, weights.astype(np.float32))


@dataclasses.dataclass(frozen=True, eq=False)
class LabelValues:
    """Fitted Labels.

    Attributes:
        settings: what it was fitted with.
        separator: what stands between labels.
        values: (F,) StringDType, sorted.
        weights: (F,) float32.
    """

    settings: Labels
    separator: str
    values: StringArray
    weights: Float32Array

    @property
    def names(self) -> tuple[str, ...]:
        """The labels."""
        return tuple(self.values.tolist())

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {value: place for place, value in enumerate(self.values.tolist())}

    def transform(self, column: Column) -> CSR:
        """(n, F), rows of unit length or zero."""
        cells = [split_labels(text, self.separator) for text in as_texts(column)]
        matrix = _indicator(cells, self._places)
        matrix.data = self.weights[matrix.indices]
        return csr(normalize(matrix)) if matrix.nnz else matrix


def split_labels(text: str, separator: str) -> list[str]:
    """The labels of one cell: no blanks, no quotes, no brackets of a written-out list, no word for "none"."""
    text = text.strip()
    if text[:1] + text[-1:] in {"[]", "{}"}:
        text = text[1:-1]
    labels = (part.strip(" \t\r\n'\"") for part in text.split(separator))
    return [label for label in labels if label and not _NONE.match(label)]


def find_separator(texts: Sequence[str]) -> str | None:
    """The separator that cuts the cells into short labels which come again and again, or None. O(characters).

    It must be in one filled cell of twenty at least, its labels must have four words or fewer on average, and
    a label must be in two cells on average: that is what tells tags from a sentence with commas.
    """
    filled = [text for text in texts if text.strip()]
    for separator in SEPARATORS:
        if sum(separator in text for text in filled) < max(0.05 * len(filled), 1):
            continue
        labels = [label for text in filled for label in split_labels(text, separator)]
        distinct = set(labels)
        words = sum(len(label.split()) for label in distinct)
        if distinct and len(labels) >= 2 * len(distinct) and words <= 4 * len(distinct):
            return separator
    return None


def _frequent(cells: Iterable[str], max_values: int, min_items: int) -> tuple[StringArray, np.ndarray]:
    """The most frequent values, sorted, and in how many cells each is."""
    counts = Counter(cell for cell in cells if cell)
    frequent = [pair for pair in counts.items() if pair[1] >= min_items]
    kept = sorted(sorted(frequent, key=lambda pair: (-pair[1], pair[0]))[:max_values])
    return np.array([value for value, _ in kept], dtype=STRINGS), np.array([count for _, count in kept], dtype=np.int64)


def _indicator(cells: Sequence[Sequence[str]], places: dict[str, int]) -> CSR:
    """(n, F) 1 wherever a cell holds a known value."""
    found = [sorted({places[value] for value in cell if value in places}) for cell in cells]
    indptr = np.concatenate([[0], np.cumsum([len(each) for each in found])]).astype(np.int32)
    indices = np.array([place for each in found for place in each], dtype=np.int32)
    return csr(sp.csr_array((np.ones(len(indices), np.float32), indices, indptr), shape=(len(cells), len(places))))
