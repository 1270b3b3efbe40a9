"""The sweep inverse against NumPy in float64, in memory and in a memory-mapped file."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.errors import DataError
from leanrec.kernels.solvers.dense_ridge import fill_gram, invert_in_place
from leanrec.kernels.solvers.inverse import (
    copy_diagonal,
    is_in_memory,
    max_inverse_residual,
    sweep_inverse,
    sweep_inverse_bytes,
)


def some_X(columns: int, seed: int = 4) -> sp.csr_array:
    rng = np.random.default_rng(seed)
    return sp.random_array((columns // 2 + 1, columns), density=0.1, rng=rng, dtype=np.float32, format="csr")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_sweep_gives_minus_the_inverse_for_any_block_size(n: int, block: int, seed: int) -> None:
    X = some_X(n, seed)
    ridge = (X.T @ X).toarray().astype(np.float64) + 0.5 * np.eye(n)
    space = np.triu(ridge).astype(np.float32)
    sweep_inverse(space, block)
    np.testing.assert_allclose(np.triu(-space), np.triu(np.linalg.inv(ridge)), atol=2e-5)


def test_memory_mapped_matrix_gives_the_same_result(tmp_path: Path) -> None:
    X = some_X(150)
    mapped = np.memmap(tmp_path / "matrix", np.float32, "w+", shape=(150, 150))
    memory = np.zeros((150, 150), np.float32)
    assert is_in_memory(memory)
    assert not is_in_memory(mapped)
    for space in (mapped, memory):
        fill_gram(X, 2.0, space, block=64)
        sweep_inverse(space, 64)
    np.testing.assert_array_equal(np.asarray(mapped), memory)
    np.testing.assert_array_equal(copy_diagonal(mapped, 64), np.diag(memory))
    np.testing.assert_array_equal(np.fromfile(tmp_path / "matrix", np.float32).reshape(150, 150), memory)


def test_agrees_with_lapack() -> None:
    X = some_X(150)
    one, two = np.zeros((150, 150), np.float32), np.zeros((150, 150), np.float32)
    fill_gram(X, 2.0, one)
    fill_gram(X, 2.0, two)
    sweep_inverse(one, 64)
    np.testing.assert_allclose(np.triu(-one), np.triu(invert_in_place(two)), atol=1e-6)


def test_indefinite_matrix_is_an_error() -> None:
    with pytest.raises(DataError, match="positive definite"):
        sweep_inverse(np.zeros((3, 3), np.float32))


def test_residual_detects_a_wrong_inverse() -> None:
    X = some_X(80)
    space = np.zeros((80, 80), np.float32)
    fill_gram(X, 2.0, space)
    sweep_inverse(space, 32)
    assert max_inverse_residual(X, 2.0, space) < 1e-5
    assert max_inverse_residual(X, 2.0, -space) < 1e-5
    space[:, 79] *= np.float32(1.5)
    assert max_inverse_residual(X, 2.0, space) > 0.1
    assert max_inverse_residual(sp.csr_array((4, 0), dtype=np.float32), 1.0, np.zeros((0, 0), np.float32)) == 0


def test_memory_estimate_grows_with_the_block_size() -> None:
    assert sweep_inverse_bytes(1000, 100) < sweep_inverse_bytes(1000, 200) <= sweep_inverse_bytes(1000, 4000)
