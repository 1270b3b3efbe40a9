"""Columns without a role are told with their contents."""

import pandas as pd

from leanrec.data.ingest.ingest import ingest


def test_every_column_that_is_not_used_is_told() -> None:
    frame = pd.DataFrame(
        {
            "user": ["a", "b", "c"],
            "item": ["x", "y", "z"],
            "shop": [1, 2, 9],
            "note": ["call", "pay", "wait"],
            "empty": [None, None, None],
            "device": ["web", "web", "web"],
        }
    )
    warnings = ingest(frame).report.warnings
    assert [each for each in warnings if each.startswith("Not used")] == [
        'Not used: shop (numbers from 1 to 9; as the weight: columns={"weight": "shop"}, about the item columns={"content": "shop"}).',
        'Not used: note (texts such as \'call\'; about the item: columns={"content": "note"}).',
        "Not used: empty (no values in the first rows).",
        'Not used: device (only \'web\'; about the item: columns={"content": "device"}).',
    ]


def test_the_advice_works() -> None:
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 2], "shop": [3, 4], "day": ["mon", "tue"]})
    data, report = ingest(frame, columns={"weight": "shop", "content": "day"})
    assert data.events.weight.tolist() == [3, 4]
    assert data.item_table.columns["day"].tolist() == ["mon", "tue"]
    assert not [each for each in report.warnings if each.startswith("Not used")]
