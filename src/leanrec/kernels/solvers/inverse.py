"""The inverse of a large symmetric positive definite matrix, over the matrix itself, in memory or in a mapped file.

The symmetric sweep (Goodnight, "A Tutorial on the SWEEP Operator", The American Statistician 1979), a block of rows at a
time: with D the inverse of the pivot block, A_ij −= A_ik D A_kj, A_ik = A_ik D, A_kk = −D; after the last block A holds minus
the inverse. It takes the N³ operations of Cholesky's way, nearly all of them in large products, and goes through the matrix
from top to bottom, which is what a file wants.
"""

import ctypes
import functools
import mmap
from collections.abc import Callable, Iterator

import numpy as np
import scipy.linalg
import scipy.linalg.cython_blas
from numpy.typing import NDArray

from leanrec.errors import DataError
from leanrec.types import CSR, Float32Array

__all__ = [
    "BLOCK_ROWS",
    "row_blocks",
    "copy_diagonal",
    "is_in_memory",
    "max_inverse_residual",
    "sweep_inverse",
    "release_pages",
    "sweep_inverse_bytes",
]

BLOCK_ROWS = 512
_FLOAT = 4


def sweep_inverse_bytes(n: int, block: int = BLOCK_ROWS) -> int:
    """Memory of ``sweep_inverse`` beside the (n, n) matrix: two panels, the mapped rows of a band, and the pivot in float64.

    For a matrix in memory the band is part of the matrix, so this is a little too much.
    """
    block = min(block, n)
    return _FLOAT * 4 * n * block + 40 * block**2


def sweep_inverse(matrix: Float32Array, block: int = BLOCK_ROWS) -> None:
    """Write −A⁻¹ over the symmetric positive definite A (N, N), of which only the upper triangle is read.

    Only the upper triangle of the result is valid. N³ operations, nearly all in products of BLAS. A matrix mapped from a file has its pages handed back after each
    band, so that no more than ``sweep_inverse_bytes`` of it are resident; it is read and written N / block times.
    Raises DataError if A is not positive definite.

    Args:
        matrix: (N, N) float32, rows contiguous.
        block: rows of a band.
    """
    for first, last in row_blocks(len(matrix), block):
        column = _panel(matrix, first, last, block)
        pivot = _inverse_of_pivot(column[first:last])
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
    """Largest |(XᵀX + l2 · I) p − e| in float64 over some columns p of P = (XᵀX + l2 · I)⁻¹: the check of a float32 inverse.

    The columns are spread over the items, the most frequent among them. O(samples · (entries + N)).

    Args:
        X: (U, N).
        l2: the ridge.
        inverse: (N, N) upper triangle of P or of −P.
        samples: columns to try.
    """
    n = len(inverse)
    if n == 0:
        return 0.0
    most = int(np.argmax(np.bincount(X.indices, minlength=n)))
    chosen = np.unique(np.append(np.linspace(0, n - 1, min(samples, n)).astype(np.int64), most))
    P = np.empty((n, len(chosen)))
    for first, last in row_blocks(n, BLOCK_ROWS):
        P[first:last] = inverse[first:last, chosen]
        release_pages(inverse)
    for place, j in enumerate(chosen):
        P[j:, place] = inverse[j, j:]
        P[:, place] *= np.sign(P[j, place])
    release_pages(inverse)
    wide = X.astype(np.float64)
    residual = wide.T @ (wide @ P) + l2 * P
    residual[chosen, np.arange(len(chosen))] -= 1
    return float(abs(residual).max())


def row_blocks(n: int, block: int) -> Iterator[tuple[int, int]]:
    """First and one past the last row of each band."""
    for first in range(0, n, block):
        yield first, min(first + block, n)


def copy_diagonal(matrix: Float32Array, block: int = BLOCK_ROWS) -> Float32Array:
    """(N,) a copy of the diagonal."""
    diagonal = np.empty(len(matrix), np.float32)
    for first, last in row_blocks(len(matrix), block):
        # A fault brings the neighbouring pages too, so that a diagonal alone would map the whole file.
        diagonal[first:last] = np.diagonal(matrix[first:last, first:last])
        release_pages(matrix)
    return diagonal


def is_in_memory(matrix: NDArray[np.float32]) -> bool:
    """Whether the matrix is not mapped from a file."""
    return getattr(matrix, "_mmap", None) is None


def release_pages(matrix: NDArray[np.float32]) -> None:
    """Hand the pages of a mapped matrix back to the system, which keeps what was written. Nothing for one in memory."""
    pages = getattr(matrix, "_mmap", None)
    if isinstance(pages, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def _panel(matrix: Float32Array, first: int, last: int, block: int) -> Float32Array:
    """(N, last − first): the columns of the symmetric matrix, from its upper triangle."""
    column = np.empty((len(matrix), last - first), np.float32)
    for top, bottom in row_blocks(last, block):
        column[top:bottom] = matrix[top:bottom, first:last]
        release_pages(matrix)
    column[last:] = matrix[first:last, last:].T
    release_pages(matrix)
    return column


def _inverse_of_pivot(pivot: Float32Array) -> NDArray[np.float64]:
    """By Cholesky in float64; the upper triangle of ``pivot`` is read."""
    try:
        factor = scipy.linalg.cho_factor(pivot.astype(np.float64), lower=False, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError:
        raise DataError("The matrix must be positive definite. It is singular in float32: raise l2.") from None
    inverse: NDArray[np.float64] = scipy.linalg.cho_solve(
        factor, np.eye(len(pivot)), overwrite_b=True, check_finite=False
    )
    return (inverse + inverse.T) / 2


def _subtract_product(A: Float32Array, B: Float32Array, C: Float32Array) -> None:
    """C −= A Bᵀ in place, for rows that are contiguous: scipy's own wrapper would copy a part of a matrix."""
    m, k, n = len(A), A.shape[1], len(B)
    if m == 0 or n == 0:
        return
    # BLAS counts by columns, so it sees every matrix transposed.
    sizes = [ctypes.byref(ctypes.c_int(size)) for size in (n, m, k)]
    steps = [ctypes.byref(ctypes.c_int(matrix.strides[0] // _FLOAT)) for matrix in (B, A, C)]
    minus, one = ctypes.byref(ctypes.c_float(-1)), ctypes.byref(ctypes.c_float(1))
    _sgemm()(b"T", b"N", *sizes, minus, B.ctypes.data, steps[0], A.ctypes.data, steps[1], one, C.ctypes.data, steps[2])


@functools.cache
def _sgemm() -> Callable[..., None]:
    """The routine of BLAS that scipy brings, which takes the distance between rows."""
    capsule = scipy.linalg.cython_blas.__pyx_capi__["sgemm"]
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    size, number, place = ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_float), ctypes.c_void_p
    kind = ctypes.CFUNCTYPE(
        None, ctypes.c_char_p, ctypes.c_char_p, size, size, size, number, place, size, place, size, number, place, size
    )
    return kind(address(capsule, name(capsule)))
