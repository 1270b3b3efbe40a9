"""Register-tiled products and shifted systems against NumPy in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.kernels.solvers.microkernels import LANES, add_products, round_up_to_lanes, row_stride, solve_shifted


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_lengths_are_multiples_of_cache_lines(n: int) -> None:
    assert round_up_to_lanes(n) % LANES == 0
    assert n <= round_up_to_lanes(n) < n + LANES
    assert row_stride(n) % (2 * LANES) == LANES
    assert row_stride(n) >= n


@pytest.mark.parametrize("n", [1, 4, 7, 30])
@pytest.mark.parametrize("length", [16, 80])
def test_products_of_rows_are_added(n: int, length: int) -> None:
    rng = np.random.default_rng(n)
    A = rng.normal(size=(n + 8, length + 16)).astype(np.float32)
    M = np.ones((n + 4, row_stride(n + 4)), np.float32)
    add_products(A, 2, n, length, M)
    part = A[2 : n + 2, :length].astype(np.float64)
    lower = np.tril_indices(n)
    np.testing.assert_allclose(M[lower], 1 + (part @ part.T)[lower], rtol=1e-4, atol=1e-4)


def shifted(S: np.ndarray, b: np.ndarray) -> np.ndarray:
    n = len(b)
    M = np.zeros((round_up_to_lanes(n) + 4, row_stride(n)), np.float32)
    M[:n, :n] = np.tril(S)
    M[round_up_to_lanes(n), :n] = b
    solve_shifted(M, n)
    return M[round_up_to_lanes(n), :n]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_solves_shifted_systems(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(n, max(1, n // 2)))
    S, b = half @ half.T, rng.normal(size=n)
    np.testing.assert_allclose(shifted(S, b), np.linalg.solve(np.eye(n) + S, b), atol=2e-4)


def test_zero_matrix_returns_the_right_side() -> None:
    b = np.arange(20, dtype=np.float32)
    np.testing.assert_array_equal(shifted(np.zeros((20, 20)), b), b)


def test_rounding_does_not_make_the_system_indefinite() -> None:
    """Rank one and so large that float32 loses the identity: the solution stays finite and fits the large direction."""
    ones = np.full(40, 1.0)
    x = shifted(1e9 * np.outer(ones, ones), ones)
    assert np.isfinite(x).all()
    assert abs(1e9 * x.sum() - 1) < 0.05
