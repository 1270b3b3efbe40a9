"""Asymmetric cosine: the contract, the definition by a slow twin, and its special cases."""

import numpy as np
import pytest

from contracts.estimator import EstimatorContract, OddDataContract
from contracts.updatable import UpdatableContract
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.neighbors.asymmetric_cosine import AsymmetricCosine
from leanrec.run import Run


class TestAsymmetricCosine(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = AsymmetricCosine(n_neighbors=20)
    follows_items = True


class TestSourceNormalized(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = AsymmetricCosine(alpha=0.8, locality=2.0, n_neighbors=20, weighting="log")
    follows_items = True


def slow_twin(X: np.ndarray, settings: AsymmetricCosine) -> np.ndarray:
    """(N, N) the similarities, pair by pair, each column with its k largest."""
    n = X.shape[1]
    weights = np.zeros((n, n))
    for j in range(n):
        for i in range(n):
            lengths = np.linalg.norm(X[:, i]) ** (2 * settings.alpha) * np.linalg.norm(X[:, j]) ** (
                2 * (1 - settings.alpha)
            )
            if i != j and lengths:
                weights[i, j] = X[:, i] @ X[:, j] / lengths
        weights[np.argsort(-weights[:, j], kind="stable")[settings.n_neighbors :], j] = 0
    return weights**settings.locality


@pytest.mark.parametrize(
    "settings",
    [
        AsymmetricCosine(),
        AsymmetricCosine(alpha=0.2, locality=3.0, n_neighbors=9),
        AsymmetricCosine(alpha=1.0, weighting="log", n_neighbors=40),
    ],
)
def test_weights_are_those_of_the_slow_twin(dataset: Dataset, settings: AsymmetricCosine) -> None:
    counts = dataset.interactions.toarray().astype(np.float64)
    X = np.log2(1 + counts) if settings.weighting == "log" else (counts > 0).astype(np.float64)
    expected = slow_twin(X, settings)
    model = settings.fit(dataset)
    np.testing.assert_allclose(model.weights.toarray(), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.score(dataset.queries()), X @ expected, rtol=1e-4, atol=1e-5)


def test_alpha_one_is_a_conditional_probability(dataset: Dataset) -> None:
    X = dataset.interactions.toarray() > 0
    weights = AsymmetricCosine(alpha=1.0).fit(dataset).weights.toarray()
    chose_both = (X[:, 3] & X[:, 8]).sum()
    assert weights[3, 8] == pytest.approx(chose_both / X[:, 3].sum())
    assert weights[8, 3] == pytest.approx(chose_both / X[:, 8].sum())


def test_a_larger_alpha_favors_popular_items(dataset: Dataset) -> None:
    degree = dataset.interactions.toarray().sum(axis=0)

    def correlation(alpha: float) -> float:
        scores = AsymmetricCosine(alpha=alpha).fit(dataset).score(dataset.queries())
        return float(np.mean([np.corrcoef(row, degree)[0, 1] for row in scores]))

    assert correlation(0.0) < correlation(0.5) < correlation(1.0)


def test_threads_do_not_change_the_weights(dataset: Dataset) -> None:
    one, two = (AsymmetricCosine().fit(dataset, Run(threads=threads)).weights for threads in (1, 2))
    np.testing.assert_array_equal(one.toarray(), two.toarray())


@pytest.mark.parametrize("wrong", [{"alpha": 1.1}, {"locality": 0.0}, {"n_neighbors": 0}, {"weighting": "tfidf"}])
def test_refuses_wrong_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError):
        AsymmetricCosine(**wrong)
