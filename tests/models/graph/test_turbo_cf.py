"""Turbo-CF: the contract, and the formula of the paper in dense NumPy."""

import numpy as np
import pytest

from contracts.estimator import EstimatorContract, OddDataContract
from contracts.updatable import UpdatableContract
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.graph.turbo_cf import TurboCF


class TestTurboCF(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = TurboCF(n_neighbors=20)


class TestSecondOrder(EstimatorContract, OddDataContract):
    estimator = TurboCF(n_neighbors=20, order=2)
    # Subtracting the second step holds back what is near: on this small, dense catalog it finds less.
    min_recall = 0.3


class TestThirdOrder(EstimatorContract, OddDataContract):
    estimator = TurboCF(n_neighbors=20, order=3)


def dense_graph(data: Dataset, settings: TurboCF) -> np.ndarray:
    X = np.log2(1 + data.interactions.toarray()).astype(np.float64)
    R = X * X.sum(axis=1)[:, None] ** -settings.alpha * X.sum(axis=0) ** (settings.alpha - 1)
    P = R.T @ R
    np.fill_diagonal(P, 0)
    for row in P:
        row[np.argsort(-row, kind="stable")[settings.n_neighbors :]] = 0
    return np.where(P > 0, P**settings.power, 0)


@pytest.mark.parametrize("settings", [TurboCF(), TurboCF(alpha=0.4, power=1.3, n_neighbors=9), TurboCF(n_neighbors=5)])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_scores_follow_the_formula(dataset: Dataset, settings: TurboCF, order: int) -> None:
    P = dense_graph(dataset, settings)
    filters = {1: P, 2: 2 * P - P @ P, 3: P + 0.01 * (-P @ P @ P + 10 * P @ P - 29 * P)}
    expected = np.log2(1 + dataset.interactions.toarray()) @ filters[order]
    model = TurboCF(settings.alpha, settings.power, order, settings.n_neighbors).fit(dataset)
    np.testing.assert_allclose(model.score(dataset.queries()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_reasons_add_up_to_the_score(dataset: Dataset, order: int) -> None:
    model = TurboCF(n_neighbors=12, order=order).fit(dataset)
    query = dataset.queries(np.array([7], np.int32))
    assert model.explain(query, np.array([11]))[0].weights.sum() == pytest.approx(
        float(model.score(query)[0, 11]), rel=1e-4
    )


def test_only_the_linear_filter_has_sparse_weights(dataset: Dataset) -> None:
    assert TurboCF(n_neighbors=5).fit(dataset).item_weights() is not None
    assert TurboCF(n_neighbors=5, order=2).fit(dataset).item_weights() is None


def test_an_item_without_interactions_scores_zero(dataset: Dataset) -> None:
    kept = dataset.with_events(dataset.events.take(dataset.events.item != 3))
    np.testing.assert_array_equal(TurboCF().fit(kept).score(kept.queries())[:, 3], 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"alpha": 1.2}, "alpha must be a number from 0 to 1"),
        ({"power": 0.0}, "power must be a positive number"),
        ({"order": 4}, "order must be one of 1, 2, 3"),
        ({"n_neighbors": 0}, "n_neighbors must be a number of at least 1"),
    ],
)
def test_refuses_settings_outside_their_range(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        TurboCF(**wrong)
