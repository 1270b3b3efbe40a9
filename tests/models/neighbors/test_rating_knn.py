"""Rating kNN: the contracts, and the same numbers from dense matrices and loops."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import make_dataset
from contracts.estimator import EstimatorContract, OddDataContract
from contracts.rating import RatingContract
from contracts.updatable import UpdatableContract
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.neighbors.rating_knn import RatingKNN, RatingKNNModel
from leanrec.types import Queries


class TestByItems(RatingContract, EstimatorContract, OddDataContract, UpdatableContract):
    estimator = RatingKNN(n_neighbors=30, shrinkage=2, damping=1, n_candidates=60)
    min_recall = 0.3
    at_most = 0.85


class TestByUsers(RatingContract, EstimatorContract, OddDataContract, UpdatableContract):
    estimator = RatingKNN(by="users", shrinkage=2, damping=1, n_candidates=60)
    min_recall = 0.3


class TestByUsersPearson(RatingContract, EstimatorContract, OddDataContract):
    estimator = RatingKNN(by="users", similarity="pearson", shrinkage=2, damping=1, n_candidates=60)
    min_recall = 0.2
    at_most = 1.1


class TestByItemsPearson(RatingContract, EstimatorContract, OddDataContract):
    estimator = RatingKNN(n_neighbors=30, similarity="pearson", shrinkage=2, damping=1, n_candidates=60)
    min_recall = 0.3
    at_most = 1.0


def slow_similarity(x: np.ndarray, y: np.ndarray, settings: RatingKNN) -> float:
    """Of two vectors with NaN where there is no rating."""
    both = ~np.isnan(x) & ~np.isnan(y)
    shared = int(both.sum())
    if shared < settings.min_shared:
        return 0.0
    if settings.similarity == "pearson":
        a, b = x[both] - x[both].mean(), y[both] - y[both].mean()
        scale = np.sqrt((a @ a) * (b @ b))
    else:
        a, b = x[both], y[both]
        scale = np.sqrt(np.nansum(x**2) * np.nansum(y**2))
    value = float(a @ b / scale) if scale > 1e-9 else 0.0
    return max(0.0, value * shared / (shared + settings.shrinkage))


def slow_ratings(model: RatingKNNModel, data: Dataset) -> np.ndarray:
    """(U, N) every rating, one pair at a time."""
    settings, baseline = model.settings, model.baseline
    assert data.ratings is not None
    R = np.full(data.ratings.shape, np.nan)
    R[data.ratings.tocoo().coords] = data.ratings.tocoo().data
    offsets = baseline.user_offsets(data.ratings).astype(np.float64)
    compared = R if settings.similarity == "pearson" else R - baseline.mean - offsets[:, None]
    base = baseline.mean + baseline.item_offsets[None, :].astype(np.float64) + offsets[:, None]
    left = R - base
    by_items = settings.by == "items"
    rows = compared.T if by_items else compared
    S = np.array([[slow_similarity(x, y, settings) for y in rows] for x in rows])
    np.fill_diagonal(S, 0)
    out = base.copy()
    for u, i in np.ndindex(*R.shape):
        similar, residuals = (S[i], left[u]) if by_items else (S[u], left[:, i])
        pool = [j for j in np.argsort(-S[i if by_items else u], kind="stable") if similar[j] > 0][
            : settings.n_candidates
        ]
        used = [j for j in pool if not np.isnan(residuals[j])][: settings.n_neighbors]
        if used:
            mean = sum(similar[j] * residuals[j] for j in used) / sum(similar[j] for j in used)
            out[u, i] += mean * len(used) / (len(used) + settings.damping)
    return out


@pytest.mark.parametrize("by", ["items", "users"])
@pytest.mark.parametrize("similarity", ["pearson", "cosine"])
@pytest.mark.parametrize(("k", "pool", "shrinkage", "min_shared"), [(3, 10, 0.0, 1), (40, 400, 5.0, 2)])
def test_agrees_with_dense_loops(
    by: str, similarity: str, k: int, pool: int, shrinkage: float, min_shared: int
) -> None:
    data = make_dataset(n_users=18, n_items=14, per_user=7, seed=3)
    settings = RatingKNN(by, similarity, n_neighbors=k, n_candidates=pool, shrinkage=shrinkage, min_shared=min_shared)
    model = settings.fit(data)
    np.testing.assert_allclose(model.score(data.queries()), slow_ratings(model, data), atol=2e-4)


def ratings_of(rows: list[list[float]]) -> Dataset:
    """Users × items, 0 = no rating."""
    data = make_dataset(n_users=len(rows), n_items=len(rows[0]), per_user=1)
    R = sp.coo_array(np.array(rows, np.float32))
    n = R.nnz
    user, item = (each.astype(np.int32) for each in R.coords)
    events = dataclasses.replace(
        data.events.take(np.zeros(n, np.int64)), user=user, item=item, rating=R.data, time=np.arange(n)
    )
    return dataclasses.replace(data, rating_range=(1.0, 5.0)).with_events(events)


def test_pearson_of_three_ratings_by_hand() -> None:
    # (4, 3, 5) and (4, 4, 5): deviations (0, -1, 1) and (-1/3, -1/3, 2/3); 1 / sqrt(2 * 2/3) = 0.866.
    data = ratings_of([[4, 3, 5], [4, 4, 5]])
    model = RatingKNN("users", "pearson", shrinkage=0).fit(data)
    queries = data.queries(np.array([0], np.int32))
    nearest = model._find_neighbors(queries, model.baseline.collect_evidence(queries.history, queries.ratings))
    assert nearest.indices.tolist() == [1]
    assert nearest.data[0] == pytest.approx(0.8660254, abs=1e-6)


def test_constant_ratings_have_no_correlation() -> None:
    data = ratings_of([[4, 4, 4], [2, 3, 4], [1, 3, 5]])
    model = RatingKNN("users", "pearson", shrinkage=0).fit(data)
    queries = data.queries()
    nearest = model._find_neighbors(
        queries, model.baseline.collect_evidence(queries.history, queries.ratings)
    ).toarray()
    assert not nearest[0].any()
    assert nearest[1, 2] == pytest.approx(1)


@pytest.mark.parametrize("by", ["items", "users"])
def test_reasons_add_up_to_the_score(by: str, dataset: Dataset) -> None:
    model = RatingKNN(by, n_neighbors=5, n_candidates=60).fit(dataset)
    query = dataset.queries(np.array([11], np.int32))
    offset = model.baseline.user_offsets(query.ratings)[0]
    for item in (0, 13, 22):
        reason = model.explain(query, np.array([item]))[0]
        base = model.baseline.mean + model.baseline.item_offsets[item] + offset
        assert base + reason.weights.sum() == pytest.approx(model.score(query)[0, item], abs=1e-4)
        assert reason.reason == ("history" if by == "items" else "neighbors")


@pytest.mark.parametrize("by", ["items", "users"])
def test_more_neighbors_than_users_or_items_uses_all(by: str) -> None:
    data = make_dataset(n_users=9, n_items=8, per_user=4)
    many, all_of_them = (
        RatingKNN(by, n_neighbors=k, n_candidates=k).fit(data).score(data.queries()) for k in (10_000, 9)
    )
    np.testing.assert_array_equal(many, all_of_them)


@pytest.mark.parametrize("by", ["items", "users"])
def test_a_user_with_all_ratings_and_an_item_without_ratings(by: str) -> None:
    data = ratings_of([[4, 3, 5, 0], [4, 4, 5, 0], [2, 3, 1, 0]])
    model = RatingKNN(by, shrinkage=0, damping=0).fit(data)
    assert np.isfinite(model.score(data.queries())).all()
    # No neighbor has rated the last item: its prediction is the baseline.
    expected = model.baseline.mean + model.baseline.user_offsets(data.ratings)
    np.testing.assert_allclose(model.score(data.queries())[:, 3], expected, atol=1e-6)


def test_a_known_user_is_not_its_own_neighbor() -> None:
    data = ratings_of([[4, 3, 5, 1], [4, 4, 5, 2], [2, 3, 1, 5]])
    model = RatingKNN("users", shrinkage=0).fit(data)
    known = data.queries(np.array([0], np.int32))
    new = Queries(users=np.array([-1], np.int32), history=known.history, ratings=known.ratings)
    assert 0 not in model._find_neighbors(known, model.baseline.collect_evidence(known.history, known.ratings)).indices
    assert 0 in model._find_neighbors(new, model.baseline.collect_evidence(new.history, new.ratings)).indices


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "stars"}, "by must be one of items, users"),
        ({"similarity": "jaccard"}, "similarity must be one of pearson, cosine"),
        ({"n_neighbors": 0}, "n_neighbors must be a number of at least 1"),
        ({"n_candidates": 3}, "n_candidates must be a number of at least 40"),
        ({"damping": -1}, "damping must be a number of at least 0"),
    ],
)
def test_refuses_wrong_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        RatingKNN(**settings)  # type: ignore[arg-type]
