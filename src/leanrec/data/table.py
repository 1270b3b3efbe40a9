"""What is known about items (or users) besides behaviour: one row for each row of the vocabulary."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.errors import DataError
from leanrec.types import Int32Array

__all__ = ["Table"]

_TITLES = ("title", "name", "game name", "item_name", "headline", "content", "text", "description")


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Named columns of equal length.

    Attributes:
        columns: name → (n,) array; text is StringDType with "" for missing, numbers are float64 with NaN for missing.
    """

    columns: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"The columns of a table must have one length. Got {lengths}.")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    @property
    def title(self) -> str | None:
        """Name of the column to show people: a usual name, otherwise the first text column."""
        texts = {name.lower(): name for name, column in self.columns.items() if column.dtype.kind == "T"}
        usual = (texts[name] for name in _TITLES if name in texts)
        return next(usual, next(iter(texts.values()), None))

    def take(self, rows: Int32Array | NDArray[Any]) -> "Table":
        """The given rows, in that order; −1 gives a row of missing values."""
        return Table({name: _take(column, np.asarray(rows)) for name, column in self.columns.items()})

    def row(self, row: int) -> dict[str, Any]:
        """One row as a dictionary, without missing values."""
        cells = {
            name: column[row].item() if hasattr(column[row], "item") else column[row]
            for name, column in self.columns.items()
        }
        return {name: cell for name, cell in cells.items() if cell == cell and cell != ""}  # noqa: PLR0124 - NaN

    def concatenated(self, other: "Table") -> "Table":
        """This table with the rows of ``other`` below; a column it lacks is missing there."""
        rows = np.arange(len(other))
        return Table(
            {
                name: np.concatenate(
                    [
                        column,
                        _like(name, column, other.columns[name])
                        if name in other.columns
                        else _take(column, np.full(len(rows), -1)),
                    ]
                )
                for name, column in self.columns.items()
            }
        )


def _take(column: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    missing = rows < 0
    if not missing.any():
        found: NDArray[Any] = column[rows]
        return found
    if column.dtype.kind in "iub":
        column = column.astype(np.float64)
    taken = column[np.where(missing, 0, rows)] if len(column) else np.zeros(len(rows), column.dtype)
    taken[missing] = "" if column.dtype.kind == "T" else np.nan
    return taken


def _like(name: str, column: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    if column.dtype.kind == "T":
        return np.array([str(each) for each in values.tolist()], dtype=np.dtypes.StringDType())
    try:
        return values.astype(np.float64)
    except ValueError:
        row, text = next((row, each) for row, each in enumerate(values.tolist()) if not _is_number(each))
        raise DataError(f"The column {name!r} holds numbers. Got {text!r} in row {row}.") from None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
