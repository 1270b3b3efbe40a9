"""The graph of users and items as a matrix: normalised by degrees, its strongest directions, its products with signals."""

import dataclasses
from collections.abc import Callable, Iterable

import numba
import numpy as np
import scipy.sparse as sp

from leanrec.kernels.sparse import history_scores, narrow_indices
from leanrec.kernels.topk.selection import top_k
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, empty_csr

__all__ = [
    "ItemGraph",
    "sparsify_filter_bytes",
    "multiply_sparse",
    "weighted_degrees",
    "item_graph_bytes",
    "inverse_power",
    "build_item_graph",
    "normalize_adjacency",
    "right_singular_vectors",
    "scale_rows_and_columns",
    "singular_vectors_bytes",
    "sparsify_filter",
]

Float64Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
# Columns beyond those asked for: they take the error of the last directions.
_EXTRA = 16
_BLOCK = 4096
_ANSWERS = 256
# Below this many multiplications, starting threads costs more than they save.
_FEW = 1_000_000
# Share of the largest squared length below which a direction is the rounding of float32.
_NOTHING = 1e-13


def weighted_degrees(X: CSR) -> tuple[Float64Array, Float64Array]:
    """Sums of the rows (U,) and of the columns (N,) of X, in float64. O(entries)."""
    rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    of_rows = np.bincount(rows, weights=X.data, minlength=X.shape[0])
    of_columns = np.bincount(X.indices, weights=X.data, minlength=X.shape[1])
    return of_rows.astype(np.float64), of_columns.astype(np.float64)


def inverse_power(degree: Float64Array | Float32Array, exponent: float) -> Float64Array:
    """degree^−exponent, and 0 where the degree is 0: who has no edge takes no part."""
    powers = np.zeros(len(degree))
    there = degree > 0
    powers[there] = degree[there] ** -exponent
    return powers


def scale_rows_and_columns(X: CSR, rows: Float64Array, columns: Float64Array | Float32Array) -> CSR:
    """diag(rows) · X · diag(columns) in float32. O(entries); the structure is shared with X."""
    data = X.data * np.repeat(rows, np.diff(X.indptr)) * columns[X.indices]
    return sp.csr_array((data.astype(np.float32), X.indices, X.indptr), shape=X.shape)


def normalize_adjacency(X: CSR, alpha: float = 0.5) -> CSR:
    """D_U^−alpha · X · D_I^−½ with the sums of rows and columns as degrees: with ½, the largest singular value is 1."""
    users, items = weighted_degrees(X)
    return scale_rows_and_columns(X, inverse_power(users, alpha), inverse_power(items, 0.5))


def singular_vectors_bytes(n_rows: int, n_columns: int, width: int) -> int:
    """Upper estimate of the memory of ``right_singular_vectors`` on top of X: its transpose is the caller's."""
    width = min(width + _EXTRA, n_rows, n_columns)
    return 4 * width * (n_rows + 3 * n_columns) + 32 * width**2 + 24 * _BLOCK * width


