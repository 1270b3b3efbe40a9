"""Tables that match the log, and the columns that match best."""

from pathlib import Path

import pandas as pd
import pytest

from leanrec.data.ingest.ingest import ingest
from leanrec.errors import DataError

LOG = pd.DataFrame({"user": [1, 2, 3], "item": ["0663", "0664", "0665"], "time": 1_600_000_000})


def test_matches_are_counted() -> None:
    report = ingest(LOG, items=pd.DataFrame({"item": ["0663", "9"], "color": ["x", "y"]})).report
    assert "The item table matches 1 of 3 items of the log." in report.warnings


def test_a_table_without_an_id_of_the_log_is_refused() -> None:
    with pytest.raises(
        DataError, match="matches 0 of 3 items: the log has ids such as '0663', the column 'item' of .* has 'k'"
    ):
        ingest(LOG, items=pd.DataFrame({"item": ["k"]}))
    with pytest.raises(DataError, match="differ only in zeros at the beginning"):
        ingest(LOG, items=pd.DataFrame({"item": [663, 664]}))


def test_the_table_decides_which_column_of_the_log_is_the_item(tmp_path: Path) -> None:
    log = pd.DataFrame({"asin": ["V1", "V2", "V3"], "parent_asin": ["P1", "P2", "P1"], "user": [1, 2, 3]})
    meta = pd.DataFrame({"parent_asin": ["P1", "P2", "P3"], "title": ["One", "Two", "Three"]})
    data, report = ingest(log, items=meta)
    assert data.items.ids.tolist() == ["P1", "P2", "P3"]
    assert data.item_table.columns["title"].tolist() == ["One", "Two", "Three"]
    assert report.columns["item table"] == {"id": "parent_asin"}
    assert not any(each.startswith("Not used: parent_asin") for each in report.warnings)
    # A column that is given stays.
    with pytest.raises(DataError, match="matches 0 of 3 items"):
        ingest(log, items=meta, columns={"item": "asin"})


@pytest.mark.parametrize(
    ("log", "table", "why"),
    [
        (["Sku-1", "Sku-2"], ["SKU-1", "SKU-2"], "differ only in upper and lower case"),
        (["#17", "{18}"], ["17", "18"], "differ only in marks, blanks or case"),
        (["\u200b17", "1 8"], ["17", "18"], "differ only in marks, blanks or case"),
        (["item:17", "item:18"], ["17", "18"], "differ only in what is before the last mark"),
        (
            ["https://x.org/film/17/", "https://x.org/film/18/"],
            ["17", "18"],
            "differ only in what is before the last mark",
        ),
        (["a1", "a2", "a3"], ["A1", "b2", "b3"], "Name the column with the ids of the log"),
    ],
)
def test_a_refusal_says_how_the_ids_differ(log: list[str], table: list[str], why: str) -> None:
    frame = pd.DataFrame({"user": range(len(log)), "item": log})
    with pytest.raises(DataError, match=why):
        ingest(frame, items=pd.DataFrame({"item": table, "title": "t"}))
