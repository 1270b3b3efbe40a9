"""Alternating least squares against NumPy in float64."""

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.kernels.solvers import least_squares
from leanrec.kernels.solvers.least_squares import principal_axes, solve_rows, solve_rows_bytes
from leanrec.run import Run

N = 700


def slow_rows(C: sp.csr_array, V: np.ndarray, base: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    V, out = V.astype(np.float64), np.zeros((C.shape[0], V.shape[1]))
    for row, c in enumerate(C.toarray().astype(np.float64)):
        if c.any():
            out[row] = np.linalg.solve(np.diag(base + ridge[row]) + (V.T * c) @ V, V.T @ c)
    return out


def problem(rows: int, width: int, seed: int) -> tuple[sp.csr_array, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    C = sp.random_array((rows, N), density=0.1, rng=rng, dtype=np.float32, format="csr")
    if rows > 1:
        # One row that has every item, one that is empty, and one of a single item.
        dense = C.toarray()
        dense[0], dense[1] = 1 + rng.random(N), 0
        dense[-1] = np.arange(N) == 5
        C = sp.csr_array(dense)
    V = rng.normal(size=(N, width)).astype(np.float32)
    axes, moments = principal_axes(V)
    return C, V @ axes, np.float32(0.1) * moments, rng.random(rows).astype(np.float32) + 0.1


def test_principal_axes_make_the_gram_matrix_diagonal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(least_squares, "_GRAM_ROWS", 300)
    V = np.random.default_rng(0).normal(size=(N, 20)).astype(np.float32)
    axes, moments = principal_axes(V)
    np.testing.assert_allclose(axes.T @ axes, np.eye(20), atol=1e-5)
    turned = V.astype(np.float64) @ axes
    np.testing.assert_allclose(turned.T @ turned, np.diag(moments), atol=1e-3 * moments.max())


@pytest.mark.parametrize("rows", [1, 2, 20])
@pytest.mark.parametrize("width", [1, 3, 16, 33, 80, 150])
def test_solves_every_row(rows: int, width: int) -> None:
    C, V, base, ridge = problem(rows, width, rows * 100 + width)
    np.testing.assert_allclose(solve_rows(C, V, base, ridge), slow_rows(C, V, base, ridge), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("how", [{"cg_steps": 40}, {"block_size": 200}])
def test_approximate_solvers_converge_to_the_solution(how: dict[str, int]) -> None:
    C, V, base, ridge = problem(12, 200, 9)
    dense = C.toarray()
    dense[2:6, :300] = 1
    C = sp.csr_array(dense)
    found = solve_rows(C, V, base, ridge, np.zeros((12, 200), np.float32), **how)
    np.testing.assert_allclose(found, slow_rows(C, V, base, ridge), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("how", [{"cg_steps": 1}, {"cg_steps": 3}, {"block_size": 32}, {"block_size": 64}])
def test_approximate_solvers_improve_their_start(how: dict[str, int]) -> None:
    C, V, base, ridge = problem(12, 200, 4)
    exact = slow_rows(C, V, base, ridge)
    first = solve_rows(C, V, base, ridge, **how)
    second = solve_rows(C, V, base, ridge, first, **how)
    assert np.linalg.norm(second - exact) < 0.7 * np.linalg.norm(first - exact) < 0.7 * np.linalg.norm(exact)
    # Short rows are exact at once with blocks.
    if "block_size" in how:
        np.testing.assert_allclose(first[2:], exact[2:], rtol=2e-3, atol=2e-4)


def test_long_row_is_summed_in_chunks() -> None:
    C, V, base, ridge = problem(3, 150, 6)
    solved = solve_rows(C, V, base, ridge)
    assert least_squares._CHUNK < N
    np.testing.assert_allclose(solved, slow_rows(C, V, base, ridge), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("how", [{}, {"cg_steps": 3}, {"block_size": 32}])
def test_result_does_not_depend_on_threads(how: dict[str, int]) -> None:
    C, V, base, ridge = problem(20, 140, 3)
    results = []
    for threads in (1, 2):
        with Run(threads=threads).limit_threads():
            results.append(solve_rows(C, V, base, ridge, **how))
    np.testing.assert_array_equal(*results)


def test_int64_indices_give_the_same_result() -> None:
    """Above 2³¹ entries SciPy keeps 64-bit indices."""
    C, V, base, ridge = problem(20, 12, 3)
    wide = C.copy()
    wide.indptr, wide.indices = C.indptr.astype(np.int64), C.indices.astype(np.int64)
    np.testing.assert_array_equal(solve_rows(wide, V, base, ridge), solve_rows(C, V, base, ridge))


def test_duplicate_entries_add_up_and_zeros_do_not_count() -> None:
    _, V, base, _ = problem(2, 12, 3)
    twice = sp.csr_array((np.array([1, 1, 2, 0], np.float32), [3, 3, 8, 9], [0, 4]), shape=(1, N))
    once = sp.csr_array((np.array([2, 2], np.float32), [3, 8], [0, 2]), shape=(1, N))
    ridge = np.ones(1, np.float32)
    np.testing.assert_allclose(solve_rows(twice, V, base, ridge), solve_rows(once, V, base, ridge), atol=1e-6)


def test_no_rows_and_no_entries() -> None:
    _, V, base, _ = problem(2, 12, 3)
    for rows in (0, 1, 9):
        found = solve_rows(sp.csr_array((rows, N), dtype=np.float32), V, base, np.ones(rows, np.float32))
        assert found.shape == (rows, 12)
        assert not found.any()


def test_memory_estimate_grows_with_size() -> None:
    assert solve_rows_bytes(64, 1000, 2) > solve_rows_bytes(64, 1000, 1) > solve_rows_bytes(64, 100, 1)
    assert solve_rows_bytes(256, 100, 1) > solve_rows_bytes(64, 100, 1)
