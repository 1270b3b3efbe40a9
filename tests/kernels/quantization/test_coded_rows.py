"""Coded rows of least loss, against the losses written out."""

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.kernels.quantization.coded_rows import RowLosses, improve_books, improve_codes
from leanrec.kernels.quantization.sub_codes import decode_sub_codes

STARTS = np.array([0, 2, 3, 6])
N, U, D, K = 40, 25, 6, 8


class Problem:
    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.W = rng.standard_normal((U, D)).astype(np.float32)
        self.entries = sp.random_array((N, U), density=0.2, rng=rng, format="csr", dtype=np.float32)
        self.losses = RowLosses(0.1 * self.W.T @ self.W, rng.random(N).astype(np.float32), self.entries, self.W)
        self.books = rng.standard_normal((K, D)).astype(np.float32)
        self.codes = rng.integers(0, K, (N, 3)).astype(np.uint8)
        self.scales = (rng.random(N) + 0.5).astype(np.float32)

    def decode(self) -> np.ndarray:
        return decode_sub_codes(self.codes, self.books, STARTS, self.scales)

    def hessian(self, row: int) -> np.ndarray:
        weights = self.entries[[row]].toarray()[0]
        return self.losses.gram + self.losses.ridge[row] * np.eye(D) + (self.W.T * weights) @ self.W

    def row_loss(self, row: int, v: np.ndarray) -> float:
        b = self.W.T @ self.entries[[row]].toarray()[0]
        return float(v @ self.hessian(row) @ v - 2 * b @ v)

    def loss(self) -> float:
        return sum(self.row_loss(row, v) for row, v in enumerate(self.decode()))

    def slopes(self) -> np.ndarray:
        return self.losses.multiply(self.decode(), target=1)


def test_products_with_the_hessians() -> None:
    problem, V = Problem(), np.random.default_rng(1).standard_normal((N, D)).astype(np.float32)
    expected = np.stack([problem.hessian(row) @ V[row] for row in range(N)])
    np.testing.assert_allclose(problem.losses.multiply(V), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        problem.losses.multiply(V, target=1), expected - problem.entries @ problem.W, rtol=1e-4, atol=1e-4
    )


def test_codes_end_where_no_change_of_one_code_is_better() -> None:
    problem = Problem()
    before, slopes = problem.loss(), problem.slopes()
    assert improve_codes(problem.losses, problem.codes, problem.books, STARTS, problem.scales, slopes, sweeps=20) > N
    assert problem.loss() < before
    np.testing.assert_allclose(slopes, problem.slopes(), rtol=1e-3, atol=1e-3)
    for row, code in enumerate(problem.codes):
        least = problem.row_loss(row, problem.decode()[row])
        for m in range(3):
            for k in range(K):
                other = code.copy()
                other[m] = k
                v = decode_sub_codes(other[None], problem.books, STARTS, problem.scales[row : row + 1])[0]
                assert problem.row_loss(row, v) >= least - 1e-4
    assert improve_codes(problem.losses, problem.codes, problem.books, STARTS, problem.scales, slopes) == 0


def test_books_end_at_the_least_squares_solution() -> None:
    problem = Problem()
    problem.books = improve_books(
        problem.losses, problem.codes, problem.books, STARTS, problem.scales, problem.slopes(), steps=200
    )
    least = problem.loss()
    rng = np.random.default_rng(3)
    for _ in range(20):
        other = Problem()
        other.books = problem.books + 0.05 * rng.standard_normal(problem.books.shape).astype(np.float32)
        assert other.loss() >= least - 1e-4


def test_a_centroid_without_rows_and_a_row_of_zeros_stay() -> None:
    problem = Problem()
    problem.codes[problem.codes == 5] = 4
    problem.scales[7] = 0
    code = problem.codes[7].copy()
    slopes = problem.slopes()
    changed = improve_books(problem.losses, problem.codes, problem.books, STARTS, problem.scales, slopes)
    np.testing.assert_array_equal(changed[5], problem.books[5])
    improve_codes(problem.losses, problem.codes, problem.books, STARTS, problem.scales, slopes)
    np.testing.assert_array_equal(problem.codes[7], code)


@pytest.mark.parametrize("sweeps", [1, 3])
def test_without_entries_the_nearest_rows_by_the_second_moment_of_queries(sweeps: int) -> None:
    problem, X = Problem(), np.random.default_rng(5).standard_normal((N, D)).astype(np.float32)
    losses = RowLosses(problem.losses.gram, np.zeros(N, np.float32))

    def error() -> float:
        return float(np.square((problem.decode() - X) @ problem.W.T).sum())

    before, slopes = error(), (problem.decode() - X) @ losses.gram
    improve_codes(losses, problem.codes, problem.books, STARTS, problem.scales, slopes, sweeps)
    assert error() < 0.8 * before
