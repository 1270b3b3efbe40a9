"""Histories: what the fit saw, and what was recorded since."""

import dataclasses
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_dataset
from leanrec.events.user_history import UserHistory
from leanrec.pipeline.user_histories import UserHistories

DATA = make_dataset(n_users=6, n_items=10, per_user=4)
NOTHING = np.zeros(0, np.int32)


def history(*rows: tuple[int, int, float], event_type: int = 0) -> UserHistory:
    """Rows are (item, time, weight)."""
    item, time, weight = zip(*rows, strict=True) if rows else ((), (), ())
    return UserHistory(
        np.array(item, np.int32),
        np.full(len(rows), event_type, np.int8),
        np.array(time, np.int64),
        np.array(weight, np.float32),
        np.full(len(rows), np.nan, np.float32),
    )


def test_queries_of_a_fitted_user_equal_those_of_the_data() -> None:
    histories = UserHistories(DATA, NOTHING)
    for row in range(6):
        mine, theirs = histories.get(row).to_queries(row, 10), DATA.queries(np.array([row], np.int32))
        np.testing.assert_array_equal(mine.history.toarray(), theirs.history.toarray())
        np.testing.assert_array_equal(mine.seen.toarray(), theirs.seen.toarray())  # type: ignore[union-attr]
        np.testing.assert_array_equal(mine.ratings.toarray(), theirs.ratings.toarray())  # type: ignore[union-attr]
        np.testing.assert_array_equal(mine.sequences[0], theirs.sequences[0])  # type: ignore[index]
        assert mine.users.tolist() == [row]


def test_events_of_one_second_keep_the_order_of_arrival() -> None:
    histories = UserHistories(DATA, NOTHING)
    for value in (1.0, 5.0):
        one = history((9, 2_000_000_000, 1.0))
        assert histories.add("user-2", dataclasses.replace(one, rating=np.array([value], np.float32))) == 1
    assert histories.get(2).rating[-2:].tolist() == [1.0, 5.0]
    ratings = histories.get(2).to_queries(2, 10).ratings
    assert ratings is not None
    assert ratings[0, 9] == 5.0


def test_the_last_rating_of_an_item_counts() -> None:
    past = history((3, 1, 1.0), (3, 2, 1.0))
    rated = UserHistory(past.item, past.event_type, past.time, past.weight, np.array([2.0, 5.0], np.float32))
    assert rated.to_queries(-1, 10).ratings.data.tolist() == [5.0]  # type: ignore[union-attr]


rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.just(1.0)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(first=rows, second=rows)
def test_merging_sorts_by_time_and_a_replay_adds_nothing(first: list, second: list) -> None:
    old, new = history(*first), history(*second)
    merged_history = old.merge(new)
    pairs = list(zip(merged_history.item.tolist(), merged_history.time.tolist(), strict=True))
    assert sorted(pairs) == sorted((item, time) for item, time, _ in [*first, *second])
    assert (np.diff(merged_history.time) >= 0).all()
    assert len(merged_history.find_missing(old)) == len(merged_history.find_missing(new)) == 0
    lacking = old.find_missing(new)
    assert len(old.merge(lacking).find_missing(new)) == 0
    extra = Counter(second) - Counter(first)
    assert len(lacking) == extra.total()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(rows, st.booleans()), max_size=40))
def test_events_that_are_merged_late_are_those_merged_at_once(batches: list) -> None:
    histories, expected = UserHistories(DATA, NOTHING), UserHistories(DATA, NOTHING).get(2)
    seen, unread = histories.find_recorded(2), False
    for batch, is_read in batches:
        new = history(*batch)
        assert histories.add("user-2", new) == len(new)
        expected = expected.merge(new) if len(new) else expected
        if is_read:
            found = histories.find_recorded(2)
            assert (found is seen) == (len(new) == 0 and not unread)
            seen, unread = found, False
        else:
            unread = unread or len(new) > 0
    assert histories.count_events(2) == len(expected)
    for name, column in histories.get(2).columns().items():
        np.testing.assert_array_equal(column, expected.columns()[name])
    n_new = sum(len(batch) for batch, _ in batches)
    assert len(histories.merge_into(DATA)[0].events) == len(DATA.events) + n_new


def stale_rows(histories: UserHistories) -> list[int]:
    return [row for row in range(len(DATA.users)) if histories.is_stale(row, histories.get(row))]


def test_changed_users_keep_their_row_and_new_ones_have_none() -> None:
    histories = UserHistories(DATA, np.array([4], np.int32))
    assert stale_rows(histories) == [4]
    histories.add("user-2", history((9, 2_000_000_000, 1.0)))
    histories.add("new", history((1, 5, 1.0)))
    assert stale_rows(histories) == [2, 4]
    assert histories.find_row("new") == 6
    assert [histories.fitted_row(row) for row in (2, 4, 6)] == [2, 4, -1]
    assert histories.external_id(6) == "new"
    assert histories.n_users == 7
    assert histories.count_events(6) == 1
    assert histories.count_events(2) == 5


