"""Every item of every history is in exactly one window, and every window in exactly one batch."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.data.dataset import Dataset
from leanrec.training.histories import (
    PackedHistories,
    batch_by_length,
    leave_one_out,
    pad_histories,
    sum_score_drops,
)
from leanrec.types import CSR, Queries

LENGTHS = st.lists(st.integers(0, 23), max_size=12)


def numbered(lengths: list[int]) -> PackedHistories:
    """Histories whose items are 0, 1, 2 … from the first to the last."""
    ends = np.cumsum([0, *lengths])
    return PackedHistories.from_rows([np.arange(a, b, dtype=np.int32) for a, b in itertools.pairwise(ends)])


@given(LENGTHS, st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_windows_cover_every_item_once(lengths: list[int], length: int, seed: int) -> None:
    histories = numbered(lengths)
    shift = np.random.default_rng(seed).integers(0, length, len(lengths))
    for cuts in (0, shift):
        starts, ends = histories.windows(length, cuts)
        windows = [np.arange(a, b) for a, b in zip(starts, ends, strict=True)]
        assert all(0 < len(window) <= length for window in windows)
        assert sorted(np.concatenate([np.zeros(0, int), *windows]).tolist()) == list(range(sum(lengths)))
        for a, b in zip(starts, ends, strict=True):
            owner = np.searchsorted(histories.bounds, a, side="right")
            assert b <= histories.bounds[owner], "a window runs into the next history"


def test_shift_moves_the_window_boundaries() -> None:
    histories = numbered([10, 3])
    starts, ends = histories.windows(4)
    assert sorted(zip(starts.tolist(), ends.tolist(), strict=True)) == [(0, 2), (2, 6), (6, 10), (10, 13)]
    starts, ends = histories.windows(4, np.array([1, 3]))
    assert sorted(zip(starts.tolist(), ends.tolist(), strict=True)) == [(0, 3), (3, 7), (7, 10), (10, 13)]


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_batches_contain_every_window_once_within_the_cell_limit(lengths: list[int], cells: int, seed: int) -> None:
    each = np.array(lengths, np.int64)
    batches = batch_by_length(each, cells, np.random.default_rng(seed))
    assert sorted(i for batch in batches for i in batch.tolist()) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * each[batch].max() <= cells for batch in batches)


def test_batches_have_similar_lengths_and_little_padding() -> None:
    lengths = np.random.default_rng(0).geometric(0.02, 5_000)
    batches = batch_by_length(lengths, 4_096, np.random.default_rng(1))
    cells = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert cells <= 1.12 * lengths.sum()
    again = batch_by_length(lengths, 4_096, np.random.default_rng(2))
    assert {tuple(sorted(b.tolist())) for b in batches} != {tuple(sorted(b.tolist())) for b in again}


def test_padding_is_at_the_right_and_is_minus_one() -> None:
    histories = numbered([2, 5, 0])
    batch = pad_histories(histories, histories.bounds[:-1], histories.bounds[1:])
    assert batch.lengths.tolist() == [2, 5, 0]
    assert batch.items.tolist() == [[0, 1, -1, -1, -1], [2, 3, 4, 5, 6], [-1] * 5]
    none = pad_histories(histories, np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert none.items.shape == (0, 0)


def test_histories_of_a_dataset_are_positive_events_in_time_order(dataset: Dataset) -> None:
    histories = PackedHistories.from_dataset(dataset)
    assert len(histories) == len(dataset.users)
    events = dataset.events
    for user in range(0, len(dataset.users), 11):
        mine = np.flatnonzero((events.user == user) & (events.weight > 0))
        expected = events.item[mine[np.argsort(events.time[mine], kind="stable")]]
        found = histories.items[histories.bounds[user] : histories.bounds[user + 1]]
        np.testing.assert_array_equal(found, expected)


def test_only_the_latest_items_of_a_query_count() -> None:
    rows = (np.array([4, 1, 3], np.int32), np.zeros(0, np.int32))
    X = np.zeros((2, 5), np.float32)
    X[0, [1, 3, 4]] = 2, 1, 3
    history = CSR(X)
    users = np.array([-1, -1], np.int32)
    known = PackedHistories.from_queries(Queries(users, history, sequences=rows), 2)
    assert known.items.tolist() == [1, 3]
    assert known.lengths.tolist() == [2, 0]
    # Without an order the largest weight counts as the latest.
    assert PackedHistories.from_queries(Queries(users, history), 2).items.tolist() == [1, 4]


def test_empty_queries_and_empty_histories() -> None:
    empty = PackedHistories.from_rows([])
    assert len(empty) == 0
    assert all(not len(side) for side in empty.windows(5))
    assert batch_by_length(np.zeros(0, np.int64), 10, np.random.default_rng(0)) == []


@pytest.mark.parametrize("length", [1, 2])
def test_windows_of_one_item(length: int) -> None:
    starts, ends = numbered([5]).windows(length)
    assert (ends - starts).max() <= length
    assert (ends - starts).sum() == 5


def test_drops_of_the_same_item_add_up() -> None:
    history = np.array([7, 2, 7, 5], np.int32)
    left = leave_one_out(history)
    rows = [left.items[a:b].tolist() for a, b in itertools.pairwise(left.bounds)]
    assert rows == [[7, 2, 7, 5], [2, 7, 5], [7, 7, 5], [7, 2, 5], [7, 2, 7]]
    # The score is the number of sevens, or the sum of the items.
    scores = np.array([[row.count(7), sum(row)] for row in rows], np.float32)
    items, drops = sum_score_drops(history, scores)
    assert items.tolist() == [7, 2, 5]
    assert drops.tolist() == [[2, 0, 0], [14, 2, 5]]
    assert sum_score_drops(history[:0], scores[:1])[1].shape == (2, 0)
