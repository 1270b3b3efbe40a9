"""Rows of a table and what came of them: what models that rank by features learn from where there is no log of events.

Dimension key: E rows, T targets.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.table import Table
from leanrec.errors import ColumnError, DataError
from leanrec.features.base import as_numbers, as_texts
from leanrec.features.categorical import Labels
from leanrec.features.pipeline import Block, Features, FeatureSpec
from leanrec.models.ctr.core.rows import Rows, dense, standard
from leanrec.run import Run
from leanrec.settings import check_at_least
from leanrec.types import Float32Array, Int64Array

__all__ = ["Examples", "RowCoder", "RowSpec"]


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Rows and what came of them.

    Attributes:
        rows: E rows.
        labels: (E, T) float32, 0 or 1.
        weights: (E,) float32, how much each counts; None = all alike.
    """

    rows: Rows
    labels: Float32Array
    weights: Float32Array | None = None

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or len(self.labels) != len(self.rows):
            raise DataError(f"Examples: labels must be ({len(self.rows)}, T). Got {self.labels.shape}.")
        if not np.isin(self.labels, (0, 1)).all():
            raise DataError("Examples: labels must be 0 or 1. Got others.")
        if self.weights is not None and len(self.weights) != len(self.rows):
            raise DataError(f"Examples: weights must have {len(self.rows)} entries. Got {len(self.weights)}.")

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: NDArray[Any]) -> "Examples":
        """The given ones."""
        weights = None if self.weights is None else self.weights[rows]
        return Examples(self.rows.take(rows), self.labels[rows], weights)


@dataclasses.dataclass(frozen=True)
class RowSpec:
    """Which columns of a table of examples are what.

    Attributes:
        categories: columns of one value each, numbers or texts, taken as names.
        labels: columns of several values each ("Comedy|Drama").
        numbers: columns of numbers; each gives its standardised value and whether it is missing.
        targets: columns of 0 and 1 that are to be foretold.
        at_least: rows that a category must have to get a code of its own.
    """

    categories: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("label",)
    at_least: int = 1

    def __post_init__(self) -> None:
        check_at_least("at_least", self.at_least, 1)

    def fit(self, table: Table, run: Run = Run()) -> "RowCoder":
        """Learn values and scales. Raises ColumnError where a column is missing. O(cells log cells)."""
        _check_columns(table, (*self.categories, *self.labels, *self.numbers))
        values = tuple(_frequent(table.columns[name], self.at_least) for name in self.categories)
        several = tuple(FeatureSpec((Block(name, Labels()),)).fit(table, run) for name in self.labels)
        return RowCoder(self, values, several, standard(table, self.numbers, run))


@dataclasses.dataclass(frozen=True, eq=False)
class RowCoder:
    """A fitted RowSpec.

    Attributes:
        spec: what it was fitted with.
        values: the sorted values of each category; code 1 is the first.
        several: the labels of each column of labels.
        scales: of the numbers; None where there are none.
    """

    spec: RowSpec
    values: tuple[NDArray[Any], ...]
    several: tuple[Features, ...]
    scales: Features | None

    def rows(self, table: Table) -> Rows:
        """The fields of a table; values that were not there before are unknown."""
        _check_columns(table, (*self.spec.categories, *self.spec.labels, *self.spec.numbers))
        pairs = zip(self.spec.categories, self.values, strict=True)
        codes = tuple((_code(table.columns[name], values), len(values) + 1) for name, values in pairs)
        bags = tuple(each.transform(table) for each in self.several)
        return Rows.of(len(table), codes=codes, bags=bags, numbers=dense(self.scales, table))

    def examples(self, table: Table, weights: Float32Array | None = None) -> Examples:
        """Fields and targets."""
        _check_columns(table, self.spec.targets)
        labels = np.stack([as_numbers(table.columns[name]) for name in self.spec.targets], 1).astype(np.float32)
        return Examples(self.rows(table), labels, weights)


def _check_columns(table: Table, names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ColumnError(
            f"The table must have the column {missing[0]!r}. It has {', '.join(table.columns) or 'none'}."
        )


def _names(column: NDArray[Any]) -> NDArray[Any]:
    """The cells as they are compared: numbers as such, all else as text."""
    if column.dtype.kind in "fiub":
        return as_numbers(column)
    return np.array(as_texts(column), dtype=np.dtypes.StringDType())


def _there(names: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(names) if names.dtype.kind == "f" else names != "")


def _frequent(column: NDArray[Any], at_least: int) -> NDArray[Any]:
    names = _names(column)
    values, counts = np.unique(names[_there(names)], return_counts=True)
    kept: NDArray[Any] = values[counts >= at_least]
    return kept


def _code(column: NDArray[Any], values: NDArray[Any]) -> Int64Array:
    """1 + the place among the values; 0 for any other."""
    names = _names(column)
    if names.dtype.kind != values.dtype.kind:
        names = _names(np.array(as_texts(column), dtype=np.dtypes.StringDType()))
        values = _names(np.array(as_texts(values), dtype=np.dtypes.StringDType()))
    if not len(values):
        return np.zeros(len(names), np.int64)
    order = np.argsort(values, kind="stable")
    place = np.minimum(np.searchsorted(values, names, sorter=order), len(values) - 1)
    return np.where(values[order[place]] == names, order[place] + 1, 0)
