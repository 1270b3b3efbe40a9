"""Tables with one row for each property of an item."""

import pandas as pd

from leanrec.data.ingest.ingest import ingest

LOG = pd.DataFrame({"user": [1, 2], "item": [10, 20], "time": 1_600_000_000})


def test_the_latest_value_of_each_property_counts() -> None:
    table = pd.DataFrame(
        {
            "timestamp": [9_000, 1_000, 1_000, 2_000],
            "itemid": [10, 10, 20, 10],
            "property": ["color", "color", "color", "size"],
            "value": ["new", "old", "red", "4"],
        }
    )
    data, report = ingest(LOG, items=table)
    columns = {name: column.tolist() for name, column in data.item_table.columns.items()}
    assert columns["color"] == ["new", "red"]
    assert columns["size"][0] == 4
    assert report.rejected_in_tables == {}
    assert any(
        "has one row for each property of each item: it was read as 2 columns" in each for each in report.warnings
    )


def test_a_table_with_one_row_for_each_item_is_not_long() -> None:
    table = pd.DataFrame({"itemid": [10, 20], "property": ["a", "b"], "value": [1, 2]})
    assert list(ingest(LOG, items=table).data.item_table.columns) == ["property", "value"]
