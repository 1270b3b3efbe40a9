"""Local regression: the contract, the slow twin, and what its settings promise."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from conftest import make_dataset
from contracts.estimator import EstimatorContract, OddDataContract
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import SettingError
from leanrec.models.linear import local_regression
from leanrec.models.linear.local_regression import LocalRegression
from leanrec.run import Run

# One weight and the sum of all.
GOLDEN = (0.042213555, 21.036968)
PLAIN = LocalRegression(n_neighbors=12, l2=3.0, l2_exponent=0.0, alpha=0.0, beta=0.0, gamma=0.0, min_weight=0.0)


class TestLocalRegression(EstimatorContract, OddDataContract):
    estimator = LocalRegression(n_neighbors=20)


class TestExponents(EstimatorContract, OddDataContract):
    estimator = LocalRegression(
        n_neighbors=15, l2_exponent=1.0, alpha=0.5, beta=0.3, gamma=0.2, min_weight=0.1, weighting="binary"
    )


def by_numpy(data: Dataset, how: LocalRegression) -> np.ndarray:
    """Dense, in float64, one item after the other."""
    X = np.log2(1 + data.interactions.toarray().astype(np.float64))
    degrees, Z = X.sum(axis=0), X * X.sum(axis=1, keepdims=True) ** -how.alpha
    G = Z.T @ Z
    squares = np.diag(G)
    ridge = (
        how.l2
        * squares.mean() ** (1 - how.l2_exponent)
        * squares**how.l2_exponent
        / np.sqrt((X > 0).sum(axis=0).mean())
    )
    cosine = G / np.sqrt(np.outer(squares, squares))
    np.fill_diagonal(cosine, -1)
    B = np.zeros_like(G)
    for j in range(len(G)):
        S = np.argsort(-cosine[j], kind="stable")[: how.n_neighbors]
        S = S[cosine[j, S] > 0]
        w = np.linalg.solve(G[np.ix_(S, S)] + np.diag(ridge[S]), G[S, j])
        B[S, j] = degrees[S] ** -how.beta * w * degrees[j] ** how.gamma
    return np.where(np.abs(B) > how.min_weight * np.abs(B).max(axis=0), B, 0)


@pytest.mark.parametrize(
    "how",
    [
        PLAIN,
        LocalRegression(n_neighbors=7),
        dataclasses.replace(PLAIN, l2_exponent=1.0, alpha=0.5, beta=0.4, gamma=0.3),
    ],
)
@pytest.mark.parametrize("dense_bytes", [0, 2**20])
def test_weights_are_those_of_the_slow_twin(
    dataset: Dataset, how: LocalRegression, dense_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_regression, "_SMALL_BYTES", dense_bytes)
    monkeypatch.setattr(local_regression, "_LARGE_BYTES", dense_bytes)
    np.testing.assert_allclose(how.fit(dataset).weights.toarray(), by_numpy(dataset, how), atol=2e-4)


def test_golden(dataset: Dataset) -> None:
    weights = LocalRegression().fit(dataset, Run(threads=1)).weights
    assert weights[0, 4] == pytest.approx(GOLDEN[0], abs=1e-4)
    assert weights.sum() == pytest.approx(GOLDEN[1], rel=1e-3)


def test_all_items_as_neighbors_is_the_regression_on_all_others(dataset: Dataset) -> None:
    X = np.log2(1 + dataset.interactions.toarray()).astype(np.float64)
    how = dataclasses.replace(PLAIN, n_neighbors=10_000)
    weights = how.fit(dataset).weights.toarray()
    together = X.T @ X
    ridge = how.l2 * np.diag(together).mean() / np.sqrt((X > 0).sum(axis=0).mean())
    for item in range(0, 40, 9):
        # Items that share no user with this one are no neighbors; in the closed form they may still have weights.
        others = np.flatnonzero(together[item] * (np.arange(40) != item))
        expected = np.linalg.solve(
            together[np.ix_(others, others)] + ridge * np.eye(len(others)), together[others, item]
        )
        np.testing.assert_allclose(weights[others, item], expected, atol=2e-4)


def test_an_item_without_interactions_has_no_weights(dataset: Dataset) -> None:
    without = dataset.with_events(dataset.events.take(dataset.events.item != 3))
    weights = LocalRegression().fit(without).weights.toarray()
    assert np.isfinite(weights).all()
    assert not weights[3].any()
    assert not weights[:, 3].any()


def test_nothing_to_learn_from_is_a_model_without_weights(dataset: Dataset) -> None:
    nothing = dataset.with_events(dataset.events.take(slice(0, 0)))
    assert LocalRegression().fit(nothing).weights.nnz == 0


def test_the_ridge_follows_the_scale_of_the_data(dataset: Dataset) -> None:
    heavier = dataset.with_events(dataclasses.replace(dataset.events, weight=dataset.events.weight * 50))
    how = dataclasses.replace(PLAIN, weighting="none")
    np.testing.assert_allclose(how.fit(heavier).weights.toarray(), how.fit(dataset).weights.toarray(), atol=1e-4)


def test_small_weights_are_dropped(dataset: Dataset) -> None:
    full, kept = PLAIN.fit(dataset).weights, dataclasses.replace(PLAIN, min_weight=0.3).fit(dataset).weights
    assert 0 < kept.nnz < full.nnz
    largest = np.abs(full.toarray()).max(axis=0)
    columns = kept.tocoo().coords[1]
    assert (np.abs(kept.tocoo().data) >= 0.3 * largest[columns]).all()


def test_threads_do_not_change_a_bit(dataset: Dataset) -> None:
    one, two = (PLAIN.fit(dataset, Run(threads=threads)).weights for threads in (1, 2))
    np.testing.assert_array_equal(one.toarray(), two.toarray())


def test_out_of_time_gives_weights_of_one_variable_regressions(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = PLAIN.fit(dataset, Run(budget=Budget(fit_time=0.0))).weights.toarray()
    assert late.any()
    X = np.log2(1 + dataset.interactions.toarray()).astype(np.float64)
    G = X.T @ X
    ridge = PLAIN.l2 * np.diag(G).mean() / np.sqrt((X > 0).sum(axis=0).mean())
    alone = G / (np.diag(G) + ridge)[:, None]
    np.testing.assert_allclose(late[late != 0], alone[late != 0], rtol=1e-4)
    # With half of the items solved, the rest are brought to their size.
    monkeypatch.setattr(local_regression, "_ITEMS", 20)
    turns = iter([False, True])
    monkeypatch.setattr(Run, "out_of_time", lambda _: next(turns))
    half = PLAIN.fit(dataset).weights.toarray()
    np.testing.assert_array_equal(half[:, :20] != 0, late[:, :20] != 0)
    assert 0.3 < half[:, 20:].sum() / half[:, :20].sum() < 3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_neighbors", 0, "n_neighbors must be a number of at least 1"),
        ("l2", 0.0, "l2 must be a positive number"),
        ("l2_exponent", 1.5, "l2_exponent must be a number from 0 to 1"),
        ("alpha", float("nan"), "alpha must be a number from -2 to 2"),
        ("min_weight", -0.1, "min_weight must be a number from 0 to 1"),
        ("weighting", "bm25", "weighting must be one of none, binary, log"),
    ],
)
def test_refuses_settings_out_of_range(name: str, value: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        LocalRegression(**{name: value})


def test_larger_data_by_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_dataset(n_users=200, n_items=120, per_user=15)
    by_copy = LocalRegression(n_neighbors=30).fit(data).weights.toarray()
    monkeypatch.setattr(local_regression, "_SMALL_BYTES", 0)
    monkeypatch.setattr(local_regression, "_LARGE_BYTES", 0)
    np.testing.assert_allclose(LocalRegression(n_neighbors=30).fit(data).weights.toarray(), by_copy, atol=1e-4)


def test_memory_holds_the_large_gram_matrix_only_where_it_is_made() -> None:
    how, n = LocalRegression(), 20_000
    sparse, dense = (how.fit_bytes(DatasetShape(50_000, n, events)) for events in (1_000_000, 10_000_000))
    assert sparse < 4 * n**2 < dense
    small, huge = (how.fit_bytes(DatasetShape(50_000, items, 50_000_000)) for items in (2_000, 200_000))
    assert small > 4 * 2_000**2
    assert huge < 4 * 200_000**2
