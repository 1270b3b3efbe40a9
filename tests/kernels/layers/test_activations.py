"""Activation functions, softmax and layer normalization against float64."""

import math

import numpy as np
from scipy.special import erf

from leanrec.kernels.layers.activations import (
    add_gelu,
    add_silu,
    exp_float32,
    normalize_rows,
    sigmoid_float32,
    silu_causal,
    softmax_rows,
)

RNG = np.random.default_rng(4)
X = np.concatenate([RNG.normal(scale=5, size=(7, 33)), [[-200.0, 200.0, 0.0] * 11]]).astype(np.float32)
BIAS = RNG.normal(size=33).astype(np.float32)


def test_exp_has_the_precision_of_float32() -> None:
    for x in np.linspace(-87, 88, 1_001, dtype=np.float32):
        assert math.isclose(exp_float32.py_func(x), math.exp(x), rel_tol=3e-7)
    assert exp_float32.py_func(np.float32(-1e30)) < 1e-37
    assert np.isfinite(exp_float32.py_func(np.float32(1e30)))
    assert math.isclose(sigmoid_float32.py_func(np.float32(-3)), 1 / (1 + math.exp(3)), rel_tol=1e-6)


def test_gelu_is_the_exact_one() -> None:
    found, wide = X.copy(), X.astype(np.float64) + BIAS
    add_gelu(found, BIAS)
    np.testing.assert_allclose(found, wide * (1 + erf(wide / 2**0.5)) / 2, rtol=1e-6, atol=1e-6)


def test_silu_is_the_product_with_the_sigmoid() -> None:
    found, wide = X.copy(), X.astype(np.float64) + BIAS
    add_silu(found, BIAS)
    np.testing.assert_allclose(found, wide / (1 + np.exp(-wide)), rtol=1e-5, atol=1e-6)


def test_softmax_is_over_the_cells_up_to_each_row() -> None:
    found = X.copy()
    softmax_rows(found, 3, 0.5)
    for row, values in enumerate(X.astype(np.float64)):
        weights = np.exp(values[: row + 4] / 2 - (values[: row + 4] / 2).max())
        np.testing.assert_allclose(found[row, : row + 4], weights / weights.sum(), rtol=1e-5, atol=1e-7)
        assert not found[row, row + 4 :].any()


def test_causal_silu_adds_the_bias_of_the_distance() -> None:
    found = X.copy()
    silu_causal(found, 2, BIAS, 0.1)
    for row in range(len(X)):
        for column in range(X.shape[1]):
            value = float(X[row, column]) + float(BIAS[row + 2 - column])
            expected = 0.1 * value / (1 + math.exp(-value)) if column <= row + 2 else 0.0
            assert math.isclose(found[row, column], expected, rel_tol=1e-5, abs_tol=1e-6)


def test_normalized_rows_have_mean_zero_and_variance_one() -> None:
    ones, zeros = np.ones(33, np.float32), np.zeros(33, np.float32)
    found = normalize_rows(X, ones, zeros)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(normalize_rows(X, BIAS, 2 * ones), found * BIAS + 2, rtol=1e-4, atol=1e-5)
    assert not normalize_rows(np.full((2, 33), 7, np.float32), ones, zeros).any()
