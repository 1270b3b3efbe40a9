"""Popularity: the contract, and counts by hand."""

import numpy as np
import pytest

from contracts.estimator import EstimatorContract, OddDataContract
from contracts.updatable import UpdatableContract
from leanrec.data.dataset import Dataset
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.errors import SettingError
from leanrec.models.baselines.popularity import Popularity
from leanrec.types import Events, Queries, empty_csr

DAY = 86_400


class TestPopularity(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = Popularity()
    personalized = False
    min_recall = 0.2


class TestWeighedAndDecayed(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = Popularity(half_life=30.0, count="weights")
    personalized = False
    min_recall = 0.2


def small() -> Dataset:
    """Item 0: user 0 on days 0 and 10; item 1: both on day 0; item 2: without weight; item 3: no user."""
    events = Events(
        user=np.array([0, 0, 0, 1, 1], np.int32),
        item=np.array([0, 1, 0, 1, 2], np.int32),
        time=np.array([0, 0, 10, 0, 10], np.int64) * DAY,
        event_type=np.zeros(5, np.int8),
        weight=np.array([1, 1, 3, 1, 0], np.float32),
    )
    users, items = Vocabulary(id_array(["a", "b"]), "user"), Vocabulary(id_array([1, 2, 3, 4]), "item")
    return Dataset(events, users, items).with_events(events)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Popularity(), [1, 2, 0, 0]),
        (Popularity(count="weights"), [4, 2, 0, 0]),
        (Popularity(half_life=10), [1, 1, 0, 0]),
        (Popularity(half_life=10, count="weights"), [3.5, 1, 0, 0]),
        (Popularity(half_life=5), [1, 0.5, 0, 0]),
    ],
)
def test_counts_by_hand(settings: Popularity, expected: list[float]) -> None:
    np.testing.assert_allclose(settings.fit(small()).counts, expected, rtol=1e-6)


def test_answers_anybody_with_the_same() -> None:
    model = Popularity().fit(small())
    empty = Queries(users=np.array([-1, 0], np.int32), history=empty_csr(2, 4))
    assert model.score(empty).tolist() == [[1, 2, 0, 0]] * 2
    reason = model.explain(empty, np.array([1]))[0]
    assert reason.reason == "popularity"
    assert not len(reason.items)


def log_of(rows: list[tuple[int, int, int]], items: list[int], users: list[int]) -> Dataset:
    """A log of (user, item, time) with the rows of items and users in another order: item i has the row ``items[i]``."""
    user, item, time = (np.array(column) for column in zip(*rows, strict=True))
    events = Events(
        user=np.array(users, np.int32)[user],
        item=np.array(items, np.int32)[item],
        time=time.astype(np.int64) * DAY + 1_500_000_000,
        event_type=np.zeros(len(rows), np.int8),
        weight=np.ones(len(rows), np.float32),
    )
    vocabularies = (Vocabulary(np.arange(len(rows)), kind) for kind, rows in (("user", users), ("item", items)))
    return Dataset(events, *vocabularies).with_events(events)


def test_equal_numbers_are_ordered_by_the_latest_event_then_by_shares_of_users() -> None:
    # Items 0 to 3 have two users each; item 3 is the latest; of the others with the same last day, 1 has the lightest users.
    rows = [(0, 0, 1), (0, 1, 1), (0, 2, 1), (1, 0, 2), (1, 2, 2), (2, 1, 2), (3, 3, 1), (4, 3, 5)]
    model = Popularity().fit(log_of(rows, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]))
    np.testing.assert_allclose(model.counts, [2, 2, 2, 2, 0], rtol=1e-6)
    assert np.argsort(-model.counts)[:2].tolist() == [3, 1]
    assert model.counts[0] == model.counts[2]  # nothing tells them apart
    assert model.counts[4] == 0


@pytest.mark.parametrize("has_times", [True, False])
def test_the_order_does_not_depend_on_ids_or_rows(has_times: bool) -> None:
    rng = np.random.default_rng(4)
    n_users, n_items = 60, 40
    rows = [
        (user, int(item), int(rng.integers(0, 30)) if has_times else 0)
        for user in range(n_users)
        for item in rng.choice(n_items, rng.integers(2, 5), replace=False)
    ]
    plain = Popularity().fit(log_of(rows, list(range(n_items)), list(range(n_users)))).counts
    items, users = rng.permutation(n_items), rng.permutation(n_users)
    turned = Popularity().fit(log_of(rows[::-1], items.tolist(), users.tolist())).counts
    np.testing.assert_array_equal(turned[items], plain)
    assert len(np.unique(plain)) > 0.7 * n_items


def test_no_events_give_no_preference() -> None:
    data = small()
    model = Popularity(half_life=3).fit(data.with_events(data.events.take(np.zeros(5, np.bool_))))
    assert model.counts.tolist() == [0] * 4


def test_refuses_wrong_settings() -> None:
    with pytest.raises(SettingError, match="half_life must be a number of at least 0"):
        Popularity(half_life=-1)
    with pytest.raises(SettingError, match="count must be one of users, weights"):
        Popularity(count="clicks")


@pytest.mark.parametrize("count", ["users", "weights"])
def test_without_decay_as_with_hardly_any(count: str, dataset: Dataset) -> None:
    fast, slow = (Popularity(half_life=days, count=count).fit(dataset).counts for days in (0.0, 1e12))
    assert fast.sum() > 0
    np.testing.assert_allclose(fast, slow, rtol=1e-5)
