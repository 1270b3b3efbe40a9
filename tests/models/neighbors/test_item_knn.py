"""Item-kNN: the contract, and every similarity against dense loops."""

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
from leanrec.models.neighbors.item_knn import ItemKNN
from leanrec.types import Queries


class TestItemKNN(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = ItemKNN(n_neighbors=20, shrinkage=2)
    follows_items = True


class TestPearson(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = ItemKNN(n_neighbors=20, similarity="pearson", weighting="none", shrinkage=0)
    follows_items = True


class TestEuclidean(EstimatorContract, OddDataContract, UpdatableContract):
    # Distances favor items with few users: it finds less than popularity does.
    estimator = ItemKNN(n_neighbors=20, similarity="euclidean", weighting="log", shrinkage=2)
    follows_items = True
    min_recall = 0.2


class TestJaccard(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = ItemKNN(n_neighbors=20, similarity="jaccard", weighting="binary", shrinkage=2)
    follows_items = True


class TestByContent(EstimatorContract, OddDataContract):
    estimator = ItemKNN(n_neighbors=20, by="content", columns=("genres",), shrinkage=0)


class TestByInterests(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = ItemKNN(n_neighbors=20, by="interests", columns=("genres",), shrinkage=0)


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


def slow_lists(rows: np.ndarray, estimator: ItemKNN) -> np.ndarray:
    """(N, N): column i has the k neighbors of item i."""
    n = len(rows)
    S = np.zeros((n, n))
    for i, j in np.ndindex(n, n):
        shared = ((rows[i] != 0) & (rows[j] != 0)).sum()
        if i != j and shared:
            trust = shared / (shared + estimator.shrinkage)
            S[j, i] = slow_similarity(rows[i], rows[j], estimator.similarity) * trust
    for i in range(n):
        S[np.argsort(-S[:, i], kind="stable")[estimator.n_neighbors :], i] = 0
    return S


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["cosine", "pearson", "euclidean", "jaccard"]),
    st.sampled_from(["none", "tfidf"]),
    st.sampled_from([0.0, 3.0]),
)
def test_agrees_with_dense_loops(seed: int, similarity: str, weighting: str, shrinkage: float) -> None:
    data = make_dataset(n_users=16, n_items=12, per_user=5, seed=seed)
    weight = np.random.default_rng(seed).integers(1, 6, len(data.events)).astype(np.float32)
    data = data.with_events(dataclasses.replace(data.events, weight=weight))
    estimator = ItemKNN(12, similarity=similarity, weighting=weighting, shrinkage=shrinkage)
    X = data.interactions.toarray().astype(np.float64)
    rows, history = X.T, X
    if weighting == "tfidf":
        # Users are the terms of an item: those with long histories have a lower weight.
        history = np.log2(1 + X)
        rows = history.T * np.log(X.shape[1] / np.maximum((X > 0).sum(axis=1), 1))
    model = estimator.fit(data)
    lists = slow_lists(rows, estimator)
    np.testing.assert_allclose(model.similar.toarray(), lists, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.score(data.queries()), history @ lists, rtol=1e-4, atol=1e-4)


def test_each_item_has_its_own_k_neighbors() -> None:
    data = make_dataset(n_users=30, n_items=12, per_user=6)
    model = ItemKNN(3, shrinkage=0).fit(data)
    assert (model.similar.toarray() > 0).sum(axis=0).max() == 3
    assert not model.similar.diagonal().any()


def of_items(columns: list[list[float]]) -> Dataset:
    data = make_dataset(n_users=len(columns[0]), n_items=len(columns), per_user=1)
    X = sp.coo_array(np.array(columns, np.float32).T)
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
    model = ItemKNN(similarity=similarity, weighting="none", shrinkage=0).fit(of_items([first, second]))
    assert model.similar.toarray().tolist() == pytest.approx(np.array([[0, expected], [expected, 0]]), abs=1e-6)


def test_by_content_items_without_interactions_have_neighbors(dataset: Dataset) -> None:
    few = dataset.with_events(dataset.events.take(dataset.events.item != 4))
    query = Queries(users=np.array([-1], np.int32), history=few.interactions[[0]])
    assert not ItemKNN().fit(few).score(query)[0, 4]
    assert ItemKNN(by="content", columns=("genres",)).fit(few).score(query)[0, 4] > 0


def test_a_new_item_scores_as_its_twin_in_content(dataset: Dataset) -> None:
    assert dataset.item_table is not None
    model = ItemKNN(60, by="content", columns=("genres",), shrinkage=0).fit(dataset)
    larger = model.extend(dataset.item_table.take(np.array([6])))
    history = np.zeros((1, larger.n_items), np.float32)
    history[0, [2, 10, 11]] = 1
    query = Queries(users=np.array([-1], np.int32), history=sp.csr_array(history))
    scores = larger.score(query)[0]
    assert scores[40] == pytest.approx(scores[6], rel=1e-5)
    assert scores[40] > 0
    old = Queries(users=query.users, history=sp.csr_array(history[:, :40]))
    np.testing.assert_allclose(scores[:40], model.score(old)[0], rtol=1e-6)
    reason = larger.explain(query, np.array([40]))[0]
    assert reason.reason == "content"
    assert reason.features[0] == "genres: crime"


def test_without_content_a_new_item_waits_for_the_next_fit(dataset: Dataset) -> None:
    assert dataset.item_table is not None
    larger = ItemKNN().fit(dataset).extend(dataset.item_table.take(np.array([6])))
    history = np.zeros((1, larger.n_items), np.float32)
    history[0, :9] = 1
    scores = larger.score(Queries(users=np.array([-1], np.int32), history=sp.csr_array(history)))
    assert scores[0, 40] == 0
    assert scores[0, :40].any()


def test_reasons_add_up_to_the_score(dataset: Dataset) -> None:
    model = ItemKNN(n_neighbors=10).fit(dataset)
    query = dataset.queries(np.array([2], np.int32))
    for item in (1, 6, 30):
        reason = model.explain(query, np.array([item]))[0]
        assert reason.reason == "history"
        assert reason.weights.sum() == pytest.approx(model.score(query)[0, item], rel=1e-4, abs=1e-6)


def test_more_neighbors_than_items_uses_all(dataset: Dataset) -> None:
    many, all_of_them = (ItemKNN(n_neighbors=k).fit(dataset).score(dataset.queries()) for k in (10_000, 40))
    np.testing.assert_array_equal(many, all_of_them)


def test_a_user_with_all_items_and_an_item_without_users() -> None:
    data = make_dataset(n_users=5, n_items=6, per_user=6)
    data = data.with_events(data.events.take(data.events.item != 5))
    for similarity in ("cosine", "pearson", "euclidean", "jaccard"):
        scores = ItemKNN(similarity=similarity, weighting="none").fit(data).score(data.queries())
        assert np.isfinite(scores).all()
        assert not scores[:, 5].any()


@pytest.mark.parametrize("by", ["content", "interests"])
def test_content_needs_an_item_table(by: str, dataset: Dataset) -> None:
    with pytest.raises(DataError, match="needs an item table"):
        ItemKNN(by=by).fit(dataclasses.replace(dataset, item_table=None))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_neighbors": 0}, "n_neighbors must be a number of at least 1"),
        ({"by": "age"}, "by must be one of users, content, interests"),
        ({"similarity": "dot"}, "similarity must be one of cosine, pearson, euclidean, jaccard"),
        ({"weighting": "idf"}, "weighting must be one of"),
    ],
)
def test_refuses_wrong_settings(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        ItemKNN(**wrong)  # type: ignore[arg-type]
