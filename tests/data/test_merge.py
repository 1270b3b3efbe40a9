"""Merging of logs: new events, users and items."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import STRINGS, make_dataset
from leanrec.data.dataset import Dataset
from leanrec.data.merge import MAX_EVENT_TYPES, find_new_events, find_new_ids, merge_events
from leanrec.data.splits.split import split
from leanrec.data.table import Table
from leanrec.data.time_kind import TimeKind
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.errors import DataError
from leanrec.events.user_events import UserEvent, to_events

DATA = make_dataset(n_users=8, n_items=12, per_user=4)


def reactions(*rows: tuple[object, object, int]) -> list[UserEvent]:
    return [UserEvent(str(at), user, item, "click", time, 1.0) for at, (user, item, time) in enumerate(rows)]  # type: ignore[arg-type]


def triples(data: Dataset) -> list[tuple[object, object, int]]:
    events = data.events
    users, items = data.users.ids.tolist(), data.items.ids.tolist()
    rows = zip(events.user.tolist(), events.item.tolist(), events.time.tolist(), strict=True)
    return [(users[user], items[item], time) for user, item, time in rows]


def test_rows_stay_and_new_ids_are_appended() -> None:
    merged = merge_events(DATA, to_events(reactions(("user-1", 100, 2_000_000_000), ("new", 999, 2_000_000_001))))
    assert merged.users.ids.tolist() == [*DATA.users.ids.tolist(), "new"]
    assert merged.items.ids.tolist() == [*DATA.items.ids.tolist(), 999]
    assert sorted(triples(merged)) == sorted(
        [*triples(DATA), ("user-1", 100, 2_000_000_000), ("new", 999, 2_000_000_001)]
    )
    assert merged.events.event_types == ("rating", "click")
    assert merged.item_table is not None
    assert merged.item_table.columns["title"][-1] == ""
    assert np.isnan(merged.item_table.columns["year"][-1])


def test_events_stay_in_time_order_within_a_user() -> None:
    merged = merge_events(DATA, to_events(reactions(("user-0", 105, 1), ("user-0", 106, 2_000_000_000))))
    times = merged.events.time[merged.indptr[0] : merged.indptr[1]]
    assert (np.diff(times) >= 0).all()
    assert times[0] == 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["user-1", "x", "y"]), st.integers(100, 115), st.integers(0, 50))))
def test_merging_twice_changes_nothing(rows: list[tuple[str, int, int]]) -> None:
    events = to_events(reactions(*rows))
    once = merge_events(DATA, events)
    assert len(once.events) == len(DATA.events) + len(rows)
    assert merge_events(once, events).fingerprint == once.fingerprint


def test_two_events_of_one_second_are_two_events() -> None:
    first = UserEvent("a", "user-0", 100, "rating", 2_000_000_000, 0.0, 1.0)
    second = dataclasses.replace(first, id="b", weight=1.0, rating=5.0)
    merged = merge_events(DATA, to_events([first, second]))
    assert len(merged.events) == len(DATA.events) + 2
    assert merged.ratings is not None
    assert merged.ratings[0, merged.items.row(100)] == 5.0
    half = merge_events(DATA, to_events([first]))
    assert merge_events(half, to_events([first, second])).fingerprint == merged.fingerprint


def test_repeated_events_of_the_data_stay() -> None:
    twice = DATA.with_events(DATA.events.take(np.repeat(np.arange(len(DATA.events)), 2)))
    merged = merge_events(twice, to_events([]))
    assert triples(merged) == triples(twice)
    assert merged.events.event_types == ("rating",)


@pytest.mark.parametrize("kind", [TimeKind.ORDER, TimeKind.NONE, TimeKind.COMPARABLE])
def test_new_events_follow_a_log_without_timestamps_and_leave_its_kind(kind: TimeKind) -> None:
    place = np.arange(len(DATA.events)) - DATA.indptr[DATA.events.user]
    time = {
        TimeKind.ORDER: place,
        TimeKind.NONE: np.zeros_like(place),
        TimeKind.COMPARABLE: np.random.default_rng(0).integers(0, 90, len(place)),
    }[kind]
    data = DATA.with_events(dataclasses.replace(DATA.events, time=time), TimeKind.UNKNOWN)
    assert data.time_kind is kind
    new = to_events(
        reactions(("user-1", 100, 1_900_000_005), ("user-1", 104, 1_900_000_000), ("x", 101, 1_900_000_000))
    )
    merged = merge_events(data, new)
    assert merged.time_kind is kind
    row = merged.users.row("user-1")
    own = merged.items.ids[merged.events.item[merged.indptr[row] : merged.indptr[row + 1]]].tolist()
    before = data.items.ids[data.events.item[data.indptr[row] : data.indptr[row + 1]]].tolist()
    assert own == [*before, 104, 100]
    assert merge_events(merged, new).fingerprint == merged.fingerprint
    assert split(merged).how == split(data).how


small = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=8)


@settings(max_examples=100, deadline=None)
@given(old=small, new=small)
def test_new_events_agree_with_counting(old: list[tuple[int, int]], new: list[tuple[int, int]]) -> None:
    left, expected = Counter(old), []
    for row, pair in enumerate(new, len(old)):
        if left[pair] > 0:
            left[pair] -= 1
        else:
            expected.append(row)
    columns = np.array([*old, *new], np.int64).reshape(-1, 2).T
    assert find_new_events(len(old), *columns).tolist() == expected


def test_a_text_id_among_numbers_turns_them_into_text() -> None:
    numbers = dataclasses.replace(DATA, users=Vocabulary(id_array(range(8)), "user"))
    merged = merge_events(numbers, to_events(reactions((3, 100, 7), ("guest", 100, 8))))
    assert merged.users.ids.tolist() == [*map(str, range(8)), "guest"]
    assert merged.users.row(3) == 3


def test_new_items_bring_their_content() -> None:
    table = Table({"title": np.array(["Known", "New"], STRINGS), "year": np.array([1.0, 2024.0])})
    merged = merge_events(DATA, to_events(reactions(("user-0", 777, 5))), (np.array([100, 777]), table))
    assert merged.item_table is not None
    row = merged.items.row(777)
    assert merged.item_table.row(row) == {"title": "New", "year": 2024.0}
    assert merged.item_table.row(0) == DATA.item_table.row(0)  # type: ignore[union-attr]


def test_a_column_that_one_side_lacks_is_unknown_there() -> None:
    merged = merge_events(
        DATA, to_events([UserEvent("a", "user-0", 100, "click", 2_000_000_000, 1.0, request="r", rank=3)])
    )
    last = merged.indptr[1] - 1
    assert merged.events.request is not None
    assert merged.events.rank is not None
    assert merged.events.request[last] == "r"
    assert merged.events.rank[last] == 3
    assert merged.events.rank[0] == -1
    assert merged.events.rating is not None
    assert np.isnan(merged.events.rating[last])


def test_too_many_event_types_are_refused() -> None:
    many = [UserEvent(str(k), "u", 100, f"type-{k}", k, 1.0) for k in range(MAX_EVENT_TYPES)]
    with pytest.raises(DataError, match="at most 120 event types"):
        merge_events(DATA, to_events(many))


def test_new_items_make_a_table_where_there_was_none() -> None:
    bare = dataclasses.replace(DATA, item_table=None)
    table = Table({"title": np.array(["New"], STRINGS)})
    merged = merge_events(bare, to_events(reactions(("user-0", 778, 5))), (np.array([777]), table))
    assert merged.item_table is not None
    assert merged.item_table.columns["title"][merged.items.row(777)] == "New"
    assert merged.item_table.columns["title"][0] == ""
    assert merge_events(bare, to_events([]), (np.array([100]), table)).item_table is None


def test_the_last_content_of_a_new_item_counts() -> None:
    ids = Vocabulary(id_array([1, 2]))
    assert find_new_ids(ids, [3, 2, "3", 4]).tolist() == [2, 3]
