"""Vectors of askers from their histories, beside the learnt ones of the users of a fit."""

import numpy as np
import scipy.sparse as sp

from leanrec.kernels.propagate import Graph
from leanrec.kernels.spectrum import inverse_power, normalised, right_singular
from leanrec.kernels.weighting import weigh
from leanrec.protocols import Explanation
from leanrec.types import CSR, Float32Array, Queries

__all__ = ["bridge", "fold_in", "history_weights", "learnt_or_folded", "reasons", "spectral_start"]

_RIDGE = 1e-3


def history_weights(history: CSR, weighting: str, alpha: float) -> CSR:
    """(B, N) weights with which a user of the graph sums over neighbours: w · (Σ w)^−alpha."""
    X = weigh(history, weighting)
    degree = np.asarray(X.sum(axis=1), dtype=np.float64).reshape(-1)
    scale = np.repeat(inverse_power(degree, alpha), np.diff(X.indptr))
    return sp.csr_array(((X.data * scale).astype(np.float32), X.indices, X.indptr), shape=X.shape)


def fold_in(history: CSR, sources: Float32Array, weighting: str, alpha: float) -> Float32Array:
    """(B, D): the weighted sum of the ``sources`` (N, D) of a history. O(L · D) each."""
    return np.asarray(history_weights(history, weighting, alpha) @ sources, dtype=np.float32)


def learnt_or_folded(
    queries: Queries, users: Float32Array, sources: Float32Array, weighting: str, alpha: float
) -> Float32Array:
    """(B, D): ``users`` (U, D) for known askers, folded in for others; zeros for an empty history.

    No ``users`` (0, D): all are folded in.
    """
    out = np.zeros((len(queries), sources.shape[1]), np.float32)
    some = np.diff(queries.history.indptr) > 0
    learnt = (queries.users >= 0) & (len(users) > 0)
    known, new = np.flatnonzero(some & learnt), np.flatnonzero(some & ~learnt)
    out[known] = users[queries.users[known]]
    if len(new):
        history = queries.history if len(new) == len(queries) else queries.history[new]
        out[new] = fold_in(history, sources, weighting, alpha)
    return out


def bridge(folded: Float32Array, learnt: Float32Array) -> Float32Array:
    """(D, D) M, so that folded · M is nearest to the learnt vectors over all users, by least squares with a small ridge.

    What a fit learns of a user beyond the sum over the history is unknown for others; M keeps its mean effect.
    """
    gram = folded.T.astype(np.float64) @ folded
    scale = float(np.trace(gram)) / max(1, len(gram))
    if scale == 0:
        return np.eye(len(gram), dtype=np.float32)
    gram[np.diag_indices_from(gram)] += _RIDGE * scale
    wanted = folded.T.astype(np.float64) @ learnt + _RIDGE * scale * np.eye(len(gram))
    return np.linalg.solve(gram, wanted).astype(np.float32)


def reasons(queries: Queries, sources: Float32Array, item: Float32Array, weighting: str, alpha: float) -> Explanation:
    """What each item of the history of the one asker adds to the folded-in score of the item of vector ``item`` (D,)."""
    history = history_weights(queries.block(0, 1).history, weighting, alpha)
    added = history.data * (sources[history.indices] @ item)
    order = np.argsort(-added, kind="stable")
    return Explanation("history", history.indices[order].astype(np.int32), added[order].astype(np.float32))


def spectral_start(
    X: CSR, width: int, passes: int, rng: np.random.Generator, *, size: float = 0.1, noise: float = 0.01
) -> tuple[Float32Array, Float32Array]:
    """Vectors of rows (U, D) and columns (N, D) to start from: the strongest directions of the normalised matrix.

    Each side carries the root of the singular values, so that their product is the best of rank D. Numbers are about
    ``size`` along the strongest; a little noise reaches what has no edge, and fills directions beyond min(U, N).
    O(passes · (E · D + N · D²)).
    """
    R = normalised(X)
    V, strengths = right_singular(R, sp.csr_array(R.T), width, passes, rng)
    root = np.sqrt(strengths).astype(np.float32)
    there = root > 1e-4
    inverse = np.zeros_like(root)
    inverse[there] = 1 / root[there]
    scale = np.float32(size * np.sqrt(X.shape[1]))
    columns = np.float32(noise) * rng.standard_normal((X.shape[1], width), dtype=np.float32)
    rows = np.float32(noise) * rng.standard_normal((X.shape[0], width), dtype=np.float32)
    rows[:, : V.shape[1]] += scale * Graph.of(R).to_rows(V) * inverse
    columns[:, : V.shape[1]] += scale * V * root
    return rows, columns
