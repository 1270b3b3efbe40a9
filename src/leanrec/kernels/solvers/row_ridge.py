"""Ridge regressions on a shared design matrix, one for each row of a sparse matrix of targets."""

import numba
import numpy as np

from leanrec.kernels.csr import csr_arrays
from leanrec.kernels.threads import MIN_ROWS_FOR_THREADS, run_by_rows
from leanrec.types import CSR, Float32Array

__all__ = ["fit_row_ridges", "ridge_target_weights"]


def fit_row_ridges(design: Float32Array, targets: CSR, penalty: Float32Array, growth: float = 0.0) -> Float32Array:
    """For each row b: the w that minimizes Σ_j (targets[b, j] − design[j] · w)² + n^growth · Σ penalty · w².

    The sum is over the n stored entries of the row, explicit zeros included; a row without entries gives zeros. Solved
    in float64 by Cholesky. Time O(entries · W² + B · W³), memory O(B · W) and W² per thread.

    Args:
        design: (M, W) float32.
        targets: (B, M) CSR.
        penalty: (W,) above 0.
        growth: 0 = the same penalty for every row; 1 = penalty proportional to the number of entries.

    Returns:
        (B, W) float32.
    """
    out = np.zeros((targets.shape[0], design.shape[1]), dtype=np.float32)
    starts, columns, values = csr_arrays(targets)
    strength = penalty.astype(np.float64)

    def solve_block(rows: slice) -> None:
        _solve_rows(starts[rows.start :], columns, values, design, strength, growth, out[rows])

    run_by_rows(solve_block, len(out), MIN_ROWS_FOR_THREADS)
    return out


def ridge_target_weights(
    design: Float32Array, penalty: Float32Array, growth: float, probes: Float32Array
) -> Float32Array:
    """(K, n) contribution of one unit of each target to ``probes`` (K, W) · w, where w is the regression on ``design`` (n, W).

    The predictions are linear in the targets: each equals the sum of contribution · target. O(n · W² + W³ + K · n · W).
    """
    rows = design.astype(np.float64)
    gram = rows.T @ rows + np.diag(penalty.astype(np.float64) * max(1, len(rows)) ** growth)
    contributions: Float32Array = (np.linalg.solve(gram, probes.T.astype(np.float64)).T @ rows.T).astype(np.float32)
    return contributions


@numba.njit(cache=True, nogil=True)
def _solve_row(row, starts, columns, values, design, penalty, growth, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    width, n = design.shape[1], starts[row + 1] - starts[row]
    if n == 0:
        return
    gram, right_side = np.zeros((width, width)), np.zeros(width)
    for entry in range(starts[row], starts[row + 1]):
        vector, target = design[columns[entry]], np.float64(values[entry])
        for i in range(width):
            value = np.float64(vector[i])
            right_side[i] += value * target
            for j in range(i + 1):
                gram[i, j] += value * vector[j]
    strength = np.float64(n) ** growth
    for i in range(width):
        gram[i, i] += penalty[i] * strength
    _solve_cholesky(gram, right_side)
    for i in range(width):
        out[row, i] = right_side[i]


@numba.njit(cache=True, nogil=True)
def _solve_rows(starts, columns, values, design, penalty, growth, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for row in range(len(out)):
        _solve_row(row, starts, columns, values, design, penalty, growth, out)


@numba.njit(cache=True, nogil=True)
def _solve_cholesky(gram, right_side):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Solve gram · w = right in place by Cholesky; only the lower triangle of ``gram`` is read."""
    width = len(right_side)
    for i in range(width):
        for j in range(i + 1):
            total = gram[i, j]
            for m in range(j):
                total -= gram[i, m] * gram[j, m]
            gram[i, j] = np.sqrt(total) if i == j else total / gram[j, j]
    for i in range(width):
        for m in range(i):
            right_side[i] -= gram[i, m] * right_side[m]
        right_side[i] /= gram[i, i]
    for i in range(width - 1, -1, -1):
        for m in range(i + 1, width):
            right_side[i] -= gram[m, i] * right_side[m]
        right_side[i] /= gram[i, i]
