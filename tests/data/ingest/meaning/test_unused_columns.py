"""Columns without a role are told with their contents."""

from pathlib import Path

import pandas as pd
import pytest

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


@pytest.mark.parametrize("unit", [1, 1000, 10**6, 10**9])
def test_numbers_of_the_clock_are_offered_as_the_time_and_the_advice_works(tmp_path: Path, unit: int) -> None:
    file = tmp_path / "plays.txt"
    times = [1_260_759_144, 1_260_759_179, 1_260_759_182]
    file.write_text(
        "".join(f"{user}|{item}|{time * unit}\n" for user, item, time in zip("718", "113", times, strict=True))
    )
    roles = {"user": "1", "item": "2"}
    assert any('as the time: columns={"time": "3"}' in each for each in ingest(file, columns=roles).report.warnings)
    assert sorted(ingest(file, columns=roles | {"time": "3"}).data.events.time.tolist()) == times


def test_the_advice_works() -> None:
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 2], "shop": [3, 4], "day": ["mon", "tue"]})
    data, report = ingest(frame, columns={"weight": "shop", "content": "day"})
    assert data.events.weight.tolist() == [3, 4]
    assert data.item_table.columns["day"].tolist() == ["mon", "tue"]
    assert not [each for each in report.warnings if each.startswith("Not used")]


@pytest.mark.parametrize("word", ["Cancelled", "annulé", "devuelto", "storniert", "已取消", "refunded", "отменён"])
def test_purchases_that_were_taken_back_are_told_and_the_advice_works(word: str) -> None:
    frame = pd.DataFrame(
        {"user": [1, 1, 2], "item": [1, 2, 1], "order_id": [7, 8, 9], "status": ["sent", word, "sent"]}
    )
    told = [each for each in ingest(frame).report.warnings if each.startswith("Not used: status")]
    assert len(told) == 1
    assert repr(word) in told[0]
    assert 'columns={"event_type": "status"}' in told[0]
    data, _ = ingest(frame, columns={"event_type": "status"})
    assert data.events.weight.tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", ["tagID", "review_id", "品牌ID"])
def test_ids_are_never_advised_as_weights(name: str) -> None:
    frame = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], name: [70, 80, 90]})
    told = [each for each in ingest(frame).report.warnings if each.startswith(f"Not used: {name}")]
    assert told == [f'Not used: {name} (numbers from 70 to 90; about the item: columns={{"content": "{name}"}}).']


@pytest.mark.parametrize(
    ("name", "values", "role"),
    [
        ("delivery_day", [20240101, 20240131, 20241231], "time"),
        ("zone_code_sum", [20249901, 20249902, 20249903], "weight"),
        ("chance", [float("nan")] * 3, "content"),
        ("Date Shipped", ["13/02/2024", "14/03/2024", "15/04/2024"], "time"),
        ("long_view", [0, 1, 0], "label"),
        ("finished", ["yes", "no", "no"], "label"),
        ("anonymous_code", ["a", "b", "b"], "content"),
        ("shelf", ["top", "low", "low"], "event_type"),
    ],
)
def test_the_advice_fits_the_values(name: str, values: list[object], role: str) -> None:
    frame = pd.DataFrame({"user": [1, 1, 2] * 2, "item": [1, 2, 1] * 2, name: values * 2})
    told = [each for each in ingest(frame).report.warnings if each.startswith(f"Not used: {name}")]
    assert len(told) == 1
    if name != "chance":
        assert f'columns={{"{role}": "{name}"}}' in told[0]


def test_the_advice_about_dates_works() -> None:
    frame = pd.DataFrame(
        {"user": [1, 1, 2], "item": [1, 2, 1], "Date Shipped": ["13/02/2024", "14/03/2024", "15/04/2024"]}
    )
    assert any('columns={"time": "Date Shipped"}' in each for each in ingest(frame).report.warnings)
    times = ingest(frame, columns={"time": "Date Shipped"}).data.events.time
    assert pd.to_datetime(sorted(times.tolist()), unit="s").month.tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("name", "values"),
    [("is_dislike", [0, 1, 0]), ("skipped", ["true", "false", "false"]), ("returned", ["no", "yes", "no"])],
)
def test_marks_of_the_opposite_of_a_preference_are_no_role(name: str, values: list[object]) -> None:
    frame = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], name: values})
    told = [each for each in ingest(frame).report.warnings if each.startswith(f"Not used: {name}")]
    assert len(told) == 1
    assert "the opposite of a preference" in told[0]
    assert "columns=" not in told[0]
    typed = frame.assign(event=["dislike" if value in {1, "true", "yes"} else "view" for value in values])
    assert sorted(ingest(typed).data.events.weight.tolist()) == [0, 1, 1]


def test_a_label_is_not_advised_beside_event_types() -> None:
    frame = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], "event": ["a", "b", "b"], "long_view": [0, 1, 0]})
    told = next(each for each in ingest(frame).report.warnings if each.startswith("Not used: long_view"))
    assert '"label"' not in told
    plain = ingest(frame.drop(columns="event"), columns={"label": "long_view"}).data
    assert sorted(plain.events.weight.tolist()) == [0, 0, 1]


def test_labels_that_are_ratings_are_told_with_advice_that_works() -> None:
    frame = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], "label": [1, 4, 5]})
    assert any('columns={"rating": "label"}' in each for each in ingest(frame).report.warnings)
    rating = ingest(frame, columns={"rating": "label"}).data.events.rating
    assert rating is not None
    assert sorted(rating.tolist()) == [1, 4, 5]
