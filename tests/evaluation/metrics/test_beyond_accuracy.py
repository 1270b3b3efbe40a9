"""Beyond-accuracy metrics against plain loops over a small catalog."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import make_dataset
from leanrec.data.dataset import Dataset
from leanrec.errors import DataError
from leanrec.evaluation.metrics import beyond_accuracy
from leanrec.evaluation.metrics.beyond_accuracy import (
    ItemStatistics,
    count_exposure,
    coverage,
    diversity,
    gini,
    novelty,
    popularity,
    popularity_lift,
)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset(n_users=20, n_items=15, per_user=4)


@pytest.fixture(scope="module")
def statistics(data: Dataset) -> ItemStatistics:
    return ItemStatistics.from_dataset(data)


@pytest.fixture(scope="module")
def lists() -> np.ndarray:
    rng = np.random.default_rng(1)
    lists = np.stack([rng.permutation(15)[:5] for _ in range(8)]).astype(np.int32)
    lists[2, 3:] = -1
    lists[3, 1:] = -1
    lists[4, :] = -1
    return lists


def users_of(data: Dataset, item: int) -> set[int]:
    return set(data.events.user[(data.events.item == item) & (data.events.weight > 0)].tolist())


def listed_items(row: np.ndarray) -> list[int]:
    return [item for item in row.tolist() if item >= 0]


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def test_popularity_is_the_mean_share_of_users(data: Dataset, statistics: ItemStatistics, lists: np.ndarray) -> None:
    expected = [mean([len(users_of(data, item)) / 20 for item in listed_items(row)]) for row in lists]
    np.testing.assert_allclose(popularity(lists, statistics), expected)


def test_novelty_is_the_mean_self_information(data: Dataset, statistics: ItemStatistics, lists: np.ndarray) -> None:
    least = min(len(users_of(data, item)) for item in range(15) if users_of(data, item))
    expected = [mean([-math.log2(max(len(users_of(data, i)), least) / 20) for i in listed_items(row)]) for row in lists]
    np.testing.assert_allclose(novelty(lists, statistics), expected)


@pytest.mark.parametrize("max_distinct", [0, 256])
def test_diversity_is_one_minus_the_mean_cosine_of_pairs(
    data: Dataset,
    statistics: ItemStatistics,
    lists: np.ndarray,
    max_distinct: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(beyond_accuracy, "_MAX_DISTINCT", max_distinct)

    def cosine(a: int, b: int) -> float:
        left, right = users_of(data, a), users_of(data, b)
        return len(left & right) / math.sqrt(len(left) * len(right)) if left and right else 0.0

    expected = [1 - mean([cosine(*pair) for pair in itertools.combinations(listed_items(row), 2)]) for row in lists]
    found = diversity(lists, statistics)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.isnan(found[[3, 4]]).all()


def test_diversity_by_content_compares_features(data: Dataset, lists: np.ndarray) -> None:
    # Three genres: items of the same genre have similarity 1, others 0.
    genres = sp.csr_array(np.eye(3)[np.arange(15) % 3] * 7)
    by_genre = ItemStatistics.from_dataset(data, genres)
    assert diversity(np.array([[0, 3, 6], [0, 1, 2], [0, 3, 1]], np.int32), by_genre) == pytest.approx([0, 1, 2 / 3])
    with pytest.raises(DataError, match=r"a row for each of 15 items\. Got 9"):
        ItemStatistics.from_dataset(data, genres[:9])


def test_items_without_features_are_left_out_of_diversity(data: Dataset) -> None:
    features = np.eye(3)[np.arange(15) % 3]
    features[[1, 4, 7]] = 0
    statistics = ItemStatistics.from_dataset(data, sp.csr_array(features))
    found = diversity(np.array([[0, 3, 1, 4], [0, 2, 1, -1], [1, 4, 7, -1], [0, 1, 4, 7]], np.int32), statistics)
    np.testing.assert_allclose(found, [0, 1, np.nan, np.nan])


def test_items_that_are_always_taken_together_are_alike_on_a_large_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles of three items: the sample of users lacks most bundles, and the others have the diversity 0."""
    monkeypatch.setattr(beyond_accuracy, "_MAX_ENTRIES", 60)
    data = make_dataset(n_users=100, n_items=90, per_user=3)
    first = data.events.item[::3] // 3 * 3
    items = (first[:, None] + np.arange(3)).ravel().astype(np.int32)
    bundles = data.with_events(dataclasses.replace(data.events, item=items, rating=None))
    statistics = ItemStatistics.from_dataset(bundles)
    found = diversity(np.arange(90, dtype=np.int32).reshape(30, 3), statistics)
    assert np.isnan(found).any()
    np.testing.assert_allclose(found[np.isfinite(found)], 0, atol=1e-12)


def test_similarity_on_a_large_log_uses_a_sample(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beyond_accuracy, "_MAX_ENTRIES", 40)
    sampled = ItemStatistics.from_dataset(data, seed=4)
    assert sampled.features.shape == (15, 10)
    np.testing.assert_array_equal(sampled.popularity, ItemStatistics.from_dataset(data).popularity)
    np.testing.assert_array_equal(
        sampled.features.toarray(), ItemStatistics.from_dataset(data, seed=4).features.toarray()
    )
    assert (sampled.features != ItemStatistics.from_dataset(data, seed=5).features).nnz


def test_popularity_counts_active_users_only(data: Dataset) -> None:
    few = data.with_events(data.events.take(data.events.user < 5))
    counts = [len(users_of(few, item)) for item in range(15)]
    np.testing.assert_allclose(ItemStatistics.from_dataset(few).popularity, np.array(counts) / 5)


def test_exposure_adds_up_over_blocks(lists: np.ndarray) -> None:
    total = count_exposure(lists[:3], 15) + count_exposure(lists[3:], 15)
    assert total.tolist() == [sum(item in listed_items(row) for row in lists) for item in range(15)]


def test_coverage_is_the_share_of_recommended_items() -> None:
    assert coverage(np.array([3, 0, 1, 0])) == 0.5
    assert coverage(np.zeros(0, np.int64)) == 0


@pytest.mark.parametrize("counts", [[1, 2, 3, 4], [0, 0, 9, 1], [5, 5, 5], [7]])
def test_gini_is_half_the_relative_mean_difference(counts: list[int]) -> None:
    differences = [abs(a - b) for a in counts for b in counts]
    expected = sum(differences) / (2 * len(counts) * sum(counts))
    assert gini(np.array(counts)) == pytest.approx(expected)


def test_gini_at_its_ends() -> None:
    assert gini(np.full(10, 3)) == pytest.approx(0)
    assert gini(np.eye(1, 1000, dtype=np.int64)[0]) == pytest.approx(0.999)
    assert gini(np.zeros(5, np.int64)) == 0


def test_lift_compares_lists_with_histories(data: Dataset, statistics: ItemStatistics) -> None:
    history = data.interactions[:4]
    own = [mean([len(users_of(data, int(item))) / 20 for item in history[[b]].indices]) for b in range(4)]
    assert popularity_lift(np.array(own), history, statistics) == pytest.approx(0)
    assert popularity_lift(2 * np.array(own), history, statistics) == pytest.approx(1)
    empty = sp.csr_array((4, 15), dtype=np.float32)
    assert math.isnan(popularity_lift(np.array(own), empty, statistics))
    # A user without a list or without a history is in neither mean.
    assert popularity_lift(np.array([own[0], np.nan, 2 * own[2], own[3]]), history, statistics) == pytest.approx(
        (own[0] + 2 * own[2] + own[3]) / (own[0] + own[2] + own[3]) - 1
    )
