"""Protocols of feature transformers, and conversion of columns to text, numbers and times."""

import contextlib
import datetime as dt
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.table import format_cell
from leanrec.features.tokenization import strip_markup
from leanrec.run import Run
from leanrec.types import CSR

__all__ = [
    "Column",
    "Feature",
    "FittedFeature",
    "Float64Array",
    "StringArray",
    "to_csr",
    "to_numbers",
    "to_seconds",
    "to_texts",
]

Column: TypeAlias = NDArray[Any]
Float64Array: TypeAlias = NDArray[np.float64]
StringArray: TypeAlias = NDArray[Any]

STRINGS = np.dtypes.StringDType()


@runtime_checkable
class FittedFeature(Protocol):
    """A fitted feature transformer: a frozen dataclass of arrays."""

    @property
    def names(self) -> tuple[str, ...]:
        """(F,) readable names of the features."""
        ...

    def transform(self, column: Column) -> CSR:
        """(n, F) float32. Each row depends only on its own cell; a missing or unseen value gives zeros."""
        ...


@runtime_checkable
class Feature(Protocol):
    """Settings of a feature transformer: a frozen dataclass with ``fit``."""

    def fit(self, column: Column, run: Run = ...) -> FittedFeature:
        """Learn from the training column. An empty column, or one with only missing cells, is no error."""
        ...


def to_csr(matrix: Any) -> CSR:
    """Convert any matrix to CSR float32 with int32 indices, sorted within a row and without stored zeros."""
    result = sp.csr_array(matrix, dtype=np.float32)
    result.sum_duplicates()
    result.eliminate_zeros()
    result.indices, result.indptr = result.indices.astype(np.int32), result.indptr.astype(np.int32)
    return result


def to_texts(column: Column) -> list[str]:
    """The cells as strings without markup (`strip_markup`), "" for missing. A whole number has no decimal point. O(n)."""
    if column.dtype.kind == "f":
        return [format_cell(cell) for cell in _to_finite(column)]
    if column.dtype.kind == "M":
        return ["" if cell == "NaT" else cell for cell in column.astype(str).tolist()]
    return ["" if cell is None else strip_markup(str(cell)) for cell in column.tolist()]


def to_numbers(column: Column) -> Float64Array:
    """The cells as float64, NaN where there is no finite number. O(n)."""
    if column.dtype.kind in "fiub":
        return np.array(_to_finite(column), dtype=np.float64)
    if column.dtype.kind == "M":
        return to_seconds(column)
    return np.array([_parse_number(cell) for cell in to_texts(column)], dtype=np.float64).reshape(-1)


def to_seconds(column: Column) -> Float64Array:
    """The cells as seconds since 1970 (UTC), NaN for missing. O(n).

    Numbers are seconds, or milli-, micro- or nanoseconds where they are too large for seconds; strings are numbers or
    ISO 8601 dates.
    """
    if column.dtype.kind == "M":
        seconds = column.astype("datetime64[us]").astype(np.int64) / 1e6
        return np.where(np.isnat(column), np.nan, seconds)
    if column.dtype.kind in "fiub":
        seconds = to_numbers(column)
    else:
        seconds = np.array([_parse_time(cell) for cell in to_texts(column)], dtype=np.float64).reshape(-1)
    seconds = np.where(np.abs(seconds) > 1e14, seconds / 1e6, seconds)
    return np.where(np.abs(seconds) > 1e11, seconds / 1e3, seconds)


def _to_finite(column: Column) -> list[float]:
    numbers = column.astype(np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan).tolist()  # type: ignore[no-any-return]


def _parse_number(text: str) -> float:
    with contextlib.suppress(ValueError):
        number = float(text)
        if np.isfinite(number):
            return number
    return np.nan


def _parse_time(text: str) -> float:
    text = text.strip()
    if not text:
        return np.nan
    with contextlib.suppress(ValueError, OverflowError):
        moment = dt.datetime.fromisoformat(text)
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        # fromisoformat also reads "20240101" and the like; a plain number of seconds has more digits.
        return zoned.timestamp()
    return _parse_number(text)
