"""Table: rows, padding and concatenation."""

import numpy as np
import pytest

from leanrec.data.table import Table
from leanrec.errors import DataError

STRINGS = np.dtypes.StringDType()
TABLE = Table({"name": np.array(["a", "b"], STRINGS), "year": np.array([1990.0, 1991.0])})


def test_row_minus_one_is_missing() -> None:
    taken = TABLE.take(np.array([1, -1]))
    assert taken.columns["name"].tolist() == ["b", ""]
    assert np.isnan(taken.columns["year"][1])
    assert taken.row(1) == {}


def test_padding_adds_missing_rows() -> None:
    assert TABLE.pad_to(2) is TABLE
    assert TABLE.pad_to(3).columns["name"].tolist() == ["a", "b", ""]


def test_concat_fills_missing_columns() -> None:
    both = TABLE.concat(Table({"year": np.array(["2000"], STRINGS)}))
    assert both.columns["name"].tolist() == ["a", "b", ""]
    assert both.columns["year"].tolist() == [1990.0, 1991.0, 2000.0]


def test_title_is_a_common_name_or_the_first_text() -> None:
    assert TABLE.title == "name"
    assert Table({"code": np.array(["x"], STRINGS)}).title == "code"
    assert Table({"year": np.zeros(1)}).title is None


def test_columns_must_have_one_length() -> None:
    with pytest.raises(DataError, match="must have one length"):
        Table({"a": np.zeros(1), "b": np.zeros(2)})


def test_concat_keeps_missing_cells_and_writes_whole_numbers_without_a_point() -> None:
    below = Table({"name": np.array([300, np.nan, 0.5]), "year": np.array(["", "2000", "1e3"], STRINGS)})
    both = TABLE.concat(below)
    assert both.columns["name"].tolist()[2:] == ["300", "", "0.5"]
    np.testing.assert_array_equal(both.columns["year"][2:], [np.nan, 2000, 1000])


def test_a_title_may_be_a_number() -> None:
    assert Table({"title": np.array([300.0, 1917.0]), "genre": np.array(["war", "war"], STRINGS)}).title == "title"
