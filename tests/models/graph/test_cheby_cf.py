"""ChebyCF: the contract, the filter over a dense spectrum, and the polynomial of the paper."""

import numpy as np
import pytest

from contracts.estimator import EstimatorContract, OddDataContract
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.graph.cheby_cf import ChebyCF


class TestChebyCF(EstimatorContract, OddDataContract):
    estimator = ChebyCF(n_components=8)


class TestSecondOrder(EstimatorContract, OddDataContract):
    estimator = ChebyCF(n_components=8, order=2)


class TestPolynomialAlone(EstimatorContract, OddDataContract):
    estimator = ChebyCF(n_components=0, order=8)


class TestSparse(EstimatorContract, OddDataContract):
    estimator = ChebyCF(n_components=8, top_k=15)


def spectrum(data: Dataset, alpha: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Histories, degrees of the items, eigenvalues falling, eigenvectors."""
    X = np.log2(1 + data.interactions.toarray()).astype(np.float64)
    R = X * X.sum(axis=1)[:, None] ** -alpha / np.sqrt(X.sum(axis=0))
    R /= np.linalg.norm(R, 2)
    values, vectors = np.linalg.eigh(R.T @ R)
    return X, X.sum(axis=0), np.clip(values[::-1], 0, 1), vectors[:, ::-1]


def plateau(values: np.ndarray, flatness: float) -> np.ndarray:
    return np.array([0.5 - 0.5 * np.sign(1 - 2 * v) * abs(1 - 2 * v) ** flatness for v in values])


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(
    ("width", "flatness", "ideal", "beta", "alpha"), [(6, 1.5, 0.2, 0.4, 0.5), (10, 3.0, 0.0, 0.5, 0.3)]
)
def test_scores_follow_the_formula(
    dataset: Dataset, width: int, flatness: float, ideal: float, beta: float, alpha: float, order: int
) -> None:
    X, items, values, vectors = spectrum(dataset, alpha)
    # The filter over the spectrum: the plateau on the strongest, its interpolation through Chebyshev's nodes below.
    nodes = np.cos(np.pi * (np.arange(order + 1) + 0.5) / (order + 1))
    ceiling = values[width - 1]
    below = np.polynomial.Polynomial.fit((nodes + 1) / 2 * ceiling, plateau((nodes + 1) / 2 * ceiling, flatness), order)
    filtered = np.concatenate([plateau(values[:width], flatness) + ideal, below(values[width:])])
    H = vectors * filtered @ vectors.T
    expected = (X * items**-beta) @ H * items**beta
    settings = ChebyCF(flatness, width, ideal, alpha, beta, order, n_iter=80)
    np.testing.assert_allclose(settings.fit(dataset).score(dataset.queries()), expected, atol=3e-3)


@pytest.mark.parametrize("alpha", [0.5, 0.4])
def test_without_directions_it_is_one_polynomial_over_the_whole_spectrum(dataset: Dataset, alpha: float) -> None:
    X, items, values, vectors = spectrum(dataset, alpha)
    x = np.cos(np.pi * (np.arange(9) + 0.5) / 9)
    series = np.polynomial.chebyshev.chebfit(x, plateau((x + 1) / 2, 1.5), 8)
    H = vectors * np.polynomial.chebyshev.chebval(2 * values - 1, series) @ vectors.T
    expected = (X * items**-0.4) @ H * items**0.4
    found = ChebyCF(n_components=0, order=8, alpha=alpha, beta=0.4, flatness=1.5).fit(dataset).score(dataset.queries())
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_all_directions_are_the_plateau_itself(dataset: Dataset) -> None:
    X, items, values, vectors = spectrum(dataset)
    H = vectors * (plateau(values, 1.5) + 0.2) @ vectors.T
    expected = (X * items**-0.4) @ H * items**0.4
    found = ChebyCF(1.5, 500, 0.2, 0.5, 0.4, n_iter=80).fit(dataset).score(dataset.queries())
    np.testing.assert_allclose(found, expected, atol=3e-3)


def test_the_plateau_is_the_papers() -> None:
    found = ChebyCF(flatness=2.0).plateau(np.array([0, 0.25, 0.5, 0.75, 1]))
    np.testing.assert_allclose(found, [0, 0.375, 0.5, 0.625, 1])


@pytest.mark.parametrize("top", [0, 9])
@pytest.mark.parametrize("order", [1, 2])
def test_the_reasons_add_up_to_the_score(dataset: Dataset, top: int, order: int) -> None:
    model = ChebyCF(n_components=6, top_k=top, order=order).fit(dataset)
    query = dataset.queries(np.array([7], np.int32))
    for item in (11, int(query.history.indices[0])):
        assert model.explain(query, np.array([item]))[0].weights.sum() == pytest.approx(
            float(model.score(query)[0, item]), abs=1e-5
        )


def test_top_keeps_the_largest_answers(dataset: Dataset) -> None:
    full, kept = ChebyCF(n_components=6).fit(dataset), ChebyCF(n_components=6, top_k=5).fit(dataset)
    unit = dataset.queries().history[[0]].copy()
    unit.data, unit.indices, unit.indptr = np.ones(1, np.float32), np.array([9], np.int32), np.array([0, 1], np.int32)
    answer = full.apply_filter(unit)[0]
    answer[9] = -np.inf
    row = kept.weights.toarray()[9]
    assert set(np.flatnonzero(row)) == set(np.argsort(-answer)[:5])
    np.testing.assert_array_equal(row[row > 0], answer[row > 0])


def test_an_item_without_interactions_scores_zero(dataset: Dataset) -> None:
    kept = dataset.with_events(dataset.events.take(dataset.events.item != 3))
    scores = ChebyCF(n_components=8).fit(kept).score(kept.queries())
    np.testing.assert_array_equal(scores[:, 3], 0)


@pytest.mark.parametrize(
    "wrong",
    [{"n_components": -1}, {"low_pass_weight": -0.1}, {"order": 0}, {"beta": -1.0}, {"alpha": -0.5}, {"top_k": -1}],
)
def test_refuses_settings_outside_their_range(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(wrong))} must be a number of at least"):
        ChebyCF(**wrong)


def test_refuses_a_high_order_beside_directions() -> None:
    with pytest.raises(SettingError, match="order must be at most 3 unless n_components is 0"):
        ChebyCF(n_components=4, order=8)
