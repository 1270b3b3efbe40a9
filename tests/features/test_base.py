"""Conversion of columns to strings, numbers, times and sparse matrices."""

import datetime as dt

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.features.base import Feature, FittedFeature, to_csr, to_numbers, to_seconds, to_texts
from leanrec.features.numeric import StandardScaler

STRINGS = np.dtypes.StringDType()
DAY = dt.datetime(2024, 3, 1, tzinfo=dt.UTC).timestamp()


def test_cells_become_strings() -> None:
    assert to_texts(np.array([1.0, 2.5, np.nan, np.inf])) == ["1", "2.5", "", ""]
    assert to_texts(np.array([3, 4])) == ["3", "4"]
    assert to_texts(np.array(["2024-03-01", "NaT"], dtype="datetime64[D]")) == ["2024-03-01", ""]
    assert to_texts(np.array(["a", None, 2], dtype=object)) == ["a", "", "2"]


def test_cells_become_numbers() -> None:
    np.testing.assert_array_equal(to_numbers(np.array(["1.5", "", "many", "inf"], dtype=STRINGS)), [1.5, *[np.nan] * 3])
    np.testing.assert_array_equal(to_numbers(np.array([True, False])), [1, 0])
    np.testing.assert_array_equal(to_numbers(np.array([1.0, np.inf])), [1, np.nan])
    assert to_numbers(np.array(["2024-03-01"], dtype="datetime64[D]"))[0] == DAY


@pytest.mark.parametrize(
    "column",
    [
        np.array(["2024-03-01"], dtype="datetime64[D]"),
        np.array([DAY]),
        np.array([DAY * 1e3]),
        np.array([DAY * 1e6]),
        np.array(["2024-03-01"], dtype=STRINGS),
        np.array(["2024-03-01T01:00:00+01:00"], dtype=STRINGS),
        np.array([f"{DAY:.0f}"], dtype=STRINGS),
    ],
)
def test_cells_become_seconds(column: np.ndarray) -> None:
    assert to_seconds(column).tolist() == [DAY]


def test_missing_times_are_nan() -> None:
    assert np.isnan(to_seconds(np.array(["NaT"], dtype="datetime64[D]"))).all()
    assert np.isnan(to_seconds(np.array(["", "soon"], dtype=STRINGS))).all()


def test_sparse_matrices_are_canonical() -> None:
    matrix = sp.coo_array(([1.0, 2.0, 0.0], ([0, 0, 1], [2, 2, 1])), shape=(2, 3))
    result = to_csr(matrix)
    assert (result.nnz, result.dtype, result.indices.dtype) == (1, np.float32, np.int32)
    np.testing.assert_array_equal(result.toarray(), [[0, 0, 3], [0, 0, 0]])


def test_a_transformer_follows_the_protocols() -> None:
    assert isinstance(StandardScaler(), Feature)
    assert isinstance(StandardScaler().fit(np.array([1.0, 2.0])), FittedFeature)
