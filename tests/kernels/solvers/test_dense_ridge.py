"""Dense Gram matrices and inverses against NumPy in float64."""

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.errors import DataError
from leanrec.kernels.solvers.dense_ridge import (
    dense_gram,
    invert_in_place,
    invert_ridge_by_users,
    keep_largest_by_users,
    keep_largest_weights,
    mirror_upper_triangle,
    regression_weights,
)


def some_X(rows: int = 50, columns: int = 140) -> sp.csr_array:
    return sp.random_array((rows, columns), density=0.1, rng=np.random.default_rng(4), dtype=np.float32, format="csr")


def test_gram_matrix_equals_the_product() -> None:
    X = some_X()
    np.testing.assert_allclose(dense_gram(X), X.toarray().T @ X.toarray(), rtol=1e-5, atol=1e-6)


def test_inverse_overwrites_its_argument() -> None:
    X = some_X().toarray().astype(np.float64)
    ridge = X.T @ X + 2 * np.eye(X.shape[1])
    space = ridge.astype(np.float32)
    inverse = invert_in_place(space)
    assert np.shares_memory(inverse, space)
    np.testing.assert_allclose(np.triu(inverse), np.triu(np.linalg.inv(ridge)), atol=1e-5)


def test_singular_matrix_is_an_error() -> None:
    with pytest.raises(DataError, match="positive definite"):
        invert_in_place(np.zeros((3, 3), np.float32))


def test_inverting_without_users_gives_no_products() -> None:
    inverse, diagonal = invert_ridge_by_users(sp.csr_array((0, 3), dtype=np.float32), 2.0)
    np.testing.assert_array_equal(inverse, np.zeros((3, 3)))
    np.testing.assert_array_equal(diagonal, np.ones(3))


def test_inverting_by_users_gives_the_same_inverse() -> None:
    X = some_X()
    dense = X.toarray().astype(np.float64)
    expected = 2.0 * np.linalg.inv(dense.T @ dense + 2.0 * np.eye(X.shape[1]))
    inverse, diagonal = invert_ridge_by_users(X, 2.0)
    np.testing.assert_allclose(diagonal, np.diag(expected), rtol=1e-6)
    strict = np.triu_indices(X.shape[1], 1)
    np.testing.assert_allclose(inverse[strict], expected[strict], atol=1e-6)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
def test_weights_of_the_autoencoder(n: int) -> None:
    rng = np.random.default_rng(n)
    half = rng.normal(size=(n, n))
    P = half @ half.T + n * np.eye(n)
    expected = -P / np.diag(P)
    np.fill_diagonal(expected, 0)
    weights = regression_weights(np.triu(P).astype(np.float32), np.diag(P))
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("k", [1, 5, 70, 200])
def test_keeps_the_largest_weights_of_each_row(k: int) -> None:
    rng = np.random.default_rng(k)
    matrix, scale = rng.normal(size=(70, 70)).astype(np.float32), rng.uniform(0.5, 2, 70).astype(np.float32)
    kept = keep_largest_weights(matrix, k, scale, block=32).toarray()
    for row in range(70):
        size = abs(matrix[row]) * scale
        size[row] = -1
        order = np.lexsort((np.arange(70), -size))[: min(k, 69)]
        expected = np.zeros(70, np.float32)
        expected[order] = matrix[row, order]
        np.testing.assert_array_equal(kept[row], expected)


@pytest.mark.parametrize("k", [0, 3, 200])
def test_blocks_of_an_inverse_by_users_keep_what_the_whole_keeps(k: int) -> None:
    X, scale = some_X(), np.random.default_rng(1).uniform(0.5, 2, 140).astype(np.float32)
    inverse, _ = invert_ridge_by_users(X, 2.0)
    mirror_upper_triangle(inverse)
    expected = keep_largest_weights(inverse, k, scale).toarray()
    found = keep_largest_by_users(X, 2.0, k, scale).toarray()
    assert np.count_nonzero(found) == np.count_nonzero(expected)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
def test_mirror_copies_the_upper_triangle(n: int) -> None:
    matrix = np.random.default_rng(n).normal(size=(n, n)).astype(np.float32)
    upper = np.triu(matrix)
    mirror_upper_triangle(matrix, block=70)
    np.testing.assert_array_equal(matrix, upper + np.triu(upper, 1).T)
