"""Item vectors before the first step: items that come near each other in histories start out alike.

Positive mutual information of neighbours, by a truncated SVD (Levy & Goldberg, "Neural Word Embedding as Implicit
Matrix Factorization", NeurIPS 2014): seconds of sparse products in the place of the first epochs.
"""

import numpy as np
import scipy.sparse as sp

from leanrec.kernels.graph.spectral import right_singular_vectors, singular_vectors_bytes
from leanrec.kernels.sparse import narrow_indices
from leanrec.training.histories import PackedHistories
from leanrec.types import CSR, Float32Array, empty_csr

__all__ = ["spectral_bytes", "spectral_vectors"]

# Neighbours within five places count (Mikolov et al. 2013), rare ones with the usual power of their frequency.
_REACH = 5
_POWER = 0.75
_PASSES = 6


def spectral_bytes(n_items: int, events: int, width: int) -> int:
    """Upper estimate of the memory that ``spectral_vectors`` needs, in bytes."""
    return 40 * _REACH * events + singular_vectors_bytes(n_items, n_items, width) + 8 * n_items * width


def spectral_vectors(histories: PackedHistories, n_items: int, width: int, rng: np.random.Generator) -> Float32Array:
    """(N, D) item vectors of length 1; random directions where there is nothing to go by.

    O(passes · (pairs · D + N · D²)) for at most 2 · 5 · E pairs of items.
    """
    vectors = rng.standard_normal((n_items, width), dtype=np.float32) / np.float32(np.sqrt(width))
    near = _information(_pairs(histories, n_items))
    directions, strengths = right_singular_vectors(near, near, width, _PASSES, rng)
    known = directions * np.sqrt(strengths).astype(np.float32)
    length = np.linalg.norm(known, axis=1)
    there = length > 0
    vectors[there, : known.shape[1]] = known[there] / length[there, None]
    vectors[there, known.shape[1] :] = 0
    return vectors


def _pairs(histories: PackedHistories, n_items: int) -> CSR:
    """(N, N) how often two items stand within reach of each other in a history."""
    items = histories.items
    owner = np.repeat(np.arange(len(histories), dtype=np.int32), histories.lengths)
    shape = (n_items, n_items)
    total = empty_csr(*shape)
    for reach in range(1, _REACH + 1):
        same = owner[reach:] == owner[:-reach]
        first, second = items[:-reach][same], items[reach:][same]
        total = total + sp.csr_array((np.ones(len(first), np.float32), (first, second)), shape=shape)
    return sp.csr_array(total + total.T)


def _information(pairs: CSR) -> CSR:
    """Positive pointwise mutual information of the pairs, symmetric, with the frequencies raised to a power."""
    counts = np.asarray(pairs.sum(axis=1), np.float64).ravel()
    smooth = counts**_POWER
    smooth /= max(smooth.sum(), 1)
    rows = np.repeat(np.arange(pairs.shape[0]), np.diff(pairs.indptr))
    # The two sides share the smoothing, so that the matrix stays symmetric.
    share = np.sqrt(counts[rows] * smooth[pairs.indices] * counts[pairs.indices] * smooth[rows])
    values = np.maximum(0, np.log(pairs.data / share)).astype(np.float32)
    informed = sp.csr_array((values, pairs.indices, pairs.indptr), shape=pairs.shape)
    informed.eliminate_zeros()
    informed.sort_indices()
    return narrow_indices(informed)
