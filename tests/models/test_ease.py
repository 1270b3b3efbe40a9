"""EASE: the contract, and the closed form by the slow road."""

import numpy as np
import pytest

from contracts.estimator import EstimatorContract
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.collaborative.ease import EASE


class TestEASE(EstimatorContract):
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
