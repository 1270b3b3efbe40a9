"""A column that is empty or constant gives its role to the next one of its names."""

from pathlib import Path

import pandas as pd
import pytest

from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.meaning.column_values import ColumnValues, find_weak_role
from leanrec.errors import DataError


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


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["", " ", ""], "no values"),
        (["2024-03-01", "2024-03-02", ""], "dates"),
        (["05.08.2025", "6.8.2025 14:05", "3/13/25"], "dates"),
        ([f"a remark of {n}" for n in range(20)], "another text"),
    ],
)
def test_values_that_name_no_event_types_are_passed_over(tmp_path: Path, values: list[str], reason: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,reaction\n" + "".join(f"u{n % 2},i{n},{each}\n" for n, each in enumerate(values)))
    data, report = ingest(path)
    assert len(data.events.user) == len(values)
    assert list(data.events.event_types) == ["interaction"]
    assert any("Not used: 'reaction' of " in each and f"({reason}" in each for each in report.warnings)


def test_a_few_words_name_event_types_although_some_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,type,rating\na,1,view,\nb,2,like,\nb,3,,4\n")
    data, report = ingest(path)
    assert sorted(data.events.event_types) == ["like", "view"]
    assert report.rejected == {"missing event type": 1}


def test_mostly_missing_types_have_advice_that_works(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,type,rating\na,1,view,\nb,2,,3\nb,3,,4\n")
    with pytest.raises(DataError, match='columns={"event_type": None}'):
        ingest(path)
    assert len(ingest(path, columns={"event_type": None}).data.events.user) == 3


@pytest.mark.parametrize(("name", "role"), [("rating", "rating"), ("watch_count", "weight"), ("hours", "weight")])
def test_a_number_of_the_item_is_no_rating_and_no_weight(name: str, role: str) -> None:
    items = [item for item in range(12) for _ in range(3)]
    users = [(7 * n) % 11 for n in range(36)]
    frame = pd.DataFrame({"user": users, "item": items, name: [1 + 0.3 * item for item in items]})
    report = ingest(frame).report
    assert all(role not in columns for columns in report.columns.values())
    assert any(
        each.startswith(f"Not used: '{name}'") and "one number for each item" in each for each in report.warnings
    )
    # One user who differs from the others says that each has a number of their own.
    frame.loc[0, name] = 4
    assert [columns[role] for columns in ingest(frame).report.columns.values()] == [name]


def test_numbers_of_few_items_or_of_one_value_say_nothing_about_the_items() -> None:
    few = pd.DataFrame(
        {"user": [0, 1] * 9, "item": [n // 2 for n in range(18)], "rating": [1 + 0.3 * (n // 2) for n in range(18)]}
    )
    same = pd.DataFrame({"user": [0, 1] * 20, "item": [n // 2 for n in range(40)], "rating": 5})
    assert all(ingest(frame).data.events.rating is not None for frame in (few, same))


@pytest.mark.parametrize("name", ["rating", "hours"])
def test_people_who_agree_on_whole_numbers_are_made_up_and_no_totals(name: str) -> None:
    frame = pd.DataFrame(
        {"user": [0, 1] * 20, "item": [n // 2 for n in range(40)], name: [1 + n // 2 % 5 for n in range(40)]}
    )
    assert [name in columns.values() for columns in ingest(frame).report.columns.values()] == [True]


WORDS = ["view", "cart", "view", "purchase"] * 3


@pytest.mark.parametrize("name", ["op", "tipo", "触发", "what"])
def test_words_for_event_types_are_event_types_in_a_column_of_any_name(name: str) -> None:
    frame = pd.DataFrame(
        {"user": list("abcdef") * 2, "item": list("xyz") * 4, "device": ["web", "app"] * 6, name: WORDS}
    )
    report = ingest(frame).report
    assert {each: found["events"] for each, found in report.event_types.items()} == {
        "cart": 3,
        "purchase": 3,
        "view": 6,
    }
    assert any(repr(name) in each and "'cart' and 'purchase'" in each for each in report.warnings)
    assert list(ingest(frame, columns={"event_type": None}).report.event_types) == ["interaction"]


def test_other_texts_and_other_types_stay_what_they_are() -> None:
    frame = pd.DataFrame({"user": list("abcdef") * 2, "item": list("xyz") * 4})
    for words in (["view", "email"] * 6, ["complete", "cancelled"] * 6, ["view"] * 12):
        assert list(ingest(frame.assign(op=words)).report.event_types) == ["interaction"]
    assert set(ingest(frame.assign(event=["a", "b"] * 6, op=WORDS)).report.event_types) == {"a", "b"}


def test_numbers_of_times_are_no_times() -> None:
    frame = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], "watching_times": [0, 3, 1]})
    report = ingest(frame).report
    assert "time" not in next(iter(report.columns.values()))
    assert any('columns={"weight": "watching_times"}' in each for each in report.warnings)
    assert ingest(frame, columns={"weight": "watching_times"}).data.events.weight.tolist() == [0, 3, 1]
    seconds = frame.assign(watching_times=[1_600_000_000, 1_600_000_100, 1_600_000_050])
    assert next(iter(ingest(seconds).report.columns.values()))["time"] == "watching_times"


def test_another_column_with_the_times_is_told() -> None:
    days = [f"2024-01-{day:02}" for day in range(1, 21)]
    frame = pd.DataFrame(
        {"user": list("abcde") * 4, "item": list("pqrst") * 4, "completed_at": days, "started_at": days}
    )
    frame.loc[::3, "completed_at"] = None
    report = ingest(frame).report
    assert report.rejected == {"missing time": 7}
    assert any('columns={"time": "started_at"}' in each for each in report.warnings)
    assert ingest(frame, columns={"time": "started_at"}).report.rejected == {}


def test_another_column_with_the_users_is_told() -> None:
    frame = pd.DataFrame({"user_id": ["a", None] * 10, "anonymous_id": list("wxyz") * 5, "item": list("pqrst") * 4})
    report = ingest(frame).report
    assert report.rejected == {"missing user": 10}
    assert any('columns={"user": "anonymous_id"}' in each for each in report.warnings)
    assert ingest(frame, columns={"user": "anonymous_id"}).report.events == 20
    assert not any(
        'anonymous_id"}' in each and "no value" in each for each in ingest(frame.assign(user_id="a")).report.warnings
    )
