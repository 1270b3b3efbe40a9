"""Labeled rows of a table, as training data of CTR models without an event log.

Dimension key: E rows, T targets.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.table import Table
from leanrec.errors import ColumnError, DataError
from leanrec.features.base import to_numbers, to_texts
from leanrec.features.categorical import MultiLabelEncoder
from leanrec.features.pipeline import FeatureBlock, FeatureSpec, FittedFeatures
from leanrec.models.ctr.core.rows import FieldRows, fit_scales, standardize_numbers
from leanrec.run import Run
from leanrec.settings import check_at_least
from leanrec.types import Float32Array, Int64Array

__all__ = ["LabeledRows", "RowEncoder", "RowSpec"]


@dataclasses.dataclass(frozen=True, eq=False)
class LabeledRows:
    """Rows with labels.

    Attributes:
        rows: E rows.
        labels: (E, T) float32, 0 or 1.
        weights: (E,) float32 example weights; None = equal weights.
    """

    rows: FieldRows
    labels: Float32Array
    weights: Float32Array | None = None

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or len(self.labels) != len(self.rows):
            raise DataError(f"labels must have the shape ({len(self.rows)}, T). Got {self.labels.shape}.")
        wrong = self.labels[~np.isin(self.labels, (0, 1))]
        if len(wrong):
            raise DataError(f"labels must be 0 or 1. Got {wrong[0]:g}.")
        if self.weights is not None and len(self.weights) != len(self.rows):
            raise DataError(f"weights must have {len(self.rows)} entries. Got {len(self.weights)}.")

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: NDArray[Any]) -> "LabeledRows":
        """The given rows."""
        weights = None if self.weights is None else self.weights[rows]
        return LabeledRows(self.rows.take(rows), self.labels[rows], weights)


@dataclasses.dataclass(frozen=True)
class RowSpec:
    """Roles of the columns of a table of examples.

    Attributes:
        categories: single-valued categorical columns, numbers or texts.
        labels: multi-valued categorical columns ("Comedy|Drama").
        numbers: numeric columns; each gives its standardized value and whether it is missing.
        targets: columns of 0 and 1 to predict.
        min_count: rows that a category must have to get its own code.
    """

    categories: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("label",)
    min_count: int = 1

    def __post_init__(self) -> None:
        check_at_least("min_count", self.min_count, 1)

    def fit(self, table: Table, run: Run = Run()) -> "RowEncoder":
        """Fit codes and scales. Raises ColumnError if a column is missing. O(cells log cells)."""
        _check_columns(table, (*self.categories, *self.labels, *self.numbers))
        values = tuple(_find_frequent_values(table.columns[name], self.min_count) for name in self.categories)
        labels = tuple(FeatureSpec((FeatureBlock(name, MultiLabelEncoder()),)).fit(table, run) for name in self.labels)
        return RowEncoder(self, values, labels, fit_scales(table, self.numbers, run))


@dataclasses.dataclass(frozen=True, eq=False)
class RowEncoder:
    """A fitted RowSpec.

    Attributes:
        spec: the spec of the fit.
        values: sorted values of each categorical column; the first has code 1.
        labels: features of each multi-valued column.
        scales: of the numeric columns; None without any.
    """

    spec: RowSpec
    values: tuple[NDArray[Any], ...]
    labels: tuple[FittedFeatures, ...]
    scales: FittedFeatures | None

    def encode(self, table: Table) -> FieldRows:
        """The rows of a table as fields; new values get the unknown code."""
        _check_columns(table, (*self.spec.categories, *self.spec.labels, *self.spec.numbers))
        pairs = zip(self.spec.categories, self.values, strict=True)
        codes = tuple((_encode_column(table.columns[name], values), len(values) + 1) for name, values in pairs)
        bags = tuple(each.transform(table) for each in self.labels)
        return FieldRows.from_columns(
            len(table), codes=codes, bags=bags, numbers=standardize_numbers(self.scales, table)
        )

    def encode_labeled(self, table: Table, weights: Float32Array | None = None) -> LabeledRows:
        """The rows of a table as fields, with their targets."""
        _check_columns(table, self.spec.targets)
        labels = np.stack([to_numbers(table.columns[name]) for name in self.spec.targets], 1).astype(np.float32)
        return LabeledRows(self.encode(table), labels, weights)


def _check_columns(table: Table, names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ColumnError(
            f"The table must have the column {missing[0]!r}. It has {', '.join(table.columns) or 'none'}."
        )


def _to_comparable(column: NDArray[Any]) -> NDArray[Any]:
    """The cells in the form that is compared: numbers as float, everything else as text."""
    if column.dtype.kind in "fiub":
        return to_numbers(column)
    return np.array(to_texts(column), dtype=np.dtypes.StringDType())


def _find_frequent_values(column: NDArray[Any], min_count: int) -> NDArray[Any]:
    """Sorted values of at least ``min_count`` cells, without missing ones."""
    names = _to_comparable(column)
    present = np.isfinite(names) if names.dtype.kind == "f" else names != ""
    values, counts = np.unique(names[present], return_counts=True)
    kept: NDArray[Any] = values[counts >= min_count]
    return kept


def _encode_column(column: NDArray[Any], values: NDArray[Any]) -> Int64Array:
    """1 + the position among the sorted values; 0 for any other value."""
    names = _to_comparable(column)
    if names.dtype.kind != values.dtype.kind:
        names = _to_comparable(np.array(to_texts(column), dtype=np.dtypes.StringDType()))
        values = _to_comparable(np.array(to_texts(values), dtype=np.dtypes.StringDType()))
    if not len(values):
        return np.zeros(len(names), np.int64)
    order = np.argsort(values, kind="stable")
    position = np.minimum(np.searchsorted(values, names, sorter=order), len(values) - 1)
    return np.where(values[order[position]] == names, order[position] + 1, 0)
