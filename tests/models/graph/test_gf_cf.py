"""GF-CF: the contract, and the formula of the paper in dense NumPy."""

import numpy as np
import pytest

from conftest import make_dataset
from contracts.estimator import EstimatorContract, OddDataContract
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.graph.gf_cf import GFCF
from leanrec.run import Run


class TestGFCF(EstimatorContract, OddDataContract):
    estimator = GFCF(n_components=8)


class TestLinear(EstimatorContract, OddDataContract):
    estimator = GFCF(n_components=0)


class TestSparse(EstimatorContract, OddDataContract):
    estimator = GFCF(n_components=8, top_k=15)


def dense_weights(data: Dataset, width: int, ideal: float, alpha: float = 0.5) -> np.ndarray:
    X = np.log2(1 + data.interactions.toarray()).astype(np.float64)
    users, items = X.sum(axis=1), X.sum(axis=0)
    R = X * users[:, None] ** -alpha / np.sqrt(items)
    R /= np.linalg.norm(R, 2)
    _, _, Vt = np.linalg.svd(R)
    V = Vt[:width].T
    return R.T @ R + ideal * np.diag(items**-0.5) @ V @ V.T @ np.diag(items**0.5)


@pytest.mark.parametrize(
    ("width", "ideal", "alpha"), [(5, 0.3, 0.5), (12, 1.0, 0.4), (0, 0.3, 0.3), (0, 0.3, 0.5), (40, 0.2, 0.6)]
)
def test_scores_follow_the_formula(dataset: Dataset, width: int, ideal: float, alpha: float) -> None:
    model = GFCF(n_components=width, low_pass_weight=ideal, alpha=alpha, n_iter=60).fit(dataset)
    expected = np.log2(1 + dataset.interactions.toarray()) @ dense_weights(dataset, width, ideal, alpha)
    np.testing.assert_allclose(model.score(dataset.queries()), expected, atol=2e-3)


def test_top_k_keeps_the_largest_weights_of_each_item(dataset: Dataset) -> None:
    full = GFCF(n_components=5, n_iter=60)
    expected = dense_weights(dataset, 5, full.low_pass_weight, full.alpha)
    np.fill_diagonal(expected, -np.inf)
    kept = GFCF(n_components=5, n_iter=60, top_k=7).fit(dataset).weights.toarray()
    for item in range(40):
        best = np.argsort(-expected[item])[:7]
        assert set(np.flatnonzero(kept[item])) == set(best)
        np.testing.assert_allclose(kept[item, best], expected[item, best], atol=1e-3)


def test_top_of_everything_ranks_as_the_whole_graph(dataset: Dataset) -> None:
    queries = dataset.queries()
    whole, kept = GFCF(n_components=5).fit(dataset), GFCF(n_components=5, top_k=100).fit(dataset)
    unseen = dataset.seen.toarray() == 0
    positive = whole.score(queries) > 0
    # What an item adds to itself is dropped, and so are the few weights below 0.
    close = np.isclose(whole.score(queries), kept.score(queries), atol=0.05)
    assert close[unseen & positive].mean() > 0.95


@pytest.mark.parametrize("top", [0, 9])
def test_the_reasons_add_up_to_the_score(dataset: Dataset, top: int) -> None:
    model = GFCF(n_components=6, top_k=top).fit(dataset)
    query = dataset.queries(np.array([7], np.int32))
    for item in (11, int(query.history.indices[0])):
        assert model.explain(query, np.array([item]))[0].weights.sum() == pytest.approx(
            float(model.score(query)[0, item]), abs=1e-5
        )


def test_an_item_without_interactions_scores_zero(dataset: Dataset) -> None:
    kept = dataset.with_events(dataset.events.take(dataset.events.item != 3))
    scores = GFCF(n_components=8).fit(kept).score(kept.queries())
    np.testing.assert_allclose(scores[:, 3], 0, atol=1e-6)


def test_the_number_of_threads_changes_nothing() -> None:
    data = make_dataset(n_users=90)
    one, two = (GFCF(n_components=6).fit(data, Run(threads=threads)) for threads in (1, 2))
    np.testing.assert_allclose(one.score(data.queries()), two.score(data.queries()), atol=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"n_components": -1}, {"low_pass_weight": -0.1}, {"n_iter": 0}, {"alpha": -1.0}, {"top_k": -1}]
)
def test_refuses_settings_outside_their_range(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(wrong))} must be a number of at least"):
        GFCF(**wrong)
