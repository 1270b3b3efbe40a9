"""Users by ridge regression on item vectors: whoever has a history has a vector, in the fit and afterwards alike.

Hu, Koren & Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, with the weights of Rendle,
Krichene, Zhang & Koren, "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022.
"""

import dataclasses

import numpy as np
import scipy.sparse as sp

from leanrec.kernels.solvers.least_squares import principal_axes, solve_rows, solve_rows_bytes
from leanrec.run import Run
from leanrec.types import CSR, Float32Array

__all__ = ["Folding", "folding_bytes"]

_SWEEPS, _STEPS = 8, 3
_SCALING = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class Folding:
    """Item vectors v, and the user vector w that goes with a history.

        w = argmin Σ_(touched) (w·v − 1)² + Σ_(all) unobserved (w·v)² + l2 √L |w|²

    Attributes:
        items: (N, D) float32, whose Gram matrix is diagonal.
        base: (D,) that diagonal times ``unobserved``.
        l2: strength of the ridge.
    """

    items: Float32Array
    base: Float32Array
    l2: float

    @classmethod
    def fit(cls, X: CSR, width: int, l2: float, unobserved: float, run: Run) -> "Folding":
        """Alternate between the vectors of users and of items, from a random start. O(8 · (E · D + (U + N) · D² + D³))."""
        rng = run.rng()
        ones = _ones(X)
        across = _ones(sp.csr_array(X.T))
        W, V = (rng.standard_normal((n, width), dtype=np.float32) * np.float32(0.1 / width**0.5) for n in X.shape)
        for _ in range(_SWEEPS):
            W, V = _half(ones, W, V, l2, unobserved)
            V, W = _half(across, V, W, l2, unobserved)
            if run.out_of_time():
                break
        axes, moments = principal_axes(V)
        return cls((V @ axes).astype(np.float32), np.float32(unobserved) * moments, l2)

    def vectors(self, history: CSR) -> Float32Array:
        """(B, D) of histories (B, N), every item alike; zeros for an empty one. O(L · D · min(L, D)) each."""
        return solve_rows(_ones(history), self.items, self.base, _ridge(history, self.l2))

    def parts(self, history: CSR) -> Float32Array:
        """(L, D) for one history: what each item brings to the vector; they sum to it. O(L · D² + D³)."""
        V = self.items[history.indices]
        A = np.diag(self.base + _ridge(history, self.l2)[0]) + V.T @ V
        return np.asarray(np.linalg.solve(A, V.T).T, dtype=np.float32)


def folding_bytes(n_users: int, n_items: int, events: int, width: int) -> int:
    """Upper estimate of the memory of ``Folding.fit`` on top of X."""
    rows, longest = n_users + n_items, max(n_users, n_items)
    return 16 * (width + 15) * rows + 60 * events + solve_rows_bytes(width, longest, Run().n_threads()) + 40 * width**2


def _ones(X: CSR) -> CSR:
    return sp.csr_array((np.ones(X.nnz, np.float32), X.indices, X.indptr), shape=X.shape)


def _ridge(rows: CSR, l2: float) -> Float32Array:
    return np.asarray(l2 * np.maximum(np.diff(rows.indptr), 1) ** _SCALING, dtype=np.float32)


def _half(
    rows: CSR, start: Float32Array, V: Float32Array, l2: float, unobserved: float
) -> tuple[Float32Array, Float32Array]:
    """The vectors of the rows, better than ``start``, and V; both in the axes of V."""
    axes, moments = principal_axes(V)
    V = V @ axes
    return solve_rows(rows, V, np.float32(unobserved) * moments, _ridge(rows, l2), start @ axes, steps=_STEPS), V
