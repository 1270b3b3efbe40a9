"""The rating bias model against values by hand and loops."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import make_dataset
from leanrec.data.dataset import Dataset
from leanrec.errors import DataError
from leanrec.kernels.solvers.rating_bias import RatingBias, fit_rating_bias


def small_model() -> RatingBias:
    return RatingBias(
        mean=3.0,
        item_offsets=np.array([1, 0, -1], np.float32),
        user_damping=1.0,
        residual_std=0.5,
        min_rating=1,
        max_rating=5,
    )


def test_offsets_are_the_fixed_point_of_damped_means(dataset: Dataset) -> None:
    baseline = fit_rating_bias(dataset.ratings, 4.0, 2.0)
    ratings = dataset.ratings
    assert ratings is not None
    users = baseline.user_offsets(ratings)
    assert baseline.mean == pytest.approx(ratings.data.mean(), abs=1e-5)
    for item in range(0, len(dataset.items), 7):
        column = ratings[:, [item]].tocoo()
        rest = [r - baseline.mean - users[u] for u, r in zip(column.coords[0], column.data, strict=True)]
        assert baseline.item_offsets[item] == pytest.approx(sum(rest) / (len(rest) + 2.0), abs=1e-3)
    for user in range(0, len(dataset.users), 9):
        row = ratings[[user]]
        rest = [r - baseline.mean - baseline.item_offsets[i] for i, r in zip(row.indices, row.data, strict=True)]
        assert users[user] == pytest.approx(sum(rest) / (len(rest) + 4.0), abs=1e-4)


def test_interaction_without_a_rating_counts_as_liked() -> None:
    # The user rates item 0 with 5: (5 - 3 - 1) / (1 + 1) = 0.5 above the baseline.
    history = sp.csr_array(np.array([[1, 1, 0], [0, 0, 2], [0, 0, 0]], np.float32))
    ratings = sp.csr_array(np.array([[5, 0, 0], [0, 0, 0], [0, 0, 0]], np.float32))
    evidence = small_model().collect_evidence(history, ratings)
    np.testing.assert_allclose(evidence.user_offsets, [0.5, 0, 0])
    # Item 1: 3 + 0 + 0.5 + 0.5; item 2 for a user without ratings: 3 - 1 + 0 + 0.5.
    np.testing.assert_allclose(evidence.ratings.toarray(), [[5, 4, 0], [0, 0, 2.5], [0, 0, 0]])
    left = small_model().residuals(evidence)
    np.testing.assert_allclose(left.toarray(), [[0.5, 0.5, 0], [0, 0, 0.5], [0, 0, 0]])


def test_rating_without_a_history_is_used_and_zero_residual_is_stored() -> None:
    rated = sp.csr_array(np.array([[0, 3, 0]], np.float32))
    nothing = sp.csr_array((1, 3), dtype=np.float32)
    evidence = small_model().collect_evidence(nothing, rated)
    left = small_model().residuals(evidence)
    assert left.indices.tolist() == [1]
    assert left.data.tolist() == [0.0]


def test_imputed_rating_stays_on_the_scale() -> None:
    wide = dataclasses.replace(small_model(), residual_std=9.0)
    history = sp.csr_array(np.array([[1, 0, 0]], np.float32))
    evidence = wide.collect_evidence(history, None)
    assert evidence.ratings.data.tolist() == [5.0]


def test_missing_ratings_are_an_error() -> None:
    with pytest.raises(DataError, match="needs explicit ratings, and the data set has none"):
        fit_rating_bias(None, 5, 5)


def test_scale_defaults_to_the_range_of_the_ratings() -> None:
    ratings = sp.csr_array(np.array([[2, 0, 4]], np.float32))
    baseline = fit_rating_bias(ratings, 5, 5)
    assert (baseline.min_rating, baseline.max_rating) == (2, 4)
    wide = fit_rating_bias(ratings, 5, 5, (0.5, 5))
    assert (wide.min_rating, wide.max_rating) == (0.5, 5)


def test_constant_ratings_give_zero_offsets() -> None:
    data = make_dataset()
    flat = data.with_events(dataclasses.replace(data.events, rating=np.full(len(data.events), 4, np.float32)))
    baseline = fit_rating_bias(flat.ratings, 5, 5)
    assert baseline.mean == 4
    assert not baseline.item_offsets.any()
    assert baseline.residual_std == 0
