"""Training examples from events: no look at the future, negatives without interaction; and the AUC."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from conftest import make_dataset
from contracts.estimator import concat_events
from leanrec.data.time_kind import TimeKind
from leanrec.models.ctr.core.rows import QueryEncoder, encode_items, has_order
from leanrec.models.ctr.core.training import _EventObjective, _PositiveEvents, mean_auc
from leanrec.models.ctr.deepfm import DeepFM


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_auc_equals_scikit_learn(pairs: list[tuple[bool, int]]) -> None:
    labels = np.array([[label] for label, _ in pairs], np.float32)
    scores = np.array([[score] for _, score in pairs], np.float32)
    both = 0 < labels.sum() < len(labels)
    expected = roc_auc_score(labels[:, 0], scores[:, 0]) if both else 0.5
    assert mean_auc(labels, scores) == pytest.approx(expected)


def test_example_contains_earlier_items_only() -> None:
    data = make_dataset(n_users=5, n_items=8, per_user=4)
    log = _PositiveEvents.from_dataset(data, ("positive",))
    positions = np.array([0, 5, 7, 19])
    past = log.histories_before(positions, 2)
    for row, position in enumerate(positions.tolist()):
        first = int(data.indptr[data.events.user[position]])
        expected = data.events.item[max(first, position - 2) : position]
        assert past.items[past.bounds[row] : past.bounds[row + 1]].tolist() == expected.tolist()


@pytest.mark.parametrize("ordered", [True, False])
def test_no_example_has_its_own_item_in_the_history(ordered: bool) -> None:
    """Every item has a view before the event and a repetition after it, which would reveal the positives."""
    data = make_dataset(n_users=20, n_items=30, per_user=6)
    # Plays: of several ratings of a pair the last one counts alone.
    again = [
        dataclasses.replace(data.events, rating=None, time=data.events.time + shift * ordered)
        for shift in (0, 60, 10**7)
    ]
    data = data.with_events(concat_events(concat_events(again[0], again[1]), again[2]))
    query_encoder, items = QueryEncoder.from_dataset(data, None, 50), encode_items(data, None)
    objective = _EventObjective.from_dataset(DeepFM(n_negatives=5), data, ("positive",), query_encoder, items)
    log, rng = (
        objective.events if ordered else objective.events.shuffle(np.random.default_rng(0)),
        np.random.default_rng(1),
    )
    positions = np.arange(len(log.user))
    sampled, which, _, _ = objective._sample_examples(log, positions, rng)
    past = log.histories_before(positions, 50)
    for position in positions.tolist():
        earlier = log.item[int(log.bounds[log.user[position]]) : position]
        history = past.items[past.bounds[position] : past.bounds[position + 1]]
        assert history.tolist() == earlier[earlier != log.item[position]].tolist()
        assert not np.isin(sampled[which == position], history).any()
    assert (np.bincount(log.user) == 18).all()


def test_log_without_order_is_shuffled_within_each_user() -> None:
    data = make_dataset(n_users=5, n_items=8, per_user=4)
    assert has_order(data)
    assert data.time_kind.has_dates
    flat = data.with_events(
        dataclasses.replace(data.events, time=np.zeros(len(data.events), np.int64)), TimeKind.UNKNOWN
    )
    assert not has_order(flat)
    assert not flat.time_kind.has_dates
    log = _PositiveEvents.from_dataset(flat, ("positive",))
    mixed = log.shuffle(np.random.default_rng(0))
    assert mixed.user.tolist() == log.user.tolist()
    assert mixed.item.tolist() != log.item.tolist()
    for u in range(5):
        cut = slice(4 * u, 4 * u + 4)
        assert sorted(mixed.item[cut].tolist()) == sorted(log.item[cut].tolist())


def test_negatives_have_interactions_of_other_users_only() -> None:
    data = make_dataset(n_users=20, n_items=30, per_user=6)
    data = data.with_events(data.events.take(data.events.item != 4))
    query_encoder, items = QueryEncoder.from_dataset(data, None, 5), encode_items(data, None)
    objective = _EventObjective.from_dataset(DeepFM(n_negatives=50), data, ("positive",), query_encoder, items)
    assert items.codes[4, 0] == 0
    positions = np.arange(len(objective.events.user))
    items_, which, labels, weight = objective._sample_examples(objective.events, positions, np.random.default_rng(0))
    negative = labels[:, 0] == 0
    assert labels[: len(positions)].all()
    assert negative[len(positions) :].all()
    users = objective.events.user[which]
    assert not data.interactions.toarray()[users[negative], items_[negative]].any()
    assert 4 not in items_
    assert weight.shape == which.shape == items_.shape
