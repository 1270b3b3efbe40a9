"""In-place inverse of a large symmetric positive definite matrix, in memory or in a memory-mapped file.

The symmetric sweep operator (Goodnight, "A Tutorial on the SWEEP Operator", The American Statistician 1979), by blocks of
rows: with D the inverse of the pivot block, A_ij −= A_ik D A_kj, A_ik = A_ik D, A_kk = −D; after the last block A holds
minus the inverse. It takes N³ operations like inversion by Cholesky, nearly all of them in large matrix products, and
reads the matrix from top to bottom, which suits a file.
"""

import mmap
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from leanrec.errors import DataError
from leanrec.kernels.solvers.lapack import call_blas, call_lapack
from leanrec.types import CSR, Float32Array

__all__ = [
    "BLOCK_ROWS",
    "copy_diagonal",
    "is_in_memory",
    "max_inverse_residual",
    "release_pages",
    "row_blocks",
    "sweep_inverse",
    "sweep_inverse_bytes",
]

BLOCK_ROWS = 512
_FLOAT = 4


def sweep_inverse_bytes(n: int, block: int = BLOCK_ROWS) -> int:
    """Memory of ``sweep_inverse`` besides the (n, n) matrix: two panels, the mapped rows of a block, the pivot in float64.

    An overestimate for a matrix in memory, whose rows need not be mapped.
    """
    block = min(block, n)
    return _FLOAT * 4 * n * block + 40 * block**2


def sweep_inverse(matrix: Float32Array, block: int = BLOCK_ROWS) -> None:
    """Overwrite a symmetric positive definite matrix A (N, N) by −A⁻¹. Only upper triangles are read and valid.

    N³ operations, nearly all in BLAS products. The pages of a memory-mapped matrix are released after each block, so that
    at most ``sweep_inverse_bytes`` of it are resident; it is read and written N / block times.
    Raises DataError if A is not positive definite.

    Args:
        matrix: (N, N) float32, rows contiguous.
        block: rows per block.
    """
    for first, last in row_blocks(len(matrix), block):
        column = _read_panel(matrix, first, last, block)
        pivot = _invert_pivot(column[first:last])
        column[first:last] = 0
        scaled = column @ pivot.astype(np.float32)
        for top, bottom in row_blocks(len(matrix), block):
            _subtract_product(scaled[top:bottom], column[top:], matrix[top:bottom, top:])
            if bottom <= first:
                matrix[top:bottom, first:last] = scaled[top:bottom]
            elif top == first:
                matrix[first:last, first:last] = -pivot
                matrix[first:last, last:] = scaled[last:].T
            release_pages(matrix)


def max_inverse_residual(X: CSR, l2: float, inverse: Float32Array, samples: int = 8) -> float:
    """Largest |(XᵀX + l2 · I) p − e| in float64 over sampled columns p of P = (XᵀX + l2 · I)⁻¹, to check a float32 inverse.

    The columns are evenly spaced, plus that of the most frequent item. O(samples · (entries + N)).

    Args:
        X: (U, N).
        l2: ridge penalty.
        inverse: (N, N) upper triangle of P or of −P.
        samples: number of columns.
    """
    n = len(inverse)
    if n == 0:
        return 0.0
    most_frequent = int(np.argmax(np.bincount(X.indices, minlength=n)))
    chosen = np.unique(np.append(np.linspace(0, n - 1, min(samples, n)).astype(np.int64), most_frequent))
    P = np.empty((n, len(chosen)))
    for first, last in row_blocks(n, BLOCK_ROWS):
        P[first:last] = inverse[first:last, chosen]
        release_pages(inverse)
    for position, j in enumerate(chosen):
        P[j:, position] = inverse[j, j:]
        P[:, position] *= np.sign(P[j, position])
    release_pages(inverse)
    X64 = X.astype(np.float64)
    residual = X64.T @ (X64 @ P) + l2 * P
    residual[chosen, np.arange(len(chosen))] -= 1
    return float(abs(residual).max())


def row_blocks(n: int, block: int) -> Iterator[tuple[int, int]]:
    """(first, one past the last) row of each block."""
    for first in range(0, n, block):
        yield first, min(first + block, n)


def copy_diagonal(matrix: Float32Array, block: int = BLOCK_ROWS) -> Float32Array:
    """(N,) copy of the diagonal."""
    diagonal = np.empty(len(matrix), np.float32)
    for first, last in row_blocks(len(matrix), block):
        # A page fault maps neighboring pages too, so reading the whole diagonal would map the whole file.
        diagonal[first:last] = np.diagonal(matrix[first:last, first:last])
        release_pages(matrix)
    return diagonal


def is_in_memory(matrix: NDArray[np.float32]) -> bool:
    """Whether the matrix is not memory-mapped from a file."""
    return getattr(matrix, "_mmap", None) is None


def release_pages(matrix: NDArray[np.float32]) -> None:
    """Release the resident pages of a memory-mapped matrix; written data is kept. Does nothing for a matrix in memory."""
    pages = getattr(matrix, "_mmap", None)
    if isinstance(pages, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def _read_panel(matrix: Float32Array, first: int, last: int, block: int) -> Float32Array:
    """(N, last − first) columns of the symmetric matrix, read from its upper triangle."""
    column = np.empty((len(matrix), last - first), np.float32)
    for top, bottom in row_blocks(last, block):
        column[top:bottom] = matrix[top:bottom, first:last]
        release_pages(matrix)
    column[last:] = matrix[first:last, last:].T
    release_pages(matrix)
    return column


def _invert_pivot(pivot: Float32Array) -> NDArray[np.float64]:
    """Inverse by Cholesky in float64; reads the upper triangle of ``pivot``."""
    inverse, n = np.array(pivot, np.float64, order="C"), len(pivot)
    for routine in ("dpotrf", "dpotri"):
        if call_lapack(routine, b"L", n, inverse, n) != 0:
            raise DataError("The matrix must be positive definite. It is singular in float32: raise l2.")
    return np.triu(inverse) + np.triu(inverse, 1).T


def _subtract_product(A: Float32Array, B: Float32Array, C: Float32Array) -> None:
    """C −= A Bᵀ in place for contiguous rows. SciPy's wrapper would copy a slice of a matrix."""
    m, k, n = len(A), A.shape[1], len(B)
    if m == 0 or n == 0:
        return
    # BLAS is column-major, so every matrix is passed transposed.
    steps = [matrix.strides[0] // _FLOAT for matrix in (B, A, C)]
    sizes, minus, one = (n, m, k), np.float32(-1), np.float32(1)
    call_blas("sgemm", b"T", b"N", *sizes, minus, B, steps[0], A, steps[1], one, C, steps[2])
