"""SANSA: the contract, and EASE as the limit of all items as neighbors."""

import numpy as np
import pytest

from conftest import make_dataset
from contracts.estimator import EstimatorContract, OddDataContract
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.linear import sansa
from leanrec.models.linear.ease import EASE
from leanrec.models.linear.sansa import SANSA, SANSAModel
from leanrec.run import Run


class TestSANSA(EstimatorContract, OddDataContract):
    estimator = SANSA(l2=20.0, n_neighbors=12)


def item_weights(model: SANSAModel) -> np.ndarray:
    """B (N, N), the slow way."""
    n = model.n_items
    return np.asarray((model.projection @ model.weights[:n]).toarray() + np.eye(n), np.float64)


def test_with_every_pair_it_is_ease() -> None:
    data = make_dataset(per_user=25)
    counts = (data.interactions.T @ data.interactions).toarray()
    assert counts.all()
    expected = EASE(l2=20.0).fit(data).weights
    np.testing.assert_allclose(item_weights(SANSA(l2=20.0, n_neighbors=39).fit(data)), expected, atol=1e-4)


def test_the_factor_is_the_inverse_cholesky_factor_where_all_pairs_are_near(dataset: Dataset) -> None:
    X = dataset.interactions.toarray().astype(np.float64)
    X[0] = 1  # every pair shares a user
    data = X.astype(np.float32)
    like = sansa.top_similar(sansa.sp.csr_array(data), 40, "cosine")
    F = sansa._compute_factor(sansa.sp.csr_array(data), 3.0, like).toarray().astype(np.float64)
    np.testing.assert_allclose(F.T @ F, np.linalg.inv(X.T @ X + 3 * np.eye(40)), atol=1e-5)


def test_each_row_is_the_best_for_its_pattern(dataset: Dataset) -> None:
    X = dataset.interactions
    F = sansa._compute_factor(X, 5.0, sansa.top_similar(X, 6, "cosine")).toarray().astype(np.float64)
    A = X.toarray().T @ X.toarray() + 5 * np.eye(40)
    for row in F:
        there = np.flatnonzero(row)
        # F A Fᵀ has ones on its diagonal, and A f is zero at every other item of the pattern.
        image = (A @ row)[there]
        own = np.argmax(abs(image))
        assert row @ A @ row == pytest.approx(1, abs=1e-4)
        np.testing.assert_allclose(np.delete(image, own), 0, atol=1e-3)


def test_without_the_large_gram_matrix(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    how = SANSA(l2=20.0, n_neighbors=9)
    with_it = item_weights(how.fit(dataset))
    monkeypatch.setattr(sansa, "is_dense_gram_small", lambda _: False)
    np.testing.assert_allclose(item_weights(how.fit(dataset)), with_it, atol=1e-4)


def test_an_item_adds_nothing_to_itself(dataset: Dataset) -> None:
    np.testing.assert_allclose(np.diag(item_weights(SANSA(l2=20.0, n_neighbors=9).fit(dataset))), 0, atol=1e-5)


def test_an_item_without_interactions_has_no_weights(dataset: Dataset) -> None:
    weights = item_weights(SANSA(l2=20.0).fit(dataset.with_events(dataset.events.take(dataset.events.item != 3))))
    np.testing.assert_allclose(weights[3], 0, atol=1e-6)
    np.testing.assert_allclose(weights[:, 3], 0, atol=1e-6)


def test_the_reasons_add_up_to_the_score(dataset: Dataset) -> None:
    model = SANSA(l2=20.0, n_neighbors=9).fit(dataset)
    query = dataset.queries(np.array([7], np.int32))
    for item in (11, int(query.history.indices[0])):
        assert model.explain(query, np.array([item]))[0].weights.sum() == pytest.approx(
            float(model.score(query)[0, item]), abs=1e-5
        )


def test_threads_do_not_change_a_bit() -> None:
    data = make_dataset(n_users=150, n_items=90)
    one, two = (SANSA(l2=5.0, n_neighbors=20).fit(data, Run(threads=threads)) for threads in (1, 2))
    np.testing.assert_array_equal(one.weights.toarray(), two.weights.toarray())


@pytest.mark.parametrize("wrong", [{"l2": 0.0}, {"n_neighbors": 0}])
def test_refuses_settings_outside_their_range(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(wrong))} must be a"):
        SANSA(**wrong)  # type: ignore[arg-type]
