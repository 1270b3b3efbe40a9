"""Interaction weights against their formulas."""

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.errors import SettingError
from leanrec.kernels.weighting import item_idf, weight_interactions

X = np.array([[1, 3, 0, 0], [0, 7, 0.5, 0]], np.float32)
IDF = np.array([np.log(2), 0, np.log(2), 0])


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("none", X),
        ("binary", X > 0),
        ("log", np.log2(1 + X)),
        ("tfidf", np.log2(1 + X) * IDF),
        ("bm25", 2.2 * X / (1.2 + X) * IDF),
    ],
)
def test_follows_the_formula(scheme: str, expected: np.ndarray) -> None:
    found = weight_interactions(sp.csr_array(X), scheme)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-6)


def test_query_is_weighted_as_in_training() -> None:
    idf = item_idf(sp.csr_array(X))
    np.testing.assert_allclose(idf, IDF, rtol=1e-6)
    one = weight_interactions(sp.csr_array(X[[1]]), "tfidf", idf)
    np.testing.assert_allclose(one.toarray()[0], weight_interactions(sp.csr_array(X), "tfidf").toarray()[1])


def test_users_without_interactions_change_no_idf() -> None:
    more = sp.csr_array(np.concatenate([X, np.zeros((5, 4), np.float32)]))
    np.testing.assert_array_equal(item_idf(more), item_idf(sp.csr_array(X)))


def test_input_is_not_modified() -> None:
    matrix = sp.csr_array(X)
    weight_interactions(matrix, "log").data[:] = 0
    np.testing.assert_array_equal(matrix.toarray(), X)


def test_unknown_scheme_is_an_error() -> None:
    with pytest.raises(SettingError, match="weighting must be one of"):
        weight_interactions(sp.csr_array(X), "sqrt")


def test_tiny_weights_are_not_lost() -> None:
    """1 + 1e-9 is 1 in float32."""
    shares = sp.csr_array(np.array([[1e-9, 3e-9, 1.0]], np.float32))
    weighted = weight_interactions(shares, "log").data
    np.testing.assert_allclose(weighted, np.log1p(shares.data.astype(np.float64)) / np.log(2), rtol=1e-6)
    assert weighted[2] == 1