def test_what_changes_no_evidence_leaves_the_history_as_it_was() -> None:
    histories = UserHistories(DATA, NOTHING)
    assert histories.add("user-2", histories.get(2), replayed=True) == 0
    histories.add("user-3", history((9, 2_000_000_000, 0.0)))
    assert stale_rows(histories) == []
    backwards = UserHistory(**{name: column[::-1] for name, column in histories.get(2).columns().items()})
    assert not histories.is_stale(2, backwards)
    assert not histories.is_stale(2, None)
    assert histories.is_stale(2, history((9, 2_000_000_000, 1.0)))
    assert histories.merge_into(DATA)[1].tolist() == []


def test_users_are_found_by_prefix() -> None:
    histories = UserHistories(DATA, NOTHING)
    histories.add("user-new", history((1, 5, 1.0)))
    assert [histories.external_id(row) for row in histories.find_by_prefix("user-", 3)] == [
        "user-new",
        "user-0",
        "user-1",
    ]
    assert histories.find_by_prefix("zz", 3) == []


def test_recorded_events_are_merged_into_the_data() -> None:
    histories = UserHistories(DATA, np.array([5], np.int32))
    code = histories.encode_event_type("click")
    assert code == 1
    histories.add("user-2", history((9, 2_000_000_000, 1.0), event_type=code))
    histories.add("new", history((1, 5, 1.0), (2, 6, 0.0), event_type=code))
    merged, stale = histories.merge_into(DATA)
    assert merged.shape.users == 7
    assert merged.shape.events == DATA.shape.events + 3
    assert merged.events.event_types == ("rating", "click")
    assert stale.tolist() == [2, 5, 6]
    again = UserHistories(merged, stale)
    for row in range(7):
        for name, column in again.get(row).columns().items():
            np.testing.assert_array_equal(column, histories.get(row).columns()[name])


def test_without_recorded_events_the_data_stay_the_same() -> None:
    merged, stale = UserHistories(DATA, NOTHING).merge_into(DATA)
    assert merged is DATA  # a log may be large
    assert stale.tolist() == []


def test_event_type_codes_are_limited() -> None:
    histories = UserHistories(DATA, NOTHING)
    codes = [histories.encode_event_type(f"type-{number}") for number in range(200)]
    assert codes[:2] == [1, 2]
    assert codes[-1] is None
    assert histories.encode_event_type("type-0") == 1


def test_a_rating_that_was_replaced_is_no_evidence() -> None:
    history = UserHistory(
        item=np.array([0, 1, 0, 2, 2], np.int32),
        event_type=np.zeros(5, np.int8),
        time=np.arange(5),
        weight=np.array([1, 1, 0, 1, 1], np.float32),
        rating=np.array([5, 5, 1, np.nan, np.nan], np.float32),
    )
    queries = history.to_queries(-1, 3)
    assert queries.history.toarray().tolist() == [[0, 1, 2]]
    assert queries.sequences is not None
    assert queries.sequences[0].tolist() == [1, 2, 2]


def test_a_forgotten_user_is_unknown_and_may_come_again_as_a_new_one() -> None:
    histories = UserHistories(DATA, np.array([4], np.int32))
    for user in ("user-2", "new", "other"):
        histories.add(user, history((9, 2_000_000_000, 1.0)))
    assert [histories.forget(user) for user in ("user-2", "new", "user-4", "nobody")] == [2, 6, 4, None]
    assert [histories.find_row(user) for user in ("user-2", "new", "user-4")] == [None] * 3
    assert histories.n_users == 5
    assert [len(histories.get(row)) for row in (2, 4, 6)] == [0, 0, 0]
    assert [histories.fitted_row(row) for row in (2, 3)] == [-1, 3]
    assert [histories.external_id(row) for row in histories.find_by_prefix("", 9)] == [
        "other",
        "user-0",
        "user-1",
        "user-3",
        "user-5",
    ]
    assert histories.add("user-2", history((1, 5, 1.0))) == 1
    row = histories.find_row("user-2")
    assert row == 8
    assert (histories.fitted_row(row), len(histories.get(row)), histories.external_id(row)) == (-1, 1, "user-2")
    merged, stale = histories.merge_into(DATA)
    merged.check_state()
    ids = merged.users.ids.tolist()
    assert ids[:2] + ids[6:] == ["user-0", "user-1", "other", "user-2"]
    assert len(ids) == 8
    assert "user-4" not in ids
    assert np.bincount(merged.events.user, minlength=8).tolist() == [4, 4, 0, 4, 0, 4, 1, 1]
    assert stale.tolist() == [4, 6, 7]


def test_an_event_on_its_way_to_a_forgotten_user_is_that_of_a_new_one() -> None:
    histories = UserHistories(DATA, NOTHING)
    histories.add("new", history((1, 5, 1.0)))
    histories.forget("new")
    histories.add("new", history((2, 5, 1.0)))
    histories.forget("new")
    assert histories.merge_into(DATA)[0].users.ids.tolist() == DATA.users.ids.tolist()
