"""Spectral initialization of item vectors from co-occurrence in histories.

Truncated SVD of the positive pointwise mutual information of nearby items (Levy & Goldberg, "Neural Word Embedding as
Implicit Matrix Factorization", NeurIPS 2014): seconds of sparse products replace the first epochs.
"""

import numpy as np
import scipy.sparse as sp

from leanrec.kernels.graph.spectral import right_singular_vectors, singular_vectors_bytes
from leanrec.training.histories import PackedHistories
from leanrec.types import CSR, Float32Array, compact_indices, empty_csr

__all__ = ["spectral_bytes", "spectral_vectors"]

# Window size and smoothing exponent of word2vec (Mikolov et al. 2013).
_WINDOW = 5
_POWER = 0.75
# Subspace iterations of the truncated SVD.
_N_ITER = 6


def spectral_bytes(n_items: int, n_events: int, embedding_dim: int) -> int:
    """Upper estimate of the memory that ``spectral_vectors`` needs, in bytes."""
    return (
        40 * _WINDOW * n_events + singular_vectors_bytes(n_items, n_items, embedding_dim) + 8 * n_items * embedding_dim
    )


def spectral_vectors(
    histories: PackedHistories, n_items: int, embedding_dim: int, rng: np.random.Generator
) -> Float32Array:
    """(N, D) item vectors of unit length; random directions for items without neighbors.

    O(iterations · (pairs · D + N · D²)) for at most 2 · 5 · E pairs of items.
    """
    vectors = rng.standard_normal((n_items, embedding_dim), dtype=np.float32) / np.float32(np.sqrt(embedding_dim))
    mutual_information = _positive_pmi(_count_pairs(histories, n_items))
    directions, strengths = right_singular_vectors(mutual_information, mutual_information, embedding_dim, _N_ITER, rng)
    embedded = directions * np.sqrt(strengths).astype(np.float32)
    length = np.linalg.norm(embedded, axis=1)
    has_neighbors = length > 0
    vectors[has_neighbors, : embedded.shape[1]] = embedded[has_neighbors] / length[has_neighbors, None]
    vectors[has_neighbors, embedded.shape[1] :] = 0
    return vectors


def _count_pairs(histories: PackedHistories, n_items: int) -> CSR:
    """(N, N) number of times two items occur within the window of each other in a history."""
    items = histories.items
    owner = np.repeat(np.arange(len(histories), dtype=np.int32), histories.lengths)
    shape = (n_items, n_items)
    total = empty_csr(*shape)
    for distance in range(1, _WINDOW + 1):
        same = owner[distance:] == owner[:-distance]
        first, second = items[:-distance][same], items[distance:][same]
        total = total + sp.csr_array((np.ones(len(first), np.float32), (first, second)), shape=shape)
    return sp.csr_array(total + total.T)


def _positive_pmi(pairs: CSR) -> CSR:
    """(N, N) symmetric positive pointwise mutual information of the pairs, with smoothed frequencies."""
    counts = np.asarray(pairs.sum(axis=1), np.float64).ravel()
    smooth = counts**_POWER
    smooth /= max(smooth.sum(), 1)
    rows = np.repeat(np.arange(pairs.shape[0]), np.diff(pairs.indptr))
    # Smoothing is shared between the two sides, so that the matrix stays symmetric.
    expected = np.sqrt(counts[rows] * smooth[pairs.indices] * counts[pairs.indices] * smooth[rows])
    values = np.maximum(0, np.log(pairs.data / expected)).astype(np.float32)
    pmi = sp.csr_array((values, pairs.indices, pairs.indptr), shape=pairs.shape)
    pmi.eliminate_zeros()
    pmi.sort_indices()
    return compact_indices(pmi)
