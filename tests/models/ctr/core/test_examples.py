"""Labeled rows of a table: codes, labels, numbers and targets."""

import numpy as np
import pytest

from conftest import STRINGS
from leanrec.data.table import Table
from leanrec.errors import ColumnError, DataError
from leanrec.models.ctr.core.examples import LabeledRows, RowSpec


def test_table_is_encoded_as_codes_labels_and_numbers() -> None:
    table = Table(
        {
            "shop": np.array(["b", "a", "", "b"], STRINGS),
            "zip": np.array([7.0, 3.0, 7.0, np.nan]),
            "tags": np.array(["x|y", "y", "", "x"], STRINGS),
            "age": np.array([10.0, 20.0, np.nan, 30.0]),
            "label": np.array([0.0, 1.0, 1.0, 0.0]),
        }
    )
    coder = RowSpec(categories=("shop", "zip"), labels=("tags",), numbers=("age",)).fit(table)
    examples = coder.encode_labeled(table)
    assert examples.rows.codes.tolist() == [[2, 2], [1, 1], [0, 2], [2, 0]]
    assert examples.rows.fields.sizes == (3, 3)
    assert (examples.rows.bags[0].toarray() > 0).tolist() == [
        [True, True],
        [False, True],
        [False, False],
        [True, False],
    ]
    assert examples.rows.numbers[:, 1].tolist() == [0, 0, 1, 0]
    assert examples.labels.ravel().tolist() == [0, 1, 1, 0]


def test_new_and_rare_values_are_unknown() -> None:
    table = Table({"a": np.array([1.0, 1.0, 2.0])})
    coder = RowSpec(categories=("a",), min_count=2).fit(table)
    assert coder.encode(Table({"a": np.array([2.0, 1.0, 99.0])})).codes.ravel().tolist() == [0, 1, 0]
    assert coder.encode(Table({"a": np.array(["1", "x"], STRINGS)})).codes.ravel().tolist() == [1, 0]


def test_missing_columns_and_impossible_labels_are_refused() -> None:
    table = Table({"a": np.array([1.0, 2.0]), "label": np.array([0.0, 2.0])})
    with pytest.raises(ColumnError, match="'b'"):
        RowSpec(categories=("b",)).fit(table)
    with pytest.raises(DataError, match="must be 0 or 1. Got 2"):
        RowSpec(categories=("a",)).fit(table).encode_labeled(table)
    rows = RowSpec(categories=("a",)).fit(table).encode(table)
    with pytest.raises(DataError, match="weights"):
        LabeledRows(rows, np.zeros((2, 1), np.float32), np.ones(3, np.float32))
