"""PureSVD: the contract, and the exact decomposition by numpy."""

import numpy as np
import pytest
import scipy.sparse as sp

from contracts.estimator import EstimatorContract, OddDataContract
from contracts.fitting import fit_once
from contracts.updatable import UpdatableContract, grow
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.factorization.pure_svd import PureSVD
from leanrec.run import Run
from leanrec.types import Queries


class TestPureSVD(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = PureSVD(embedding_dim=8)
    equals_fit = False

    def test_updates_end_at_the_singular_vectors(self, small: Dataset) -> None:
        grown = grow(small, 4)
        model = fit_once(self.estimator, small, Run(seed=3, threads=1))
        for _ in range(20):
            model = model.update(grown)
        X = np.log2(1 + grown.interactions.toarray().astype(np.float64))
        V = np.linalg.svd(X, full_matrices=False)[2][: model.items.shape[1]].T
        np.testing.assert_allclose(model.items @ model.items.T, V @ V.T, atol=1e-3)


@pytest.mark.parametrize("width", [1, 5, 20])
def test_scores_are_the_exact_projection(dataset: Dataset, width: int) -> None:
    X = np.log2(1 + dataset.interactions.toarray()).astype(np.float64)
    _, _, Vt = np.linalg.svd(X, full_matrices=False)
    expected = X @ Vt[:width].T @ Vt[:width]
    found = PureSVD(embedding_dim=width, n_iter=15).fit(dataset).score(dataset.queries())
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_directions_are_orthonormal(dataset: Dataset) -> None:
    V = PureSVD(embedding_dim=10).fit(dataset).items
    np.testing.assert_allclose(V.T @ V, np.eye(10), atol=1e-5)


def test_more_directions_than_items_rebuild_the_data(dataset: Dataset) -> None:
    model = PureSVD(embedding_dim=500).fit(dataset)
    assert model.items.shape == (40, 40)
    np.testing.assert_allclose(model.score(dataset.queries()), np.log2(1 + dataset.interactions.toarray()), atol=1e-4)


def test_an_item_without_interactions_scores_zero(dataset: Dataset) -> None:
    kept = dataset.events.take(dataset.events.item != 3)
    scores = PureSVD(embedding_dim=8).fit(dataset.with_events(kept)).score(dataset.queries())
    np.testing.assert_allclose(scores[:, 3], 0, atol=1e-5)


def test_the_reasons_add_up_to_the_score(dataset: Dataset) -> None:
    model = PureSVD(embedding_dim=8).fit(dataset)
    query = dataset.queries(np.array([7], np.int32))
    assert model.explain(query, np.array([11]))[0].weights.sum() == pytest.approx(
        float(model.score(query)[0, 11]), abs=1e-5
    )


@pytest.mark.parametrize("wrong", [{"embedding_dim": 0}, {"n_iter": -1}])
def test_refuses_settings_outside_their_range(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(wrong))} must be a number of at least"):
        PureSVD(**wrong)


def test_an_item_without_events_is_exactly_zero(dataset: Dataset) -> None:
    """A vector of rounding errors would give its users a list of noise."""
    model = PureSVD(embedding_dim=8).fit(dataset.with_events(dataset.events.take(dataset.events.item != 3)))
    assert not model.items[3].any()
    alone = sp.csr_array((np.ones(1, np.float32), ([0], [3])), shape=(1, 40))
    assert not model.embed_queries(Queries(np.array([-1], np.int32), alone)).any()


def test_directions_beyond_the_rank_are_zero(dataset: Dataset) -> None:
    few = dataset.with_events(dataset.events.take(dataset.events.user < 5))
    model = PureSVD(embedding_dim=20).fit(few)
    assert np.abs(model.items).any(axis=0).tolist() == [True] * 5 + [False] * 15
    np.testing.assert_allclose(model.score(few.queries())[:5], np.log2(1 + few.interactions.toarray())[:5], atol=1e-4)
