"""User-kNN: the contract, and every similarity against dense loops."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_dataset
from contracts.estimator import EstimatorContract, OddDataContract
from contracts.updatable import UpdatableContract
from leanrec.data.dataset import Dataset
from leanrec.errors import DataError, SettingError
from leanrec.models.neighbors.user_knn import UserKNN
from leanrec.types import Queries


class TestUserKNN(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = UserKNN(n_neighbors=20, shrinkage=2)


class TestPearson(EstimatorContract, OddDataContract):
    estimator = UserKNN(n_neighbors=20, similarity="pearson", weighting="none", shrinkage=0)


class TestEuclidean(EstimatorContract, OddDataContract):
    estimator = UserKNN(n_neighbors=20, similarity="euclidean", weighting="log", shrinkage=2)


class TestJaccard(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = UserKNN(n_neighbors=20, similarity="jaccard", weighting="bm25")


class TestByInterests(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = UserKNN(n_neighbors=20, by="interests", columns=("genres",), shrinkage=0)


def slow_similarity(x: np.ndarray, y: np.ndarray, measure: str) -> float:
    both, either = ((x != 0) & (y != 0)).sum(), ((x != 0) | (y != 0)).sum()
    if not both:
        return 0.0
    if measure == "euclidean":
        return float(1 / (1 + np.linalg.norm(x - y)))
    if measure == "jaccard":
        return float(both / either)
    if measure == "pearson":
        x, y = x - x.mean(), y - y.mean()
    scale = np.linalg.norm(x) * np.linalg.norm(y)
    return max(0.0, float(x @ y / scale)) if scale > 1e-9 else 0.0


def slow_weights(X: np.ndarray, scheme: str, *, idf: bool) -> np.ndarray:
    log = np.log2(1 + X)
    by_item = np.log(len(X) / np.maximum((X > 0).sum(axis=0), 1)) * ((X > 0).sum(axis=0) > 0) if idf else 1
    return {
        "none": X,
        "binary": (X > 0) * 1.0,
        "log": log,
        "tfidf": log * by_item,
        "bm25": 2.2 * X / (1.2 + X) * by_item,
    }[scheme]


def slow_scores(rows: np.ndarray, strength: np.ndarray, estimator: UserKNN) -> np.ndarray:
    scores = np.zeros(strength.shape)
    for u, x in enumerate(rows):
        similar = np.zeros(len(rows))
        for v, y in enumerate(rows):
            shared = ((x != 0) & (y != 0)).sum()
            if u != v and shared:
                trust = shared / (shared + estimator.shrinkage)
                similar[v] = slow_similarity(x, y, estimator.similarity) * trust
        for v in np.argsort(-similar, kind="stable")[: estimator.n_neighbors]:
            scores[u] += similar[v] * strength[v]
    return scores


def weighted(data: Dataset, seed: int) -> Dataset:
    weight = np.random.default_rng(seed).integers(1, 6, len(data.events)).astype(np.float32)
    return data.with_events(dataclasses.replace(data.events, weight=weight))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["cosine", "pearson", "euclidean", "jaccard"]),
    st.sampled_from(["none", "binary", "log", "tfidf", "bm25"]),
    st.sampled_from([0.0, 3.0]),
)
def test_agrees_with_dense_loops(seed: int, similarity: str, weighting: str, shrinkage: float) -> None:
    data = weighted(make_dataset(n_users=16, n_items=12, per_user=5, seed=seed), seed)
    # All neighbors, so that rounding cannot decide a tie at the last position.
    estimator = UserKNN(16, similarity=similarity, weighting=weighting, shrinkage=shrinkage)
    X = data.interactions.toarray().astype(np.float64)
    rows, strength = slow_weights(X, weighting, idf=True), slow_weights(X, weighting, idf=False)
    found = estimator.fit(data).score(data.queries())
    np.testing.assert_allclose(found, slow_scores(rows, strength, estimator), rtol=1e-4, atol=1e-4)


def test_the_k_nearest_and_no_more() -> None:
    data = weighted(make_dataset(n_users=16, n_items=12, per_user=5), 1)
    estimator = UserKNN(3, weighting="none", shrinkage=0)
    X = data.interactions.toarray().astype(np.float64)
    np.testing.assert_allclose(estimator.fit(data).score(data.queries()), slow_scores(X, X, estimator), rtol=1e-4)
    assert np.diff(estimator.fit(data).find_neighbors(data.queries()).indptr).max() == 3


def test_interests_are_the_excess_over_the_average(dataset: Dataset) -> None:
    estimator = UserKNN(60, by="interests", columns=("genres",), shrinkage=0, weighting="none")
    model = estimator.fit(dataset)
    assert model.interests is not None
    X, F = dataset.interactions.toarray(), model.interests.features.toarray()
    profiles = (X / X.sum(axis=1, keepdims=True)) @ F
    rows = np.maximum(profiles - profiles.mean(axis=0), 0)
    rows[rows < 1e-6] = 0
    np.testing.assert_allclose(model.score(dataset.queries()), slow_scores(rows, X, estimator), rtol=1e-3, atol=1e-3)


def test_interests_find_neighbors_without_a_common_item() -> None:
    data = make_dataset(n_users=24, n_items=40, per_user=6)
    space = np.flatnonzero(np.arange(40) % 4 == 0)
    user = np.repeat([0, 1, 2], 3)
    item = np.concatenate([space[:3], space[3:6], [1, 2, 3]]).astype(np.int32)
    few = data.events.take(np.zeros(9, np.int64))
    data = data.with_events(dataclasses.replace(few, user=user.astype(np.int32), item=item))
    query = data.queries(np.array([0], np.int32))
    by_items = UserKNN(shrinkage=0).fit(data)
    by_interests = UserKNN(by="interests", columns=("genres",), shrinkage=0).fit(data)
    assert by_items.find_neighbors(query).nnz == 0
    assert by_interests.find_neighbors(query).indices.tolist() == [1]
    reason = by_interests.explain(query, np.array([int(space[3])]))[0]
    assert reason.reason == "neighbors"
    assert reason.features[0] == "genres: space"


def two_users(first: list[float], second: list[float]) -> Dataset:
    data = make_dataset(n_users=2, n_items=len(first), per_user=1)
    X = sp.coo_array(np.array([first, second], np.float32))
    user, item = (each.astype(np.int32) for each in X.coords)
    events = data.events.take(np.zeros(X.nnz, np.int64))
    return data.with_events(dataclasses.replace(events, user=user, item=item, weight=X.data))


@pytest.mark.parametrize(
    ("similarity", "first", "second", "expected"),
    [
        ("pearson", [4, 3, 5], [4, 4, 5], 0.8660254),
        ("cosine", [0.9, 0.2, 0.1], [0.8, 0.3, 0.1], 0.9902890),
        ("euclidean", [0.9, 0.2, 0.1], [0.8, 0.3, 0.1], 1 / 1.1414214),
        ("jaccard", [1, 1, 0], [5, 1, 2], 2 / 3),
        ("pearson", [4, 4, 4], [4, 4, 5], 0.0),
    ],
)
def test_golden_similarities(similarity: str, first: list[float], second: list[float], expected: float) -> None:
    model = UserKNN(similarity=similarity, weighting="none", shrinkage=0).fit(two_users(first, second))
    query = Queries(users=np.zeros(1, np.int32), history=sp.csr_array(np.array([first], np.float32)))
    assert model.find_neighbors(query).toarray()[0].tolist() == pytest.approx([0, expected], abs=1e-6)


def test_a_known_user_is_not_its_own_neighbor_but_may_be_that_of_a_new_user(dataset: Dataset) -> None:
    model = UserKNN(n_neighbors=5, shrinkage=0).fit(dataset)
    known = dataset.queries(np.array([7], np.int32))
    new = Queries(users=np.array([-1], np.int32), history=known.history)
    assert 7 not in model.find_neighbors(known).indices
    assert model.find_neighbors(new).toarray()[0, 7] == pytest.approx(1, abs=1e-5)


def test_reasons_add_up_to_the_score(dataset: Dataset) -> None:
    model = UserKNN(n_neighbors=10).fit(dataset)
    query = dataset.queries(np.array([2], np.int32))
    for item in (1, 6, 30):
        reason = model.explain(query, np.array([item]))[0]
        assert reason.reason == "neighbors"
        assert reason.weights.sum() == pytest.approx(model.score(query)[0, item], rel=1e-4, abs=1e-6)


def test_more_neighbors_than_users_uses_all(dataset: Dataset) -> None:
    many, all_of_them = (UserKNN(n_neighbors=k).fit(dataset).score(dataset.queries()) for k in (10_000, 60))
    np.testing.assert_array_equal(many, all_of_them)


def test_a_user_with_all_items_and_an_item_without_users() -> None:
    data = make_dataset(n_users=5, n_items=6, per_user=6)
    data = data.with_events(data.events.take(data.events.item != 5))
    for similarity in ("cosine", "pearson", "euclidean", "jaccard"):
        scores = UserKNN(similarity=similarity, weighting="none").fit(data).score(data.queries())
        assert np.isfinite(scores).all()
        assert not scores[:, 5].any()


def test_interests_need_an_item_table(dataset: Dataset) -> None:
    bare = dataclasses.replace(dataset, item_table=None)
    with pytest.raises(DataError, match='by="interests" needs an item table'):
        UserKNN(by="interests").fit(bare)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_neighbors": 0}, "n_neighbors must be a number of at least 1"),
        ({"by": "age"}, "by must be one of items, interests"),
        ({"similarity": "dot"}, "similarity must be one of cosine, pearson, euclidean, jaccard"),
        ({"weighting": "idf"}, "weighting must be one of"),
        ({"shrinkage": -1}, "shrinkage must be a number of at least 0"),
    ],
)
def test_refuses_wrong_settings(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        UserKNN(**wrong)  # type: ignore[arg-type]
