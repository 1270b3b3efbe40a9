"""RP3: the contract, and the walks counted one by one."""

import numpy as np
import pytest

from contracts.estimator import EstimatorContract, OddDataContract
from contracts.updatable import UpdatableContract
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.graph.rp3 import RP3


class TestRP3(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = RP3(n_neighbors=20)


class TestP3(EstimatorContract, OddDataContract):
    estimator = RP3(alpha=1.0, beta=0.0, n_neighbors=20)


def walked(data: Dataset, alpha: float, beta: float) -> np.ndarray:
    """(N, N) the walks item → user → item, step by step."""
    X = np.log2(1 + data.interactions.toarray()).astype(np.float64)
    n = X.shape[1]
    walks = np.zeros((n, n))
    for u in range(len(X)):
        for i in np.flatnonzero(X[u]):
            to_user = (X[u, i] / X[:, i].sum()) ** alpha
            for j in np.flatnonzero(X[u]):
                walks[i, j] += to_user * (X[u, j] / X[u].sum()) ** alpha / X[:, j].sum() ** beta
    return walks


@pytest.mark.parametrize(("alpha", "beta", "k"), [(1.0, 0.0, 100), (0.7, 0.3, 100), (1.4, 0.5, 6)])
def test_walks_are_those_of_the_steps(dataset: Dataset, alpha: float, beta: float, k: int) -> None:
    expected = walked(dataset, alpha, beta)
    np.fill_diagonal(expected, 0)
    for row in expected:
        row[np.argsort(-row, kind="stable")[k:]] = 0
    model = RP3(alpha, beta, k).fit(dataset)
    np.testing.assert_allclose(model.walks.toarray(), expected, rtol=1e-4, atol=1e-7)
    history = np.log2(1 + dataset.interactions.toarray()) ** alpha
    np.testing.assert_allclose(model.score(dataset.queries()), history @ expected, rtol=1e-4, atol=1e-6)


def test_transition_probabilities_sum_to_one(dataset: Dataset) -> None:
    """With alpha 1 and beta 0 the steps are probabilities: what stays is the way back to the item itself."""
    whole = walked(dataset, 1.0, 0.0)
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-9)
    leaving = RP3(1.0, 0.0, 100).fit(dataset).walks.toarray().sum(axis=1)
    np.testing.assert_allclose(leaving, 1 - np.diag(whole), atol=1e-5)


def test_beta_lowers_the_scores_of_popular_items(dataset: Dataset) -> None:
    degree = dataset.interactions.toarray().sum(axis=0)

    def share(beta: float) -> float:
        scores = RP3(0.7, beta, 100).fit(dataset).score(dataset.queries())
        return float(np.mean([np.corrcoef(row, degree)[0, 1] for row in scores]))

    assert share(0.8) < share(0.3) < share(0.0)


def test_the_reasons_add_up_to_the_score(dataset: Dataset) -> None:
    model = RP3(n_neighbors=12).fit(dataset)
    query = dataset.queries(np.array([7], np.int32))
    assert model.explain(query, np.array([11]))[0].weights.sum() == pytest.approx(
        float(model.score(query)[0, 11]), rel=1e-4
    )


def test_an_item_without_interactions_is_never_reached(dataset: Dataset) -> None:
    kept = dataset.with_events(dataset.events.take(dataset.events.item != 3))
    walks = RP3().fit(kept).walks.toarray()
    assert not walks[3].any()
    assert not walks[:, 3].any()


@pytest.mark.parametrize("wrong", [{"alpha": -1.0}, {"beta": -0.1}, {"n_neighbors": 0}])
def test_refuses_settings_outside_their_range(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(wrong))} must be a number of at least"):
        RP3(**wrong)
