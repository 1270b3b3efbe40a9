"""Interest profiles against values by hand."""

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.features.profiles import MAX_INTERESTS, average_rows, fit_interest_profiles

FEATURES = sp.csr_array(np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1]], np.float32))
HISTORY = sp.csr_array(np.array([[3, 1, 0], [0, 1, 1], [0, 0, 0]], np.float32))


def test_profiles_are_weighted_means() -> None:
    profiles = average_rows(HISTORY, FEATURES).toarray()
    np.testing.assert_allclose(profiles, [[0.75, 0.25, 0], [0, 1, 0.5], [0, 0, 0]])


def test_interests_are_the_excess_over_the_average() -> None:
    interests = fit_interest_profiles(HISTORY, FEATURES)
    # Averages of the two users with a history: 0.375, 0.625, 0.25.
    np.testing.assert_allclose(interests.average, [0.375, 0.625, 0.25])
    np.testing.assert_allclose(
        interests.transform(HISTORY).toarray(), [[0.375, 0, 0], [0, 0.375, 0.25], [0, 0, 0]], atol=1e-7
    )


def test_weights_of_zero_have_no_effect() -> None:
    zero = sp.csr_array((np.zeros(1, np.float32), [0], [0, 1]), shape=(1, 3))
    assert not average_rows(zero, FEATURES).toarray().any()


def test_only_the_strongest_are_kept() -> None:
    features = sp.csr_array(np.arange(1, 2 * MAX_INTERESTS + 1, dtype=np.float32)[None, :])
    interests = fit_interest_profiles(sp.csr_array((1, 1), dtype=np.float32), features)
    kept = interests.transform(sp.csr_array(np.ones((1, 1), np.float32)))
    assert kept.indices.tolist() == list(range(MAX_INTERESTS, 2 * MAX_INTERESTS))
    assert kept.data.max() == pytest.approx(2 * MAX_INTERESTS)
