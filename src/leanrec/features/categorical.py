"""One-hot encoding of categories and multi-hot encoding of labels ("Comedy|Drama")."""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import normalize

from leanrec.features.base import STRINGS, Column, StringArray, to_csr, to_texts
from leanrec.field_checks import ArrayShape
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array

__all__ = [
    "SEPARATORS",
    "FittedMultiLabelEncoder",
    "FittedOneHotEncoder",
    "MultiLabelEncoder",
    "OneHotEncoder",
    "find_separator",
    "split_labels",
]

SEPARATORS = ("|", ";", ",", "/")
_NONE = re.compile(r"^(\(no .+ listed\)|n/?a|none|null|nan|unknown)$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class OneHotEncoder:
    """One-hot encoding: 1 in the column of the value. Cost O(n)."""

    max_values: int = setting(
        1_000, at_least=1, doc="Maximum number of values with a column; the most frequent are kept."
    )
    min_items: int = setting(1, at_least=1, doc="Minimum number of rows with the value.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, column: Column, run: Run = Run()) -> "FittedOneHotEncoder":  # noqa: ARG002 - nothing random
        """Learn the values."""
        values = (text.strip() for text in to_texts(column))
        return FittedOneHotEncoder(self, _most_frequent(values, self.max_values, self.min_items)[0])


@dataclasses.dataclass(frozen=True, eq=False)
class FittedOneHotEncoder:
    """A fitted `OneHotEncoder`.

    Attributes:
        settings: settings of the fit.
        values: (F,) StringDType, sorted.
    """

    settings: OneHotEncoder
    values: Annotated[StringArray, ArrayShape("F")]

    @property
    def names(self) -> tuple[str, ...]:
        """The values."""
        return tuple(self.values.tolist())

    @functools.cached_property
    def _positions(self) -> dict[str, int]:
        return {value: position for position, value in enumerate(self.values.tolist())}

    def transform(self, column: Column) -> CSR:
        """(n, F)."""
        cells = [(text.strip(),) for text in to_texts(column)]
        return _build_indicator(cells, self._positions)


@dataclasses.dataclass(frozen=True)
class MultiLabelEncoder:
    """Multi-hot encoding of several labels in one cell, weighted by 1 + ln((1 + n) / (1 + df)). Rows have unit length.

    n is the number of rows and df the number of rows with the label. Cost O(characters).
    """

    separator: str = setting("", doc='Text between labels; "" = inferred from the column.')
    use_idf: bool = setting(True, doc="Weight rare labels more; False gives every label the same weight.")
    max_values: int = setting(
        10_000, at_least=1, doc="Maximum number of labels with a column; the most frequent are kept."
    )
    min_items: int = setting(1, at_least=1, doc="Minimum number of rows with the label.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, column: Column, run: Run = Run()) -> "FittedMultiLabelEncoder":  # noqa: ARG002 - nothing random
        """Learn the separator and the labels."""
        texts = to_texts(column)
        separator = self.separator or find_separator(texts) or SEPARATORS[0]
        cells = (label for text in texts for label in set(split_labels(text, separator)))
        values, items = _most_frequent(cells, self.max_values, self.min_items)
        weights = 1 + np.log((1 + len(texts)) / (1 + items)) if self.use_idf else np.ones(len(items))
        return FittedMultiLabelEncoder(self, separator, values, weights.astype(np.float32))


@dataclasses.dataclass(frozen=True, eq=False)
class FittedMultiLabelEncoder:
    """A fitted `MultiLabelEncoder`.

    Attributes:
        settings: settings of the fit.
        separator: text between labels.
        values: (F,) StringDType, sorted.
        weights: (F,) float32.
    """

    settings: MultiLabelEncoder
    separator: str
    values: Annotated[StringArray, ArrayShape("F")]
    weights: Annotated[Float32Array, ArrayShape("F")]

    @property
    def names(self) -> tuple[str, ...]:
        """The labels."""
        return tuple(self.values.tolist())

    @functools.cached_property
    def _positions(self) -> dict[str, int]:
        return {value: position for position, value in enumerate(self.values.tolist())}

    def transform(self, column: Column) -> CSR:
        """(n, F), rows of unit length or zero."""
        cells = [split_labels(text, self.separator) for text in to_texts(column)]
        matrix = _build_indicator(cells, self._positions)
        matrix.data = self.weights[matrix.indices]
        return to_csr(normalize(matrix)) if matrix.nnz else matrix


def split_labels(text: str, separator: str) -> list[str]:
    """Split a cell into labels, without blanks, quotes, the brackets of a list, and values that mean "none"."""
    text = text.strip()
    if text[:1] + text[-1:] in {"[]", "{}"}:
        text = text[1:-1]
    labels = (part.strip(" \t\r\n'\"") for part in text.split(separator))
    return [label for label in labels if label and not _NONE.match(label)]


def find_separator(texts: Sequence[str]) -> str | None:
    """The separator that splits the cells into short, repeated labels, or None. O(characters).

    It must occur in at least one filled cell of twenty, its labels must have at most four words on average, and a label
    must be in two cells on average. This distinguishes tags from a sentence with commas.
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


def _most_frequent(cells: Iterable[str], max_values: int, min_items: int) -> tuple[StringArray, np.ndarray]:
    """The most frequent values, sorted, and the number of cells with each."""
    counts = Counter(cell for cell in cells if cell)
    frequent = [pair for pair in counts.items() if pair[1] >= min_items]
    kept = sorted(sorted(frequent, key=lambda pair: (-pair[1], pair[0]))[:max_values])
    return np.array([value for value, _ in kept], dtype=STRINGS), np.array([count for _, count in kept], dtype=np.int64)


def _build_indicator(cells: Sequence[Sequence[str]], columns: dict[str, int]) -> CSR:
    """(n, F) 1 where a cell contains a known value."""
    found = [sorted({columns[value] for value in cell if value in columns}) for cell in cells]
    indptr = np.concatenate([[0], np.cumsum([len(each) for each in found])]).astype(np.int32)
    indices = np.array([column for each in found for column in each], dtype=np.int32)
    return to_csr(sp.csr_array((np.ones(len(indices), np.float32), indices, indptr), shape=(len(cells), len(columns))))
