"""Columns are found by common names, in any case and punctuation."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from leanrec.data.event_types import resolve_event_weights
from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.schema import ROLES, ColumnRoles, find_columns, find_key
from leanrec.errors import ColumnError


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (
            ["userId", "movieId", "rating", "timestamp"],
            {"user": "userId", "item": "movieId", "rating": "rating", "time": "timestamp"},
        ),
        (["User_ID", "Game_ID", "Hours"], {"user": "User_ID", "item": "Game_ID", "weight": "Hours"}),
        (["visitorid", "itemid", "event"], {"user": "visitorid", "item": "itemid", "event_type": "event"}),
        (["SessionId", "ItemId", "Time"], {"user": "SessionId", "item": "ItemId", "time": "Time"}),
        (["userID", "artistID", "weight"], {"user": "userID", "item": "artistID", "weight": "weight"}),
        (["u", "i", "r", "ts"], {"user": "u", "item": "i", "rating": "r", "time": "ts"}),
        (
            ["user_id", "behavior", "content_id", "content"],
            {"user": "user_id", "item": "content_id", "event_type": "behavior"},
        ),
        (
            ["USER ID", "Product.Id", "score", "Event-Time"],
            {"user": "USER ID", "item": "Product.Id", "rating": "score", "time": "Event-Time"},
        ),
        (["session_id", "user_id", "item_id"], {"user": "user_id", "item": "item_id"}),
    ],
)
def test_common_names_are_found(names: list[str], found: dict[str, str]) -> None:
    assert find_columns(names, {}, "x").to_dict() == found


def test_given_columns_win_and_free_the_others() -> None:
    cols = find_columns(["user", "author", "item", "title"], {"user": "author", "item": "Title"}, "x")
    assert cols == ColumnRoles("author", "title", content=("title",))


def test_content_may_be_given() -> None:
    assert find_columns(["user", "item", "blurb", "x"], {"content": "blurb, X"}, "t").content == ("blurb", "x")


def test_key_of_a_table_is_the_name_in_the_log_then_a_common_name_then_id() -> None:
    assert find_key(["id", "movieId", "title"], "item", ["movieId"], None, "x") == "movieId"
    assert find_key(["id", "Name"], "item", ["thing"], None, "x") == "id"
    assert find_key(["id", "asin"], "item", ["thing"], "ASIN", "x") == "asin"
    with pytest.raises(ColumnError, match=re.escape("x has no item column. Its columns are: 'name'.")):
        find_key(["name"], "item", ["thing"], None, "x")


def test_every_role_can_be_found() -> None:
    assert set(ROLES) == {"user", "item", "time", "rating", "weight", "event_type", "label"}


def test_event_types_have_default_weights() -> None:
    weights, unknown = resolve_event_weights(["Add_To_Cart", "view", "impression", "odd", "purchase"], {"view": 0.5})
    assert weights == {"Add_To_Cart": 2.0, "view": 0.5, "impression": 0.0, "odd": 1.0, "purchase": 3.0}
    assert unknown == ["odd"]


def test_a_role_can_be_unset() -> None:
    names = ["user", "item", "time", "rating"]
    assert find_columns(names, {"time": None, "rating": ""}, "x").to_dict() == {"user": "user", "item": "item"}


def test_a_column_that_cannot_be_the_time_is_passed_over() -> None:
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 2], "order": ["SO-000-0", "SO-000-1"]})
    report = ingest(frame).report
    assert (report.events, "time" in report.columns["a pandas DataFrame"]) == (2, False)
    assert any(each.startswith("Not used: 'order'") for each in report.warnings)
    dated = ingest(frame.assign(purchase_date="2024-03-01")).report
    assert dated.columns["a pandas DataFrame"]["time"] == "purchase_date"


def test_a_table_among_the_named_files_of_a_log_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user,item\n1,10\n2,20\n")
    (tmp_path / "customers.csv").write_text("Customer ID,Country\n1,NL\n2,CL\n")
    with pytest.raises(ColumnError, match=r"events\.csv has both, .*customers\.csv has not") as raised:
        ingest([tmp_path / "events.csv", tmp_path / "customers.csv"])
    assert "Name it" not in str(raised.value)
    # A folder is not a promise that all of its files are the log.
    assert ingest(tmp_path).report.events == 2
    data = ingest(tmp_path / "events.csv", users=tmp_path / "customers.csv").data  # as the error advises
    assert data.user_table is not None
    assert data.user_table.columns["Country"].tolist() == ["NL", "CL"]


def test_items_that_have_titles_only_are_known_by_them() -> None:
    frame = pd.DataFrame({"user": ["a", "b", "a"], "title": ["Red Pot", "Red Pot", "Blue Mug"], "rating": [1, 2, 3]})
    data, report = ingest(frame)
    assert data.items.ids.tolist() == ["Blue Mug", "Red Pot"]
    assert any("has no ids of items: the titles in the column 'title' are the ids" in each for each in report.warnings)
    named = frame.rename(columns={"user": "Customer Name", "title": "Product Name"})
    assert ingest(named).data.users.ids.tolist() == ["a", "b"]
    plain = ingest(frame.rename(columns={"user": "username"})).report
    assert not any("ids of users" in each for each in plain.warnings)


def test_titles_of_reviews_are_no_items() -> None:
    frame = pd.DataFrame(
        {"user": ["a", "b"] * 15, "title": [f"Fine {n}" for n in range(30)], "corner": ["x", "y", "z"] * 10}
    )
    with pytest.raises(ColumnError, match=r"has no item column.*one of 'title', 'corner'"):
        ingest(frame)


def test_one_item_beside_other_columns_is_refused_and_the_advice_works() -> None:
    frame = pd.DataFrame(
        {"user": [f"u{n % 5}" for n in range(25)], "app_id": "shop", "label_": [f"p{n % 4}" for n in range(25)]}
    )
    with pytest.raises(ColumnError, match=r"have the item 'shop', from the column 'app_id'.*one of 'label_'"):
        ingest(frame)
    assert ingest(frame, columns={"item": "label_"}).data.items.ids.tolist() == ["p0", "p1", "p2", "p3"]
    assert ingest(frame, columns={"item": "app_id"}).data.items.ids.tolist() == ["shop"]
    assert ingest(frame[["user", "app_id"]]).data.items.ids.tolist() == ["shop"]


def test_a_table_without_a_free_column_is_not_told_to_name_one() -> None:
    with pytest.raises(
        ColumnError, match=r"None of them is left for the items\. If the column named as the user holds the items, put"
    ):
        find_columns(["id", "timestamp"], {"user": "id"}, "x")


def test_names_of_event_servers_and_shops_mean_roles() -> None:
    assert find_columns(["entityId", "event", "targetEntityId", "eventTime"], {}, "x").to_dict() == {
        "user": "entityId",
        "item": "targetEntityId",
        "time": "eventTime",
        "event_type": "event",
    }
    assert find_columns(["Buyer Username", "Buyer Name", "Item Number"], {}, "x").user == "Buyer Username"
    assert find_columns(["userToken", "item"], {}, "x").user == "userToken"


@pytest.mark.parametrize(
    "event",
    [
        {"user": 7, "item": 8},
        {"event": {"user": {"id": 7}, "item": {"id": 8}}},
        {"user": {"id": 7}, "item": {"id": 8}},
    ],
)
def test_one_event_is_a_log(tmp_path: Path, event: object) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps(event))
    data, report = ingest(path)
    assert data.items.ids.tolist() == [8]
    assert any(each.startswith("Only one row was read.") for each in report.warnings)


def test_many_parts_of_an_object_are_read_in_time(tmp_path: Path) -> None:
    # Each struct was asked for its fields, and with hundreds of them this took minutes.
    parts = {f"part{i}": {f"field{j}": {"value": j, "more": {"x": i}} for j in range(30)} for i in range(10)}
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"user": i, "item": i + 1, "context": parts}) + "\n" for i in range(3)))
    assert ingest(path).report.events == 3
