"""Histories: what the fit saw, and what was recorded since."""

import dataclasses
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_dataset
from leanrec.pipeline.user_histories import Histories, History

DATA = make_dataset(n_users=6, n_items=10, per_user=4)
NOTHING = np.zeros(0, np.int32)


def history(*rows: tuple[int, int, float], kind: int = 0) -> History:
    """Rows are (item, time, weight)."""
    item, time, weight = zip(*rows, strict=True) if rows else ((), (), ())
    return History(
        np.array(item, np.int32),
        np.full(len(rows), kind, np.int8),
        np.array(time, np.int64),
        np.array(weight, np.float32),
        np.full(len(rows), np.nan, np.float32),
    )


def test_a_user_of_the_fit_asks_as_the_data_set_asks() -> None:
    histories = Histories(DATA, NOTHING)
    for row in range(6):
        mine, theirs = histories.of(row).queries(row, 10), DATA.queries(np.array([row], np.int32))
        np.testing.assert_array_equal(mine.history.toarray(), theirs.history.toarray())
        np.testing.assert_array_equal(mine.seen.toarray(), theirs.seen.toarray())  # type: ignore[union-attr]
        np.testing.assert_array_equal(mine.ratings.toarray(), theirs.ratings.toarray())  # type: ignore[union-attr]
        np.testing.assert_array_equal(mine.last[0], theirs.last[0])  # type: ignore[index]
        assert mine.users.tolist() == [row]


def test_events_without_evidence_are_seen_and_no_more() -> None:
    queries = history((3, 1, 0.0), (4, 2, 2.0), (4, 3, 1.0)).queries(-1, 10)
    assert queries.history.indices.tolist() == [4]
    assert queries.history.data.tolist() == [3.0]
    assert queries.seen.indices.tolist() == [3, 4]  # type: ignore[union-attr]
    assert queries.ratings is None


def test_events_of_one_second_are_all_kept_in_order_of_arrival() -> None:
    histories = Histories(DATA, NOTHING)
    for value in (1.0, 5.0):
        one = history((9, 2_000_000_000, 1.0))
        assert histories.add("user-2", dataclasses.replace(one, value=np.array([value], np.float32))) == 1
    assert histories.of(2).value[-2:].tolist() == [1.0, 5.0]
    ratings = histories.of(2).queries(2, 10).ratings
    assert ratings is not None
    assert ratings[0, 9] == 5.0


def test_the_last_rating_of_an_item_counts() -> None:
    past = history((3, 1, 1.0), (3, 2, 1.0))
    rated = History(past.item, past.kind, past.time, past.weight, np.array([2.0, 5.0], np.float32))
    assert rated.queries(-1, 10).ratings.data.tolist() == [5.0]  # type: ignore[union-attr]


rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.just(1.0)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(first=rows, second=rows)
def test_joining_keeps_all_in_time_order_and_a_replay_adds_nothing(first: list, second: list) -> None:
    old, new = history(*first), history(*second)
    joined = old.joined(new)
    pairs = list(zip(joined.item.tolist(), joined.time.tolist(), strict=True))
    assert sorted(pairs) == sorted((item, time) for item, time, _ in [*first, *second])
    assert (np.diff(joined.time) >= 0).all()
    assert len(joined.lacks(old)) == len(joined.lacks(new)) == 0
    lacking = old.lacks(new)
    assert len(old.joined(lacking).lacks(new)) == 0
    extra = Counter(second) - Counter(first)
    assert len(lacking) == extra.total()


def test_a_changed_user_and_a_new_one_are_no_longer_rows_of_the_model() -> None:
    histories = Histories(DATA, np.array([4], np.int32))
    assert [histories.row_for_model(row) for row in range(6)] == [0, 1, 2, 3, -1, 5]
    histories.add("user-2", history((9, 2_000_000_000, 1.0)))
    histories.add("new", history((1, 5, 1.0)))
    assert histories.row_for_model(2) == -1
    assert histories.find("new") == 6
    assert histories.row_for_model(6) == -1
    assert histories.own_id(6) == "new"
    assert histories.n_users == 7
    assert histories.count(6) == 1
    assert histories.count(2) == 5


def test_a_replayed_event_leaves_the_user_as_the_model_knows_them() -> None:
    histories = Histories(DATA, NOTHING)
    assert histories.add("user-2", histories.of(2), replayed=True) == 0
    assert histories.row_for_model(2) == 2


def test_users_are_found_by_the_beginning_of_their_id() -> None:
    histories = Histories(DATA, NOTHING)
    histories.add("user-new", history((1, 5, 1.0)))
    assert [histories.own_id(row) for row in histories.beginning_with("user-", 3)] == [
        "user-new",
        "user-0",
        "user-1",
    ]
    assert histories.beginning_with("zz", 3) == []


def test_merged_is_the_data_with_what_was_recorded() -> None:
    histories = Histories(DATA, np.array([5], np.int32))
    code = histories.code("click")
    assert code == 1
    histories.add("user-2", history((9, 2_000_000_000, 1.0), kind=code))
    histories.add("new", history((1, 5, 1.0), (2, 6, 0.0), kind=code))
    merged, stale = histories.merged(DATA)
    assert merged.shape.users == 7
    assert merged.shape.events == DATA.shape.events + 3
    assert merged.events.kinds == ("rating", "click")
    assert stale.tolist() == [2, 5, 6]
    again = Histories(merged, stale)
    for row in range(7):
        for name, column in again.of(row).columns().items():
            np.testing.assert_array_equal(column, histories.of(row).columns()[name])


def test_nothing_recorded_merges_to_the_same_data() -> None:
    merged, stale = Histories(DATA, NOTHING).merged(DATA)
    assert merged.fingerprint == DATA.fingerprint
    assert stale.tolist() == []


def test_codes_run_out() -> None:
    histories = Histories(DATA, NOTHING)
    codes = [histories.code(f"kind-{number}") for number in range(200)]
    assert codes[:2] == [1, 2]
    assert codes[-1] is None
    assert histories.code("kind-0") == 1
