"""Ridge regressions of sparse rows against NumPy's solver."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.kernels.solvers.row_ridge import fit_row_ridges, ridge_target_weights
from leanrec.kernels.threads import MIN_ROWS_FOR_THREADS
from leanrec.run import Run


def slow_ridge(design: np.ndarray, target: np.ndarray, penalty: np.ndarray, growth: float) -> np.ndarray:
    if not len(target):
        return np.zeros(design.shape[1])
    gram = design.T @ design + np.diag(penalty) * len(target) ** growth
    return np.asarray(np.linalg.solve(gram, design.T @ target))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, MIN_ROWS_FOR_THREADS + 4]), st.floats(0, 1), st.integers(1, 6))
def test_solves_each_row(seed: int, rows: int, growth: float, width: int) -> None:
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(9, width)).astype(np.float32)
    targets = sp.random_array((rows, 9), density=0.5, rng=rng, dtype=np.float32, format="csr")
    penalty = rng.uniform(0.2, 3, width).astype(np.float32)
    solved = fit_row_ridges(design, targets, penalty, growth)
    for row in range(rows):
        there = targets[[row]].indices
        wide, target = design[there].astype(np.float64), targets[[row]].data.astype(np.float64)
        np.testing.assert_allclose(solved[row], slow_ridge(wide, target, penalty, growth), rtol=1e-4, atol=1e-5)


def test_explicit_zero_target_counts() -> None:
    zero = sp.csr_array((np.array([0, 1], np.float32), [0, 1], [0, 2]), shape=(1, 2))
    solved = fit_row_ridges(np.ones((2, 1), np.float32), zero, np.ones(1, np.float32))
    assert solved[0, 0] == pytest.approx(1 / 3)


def test_target_weights_sum_to_the_prediction() -> None:
    rng = np.random.default_rng(4)
    design, target, probes = (rng.normal(size=size).astype(np.float32) for size in ((7, 3), 7, (4, 3)))
    penalty = np.array([0.5, 1, 2], np.float32)
    shares = ridge_target_weights(design, penalty, 0.5, probes)
    expected = probes @ slow_ridge(design.astype(np.float64), target, penalty, 0.5)
    np.testing.assert_allclose(shares @ target, expected, rtol=1e-4)


def test_result_does_not_depend_on_threads() -> None:
    rng = np.random.default_rng(4)
    design = rng.normal(size=(40, 8)).astype(np.float32)
    targets = sp.random_array((60, 40), density=0.3, rng=rng, dtype=np.float32, format="csr")
    results = []
    for threads in (1, 2):
        with Run(threads=threads).limit_threads():
            results.append(fit_row_ridges(design, targets, np.ones(8, np.float32), 1.0))
    np.testing.assert_array_equal(*results)
