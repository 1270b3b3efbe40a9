"""What every kind of feature promises, and how a column of text, numbers or dates is read."""

import contextlib
import datetime as dt
import math
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.run import Run
from leanrec.types import CSR

__all__ = [
    "Column",
    "Feature",
    "Fitted",
    "Float64Array",
    "StringArray",
    "as_numbers",
    "as_seconds",
    "as_texts",
    "csr",
]

Column: TypeAlias = NDArray[Any]
Float64Array: TypeAlias = NDArray[np.float64]
StringArray: TypeAlias = NDArray[Any]

STRINGS = np.dtypes.StringDType()


@runtime_checkable
class Fitted(Protocol):
    """A kind of feature after it has seen the training column: a frozen dataclass of arrays."""

    @property
    def names(self) -> tuple[str, ...]:
        """(F,) what each feature is, for people."""
        ...

    def transform(self, column: Column) -> CSR:
        """(n, F) float32. Each row depends on its own cell alone; a missing or unseen value gives zeros."""
        ...


@runtime_checkable
class Feature(Protocol):
    """Settings of a kind of feature, as a frozen dataclass, with ``fit``."""

    def fit(self, column: Column, run: Run = ...) -> Fitted:
        """Learn from the training column. An empty or wholly missing column is no error."""
        ...


def csr(matrix: Any) -> CSR:
    """Any matrix as CSR float32 with int32 indices, sorted within a row and without stored zeros."""
    result = sp.csr_array(matrix, dtype=np.float32)
    result.sum_duplicates()
    result.eliminate_zeros()
    result.indices, result.indptr = result.indices.astype(np.int32), result.indptr.astype(np.int32)
    return result


def as_texts(column: Column) -> list[str]:
    """The cells as texts, "" for missing. A whole number has no decimal point. O(n)."""
    if column.dtype.kind == "f":
        return [_plain(cell) for cell in _finite(column)]
    if column.dtype.kind == "M":
        return ["" if cell == "NaT" else cell for cell in column.astype(str).tolist()]
    return ["" if cell is None else str(cell) for cell in column.tolist()]


def as_numbers(column: Column) -> Float64Array:
    """The cells as float64, NaN where there is no finite number. O(n)."""
    if column.dtype.kind in "fiub":
        return np.array(_finite(column), dtype=np.float64)
    if column.dtype.kind == "M":
        return as_seconds(column)
    return np.array([_number(cell) for cell in as_texts(column)], dtype=np.float64).reshape(-1)


def as_seconds(column: Column) -> Float64Array:
    """The cells as seconds since 1970 (UTC), NaN for missing. O(n).

    Numbers are seconds, or milli- or microseconds where they are too large to be seconds of this age; texts
    are numbers or ISO 8601 dates.
    """
    if column.dtype.kind == "M":
        seconds = column.astype("datetime64[us]").astype(np.int64) / 1e6
        return np.where(np.isnat(column), np.nan, seconds)
    if column.dtype.kind in "fiub":
        seconds = as_numbers(column)
    else:
        seconds = np.array([_moment(cell) for cell in as_texts(column)], dtype=np.float64).reshape(-1)
    seconds = np.where(np.abs(seconds) > 1e14, seconds / 1e6, seconds)
    return np.where(np.abs(seconds) > 1e11, seconds / 1e3, seconds)


def _finite(column: Column) -> list[float]:
    numbers = column.astype(np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan).tolist()  # type: ignore[no-any-return]


def _plain(cell: float) -> str:
    if math.isnan(cell):
        return ""
    return f"{cell:.0f}" if cell == int(cell) else repr(cell)


def _number(text: str) -> float:
    with contextlib.suppress(ValueError):
        number = float(text)
        if np.isfinite(number):
            return number
    return np.nan


def _moment(text: str) -> float:
    text = text.strip()
    if not text:
        return np.nan
    with contextlib.suppress(ValueError, OverflowError):
        moment = dt.datetime.fromisoformat(text)
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        # fromisoformat also reads "20240101" and the like; a plain number of seconds has more digits.
        return zoned.timestamp()
    return _number(text)
