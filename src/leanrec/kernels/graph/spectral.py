"""Spectral graph filtering: normalized user-item adjacency, truncated SVD and filters on the item-item graph."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Annotated

import numba
import numpy as np
import scipy.sparse as sp

from leanrec.field_checks import ArrayShape
from leanrec.kernels.csr import csr_arrays
from leanrec.kernels.sparse import history_scores
from leanrec.kernels.threads import compile_serial_and_parallel
from leanrec.kernels.topk.selection import top_k
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, compact_indices, empty_csr

__all__ = [
    "ItemGraph",
    "build_item_graph",
    "inverse_power",
    "item_graph_bytes",
    "multiply_sparse",
    "normalize_adjacency",
    "right_singular_vectors",
    "scale_rows_and_columns",
    "singular_vectors_bytes",
    "sparsify_filter",
    "sparsify_filter_bytes",
    "weighted_degrees",
]

Float64Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
# Extra columns of the subspace iteration, which absorb the error of the last requested components.
_OVERSAMPLING = 16
_BLOCK = 4096
_FILTER_ROWS = 256
# Below this many multiplications, starting threads costs more than they save.
_MIN_OPERATIONS_FOR_THREADS = 1_000_000
# Share of the largest squared singular value below which a component is float32 rounding error.
_RANK_TOLERANCE = 1e-13


def weighted_degrees(X: CSR) -> tuple[Float64Array, Float64Array]:
    """Row sums (U,) and column sums (N,) of X in float64. O(entries)."""
    rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    of_rows = np.bincount(rows, weights=X.data, minlength=X.shape[0])
    of_columns = np.bincount(X.indices, weights=X.data, minlength=X.shape[1])
    return of_rows.astype(np.float64), of_columns.astype(np.float64)


def inverse_power(degree: Float64Array | Float32Array, exponent: float) -> Float64Array:
    """degree^−exponent, and 0 where the degree is 0."""
    powers = np.zeros(len(degree))
    is_positive = degree > 0
    powers[is_positive] = degree[is_positive] ** -exponent
    return powers


def scale_rows_and_columns(X: CSR, rows: Float64Array, columns: Float64Array | Float32Array) -> CSR:
    """diag(rows) · X · diag(columns) in float32. O(entries); indices are shared with X."""
    data = X.data * np.repeat(rows, np.diff(X.indptr)) * columns[X.indices]
    return sp.csr_array((data.astype(np.float32), X.indices, X.indptr), shape=X.shape)


def normalize_adjacency(X: CSR, alpha: float = 0.5) -> CSR:
    """D_U^−alpha · X · D_I^−½ with row and column sums as degrees. For alpha = ½ the largest singular value is 1."""
    users, items = weighted_degrees(X)
    return scale_rows_and_columns(X, inverse_power(users, alpha), inverse_power(items, 0.5))


def singular_vectors_bytes(n_rows: int, n_columns: int, n_components: int) -> int:
    """Upper estimate of the memory of ``right_singular_vectors`` besides X and its transpose."""
    n_components = min(n_components + _OVERSAMPLING, n_rows, n_columns)
    return 4 * n_components * (n_rows + 3 * n_columns) + 32 * n_components**2 + 24 * _BLOCK * n_components


def right_singular_vectors(
    X: CSR, Xt: CSR, n_components: int, n_iter: int, rng: np.random.Generator, start: Float32Array | None = None
) -> tuple[Float32Array, Float64Array]:
    """The leading D right singular vectors (N, D) of X (U, N) and their singular values (D,), descending.

    Randomized subspace iteration (Halko, Martinsson & Tropp, "Finding Structure with Randomness", SIAM Review 2011).
    Bases are orthonormalized through their small Gram matrices in float64: a few matrix products instead of a QR
    decomposition of a tall matrix. Components with singular value 0 are columns of zeros.
    O(n_iter · (entries · D + N · D²)) time, memory as ``singular_vectors_bytes``.

    Args:
        X: (U, N) float32.
        Xt: (N, U), X transposed.
        n_components: D; reduced to min(U, N).
        n_iter: products with XᵀX; more for a slowly decaying spectrum.
        rng: draws the start.
        start: (N, D) vectors that are near, instead of some of the random ones.
    """
    n_components = min(n_components, *X.shape)
    if not n_components:
        return np.zeros((X.shape[1], 0), np.float32), np.zeros(0)
    basis = rng.standard_normal((X.shape[1], min(n_components + _OVERSAMPLING, *X.shape)), dtype=np.float32)
    if start is not None:
        width = min(start.shape[1], basis.shape[1])
        basis[:, :width] = start[:, :width]
    basis = _orthonormalize(_orthonormalize(basis))
    for _ in range(max(1, n_iter)):
        basis = _orthonormalize(multiply_sparse(Xt, multiply_sparse(X, basis)))
    # A second pass removes the error that float32 leaves in weak components.
    basis = _orthonormalize(basis)
    eigenvalues, rotation = np.linalg.eigh(_compute_gram(multiply_sparse(X, basis)))
    best = np.argsort(-eigenvalues, kind="stable")[:n_components]
    eigenvalues = eigenvalues[best]
    kept = eigenvalues > _RANK_TOLERANCE * max(eigenvalues[0], 0)
    rotation = rotation[:, best] * kept
    return np.asarray(basis @ rotation.astype(np.float32)), np.sqrt(np.where(kept, eigenvalues, 0))


def multiply_sparse(X: CSR, signals: Float32Array) -> Float32Array:
    """X (U, N) times dense signals (N, D): (U, D) float32. O(entries · D), multithreaded, summed in a fixed order."""
    out = np.zeros((X.shape[0], signals.shape[1]), np.float32)
    serial = X.nnz * signals.shape[1] < _MIN_OPERATIONS_FOR_THREADS
    work = _multiply_rows.serial if serial else _multiply_rows.parallel
    workers = 1 if serial else numba.get_num_threads()
    work(workers, *csr_arrays(X), np.ascontiguousarray(signals, dtype=np.float32), out)
    return out


@dataclasses.dataclass(frozen=True, eq=False)
class ItemGraph:
    """The item-item graph P = R̃ᵀR̃ (N, N) of shared users, never materialized.

    Attributes:
        to_users: (N, U) CSR, R̃ᵀ.
        to_items: (U, N) CSR, R̃ = D_U^−alpha · R · D_I^−½, scaled to a largest singular value of 1.
        eigenvectors: (N, D) leading eigenvectors of P, orthonormal or zero.
    """

    to_users: Annotated[CSR, ArrayShape("N", "U")]
    to_items: Annotated[CSR, ArrayShape("U", "N")]
    eigenvectors: Annotated[Float32Array, ArrayShape("N", "D")]

    def propagate_sparse(self, signals: CSR) -> Float32Array:
        """Sparse signals (B, N) times P: (B, N). O(Σ lengths of the histories of the users reached + N)."""
        return history_scores(sp.csr_array(signals @ self.to_users), self.to_items)

    def propagate_dense(self, signals: Float32Array) -> Float32Array:
        """Dense signals (B, N) times P: (B, N). O(B · entries)."""
        return np.ascontiguousarray(multiply_sparse(self.to_users, multiply_sparse(self.to_items, signals.T)).T)

    def apply_spectral_filter(self, signals: CSR, gains: Float32Array | np.float32) -> Float32Array:
        """Signals (B, N) · V · diag(gains) · Vᵀ: (B, N). O(L · D + N · D) each."""
        inside = np.asarray(signals @ self.eigenvectors, dtype=np.float32) * gains
        return np.asarray(inside @ self.eigenvectors.T)


def build_item_graph(
    X: CSR, alpha: float, n_components: int, n_iter: int, rng: np.random.Generator
) -> tuple[ItemGraph, Float64Array]:
    """The graph of X (U, N) with its ``n_components`` leading eigenvectors, and their eigenvalues (D,), descending from 1.

    For an ``alpha`` other than ½ the graph is divided by its largest eigenvalue.
    """
    R = normalize_adjacency(X, alpha)
    Rt = sp.csr_array(R.T)
    needed = n_components if alpha == 0.5 else max(1, n_components)
    eigenvectors, singular = right_singular_vectors(R, Rt, needed, n_iter, rng)
    if alpha != 0.5 and singular.max(initial=0) > 0:
        for matrix in (R, Rt):
            matrix.data /= np.float32(singular[0])
        singular = singular / singular[0]
    return ItemGraph(Rt, R, eigenvectors[:, :n_components]), singular[:n_components] ** 2


def item_graph_bytes(n_users: int, n_items: int, events: int, n_components: int) -> int:
    """Upper estimate of the memory of ``build_item_graph``, the weighted copy of X included."""
    return 64 * events + 64 * (n_users + n_items) + singular_vectors_bytes(n_users, n_items, n_components)


def sparsify_filter_bytes(n: int, k: int) -> int:
    """Upper estimate of the memory of ``sparsify_filter`` with the filters of ``ItemGraph``."""
    return 28 * n * min(k, n) + _FILTER_ROWS * (16 * n + 16 * min(k, n)) + 64 * n


def sparsify_filter(
    apply_filter: Callable[[CSR], Float32Array],
    n: int,
    k: int,
    progress: Callable[[range], Iterable[int]] = iter,
) -> CSR:
    """Item-item weights (n, n) of a linear filter: row i holds the k largest positive responses to a unit signal at i.

    The response of an item to itself is left out. Costs n filter rows; memory as ``sparsify_filter_bytes``.

    Args:
        apply_filter: responses (B, n) to sparse signals (B, n).
        n: number of items.
        k: responses to keep per item.
        progress: wraps the iteration over blocks, for example in a progress bar.
    """
    parts = []
    for start in progress(range(0, n, _FILTER_ROWS)):
        rows = np.arange(start, min(start + _FILTER_ROWS, n))
        signals = sp.csr_array(
            (np.ones(len(rows), np.float32), rows.astype(np.int32), np.arange(len(rows) + 1)), shape=(len(rows), n)
        )
        items, best = top_k(apply_filter(signals), min(k, n), seen=signals)
        kept = best > 0
        starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
        parts.append(sp.csr_array((best[kept], items[kept], starts), shape=signals.shape))
    weights: CSR = sp.csr_array(sp.vstack(parts, format="csr")) if parts else empty_csr(n, n)
    weights.sort_indices()
    return compact_indices(weights)


def _orthonormalize(matrix: Float32Array) -> Float32Array:
    """An orthonormal basis of the column space; components below the rank tolerance become zeros."""
    eigenvalues, rotation = np.linalg.eigh(_compute_gram(matrix))
    is_positive = eigenvalues > _RANK_TOLERANCE * max(eigenvalues[-1], 0)
    scale = np.zeros(len(eigenvalues))
    scale[is_positive] = eigenvalues[is_positive] ** -0.5
    return np.asarray(matrix @ (rotation * scale).astype(np.float32))


def _compute_gram(matrix: Float32Array) -> Float64Array:
    """matrixᵀ · matrix in float64, block by block."""
    gram = np.zeros((matrix.shape[1], matrix.shape[1]))
    for start in range(0, len(matrix), _BLOCK):
        block = matrix[start : start + _BLOCK].astype(np.float64)
        gram += block.T @ block
    return gram


@numba.njit(cache=True, nogil=True)
def _multiply_rows_of_worker(
    worker: int,
    workers: int,
    starts: Int64Array,
    columns: Int32Array,
    data: Float32Array,
    signals: Float32Array,
    out: Float32Array,
) -> None:
    """Every ``workers``-th row, so that long rows are spread over the threads."""
    width = signals.shape[1]
    for row in range(worker, len(out), workers):
        sums = out[row]
        for entry in range(starts[row], starts[row + 1]):
            weight, signal = data[entry], signals[columns[entry]]
            for d in range(width):
                sums[d] += weight * signal[d]


@compile_serial_and_parallel
def _multiply_rows(
    workers: int, starts: Int64Array, columns: Int32Array, data: Float32Array, signals: Float32Array, out: Float32Array
) -> None:
    for worker in numba.prange(workers):
        _multiply_rows_of_worker(worker, workers, starts, columns, data, signals, out)
