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


def test_a_table_must_be_one_file_or_frame() -> None:
    with pytest.raises(SourceError, match=r"The user table must be one file or frame\. Got 2"):
        ingest(LOG, users=[LOG, LOG])
