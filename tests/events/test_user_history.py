"""Queries of a history, beside a sum event by event."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from leanrec.events.user_history import UserHistory


def test_events_of_weight_zero_are_only_seen() -> None:
    rows = [(3, 0, 1, 0.0, np.nan), (4, 0, 2, 2.0, np.nan), (4, 0, 3, 1.0, np.nan)]
    queries = UserHistory.from_rows(rows).to_queries(-1, 10)
    assert queries.history.indices.tolist() == [4]
    assert queries.history.data.tolist() == [3.0]
    assert queries.seen.indices.tolist() == [3, 4]  # type: ignore[union-attr]
    assert queries.ratings is None


EVENTS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.sampled_from([np.nan, 1.0, 4.5])),
    max_size=12,
)


@given(EVENTS)
def test_queries_equal_a_sum_event_by_event(events: list[tuple[int, float, float]]) -> None:
    past = UserHistory(
        np.array([item for item, _, _ in events], np.int32),
        np.zeros(len(events), np.int8),
        np.arange(len(events)),
        np.array([weight for _, weight, _ in events], np.float32),
        np.array([rating for _, _, rating in events], np.float32),
    )
    last_rated = {item: position for position, (item, _, rating) in enumerate(events) if np.isfinite(rating)}
    sums, seen, ratings, sequence = np.zeros(6), np.zeros(6), np.zeros(6), []
    for position, (item, weight, rating) in enumerate(events):
        seen[item] += 1
        is_rated = np.isfinite(rating)
        if is_rated:
            ratings[item] = rating
        if weight > 0 and (not is_rated or last_rated[item] == position):
            sums[item] += weight
            sequence.append(item)
    queries = past.to_queries(-1, 6)
    np.testing.assert_array_equal(queries.history.toarray()[0], sums)
    assert queries.seen is not None
    np.testing.assert_array_equal(queries.seen.toarray()[0], seen)
    assert (queries.ratings is None) == (not last_rated)
    if queries.ratings is not None:
        np.testing.assert_array_equal(queries.ratings.toarray()[0], ratings)
    assert queries.sequences is not None
    assert queries.sequences[0].tolist() == sequence
