"""EASE: the contract, and the closed form, item by item."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from conftest import make_dataset
from contracts.estimator import EstimatorContract, OddDataContract
from contracts.updatable import UpdatableContract
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.errors import BudgetError, DataError, SettingError
from leanrec.kernels.solvers.inverse import sweep_inverse_bytes
from leanrec.models.linear import ease
from leanrec.models.linear.ease import EASE
from leanrec.run import Run


class TestEASE(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = EASE(l2=20.0)


def test_weights_solve_the_ridge_problem_of_each_item(dataset: Dataset) -> None:
    X = np.log2(1 + dataset.interactions.toarray()).astype(np.float64)
    weights = EASE(l2=20.0).fit(dataset).weights
    for item in range(0, X.shape[1], 9):
        others = np.delete(np.arange(X.shape[1]), item)
        ridge = X[:, others].T @ X[:, others] + 20.0 * np.eye(len(others))
        expected = np.linalg.solve(ridge, X[:, others].T @ X[:, item])
        np.testing.assert_allclose(weights[others, item], expected, atol=1e-4)
        assert weights[item, item] == 0


@pytest.mark.parametrize("l2", [0.0, -3.0, float("nan")])
def test_refuses_a_ridge_that_is_not_positive(l2: float) -> None:
    with pytest.raises(SettingError, match="l2 must be a positive number"):
        EASE(l2=l2)


class TestSparseEASE(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = EASE(l2=20.0, top_k=15)


@pytest.mark.parametrize("users", [8, 60])
def test_both_ways_to_the_inverse_give_the_same_weights(users: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_dataset(n_users=users)
    monkeypatch.setattr(ease, "_has_few_users", lambda _: True)
    by_users = EASE(l2=5.0).fit(data).weights
    monkeypatch.setattr(ease, "_has_few_users", lambda _: False)
    np.testing.assert_allclose(by_users, EASE(l2=5.0).fit(data).weights, atol=2e-6)


def test_top_k_keeps_the_most_important_weights_and_solves_again(dataset: Dataset) -> None:
    X = np.log2(1 + dataset.interactions.toarray()).astype(np.float64)
    full, kept = EASE(l2=20.0).fit(dataset).weights, EASE(l2=20.0, top_k=7).fit(dataset).weights.toarray()
    share = abs(full) * ((X > 0).sum(axis=0) ** 0.3)[:, None]
    for item in range(40):
        there = np.flatnonzero(kept[:, item])
        assert sorted(there) == sorted(np.argsort(-share[:, item])[:7])
        ridge = X[:, there].T @ X[:, there] + 20.0 * np.eye(7)
        np.testing.assert_allclose(kept[there, item], np.linalg.solve(ridge, X[:, there].T @ X[:, item]), atol=1e-5)


def test_top_of_everything_is_the_dense_model(dataset: Dataset) -> None:
    kept = EASE(l2=20.0, top_k=40).fit(dataset).weights.toarray()
    np.testing.assert_allclose(kept, EASE(l2=20.0).fit(dataset).weights, atol=1e-5)


@pytest.mark.parametrize("top", [0, 7])
def test_a_matrix_that_does_not_fit_is_inverted_in_a_file(top: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_dataset(n_users=90, n_items=300)
    how = EASE(l2=5.0, top_k=top)
    expected = how.fit(data).weights
    monkeypatch.setattr(ease, "_BAND_ROWS", (16, 64))
    monkeypatch.setattr(ease, "_has_few_users", lambda _: True)
    room = how._other_bytes(data.shape) + sweep_inverse_bytes(300, 16)
    assert room < how.fit_bytes(data.shape)
    weights = how.fit(data, Run(budget=Budget(memory=room))).weights
    assert type(weights) is type(expected)
    if top:
        # Items with the same users tie, and rounding decides which of them is kept.
        weights, expected = (np.sort(each.toarray(), axis=0) for each in (weights, expected))
    np.testing.assert_allclose(weights, expected, atol=2e-6)
    with pytest.raises(BudgetError, match="even with its 360 kB in a file, needs about"):
        how.fit(data, Run(budget=Budget(memory=room - 1)))


def test_large_catalogs_are_inverted_by_the_sweep(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = EASE(l2=20.0).fit(dataset).weights
    monkeypatch.setattr(ease, "_MAX_LAPACK_ITEMS", 39)
    monkeypatch.setattr(ease, "invert_in_place", None)
    np.testing.assert_allclose(EASE(l2=20.0).fit(dataset).weights, expected, atol=1e-6)


def test_too_little_memory_and_disk_raise_a_budget_error(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    monkeypatch.setattr(EASE, "fit_bytes", lambda *_: 2**60)
    with pytest.raises(BudgetError, match=r"needs 6\.4 kB in memory or on disk.*100 B in .*TMPDIR"):
        EASE().fit(dataset)


def test_refuses_a_ridge_that_float32_cannot_carry() -> None:
    data = make_dataset(n_users=30, n_items=40)
    heavy = dataclasses.replace(data.events, weight=np.full(len(data.events), 1e5, np.float32))
    with pytest.raises(DataError, match=r"l2 must be large enough|positive definite"):
        EASE(l2=1e-3, weighting="none").fit(data.with_events(heavy))


def test_an_item_without_interactions_has_no_weights(dataset: Dataset) -> None:
    weights = EASE(l2=20.0).fit(dataset.with_events(dataset.events.take(dataset.events.item != 3))).weights
    assert not weights[3].any()
    assert not weights[:, 3].any()
