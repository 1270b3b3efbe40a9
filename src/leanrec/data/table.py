"""Table: features of items or users besides their interactions, one row for each row of the vocabulary."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.errors import DataError
from leanrec.types import Int32Array

__all__ = ["Table", "format_cell"]

_NAMES = ("title", "name", "game name", "item_name", "headline")
_TITLES = (*_NAMES, "content", "text", "description")


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Named columns of equal length.

    Attributes:
        columns: name → (n,) array; text is StringDType with "" for missing, numbers are float64 with NaN for missing.
    """

    columns: Mapping[str, NDArray[Any]]

    def check_state(self) -> None:
        """Raise DataError unless each column is a list of numbers or text."""
        for name, column in self.columns.items():
            if column.ndim != 1 or column.dtype.kind not in "biufT":
                raise DataError(
                    f"The column {name!r} must be a list of numbers or text. Got {column.dtype} of {column.shape}."
                )

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"The columns of a table must have one length. Got {lengths}.")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    @property
    def title(self) -> str | None:
        """Name of the column to display: a common title name, otherwise the first text column.

        Titles may be numbers, as where all items are called 300, 1917 or 21.
        """
        texts = {name.lower(): name for name, column in self.columns.items() if column.dtype.kind == "T"}
        numbers = {name.lower(): name for name in self.columns if name.lower() in _NAMES}
        titles = (texts[name] for name in _TITLES if name in texts)
        return next(titles, next(iter([*numbers.values(), *texts.values()]), None))

    def take(self, rows: Int32Array | NDArray[Any]) -> "Table":
        """Return the given rows, in that order; −1 gives a row of missing values."""
        return Table({name: _take_rows(column, np.asarray(rows)) for name, column in self.columns.items()})

    def row(self, row: int) -> dict[str, Any]:
        """Return one row as a dictionary, without missing values."""
        cells = {
            name: column[row].item() if hasattr(column[row], "item") else column[row]
            for name, column in self.columns.items()
        }
        return {name: cell for name, cell in cells.items() if cell == cell and cell != ""}  # noqa: PLR0124 - NaN

    def pad_to(self, length: int) -> "Table":
        """Return the table with rows of missing values below, up to ``length`` rows."""
        n_rows = len(self)
        if n_rows == length:
            return self
        return self.take(np.concatenate([np.arange(n_rows), np.full(length - n_rows, -1)]))

    def concat(self, other: "Table") -> "Table":
        """Return this table with the rows of ``other`` below; columns that ``other`` lacks are missing there."""
        missing = np.full(len(other), -1)
        columns = {}
        for name, column in self.columns.items():
            if name in other.columns:
                below = _convert_like(name, column, other.columns[name])
            else:
                below = _take_rows(column, missing)
            columns[name] = np.concatenate([column, below])
        return Table(columns)


def _take_rows(column: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    missing = rows < 0
    if not missing.any():
        found: NDArray[Any] = column[rows]
        return found
    if column.dtype.kind in "iub":
        column = column.astype(np.float64)
    taken = column[np.where(missing, 0, rows)] if len(column) else np.zeros(len(rows), column.dtype)
    taken[missing] = "" if column.dtype.kind == "T" else np.nan
    return taken


def _convert_like(name: str, column: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Convert values to the type of a column; missing values stay missing, and whole numbers get no decimal point.

    Raises DataError where a column of numbers gets something else.
    """
    if column.dtype.kind == "T":
        if values.dtype.kind == "T":
            return values
        return np.array([format_cell(each) for each in values.tolist()], dtype=np.dtypes.StringDType())
    if values.dtype.kind in "fiub":
        return values.astype(np.float64)
    numbers = [_to_number(each) for each in values.tolist()]
    if None in numbers:
        row = numbers.index(None)
        raise DataError(f"The column {name!r} must hold numbers. Got {values.tolist()[row]!r} in row {row}.")
    return np.array(numbers, np.float64)


def format_cell(value: Any) -> str:
    """A cell as text, "" for missing. A whole number has no decimal point."""
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return f"{value:.0f}" if value.is_integer() else repr(value)
    return "" if value is None else str(value)


def _to_number(value: Any) -> float | None:
    """The value as a number, NaN for a missing one, None for text that is no finite number."""
    if value is None or value == "":
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return None if math.isinf(number) else number
