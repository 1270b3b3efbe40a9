"""Replacement of histories: the same as indexing all events again."""

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_dataset
from leanrec.data.dataset import Dataset
from leanrec.data.vocabulary import Vocabulary
from leanrec.online.learning.replacement import replace_histories
from leanrec.types import Events


def take_users(data: Dataset, is_taken: np.ndarray) -> Events:
    return data.events.take(is_taken[data.events.user])


def with_users(data: Dataset, n_users: int) -> Dataset:
    return dataclasses.replace(data, users=Vocabulary(np.arange(n_users), "user"))


def check_equal(found: Dataset, wanted: Dataset) -> None:
    for name, column in wanted.events.columns().items():
        np.testing.assert_array_equal(found.events.columns()[name], column, err_msg=name)
    np.testing.assert_array_equal(found.is_positive, wanted.is_positive)
    np.testing.assert_array_equal(found.interactions.toarray(), wanted.interactions.toarray())
    np.testing.assert_array_equal(found.seen.toarray(), wanted.seen.toarray())
    assert found.interactions.has_canonical_format
    assert found.interactions.indices.dtype == np.int32
    assert found.time_kind is wanted.time_kind


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), n_changed=st.integers(0, 12), n_new=st.integers(0, 4))
def test_is_what_all_events_give(seed: int, n_changed: int, n_new: int) -> None:
    rng = np.random.default_rng(seed)
    data = make_dataset(12, 10, 4, seed=1)
    n_users = len(data.users) + n_new
    changed = rng.permutation(n_users)[:n_changed].astype(np.int32)
    n_events = int(rng.integers(0, 30)) if n_changed else 0
    events = Events(
        user=rng.choice(changed, n_events).astype(np.int32) if n_events else np.zeros(0, np.int32),
        item=rng.integers(0, 10, n_events).astype(np.int32),
        time=1_500_000_000 + rng.integers(0, 5, n_events),
        event_type=rng.integers(0, 2, n_events).astype(np.int8),
        weight=rng.choice([0.0, 1.0, 2.5], n_events).astype(np.float32),
        rating=rng.choice([np.nan, 1.0, 4.0], n_events).astype(np.float32),
        event_types=("rating", "click"),
    )
    is_kept = np.ones(n_users, np.bool_)
    is_kept[changed] = False
    found = replace_histories(data, changed, events, n_users)
    both = [take_users(data, is_kept), events]
    columns = {name: np.concatenate([each.columns()[name] for each in both]) for name in events.columns()}
    wanted = with_users(data, n_users).with_events(Events(**columns, event_types=events.event_types))
    check_equal(found, wanted)


def test_the_ids_stay_where_no_user_is_new(dataset: Dataset) -> None:
    events = dataset.events.take(dataset.events.user == 3)
    found = replace_histories(dataset, np.array([3], np.int32), events)
    check_equal(found, dataset)
    assert found.users is dataset.users
    assert found.fingerprint == dataset.fingerprint
