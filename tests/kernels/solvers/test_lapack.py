"""Routines of BLAS and LAPACK: the results of SciPy's, and other threads work meanwhile."""

import threading

import numpy as np
import pytest
import scipy.linalg

from leanrec.kernels.solvers.lapack import call_blas, call_lapack


def make_matrix(n: int, dtype: type = np.float32) -> np.ndarray:
    half = np.random.default_rng(n).standard_normal((n, n))
    return np.ascontiguousarray(half @ half.T + n * np.eye(n), dtype)


@pytest.mark.parametrize("n", [1, 2, 33])
def test_a_factorization_is_that_of_scipy(n: int) -> None:
    matrix = make_matrix(n)
    expected = np.linalg.cholesky(matrix.astype(np.float64))
    assert call_lapack("spotrf", b"L", n, matrix, n) == 0
    np.testing.assert_allclose(np.triu(matrix).T, expected, rtol=1e-4, atol=1e-4)


def test_a_matrix_that_has_no_factor_is_told_by_its_number() -> None:
    assert call_lapack("dpotrf", b"L", 2, np.array([[1.0, 0.0], [0.0, -1.0]]), 2) == 2


def test_scalars_have_the_type_of_the_routine() -> None:
    A, B = np.random.default_rng(1).standard_normal((2, 5, 4))
    C = np.ones((5, 5), order="F")
    columns = np.asfortranarray(A), np.asfortranarray(B)
    call_blas("dgemm", b"N", b"T", 5, 5, 4, np.float64(2), columns[0], 5, columns[1], 5, np.float64(0.5), C, 5)
    np.testing.assert_allclose(C, 2 * A @ B.T + 0.5)
    triangle = np.asfortranarray(np.triu(make_matrix(4, np.float64)))
    X = np.asfortranarray(A.T.copy())
    call_blas("dtrsm", b"L", b"U", b"N", b"N", 4, 5, np.float64(1), triangle, 4, X, 4)
    np.testing.assert_allclose(X, scipy.linalg.solve_triangular(triangle, A.T))


def test_other_threads_work_meanwhile() -> None:
    """A thread that stops another one is not needed for its end: it counts while the factorization is under way."""
    n, counts = 1_200, [0]
    matrix, is_done = make_matrix(n, np.float64), threading.Event()

    def count() -> None:
        while not is_done.wait(1e-4):
            counts[0] += 1

    counter = threading.Thread(target=count)
    counter.start()
    while not counts[0]:
        is_done.wait(1e-3)
    before = counts[0]
    call_lapack("dpotrf", b"L", n, matrix, n)
    call_lapack("dpotri", b"L", n, matrix, n)
    during = counts[0] - before
    is_done.set()
    counter.join()
    assert during > 2