def right_singular_vectors(
    X: CSR, Xt: CSR, width: int, passes: int, rng: np.random.Generator
) -> tuple[Float32Array, Float64Array]:
    """The ``width`` strongest right singular vectors (N, D) of X (U, N) and their singular values (D,), falling.

    Subspace iteration from a random start (Halko, Martinsson & Tropp 2011). Bases are made orthonormal through
    their small Gram matrices in float64, which costs a few matrix products where a QR of tall matrices costs
    many sweeps. Directions of no strength are columns of zeros. O(passes · (entries · D + N · D²)) time, memory as
    ``singular_vectors_bytes``.

    Args:
        X: (U, N) float32.
        Xt: (N, U), X transposed.
        width: D; more than min(U, N) is min(U, N).
        passes: products with XᵀX; more for a spectrum that falls slowly.
        rng: the random start.
    """
    width = min(width, *X.shape)
    if not width:
        return np.zeros((X.shape[1], 0), np.float32), np.zeros(0)
    basis = rng.standard_normal((X.shape[1], min(width + _EXTRA, *X.shape)), dtype=np.float32)
    basis = _orthonormal(_orthonormal(basis))
    for _ in range(max(1, passes)):
        basis = _orthonormal(multiply_sparse(Xt, multiply_sparse(X, basis)))
    # What the first time left of weak directions in float32, the second removes.
    basis = _orthonormal(basis)
    strengths, turn = np.linalg.eigh(_gram(multiply_sparse(X, basis)))
    best = np.argsort(-strengths, kind="stable")[:width]
    strengths = strengths[best]
    kept = strengths > _NOTHING * max(strengths[0], 0)
    turn = turn[:, best] * kept
    return np.asarray(basis @ turn.astype(np.float32)), np.sqrt(np.where(kept, strengths, 0))


def multiply_sparse(X: CSR, signals: Float32Array) -> Float32Array:
    """X (U, N) times dense signals (N, D): (U, D) float32. O(entries · D), in threads, summed in a fixed order."""
    out = np.zeros((X.shape[0], signals.shape[1]), np.float32)
    few = X.nnz * signals.shape[1] < _FEW
    workers = 1 if few else numba.get_num_threads()
    (_apply_few if few else _apply_many)(workers, *_parts(X), np.ascontiguousarray(signals, dtype=np.float32), out)
    return out


@dataclasses.dataclass(frozen=True, eq=False)
class ItemGraph:
    """P = R̃ᵀR̃ (N, N), the graph in which items are tied by the users they share, never written out.

    Attributes:
        to_users: (N, U) CSR, R̃ᵀ.
        to_items: (U, N) CSR, R̃ = D_U^−alpha · R · D_I^−½, its largest singular value 1.
        directions: (N, D) the strongest eigenvectors of P, orthonormal or zero.
    """

    to_users: CSR
    to_items: CSR
    directions: Float32Array

    def step(self, signals: CSR) -> Float32Array:
        """Sparse signals (B, N) times P: (B, N), over the users. O(Σ over the users reached of their histories + N)."""
        return history_scores(sp.csr_array(signals @ self.to_users), self.to_items)

    def step_dense(self, signals: Float32Array) -> Float32Array:
        """Dense signals (B, N) times P: (B, N). O(B · entries)."""
        return np.ascontiguousarray(multiply_sparse(self.to_users, multiply_sparse(self.to_items, signals.T)).T)

    def project(self, signals: CSR, gains: Float32Array | np.float32) -> Float32Array:
        """Signals (B, N) · V · diag(gains) · Vᵀ: (B, N). O(L · D + N · D) each."""
        inside = np.asarray(signals @ self.directions, dtype=np.float32) * gains
        return np.asarray(inside @ self.directions.T)


def build_item_graph(
    X: CSR, alpha: float, width: int, passes: int, rng: np.random.Generator
) -> tuple[ItemGraph, Float64Array]:
    """The graph of X (U, N) with its ``width`` strongest directions, and their eigenvalues (D,), falling from 1.

    With an ``alpha`` other than ½ the graph is divided by its largest eigenvalue.
    """
    R = normalize_adjacency(X, alpha)
    Rt = sp.csr_array(R.T)
    needed = width if alpha == 0.5 else max(1, width)
    directions, singular = right_singular_vectors(R, Rt, needed, passes, rng)
    if alpha != 0.5 and singular.max(initial=0) > 0:
        for matrix in (R, Rt):
            matrix.data /= np.float32(singular[0])
        singular = singular / singular[0]
    return ItemGraph(Rt, R, directions[:, :width]), singular[:width] ** 2


def item_graph_bytes(n_users: int, n_items: int, events: int, width: int) -> int:
    """Upper estimate of the memory of ``build_item_graph`` with the weighted copy of X that goes in."""
    return 64 * events + 64 * (n_users + n_items) + singular_vectors_bytes(n_users, n_items, width)


