"""Half steps of alternating least squares against numpy in float64."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.kernels.least_squares import solve_rows, solve_spd
from leanrec.run import Run


def slow_rows(C: sp.csr_array, V: np.ndarray, base: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    V, out = V.astype(np.float64), np.zeros((C.shape[0], V.shape[1]))
    for row, c in enumerate(C.toarray().astype(np.float64)):
        if c.any():
            out[row] = np.linalg.solve(base + (V.T * c) @ V + ridge[row] * np.eye(V.shape[1]), V.T @ c)
    return out


def problem(rows: int, width: int, seed: int) -> tuple[sp.csr_array, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    C = sp.random_array((rows, 700), density=0.1, rng=rng, dtype=np.float32, format="csr")
    if rows > 1:
        # One row that fills several blocks, and one that is empty.
        dense = C.toarray()
        dense[0], dense[1] = 1 + rng.random(700), 0
        C = sp.csr_array(dense)
    V = rng.normal(size=(700, width)).astype(np.float32)
    return C, V, np.float32(0.1) * V.T @ V, rng.random(rows).astype(np.float32) + 0.1


@pytest.mark.parametrize("rows", [1, 2, 20])
@pytest.mark.parametrize("width", [1, 3, 16, 33])
def test_solves_every_row(rows: int, width: int) -> None:
    C, V, base, ridge = problem(rows, width, rows * 100 + width)
    np.testing.assert_allclose(solve_rows(C, V, base, ridge), slow_rows(C, V, base, ridge), rtol=2e-3, atol=2e-4)


def test_gradients_come_to_the_same_place() -> None:
    C, V, base, ridge = problem(20, 12, 9)
    found = solve_rows(C, V, base, ridge, np.zeros((20, 12), np.float32), steps=30)
    np.testing.assert_allclose(found, slow_rows(C, V, base, ridge), rtol=2e-3, atol=2e-4)


def test_a_few_gradient_steps_come_closer() -> None:
    C, V, base, ridge = problem(20, 12, 9)
    exact = slow_rows(C, V, base, ridge)
    far = [np.linalg.norm(solve_rows(C, V, base, ridge, steps=steps) - exact) for steps in (1, 3, 6)]
    assert far == sorted(far, reverse=True)


def test_threads_do_not_change_a_bit() -> None:
    C, V, base, ridge = problem(20, 12, 3)
    results = []
    for threads in (1, 2):
        with Run(threads=threads).limits():
            results.append(solve_rows(C, V, base, ridge))
    np.testing.assert_array_equal(*results)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_solves_positive_definite_systems(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(n, n))
    A = half @ half.T + n * np.eye(n)
    b = rng.normal(size=n)
    x = b.astype(np.float32)
    solve_spd(np.triu(A).astype(np.float32), x)
    np.testing.assert_allclose(A @ x, b, atol=1e-4 * n)
