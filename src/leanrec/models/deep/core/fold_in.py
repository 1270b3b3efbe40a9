"""Fold-in: user vectors by ridge regression on item vectors, for users of the fit and new ones alike.

Hu, Koren & Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, with the weights of Rendle,
Krichene, Zhang & Koren, "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022.
"""

import dataclasses
from typing import Annotated

import numpy as np
import scipy.sparse as sp

from leanrec.field_checks import ArrayShape
from leanrec.kernels.solvers.least_squares import principal_axes, solve_rows, solve_rows_bytes
from leanrec.run import Run
from leanrec.types import CSR, Float32Array

__all__ = ["FoldIn", "fold_in_bytes"]

# Passes over users and items, and steps of conjugate gradients for each of their vectors.
_N_ITER, _CG_STEPS = 8, 3
# Exponent of the number of items in the ridge of a user.
_L2_EXPONENT = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class FoldIn:
    """Item vectors v, and the user vector w of any history by ridge regression.

        w = argmin Σ_(interacted) (w·v − 1)² + Σ_(all) unobserved_weight (w·v)² + l2 √L |w|²

    Attributes:
        items: (N, D) float32, whose Gram matrix is diagonal.
        base: (D,) that diagonal times ``unobserved_weight``.
        l2: ridge strength.
    """

    items: Annotated[Float32Array, ArrayShape("N", "D")]
    base: Annotated[Float32Array, ArrayShape("D")]
    l2: float

    @classmethod
    def fit(cls, X: CSR, embedding_dim: int, l2: float, unobserved_weight: float, run: Run) -> "FoldIn":
        """Alternating least squares from a random start, ended early when the time of ``run`` is over. O(8 · (E · D + (U + N) · D² + D³))."""
        rng = run.rng()
        by_user = _to_binary(X)
        by_item = _to_binary(sp.csr_array(X.T))
        scale = np.float32(0.1 / embedding_dim**0.5)
        W, V = (rng.standard_normal((n, embedding_dim), dtype=np.float32) * scale for n in X.shape)
        for _ in range(_N_ITER):
            W, V = _solve_side(by_user, W, V, l2, unobserved_weight)
            V, W = _solve_side(by_item, V, W, l2, unobserved_weight)
            if run.out_of_time():
                break
        axes, moments = principal_axes(V)
        return cls((V @ axes).astype(np.float32), np.float32(unobserved_weight) * moments, l2)

    def encode(self, history: CSR) -> Float32Array:
        """(B, D) user vectors of histories (B, N), whose values are ignored; zeros for empty ones. O(L · D · min(L, D)) each."""
        return solve_rows(_to_binary(history), self.items, self.base, _ridge_strengths(history, self.l2))

    def item_contributions(self, history: CSR) -> Float32Array:
        """(L, D) contribution of each item of one history to its user vector; they sum to it. O(L · D² + D³)."""
        V = self.items[history.indices]
        A = np.diag(self.base + _ridge_strengths(history, self.l2)[0]) + V.T @ V
        return np.asarray(np.linalg.solve(A, V.T).T, dtype=np.float32)


def fold_in_bytes(n_users: int, n_items: int, n_events: int, embedding_dim: int) -> int:
    """Upper estimate of the memory of ``FoldIn.fit`` beside X."""
    rows, longest = n_users + n_items, max(n_users, n_items)
    solver = solve_rows_bytes(embedding_dim, longest, Run().n_threads())
    return 16 * (embedding_dim + 15) * rows + 60 * n_events + solver + 40 * embedding_dim**2


def _to_binary(X: CSR) -> CSR:
    return sp.csr_array((np.ones(X.nnz, np.float32), X.indices, X.indptr), shape=X.shape)


def _ridge_strengths(rows: CSR, l2: float) -> Float32Array:
    return np.asarray(l2 * np.maximum(np.diff(rows.indptr), 1) ** _L2_EXPONENT, dtype=np.float32)


def _solve_side(
    rows: CSR, start: Float32Array, V: Float32Array, l2: float, unobserved_weight: float
) -> tuple[Float32Array, Float32Array]:
    """Improved vectors of the rows, from ``start``, and V; both rotated to the principal axes of V."""
    axes, moments = principal_axes(V)
    V = V @ axes
    return solve_rows(
        rows, V, np.float32(unobserved_weight) * moments, _ridge_strengths(rows, l2), start @ axes, cg_steps=_CG_STEPS
    ), V
