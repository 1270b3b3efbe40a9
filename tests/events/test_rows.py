"""Rows of an event store: values come back as they went in, in types that every database has."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanrec.events.records import ServedList
from leanrec.events.rows import (
    build_event_row,
    build_list_row,
    change_reasons,
    index_shown,
    read_list_row,
    select_new,
    to_stored_id,
)
from leanrec.events.user_events import UserEvent

_IDS = st.one_of(st.integers(-(2**53), 2**53), st.text(st.characters(codec="utf-8"), min_size=1))


@given(st.lists(st.tuples(_IDS, st.floats(allow_nan=False), st.floats(1e-9, 1)), max_size=5), st.none() | _IDS)
def test_a_served_list_comes_back(entries: list[tuple[int | str, float, float]], user: int | str | None) -> None:
    items, scores, drawn = zip(*entries, strict=True) if entries else ((), (), ())
    served = ServedList("r", 5.25, user, items, scores, "popularity", "v", "p", "a", "cached", drawn)
    row = build_list_row(served)
    assert read_list_row(row) == served
    assert all(isinstance(each, int | str | None) for each in row)


@pytest.mark.parametrize(("request_id", "user"), [("\ud800", 1), ("r", "\ud800"), ("r", 2**63), ("r", -(2**63) - 1)])
def test_what_no_store_can_keep_is_no_row(request_id: str, user: int | str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        build_list_row(ServedList(request_id, 1, user, (1,), (1.0,)))


def test_a_list_of_an_older_store_has_the_defaults() -> None:
    row = ("r", 1_500, None, None, "[1]", "[2.0]", None, None, None, None, None)
    assert read_list_row(row) == ServedList("r", 1.5, None, (1,), (2.0,))


def test_numbers_and_texts_stay_apart() -> None:
    assert [to_stored_id(each) for each in (12, "12", np.int32(12), np.str_("12"))] == [12, "12", 12, "12"]
    assert type(to_stored_id(np.int32(12))) is int


def test_an_id_is_new_once() -> None:
    batches = [[UserEvent(name, 1, 2, "click", 0, 1.0) for name in names] for names in ("aab", "ca", "")]
    known = {"b"}
    assert [[each.id for each in new] for new in select_new(batches, known)] == [["a"], ["c"], []]
    assert known == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("item", "rank", "expected"), [(10, None, (0, 0.5)), (11, 3, (3, None)), ("10", None, (None, None))]
)
def test_an_event_has_the_place_of_its_item(item: int | str, rank: int | None, expected: tuple[object, object]) -> None:
    shown = index_shown([("r", (10, 11, 10), (0.5, None, 0.25))])  # an item that is shown twice has its first place
    row = build_event_row(UserEvent("e", 1, item, "click", 0.9996, 1, float("nan"), "r", rank), shown)
    assert row == ("e", 1, item, "click", 1000, 1.0, None, "r", *expected)
    assert json.loads(json.dumps(row)) == list(row)


@pytest.mark.parametrize(
    ("items", "scores"),
    [
        ((1, 2, 3), (0.1, 1e16, -1.5e-300)),
        (("null", "ä\u0000 \"'\\", 2**70), (1.0, math.inf)),
        (("\ud800", 5), (math.nan, 0.0)),
        ((), ()),
        ((7,), (np.float64(0.3),)),
    ],
)
def test_items_and_scores_of_a_list_are_read_as_they_were(items: tuple, scores: tuple) -> None:
    drawn = tuple(None if at % 2 else 0.25 for at in range(len(items)))
    read = read_list_row(build_list_row(ServedList("r", 1, "ann", items, scores, propensities=drawn)))
    assert read.items == items
    assert str(read.scores) == str(tuple(map(float, scores)))
    assert read.propensities == drawn


def test_a_reason_changes_alone() -> None:
    assert [change_reasons(old, hidden=True, by_stock=False) for old in range(4)] == [1, 1, 3, 3]
    assert [change_reasons(old, hidden=False, by_stock=False) for old in range(4)] == [0, 0, 2, 2]
    assert [change_reasons(old, hidden=True, by_stock=True) for old in range(4)] == [2, 3, 2, 3]
    assert [change_reasons(old, hidden=False, by_stock=True) for old in range(4)] == [0, 1, 0, 1]
