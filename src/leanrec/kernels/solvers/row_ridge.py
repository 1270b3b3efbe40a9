"""Ridge regressions, one small one for each row of a sparse matrix of targets."""

import numba
import numpy as np

from leanrec.kernels.similarity.aggregation import MIN_ROWS_FOR_THREADS
from leanrec.kernels.csr import csr_arrays
from leanrec.kernels.threads import run_by_rows
from leanrec.types import CSR, Float32Array

__all__ = ["fit_row_ridges", "ridge_target_weights"]


def fit_row_ridges(design: Float32Array, targets: CSR, penalty: Float32Array, growth: float = 0.0) -> Float32Array:
    """For each row b: the w that minimises Σ_j (targets[b, j] − design[j] · w)² + n^growth · Σ penalty · w².

    The sum is over the n entries of the row, exact zeros among them; a row without entries gives zeros. Sums
    and solution are in float64, by Cholesky. Time O(entries · W² + B · W³), memory O(B · W) and W² for each
    thread.

    Args:
        design: (M, W) float32.
        targets: (B, M) CSR.
        penalty: (W,) above 0.
        growth: 0 = the same penalty for every row; 1 = a penalty in proportion to the entries.

    Returns:
        (B, W) float32.
    """
    out = np.zeros((targets.shape[0], design.shape[1]), dtype=np.float32)
    starts, places, values = csr_arrays(targets)
    strength = penalty.astype(np.float64)

    def some(rows: slice) -> None:
        _ridges(starts[rows.start :], places, values, design, strength, growth, out[rows])

    run_by_rows(some, len(out), MIN_ROWS_FOR_THREADS)
    return out


def ridge_target_weights(design: Float32Array, penalty: Float32Array, growth: float, probe: Float32Array) -> Float32Array:
    """(n,) what one unit of each target adds to ``probe · w``, w from the regression on ``design`` (n, W).

    The prediction is linear in the targets, so it is the sum of share × target. O(n · W² + W³).
    """
    rows = design.astype(np.float64)
    gram = rows.T @ rows + np.diag(penalty.astype(np.float64) * max(1, len(rows)) ** growth)
    shares: Float32Array = (rows @ np.linalg.solve(gram, probe.astype(np.float64))).astype(np.float32)
    return shares


@numba.njit(cache=True, nogil=True)
def _ridge_one(row, tp, ti, td, design, penalty, growth, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    width, n = design.shape[1], tp[row + 1] - tp[row]
    if n == 0:
        return
    gram, right = np.zeros((width, width)), np.zeros(width)
    for entry in range(tp[row], tp[row + 1]):
        vector, target = design[ti[entry]], np.float64(td[entry])
        for i in range(width):
            value = np.float64(vector[i])
            right[i] += value * target
            for j in range(i + 1):
                gram[i, j] += value * vector[j]
    strength = np.float64(n) ** growth
    for i in range(width):
        gram[i, i] += penalty[i] * strength
    _solve(gram, right)
    for i in range(width):
        out[row, i] = right[i]


@numba.njit(cache=True, nogil=True)
def _ridges(tp, ti, td, design, penalty, growth, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for row in range(len(out)):
        _ridge_one(row, tp, ti, td, design, penalty, growth, out)


@numba.njit(cache=True, nogil=True)
def _solve(gram, right):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Solve gram · w = right in place by Cholesky; only the lower triangle of ``gram`` is read."""
    width = len(right)
    for i in range(width):
        for j in range(i + 1):
            total = gram[i, j]
            for m in range(j):
                total -= gram[i, m] * gram[j, m]
            gram[i, j] = np.sqrt(total) if i == j else total / gram[j, j]
    for i in range(width):
        for m in range(i):
            right[i] -= gram[i, m] * right[m]
        right[i] /= gram[i, i]
    for i in range(width - 1, -1, -1):
        for m in range(i + 1, width):
            right[i] -= gram[m, i] * right[m]
        right[i] /= gram[i, i]