def sparsify_filter_bytes(n: int, k: int) -> int:
    """Upper estimate of the memory of ``sparsify_filter`` with ``step`` and ``project``."""
    return 28 * n * min(k, n) + _ANSWERS * (16 * n + 16 * min(k, n)) + 64 * n


def sparsify_filter(
    answer: Callable[[CSR], Float32Array], n: int, k: int, tell: Callable[[range], Iterable[int]] = iter
) -> CSR:
    """(n, n): row i holds the k largest answers above 0 to a signal of 1 at i, itself left out. O(n) answers and a few blocks.

    Args:
        answer: (B, n) from sparse signals (B, n).
        n: number of items.
        k: answers to keep.
        tell: goes through the blocks; a progress bar, say.
    """
    parts = []
    for start in tell(range(0, n, _ANSWERS)):
        rows = np.arange(start, min(start + _ANSWERS, n))
        signals = sp.csr_array(
            (np.ones(len(rows), np.float32), rows.astype(np.int32), np.arange(len(rows) + 1)), shape=(len(rows), n)
        )
        items, best = top_k(answer(signals), min(k, n), seen=signals)
        kept = best > 0
        starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
        parts.append(sp.csr_array((best[kept], items[kept], starts), shape=signals.shape))
    weights: CSR = sp.csr_array(sp.vstack(parts, format="csr")) if parts else empty_csr(n, n)
    weights.sort_indices()
    return narrow_indices(weights)


def _orthonormal(matrix: Float32Array) -> Float32Array:
    """An orthonormal basis of the columns; directions of no strength become zeros."""
    strengths, turn = np.linalg.eigh(_gram(matrix))
    there = strengths > _NOTHING * max(strengths[-1], 0)
    scale = np.zeros(len(strengths))
    scale[there] = strengths[there] ** -0.5
    return np.asarray(matrix @ (turn * scale).astype(np.float32))


def _gram(matrix: Float32Array) -> Float64Array:
    """matrixᵀ · matrix in float64, block by block."""
    gram = np.zeros((matrix.shape[1], matrix.shape[1]))
    for start in range(0, len(matrix), _BLOCK):
        block = matrix[start : start + _BLOCK].astype(np.float64)
        gram += block.T @ block
    return gram


def _parts(matrix: CSR) -> tuple[Int64Array, Int32Array, Float32Array]:
    return (
        matrix.indptr.astype(np.int64, copy=False),
        matrix.indices.astype(np.int32, copy=False),
        matrix.data.astype(np.float32, copy=False),
    )


@numba.njit(cache=True, nogil=True)
def _apply_rows(
    me: int,
    of: int,
    starts: Int64Array,
    columns: Int32Array,
    data: Float32Array,
    signals: Float32Array,
    out: Float32Array,
) -> None:
    """The rows of worker ``me`` of ``of``, in turn: the long ones do not all fall to one thread."""
    width = signals.shape[1]
    for row in range(me, len(out), of):
        sums = out[row]
        for entry in range(starts[row], starts[row + 1]):
            weight, signal = data[entry], signals[columns[entry]]
            for d in range(width):
                sums[d] += weight * signal[d]


@numba.njit(cache=True, nogil=True)
def _apply_few(
    workers: int, starts: Int64Array, columns: Int32Array, data: Float32Array, signals: Float32Array, out: Float32Array
) -> None:
    for worker in range(workers):
        _apply_rows(worker, workers, starts, columns, data, signals, out)


@numba.njit(parallel=True, cache=True)
def _apply_many(
    workers: int, starts: Int64Array, columns: Int32Array, data: Float32Array, signals: Float32Array, out: Float32Array
) -> None:
    for worker in numba.prange(workers):
        _apply_rows(worker, workers, starts, columns, data, signals, out)
