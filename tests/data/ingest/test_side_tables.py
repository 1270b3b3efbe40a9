"""Item and user tables beside the log, or collected from its content columns."""

import pandas as pd
import pytest

from leanrec.data.ingest.ingest import ingest
from leanrec.errors import SourceError

LOG = pd.DataFrame({"user": [1, 1, 2], "item": [10, 11, 10]})


def test_the_first_row_of_an_id_counts_and_others_are_counted() -> None:
    items = pd.DataFrame({"item": [10, 10, None, 12], "title": ["a", "b", "c", "d"], "year": [1990, 1991, 1992, 1993]})
    data, report = ingest(LOG, items=items)
    assert data.item_table is not None
    assert data.items.ids.tolist() == [10, 11, 12]
    assert data.item_table.columns["title"].tolist() == ["a", "", "d"]
    assert report.rejected_in_tables == {
        "item table: missing id": 1,
        "item table: repeated id (the first row was kept)": 1,
    }


def test_content_columns_of_the_log_become_the_item_table() -> None:
    data, _ = ingest(LOG.assign(title=[None, "b", "a"]))
    assert data.item_table is not None
    assert data.item_table.columns["title"].tolist() == ["a", "b"]


def test_a_text_that_differs_between_events_of_one_item_describes_the_event() -> None:
    pairs = [(user, item) for user in range(4) for item in range(9)]
    log = pd.DataFrame(pairs, columns=["user", "item"])
    log["title"] = [f"{('Lovely', 'Awful', 'Five stars', 'As told')[user]}!" for user, _ in pairs]
    log["brand"] = [f"brand {item % 3}" for _, item in pairs]
    data, report = ingest(log)
    assert data.item_table is not None
    assert list(data.item_table.columns) == ["brand"]
    assert any(each.startswith("Not used: title (a text that differs between events") for each in report.warnings)
    meta = pd.DataFrame({"item": range(9), "title": [f"Balm {item}" for item in range(9)]})
    data = ingest(log, items=meta).data
    assert data.item_table is not None
    assert data.item_table.columns["title"].tolist() == meta["title"].tolist()


def test_a_table_must_be_one_file_or_frame() -> None:
    with pytest.raises(SourceError, match=r"The user table must be one file or frame\. Got 2"):
        ingest(LOG, users=[LOG, LOG])
