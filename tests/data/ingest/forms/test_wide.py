"""Wide matrices become one row for each rating."""

from pathlib import Path

import pandas as pd
import pytest

import leanrec
from leanrec.errors import ColumnError, SourceError


def rated(data: leanrec.Dataset) -> set[tuple[object, ...]]:
    events = data.events
    assert events.rating is not None
    return {
        (data.users.ids[u], data.items.ids[i], float(r))
        for u, i, r in zip(events.user, events.item, events.rating, strict=True)
    }


RATED = {("ann", "item_1", 5.0), ("ann", "item_3", 2.0), ("bob", "item_2", 3.0)}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_numbered_columns_of_numbers_are_items(tmp_path: Path, form: str) -> None:
    frame = pd.DataFrame({"user": ["ann", "bob"], "item_1": [5, None], "item_2": [None, 3], "item_3": [2, None]})
    path = tmp_path / f"matrix.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    data, report = leanrec.ingest(path)
    assert rated(data) == RATED
    assert any('If that is wrong, pass layout="long"' in note for note in report.warnings)


def test_titles_are_items_where_the_layout_is_given(tmp_path: Path) -> None:
    (tmp_path / "matrix.csv").write_text("name,Alien,Brazil\nann,5,\nbob,,3\n")
    with pytest.raises(ColumnError, match='layout="wide"'):
        leanrec.ingest(tmp_path / "matrix.csv", columns={"user": "name"})
    data, _ = leanrec.ingest(tmp_path / "matrix.csv", layout="wide")
    assert rated(data) == {("ann", "Alien", 5.0), ("bob", "Brazil", 3.0)}


def test_a_matrix_needs_items(tmp_path: Path) -> None:
    (tmp_path / "matrix.csv").write_text("user\nann\nbob\n")
    with pytest.raises(SourceError, match="a column for each item"):
        leanrec.ingest(tmp_path / "matrix.csv", layout="wide")


@pytest.mark.parametrize("first", ["userId", "", "u"])
def test_item_ids_that_are_numbers_are_names(tmp_path: Path, first: str) -> None:
    (tmp_path / "matrix.csv").write_text(f"{first},11,12,13\n0,5,,3\n1,,4,\n2,1,,\n")
    data, _ = leanrec.ingest(tmp_path / "matrix.csv", layout="wide")
    expected = {(0, 11, 5.0), (0, 13, 3.0), (1, 12, 4.0), (2, 11, 1.0)}
    assert rated(data) == expected
    if first:
        assert rated(leanrec.ingest(tmp_path / "matrix.csv").data) == expected


def test_a_matrix_of_numbers_alone_has_no_names(tmp_path: Path) -> None:
    (tmp_path / "matrix.csv").write_text("7,5,,3\n8,,4,\n9,1,,\n")
    data, _ = leanrec.ingest(tmp_path / "matrix.csv", layout="wide")
    assert rated(data) == {(7, 2, 5.0), (7, 4, 3.0), (8, 3, 4.0), (9, 2, 1.0)}
