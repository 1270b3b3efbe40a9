"""A column that is empty or constant gives its role to the next one of its names."""

from pathlib import Path

import pandas as pd
import pytest

from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.meaning.column_values import ColumnValues, find_weak_role


def test_an_empty_user_gives_way() -> None:
    frame = pd.DataFrame({"user_id": [None] * 3, "distinct_id": ["a", "b", "a"], "item": ["x", "y", "z"]})
    data, report = ingest(frame)
    assert data.users.ids.tolist() == ["a", "b"]
    assert any("'user_id'" in each and "no value" in each for each in report.warnings)


@pytest.mark.parametrize(
    ("one", "two", "weak"),
    [
        (ColumnValues(100, 40, 9), ColumnValues(100, 95, 9), True),
        (ColumnValues(100, 60, 9), ColumnValues(100, 95, 9), False),
        (ColumnValues(100, 100, 1), ColumnValues(100, 95, 9), True),
        (ColumnValues(10, 10, 1), ColumnValues(10, 10, 9), False),
        (ColumnValues(100, 100, 100), ColumnValues(100, 100, 40), True),
        (ColumnValues(100, 100, 100), ColumnValues(100, 100, 60), False),
    ],
)
def test_weak_items(one: ColumnValues, two: ColumnValues, weak: bool) -> None:
    found = find_weak_role({"item": "item_id"}, {"item": "sku"}, {"item_id": one, "sku": two})
    assert (found is not None) == weak


def test_a_repeated_line_of_names_is_no_event(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text("user_id,item_id\na,x\nb,y\nuser_id,item_id\na,z\n")
    data, report = ingest(path)
    assert data.items.ids.tolist() == ["x", "y", "z"]
    assert report.rejected == {"repeated line of names": 1}
