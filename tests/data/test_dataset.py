"""Dataset: matrices, queries, time kind and fingerprint."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import make_dataset
from leanrec import artifacts
from leanrec.data import dataset as dataset_module
from leanrec.data.dataset import Dataset
from leanrec.data.time_kind import TimeKind
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.types import Events


def test_matrices_have_int32_indices(dataset: Dataset) -> None:
    assert dataset.ratings is not None
    for matrix in (dataset.interactions, dataset.seen, dataset.ratings, dataset.queries().history):
        assert matrix.indices.dtype == matrix.indptr.dtype == np.int32


def test_the_last_rating_of_a_pair_counts() -> None:
    data = make_dataset(n_users=3, n_items=8, per_user=4)
    late = dataclasses.replace(
        data.events.take(np.array([0])), rating=np.array([1.5], np.float32), time=np.array([2_000_000_000])
    )
    columns = {name: np.concatenate([column, late.columns()[name]]) for name, column in data.events.columns().items()}
    both = data.with_events(dataclasses.replace(data.events, **columns))
    assert both.ratings is not None
    assert both.ratings[0, data.events.item[0]] == 1.5
    assert both.interactions[0, data.events.item[0]] == 1


def test_time_kind_is_kept_by_parts_by_other_events_and_saved(dataset: Dataset, tmp_path: Path) -> None:
    assert dataset.time_kind is TimeKind.TIMESTAMP
    one = dataclasses.replace(dataset, events=dataset.events.take(slice(0, 1)))
    assert one.time_kind is TimeKind.TIMESTAMP
    order = dataclasses.replace(dataset, time_kind=TimeKind.ORDER)
    assert artifacts.load(artifacts.save(order, tmp_path / "set")).time_kind is TimeKind.ORDER
    flat = dataclasses.replace(dataset.events, time=np.zeros(len(dataset.events), np.int64))
    assert dataset.with_events(flat).time_kind is TimeKind.TIMESTAMP
    assert dataset.with_events(flat, TimeKind.UNKNOWN).time_kind is TimeKind.NONE
    # A data set without events has settled nothing yet.
    empty = dataset.with_events(dataset.events.take(slice(0, 0)), TimeKind.UNKNOWN)
    assert empty.time_kind is TimeKind.NONE
    assert empty.with_events(dataset.events).time_kind is TimeKind.TIMESTAMP


def test_time_kind_of_unsorted_events(dataset: Dataset) -> None:
    order = np.arange(len(dataset.events)) - dataset.indptr[dataset.events.user]
    events = dataclasses.replace(dataset.events, time=order)
    shuffled = events.take(np.random.default_rng(0).permutation(len(events)))
    for log in (events, shuffled):
        assert Dataset(log, dataset.users, dataset.items).time_kind is TimeKind.ORDER


def test_fingerprint_changes_with_the_weights(dataset: Dataset) -> None:
    heavier = dataclasses.replace(dataset.events, weight=dataset.events.weight * 2)
    assert dataset.with_events(dataset.events).fingerprint == dataset.fingerprint
    assert dataset.with_events(heavier).fingerprint != dataset.fingerprint


def test_the_last_rating_of_a_pair_counts_and_plays_add_up() -> None:
    """A user who rated an item 5 and later 1 does not like it; plays without a rating all count."""
    events = Events(
        user=np.zeros(7, np.int32),
        item=np.array([0, 0, 1, 1, 2, 2, 2], np.int32),
        time=np.arange(7),
        event_type=np.zeros(7, np.int8),
        weight=np.array([1, 0, 0, 1, 1, 2, 4], np.float32),
        rating=np.array([5, 1, 2, 4, np.nan, np.nan, 5], np.float32),
    )
    data = Dataset(events, Vocabulary(id_array(["me"]), "user"), Vocabulary(id_array([10, 11, 12])))
    assert data.interactions.toarray().tolist() == [[0, 1, 7]]
    assert data.is_positive.tolist() == [False, False, False, True, True, True, True]
    queries = data.queries()
    assert queries.sequences is not None
    assert queries.sequences[0].tolist() == [1, 2, 2, 2]
    assert queries.seen is not None
    assert queries.seen.toarray().tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("with_ratings", [False, True])
@pytest.mark.parametrize("share_positive", [1.0, 0.7])
def test_matrices_of_blocks_are_those_of_all_events(
    with_ratings: bool, share_positive: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_module, "_BLOCK", 7)
    rng = np.random.default_rng(3)
    n_users, n_items, n = 40, 9, 300
    user = np.sort(rng.choice(np.arange(3, n_users - 2), n)).astype(np.int32)  # the first and last users have no events
    events = Events(
        user=user,
        item=rng.integers(0, n_items, n).astype(np.int32),
        time=np.arange(n),
        event_type=np.zeros(n, np.int8),
        weight=np.where(rng.random(n) < share_positive, rng.integers(1, 4, n), 0).astype(np.float32),
        rating=np.where(rng.random(n) < 0.8, rng.integers(1, 6, n), np.nan).astype(np.float32)
        if with_ratings
        else None,
    )
    data = Dataset(events, Vocabulary(id_array(range(n_users)), "user"), Vocabulary(id_array(range(n_items))))
    last: dict[tuple[int, int], int] = {}
    if events.rating is not None:
        last = {(u, i): at for at, (u, i) in enumerate(zip(user, events.item, strict=True)) if events.rating[at] > 0}
    weights, seen, ratings = (np.zeros((n_users, n_items), np.float32) for _ in range(3))
    sequences: list[list[int]] = [[] for _ in range(n_users)]
    for at, (u, i) in enumerate(zip(user, events.item, strict=True)):
        seen[u, i] = 1
        is_replaced = events.rating is not None and events.rating[at] > 0 and last[u, i] != at
        if events.weight[at] > 0 and not is_replaced:
            weights[u, i] += events.weight[at]
            sequences[u].append(i)
        if events.rating is not None and last.get((u, i)) == at:
            ratings[u, i] = events.rating[at]
    queries = data.queries()
    for found in (data.interactions, queries.history, data.queries(np.arange(n_users)).history):
        np.testing.assert_array_equal(found.toarray(), weights)
        assert sp.csr_array((found.data, found.indices, found.indptr), shape=found.shape).has_canonical_format
    for found in (data.seen, queries.seen, data.queries(np.arange(n_users)).seen):
        assert found is not None
        np.testing.assert_array_equal(found.toarray(), seen)
    assert (data.ratings is None) == (not with_ratings)
    if data.ratings is not None:
        np.testing.assert_array_equal(data.ratings.toarray(), ratings)
    assert queries.sequences is not None
    assert [each.tolist() for each in queries.sequences] == sequences
    assert [block[1].stop for block in data.iter_blocks()][-1] == n
    assert data.indptr.tolist() == [int((user < u).sum()) for u in range(n_users + 1)]


def test_the_fingerprint_of_long_columns_is_that_of_short_ones(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = dataclasses.replace(
        dataset, users=Vocabulary(id_array([f"user {at} ä" for at in range(len(dataset.users))]), "user")
    )
    monkeypatch.setattr(dataset_module, "_TEXTS", 3)
    assert dataclasses.replace(texts).fingerprint == texts.fingerprint
    monkeypatch.setattr(dataset_module, "_TEXTS", 2**16)
    assert dataclasses.replace(texts).fingerprint == texts.fingerprint
