"""Selection: scores against scikit-learn and numpy, what is kept and why, groups of items."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score

from conftest import make_dataset
from leanrec.errors import DataError, SettingError
from leanrec.features.selection import (
    FeatureSelector,
    compute_variances,
    group_by_audience,
    group_by_popularity,
    mutual_information,
)
from leanrec.run import Run
from leanrec.types import CSR, empty_csr


def random_csr(seed: int, rows: int = 30, columns: int = 8) -> CSR:
    return sp.random_array(
        (rows, columns), density=0.3, format="csr", dtype=np.float32, rng=np.random.default_rng(seed)
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_mutual_information_is_that_of_scikit_learn(seed: int, n_groups: int) -> None:
    X = random_csr(seed)
    groups = np.random.default_rng(seed).integers(0, n_groups, X.shape[0]).astype(np.int32)
    expected = [mutual_info_score(groups, column) for column in (X.toarray() != 0).T]
    np.testing.assert_allclose(mutual_information(X, groups), expected, atol=1e-9)


def test_rows_without_a_group_are_left_out() -> None:
    X = random_csr(3)
    groups = (np.arange(30) % 3).astype(np.int32)
    groups[20:] = -1
    np.testing.assert_allclose(mutual_information(X, groups), mutual_information(sp.csr_array(X[:20]), groups[:20]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_variance_is_that_of_numpy(seed: int) -> None:
    X = random_csr(seed)
    np.testing.assert_allclose(compute_variances(X), X.toarray().astype(np.float64).var(axis=0), atol=1e-6)


def test_the_report_gives_a_reason_for_each_feature() -> None:
    X = sp.csr_array(np.array([[1, 0, 5, 1], [1, 0, 0, 0], [1, 0, 5, 0], [1, 0, 0, 0]], np.float32))
    selection = FeatureSelector(max_features=1).fit(X, ("same", "never", "wide", "narrow"))
    assert selection.kept.tolist() == [False, False, True, False]
    assert selection.apply(X).toarray().tolist() == [[5], [0], [5], [0]]
    wide, narrow, same, never = selection.report()
    assert (wide.name, wide.kept, wide.score) == ("wide", True, pytest.approx(6.25))
    assert wide.reason == "variance 6.25 is number 1 of 4"
    assert narrow.reason == "variance 0.1875 is number 2; the first 1 are kept"
    assert same.reason == never.reason == "variance is 0: all items have the same value"
    low = FeatureSelector(min_score=1).fit(X, ("same", "never", "wide", "narrow")).report()[1]
    assert (low.kept, low.reason) == (False, "variance 0.1875 is below 1")


def test_a_feature_independent_of_the_group_is_reported() -> None:
    X = sp.csr_array(np.array([[1, 1], [1, 0], [1, 1], [1, 0]], np.float32))
    selection = FeatureSelector(by="mutual-information").fit(X, ("all", "even"), np.array([0, 1, 0, 1], np.int32))
    even, everyone = selection.report()
    assert even.score == pytest.approx(np.log(2))
    assert everyone.reason == "mutual information is 0: independent of the group"


def test_groups_must_fit() -> None:
    with pytest.raises(DataError, match=r"one entry per row \(30\). Got 2"):
        mutual_information(random_csr(0), np.zeros(2, np.int32))


def test_popularity_groups_are_equal_slices() -> None:
    interactions = sp.csr_array(np.tril(np.ones((8, 8), np.float32)))
    interactions.resize((8, 9))
    groups = group_by_popularity(interactions, 4)
    assert groups.tolist() == [3, 3, 2, 2, 1, 1, 0, 0, -1]
    assert group_by_popularity(empty_csr(3, 2), 4).tolist() == [-1, -1]


def test_audience_groups_follow_the_users_of_items() -> None:
    data = make_dataset(n_users=200, n_items=40, per_user=8)
    groups = group_by_audience(data.interactions, 4, Run(seed=0))
    genre = np.arange(40) % 4
    assert groups.shape == (40,)
    # The four genres have four audiences; mutual information is near log 4.
    assert mutual_info_score(genre, groups) > 0.8 * np.log(4)
    np.testing.assert_array_equal(groups, group_by_audience(data.interactions, 4, Run(seed=0)))


def test_audience_groups_of_almost_nothing() -> None:
    assert group_by_audience(empty_csr(3, 2), 4).tolist() == [-1, -1]
    one = sp.csr_array(np.array([[1, 0, 1]], np.float32))
    assert group_by_audience(one, 4).tolist() == [0, -1, 0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"by": "chi2"}, "by must be one of variance, mutual-information"),
        ({"target": "sales"}, "target must be one of audience, popularity"),
        ({"max_features": 0}, "max_features must be a number of at least 1"),
        ({"n_groups": 1}, "n_groups must be a number from 2"),
    ],
)
def test_refuses_wrong_settings(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        FeatureSelector(**wrong)  # type: ignore[arg-type]
