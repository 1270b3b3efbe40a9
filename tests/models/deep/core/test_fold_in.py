"""Fold-in: user vectors as the solution of a ridge regression."""

import numpy as np
import scipy.sparse as sp

from leanrec.models.deep.core.fold_in import FoldIn, fold_in_bytes
from leanrec.run import Run

X = sp.csr_array(sp.random_array((30, 12), density=0.3, rng=np.random.default_rng(0), dtype=np.float32))
FITTED = FoldIn.fit(X, 4, 0.5, 0.2, Run(seed=1, threads=1))


def test_vectors_solve_the_regression() -> None:
    V = FITTED.items.astype(np.float64)
    history = X[[3]]
    rows = V[history.indices]
    A = 0.2 * V.T @ V + rows.T @ rows + 0.5 * np.sqrt(history.nnz) * np.eye(4)
    np.testing.assert_allclose(FITTED.encode(history)[0], np.linalg.solve(A, rows.sum(axis=0)), rtol=1e-3, atol=1e-4)


def test_contributions_sum_to_the_vector_and_empty_histories_give_zeros() -> None:
    np.testing.assert_allclose(
        FITTED.item_contributions(X[[3]]).sum(axis=0), FITTED.encode(X[[3]])[0], rtol=1e-3, atol=1e-4
    )
    assert not FITTED.encode(sp.csr_array((2, 12), dtype=np.float32)).any()


def test_memory_estimate_grows_with_the_dimension() -> None:
    assert fold_in_bytes(100, 50, 1000, 32) > fold_in_bytes(100, 50, 1000, 8)
