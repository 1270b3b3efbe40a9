"""Recorded state: the log in parts is the whole log, and both are what recording event by event gives."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_dataset
from leanrec.errors import DataError
from leanrec.pipeline.recorded_state import RecordedEvents, RecordedState

DATA = make_dataset(n_users=4, n_items=5, per_user=4)
COLUMNS = ("item", "event_type", "time", "weight", "rating")
N_KNOWN = len(DATA.users)
# Times, items and types of the fit too, so that some events are those of the fit.
ROWS = st.tuples(
    st.integers(0, N_KNOWN + 2),
    st.sampled_from(DATA.events.item[:8].tolist()),
    st.integers(0, 1),
    st.sampled_from(sorted({*DATA.events.time[:8].tolist(), 0, 2_000_000_000})),
    st.sampled_from([0.0, 1.0, 3.0]),
)


def to_events(rows: list[tuple[int, int, int, int, float]]) -> RecordedEvents:
    user, item, event_type, time, weight = zip(*rows, strict=True) if rows else ((),) * 5
    return RecordedEvents(
        np.array(user, np.int32),
        np.array(item, np.int32),
        np.array(event_type, np.int8),
        np.array(time, np.int64),
        np.array(weight, np.float32),
        np.full(len(rows), np.nan, np.float32),
    )


def list_slowly(rows: list[tuple[int, int, int, int, float]], user: int) -> list[tuple[int, ...]]:
    """The history of a user by key: of equal events of fit and log the larger number counts."""
    events, past, fit = DATA.events, [], Counter()
    if user < N_KNOWN:
        for at in range(DATA.indptr[user], DATA.indptr[user + 1]):
            key = (int(events.item[at]), int(events.event_type[at]), int(events.time[at]))
            past.append((*key, float(events.weight[at])))
            fit[key] += 1
    for row in rows:
        if row[0] == user:
            key = row[1:4]
            if fit[key]:
                fit[key] -= 1
            else:
                past.append(row[1:])
    return sorted(past, key=lambda each: each[2])


def list_history(state: RecordedState, user: int) -> list[tuple[int, ...]] | None:
    block = state.find(user)
    if block is None:
        return None
    return list(zip(*[getattr(state, name)[block].tolist() for name in COLUMNS[:4]], strict=True))


@settings(max_examples=150, deadline=None)
@given(st.lists(ROWS, max_size=30), st.lists(st.integers(0, 30), max_size=3))
def test_a_log_in_parts_is_the_whole_log_and_the_slow_count(rows: list, cuts: list[int]) -> None:
    whole = RecordedState.empty(DATA).extend(DATA, to_events(rows), last_seq=len(rows))
    parts, start = RecordedState.empty(DATA), 0
    for stop in [*sorted(cuts), len(rows)]:
        parts = parts.extend(DATA, to_events(rows[start:stop]), last_seq=len(rows))
        start = max(start, stop)
    for field in dataclasses.fields(RecordedState):
        mine, theirs = getattr(whole, field.name), getattr(parts, field.name)
        np.testing.assert_array_equal(mine, theirs)
        assert getattr(mine, "dtype", None) == getattr(theirs, "dtype", None)
    whole.check_state()
    for user in range(N_KNOWN + 3):
        expected = list_slowly(rows, user) if any(row[0] == user for row in rows) else None
        assert list_history(whole, user) == expected


def make_state() -> RecordedState:
    """A state with a user of the fit and two new ones, one of whom has an id that is not ASCII."""
    data = make_dataset(n_users=3)
    state = dataclasses.replace(RecordedState.empty(data), new_ids=np.array(["ä €", ""], np.dtypes.StringDType()))
    rows = [(user, 0, 0, 10**9 + user, 1.0) for user in (1, 3, 4, 3)]
    return state.extend(data, to_events(rows), last_seq=4, binding="log version 0", event_types=("click", "like"))


def test_a_state_comes_back_from_its_bytes() -> None:
    state = make_state()
    again = RecordedState.from_bytes(state.to_bytes())
    for field in dataclasses.fields(state):
        expected, found = getattr(state, field.name), getattr(again, field.name)
        if isinstance(expected, np.ndarray):
            assert found.dtype == expected.dtype
            assert found.tolist() == expected.tolist() or np.isnan(expected).any()
            np.testing.assert_array_equal(found, expected)
        else:
            assert found == expected
    empty = RecordedState.empty(make_dataset(n_users=3))
    assert len(RecordedState.from_bytes(empty.to_bytes()).new_ids) == 0


def test_bytes_that_are_damaged_are_refused() -> None:
    content = make_state().to_bytes()
    for at in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        try:
            again = RecordedState.from_bytes(bytes(damaged))
        except DataError:
            continue
        assert again.to_bytes() == content  # the time of a member, or another byte that means nothing
    for part in (b"", content[:-1], content[: len(content) // 2], b"x" * 100):
        with pytest.raises(DataError, match="must be as it was written"):
            RecordedState.from_bytes(part)
