"""Numbers: the contract, standard scaling, and quantile bins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.feature import FeatureContract, texts
from leanrec.errors import SettingError
from leanrec.features.numeric import QuantileBins, StandardScaler


class TestStandard(FeatureContract):
    feature = StandardScaler()
    column = np.array([1.0, 2.0, 3.0, np.nan, 5.0, np.inf])
    unseen = np.array([1e9, -np.inf])
    unseen_gives_zeros = False
    unit = False


class TestBins(FeatureContract):
    feature = QuantileBins(n_bins=4)
    column = np.array([1980.0, 1990.0, 1991.0, np.nan, 2005.0, 2020.0])
    unseen = np.array([1e9, -1e9])
    unseen_gives_zeros = False


class TestBinsOfTexts(FeatureContract):
    feature = QuantileBins()
    column = texts("1", "2.5", "", "7", "-3")
    unseen = texts("many", "nan", "inf")


def test_standard_has_mean_zero_and_deviation_one() -> None:
    numbers = np.random.default_rng(0).normal(50, 7, 2000)
    z = StandardScaler().fit(numbers).transform(numbers).toarray()
    assert abs(z[:, 0].mean()) < 0.02
    assert z[:, 0].std() == pytest.approx(1, abs=0.05)
    assert (z[:, 1] == 0).all()


def test_one_absurd_value_does_not_flatten_the_others() -> None:
    numbers = np.append(np.linspace(0, 1, 999), 1e9)
    z = StandardScaler().fit(numbers).transform(numbers).toarray()[:, 0]
    assert z[:-1].std() > 0.5
    assert z[-1] == 3.0


def test_standard_scaler_marks_missing_values() -> None:
    fitted = StandardScaler().fit(np.array([1.0, 3.0]))
    assert fitted.transform(np.array([2.0, np.nan, np.inf])).toarray().tolist() == [[0, 0], [0, 1], [0, 1]]


def test_constant_column_is_zero() -> None:
    assert StandardScaler().fit(np.full(5, 4.0)).transform(np.full(5, 4.0)).nnz == 0


def test_knots_are_themselves() -> None:
    fitted = QuantileBins(n_bins=3).fit(np.array([0.0, 10.0, 20.0]))
    assert fitted.names == ("about 0", "about 10", "about 20")
    np.testing.assert_allclose(fitted.transform(fitted.knots).toarray(), np.eye(3))
    half = 0.5**0.5
    np.testing.assert_allclose(
        fitted.transform(np.array([5.0, -9.0, 99.0])).toarray(),
        [[half, half, 0], [1, 0, 0], [0, 0, 1]],
        rtol=1e-6,
    )


def test_one_distinct_number_gives_one_knot() -> None:
    assert QuantileBins().fit(np.full(4, 7.0)).transform(np.array([7.0, 8.0])).toarray().tolist() == [[1], [1]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=3, max_size=30), st.floats(0, 100), st.floats(0, 20))
def test_nearer_numbers_have_nearer_rows(numbers: list[float], at: float, step: float) -> None:
    fitted = QuantileBins(n_bins=5).fit(np.array(numbers))
    rows = fitted.transform(np.array([at, at + step, at + 2 * step])).toarray().astype(np.float64)
    assert rows[0] @ rows[1] >= rows[0] @ rows[2] - 1e-5


def test_refuses_wrong_settings() -> None:
    with pytest.raises(SettingError, match="n_bins must be a number from 2 to 1000"):
        QuantileBins(n_bins=1)
    with pytest.raises(SettingError, match="limit must be a positive number"):
        StandardScaler(limit=0)
