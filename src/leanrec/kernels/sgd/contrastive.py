"""Contrastive losses over the edges of a bipartite graph, with gradients: sampled softmax, sampled logistic, InfoNCE.

All rows share the negatives, so the dominant cost is a matrix product of rows (b, D) and negatives (S, D), in blocks of
rows: the (U, S) matrix of logits is never held. Results do not depend on the number of threads.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from leanrec.kernels.graph.propagation import BipartiteEdges
from leanrec.kernels.threads import run_in_threads
from leanrec.types import Float32Array, Int32Array, Int64Array

__all__ = [
    "LossGradients",
    "contrastive_bytes",
    "info_nce",
    "normalize_rows",
    "normalize_rows_backward",
    "rescale_rows",
    "rescale_rows_backward",
    "sampled_logistic",
    "sampled_softmax",
]

_BLOCK_ROWS = 512
# Number of partial sums over blocks. It does not depend on the number of threads, so neither does the rounding.
_N_PARTIAL_SUMS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class LossGradients:
    """A loss and its gradients.

    Attributes:
        loss: value of the loss.
        rows: (U, D) gradient with respect to the rows.
        columns: (N, D) gradient with respect to the columns.
    """

    loss: float
    rows: Float32Array
    columns: Float32Array


def normalize_rows(vectors: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Rows scaled to unit norm, and their norms (n, 1). A zero row stays zero and has norm 1."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    norms[norms < 1e-12] = 1
    return vectors / norms, norms


def normalize_rows_backward(gradient: Float32Array, unit: Float32Array, norms: Float32Array) -> Float32Array:
    """Gradient of the input of ``normalize_rows`` from the gradient of its unit rows."""
    along = np.einsum("nd,nd->n", gradient, unit)[:, None]
    return np.asarray((gradient - along * unit) / norms, dtype=np.float32)


def rescale_rows(unit: Float32Array, norms: Float32Array, power: float, scale: float) -> Float32Array:
    """Unit rows scaled to norm scale · norms^power."""
    return np.asarray(unit * (np.float32(scale) * norms ** np.float32(power)), dtype=np.float32)


def rescale_rows_backward(
    gradient: Float32Array, unit: Float32Array, norms: Float32Array, power: float, scale: float
) -> Float32Array:
    """Gradient of the vectors (unit · norms) from the gradient of the output of ``rescale_rows``."""
    along = np.float32(1 - power) * np.einsum("nd,nd->n", gradient, unit)[:, None]
    return np.asarray(np.float32(scale) * norms ** np.float32(power - 1) * (gradient - along * unit), dtype=np.float32)


def sampled_softmax(
    edges: BipartiteEdges,
    rows: Float32Array,
    columns: Float32Array,
    negatives: Int64Array,
    log_q: Float32Array,
    weights: Float32Array,
) -> LossGradients:
    """Σ over edges of weight · −log softmax of the edge against the shared negatives.

    With Z_u = Σ_j exp(s_uj − log q_j) over the negatives, edge (u, i) costs log(1 + Z_ui / exp(s_ui)), an estimate of the
    softmax loss over all columns (Bengio & Senécal, "Adaptive Importance Sampling to Accelerate Training of a Neural
    Probabilistic Language Model", 2008). Z_ui is Z_u without the terms of column i itself, which the 1 stands for.
    All edges of a row share Z_u, so S products serve all of them; the terms to leave out are subtracted edge by edge.
    O(E · D + U · S · D) and U · S exponentials.

    Args:
        edges: E edges of (U, N).
        rows: (U, D), already divided by the temperature.
        columns: (N, D).
        negatives: (S,) sampled columns.
        log_q: (S,) logarithm of the expected number of draws of each sampled column.
        weights: (U,) weight of the edges of each row.
    """
    scores = edges.dot_along_edges(rows, columns)
    starts, counts, indices = edges.rows.indptr, edges.row_counts, edges.rows.indices
    drawn = _NegativePositions.build(negatives, len(columns))

    def compute_slopes(first: int, last: int, logits: Float32Array) -> float:
        """Replace edge scores and logits by the derivatives of the loss. Returns the loss of the block."""
        logits -= log_q
        row_max = logits.max(axis=1, keepdims=True)
        np.exp(np.subtract(logits, row_max, out=logits), out=logits)
        total = logits.sum(axis=1)
        block, block_counts = slice(starts[first], starts[last]), counts[first:last]
        positions, negative_positions = drawn.find(indices[block])
        own_rows = np.searchsorted(starts[first : last + 1], positions + starts[first], side="right") - 1
        own = own_rows, negative_positions
        own_terms = logits[own]
        # A column may be drawn more than once, and rounding may leave less than 0.
        rest = np.repeat(total, block_counts)
        np.subtract.at(rest, positions, own_terms)
        np.maximum(rest, np.float32(1e-30), out=rest)
        margins = scores[block] - np.repeat(row_max[:, 0], block_counts)
        losses = np.logaddexp(np.float32(0), np.log(rest) - margins)
        edge_weights = np.repeat(weights[first:last], block_counts)
        slopes = edge_weights / (np.exp(np.minimum(margins, 80)) + rest)
        scores[block] = -slopes * rest
        row_slopes = _segment_sums(slopes, starts[first : last + 1])
        logits *= row_slopes[:, None]
        # A row has one edge to a column, so no position occurs twice.
        logits[own] = np.maximum(row_slopes[own_rows] - slopes[positions], 0) * own_terms
        return float(edge_weights @ losses)

    return _sum_blocks(edges, rows, columns, negatives, compute_slopes, scores)


@dataclasses.dataclass(frozen=True, eq=False)
class _NegativePositions:
    """Positions of each column among the negatives: ``order[first : first + count]``."""

    order: Int64Array
    first: Int64Array
    count: Int64Array

    @classmethod
    def build(cls, negatives: Int64Array, n_columns: int) -> "_NegativePositions":
        count = np.bincount(negatives, minlength=n_columns)
        return cls(np.argsort(negatives, kind="stable"), np.cumsum(count) - count, count)

    def find(self, columns: Int32Array) -> tuple[Int64Array, Int64Array]:
        """All pairs of equal columns: positions in ``columns``, and positions in the negatives."""
        found = np.flatnonzero(self.count[columns])
        count = self.count[columns[found]]
        offsets = np.repeat(self.first[columns[found]] - (np.cumsum(count) - count), count)
        return np.repeat(found, count), self.order[offsets + np.arange(len(offsets))]


def sampled_logistic(
    edges: BipartiteEdges,
    rows: Float32Array,
    columns: Float32Array,
    negatives: Int64Array,
    *,
    positive_weights: Float32Array,
    row_weights: Float32Array,
    negative_weights: Float32Array,
) -> LossGradients:
    """Weighted binary cross-entropy: edges are positives, all pairs of a row and a shared negative are negatives.

    Σ over edges of positive_weights (E,) · softplus(−s) + Σ over rows and negatives of row_weights (U,) ·
    negative_weights (S,) · softplus(s). Other shapes as in ``sampled_softmax``. O(E · D + U · S · D) and U · S exponentials.
    """
    scores = edges.dot_along_edges(rows, columns)
    starts = edges.rows.indptr

    def compute_slopes(first: int, last: int, logits: Float32Array) -> float:
        block = slice(starts[first], starts[last])
        positives = scores[block]
        loss = float(positive_weights[block] @ np.logaddexp(np.float32(0), -positives))
        scores[block] = -positive_weights[block] / (1 + np.exp(np.minimum(positives, 80)))
        # softplus(s) = max(s, 0) + log1p(exp(−|s|)); its derivative needs the same exponential.
        exponentials = np.exp(-np.abs(logits))
        softplus = np.log1p(exponentials)
        softplus += np.maximum(logits, 0)
        loss += float(row_weights[first:last] @ (softplus @ negative_weights))
        np.divide(np.where(logits >= 0, np.float32(1), exponentials), 1 + exponentials, out=logits)
        logits *= row_weights[first:last, None] * negative_weights
        return loss

    return _sum_blocks(edges, rows, columns, negatives, compute_slopes, scores)


def _sum_blocks(
    edges: BipartiteEdges,
    rows: Float32Array,
    columns: Float32Array,
    negatives: Int64Array,
    compute_slopes: Callable[[int, int, Float32Array], float],
    scores: Float32Array,
) -> LossGradients:
    """The loss and gradients over all blocks of rows.

    ``compute_slopes(first, last, logits)`` replaces the logits (b, S) of a block, and the ``scores`` of its edges, by the
    derivatives of the loss, and returns the loss of the block.
    """
    sampled = np.ascontiguousarray(columns[negatives])
    d_rows = np.empty_like(rows)
    losses, d_sampled = np.zeros(_N_PARTIAL_SUMS), np.zeros((_N_PARTIAL_SUMS, *sampled.shape), np.float32)

    def work(part: int) -> None:
        for first in range(part * _BLOCK_ROWS, len(rows), _N_PARTIAL_SUMS * _BLOCK_ROWS):
            last = min(first + _BLOCK_ROWS, len(rows))
            logits = rows[first:last] @ sampled.T
            losses[part] += compute_slopes(first, last, logits)
            np.matmul(logits, sampled, out=d_rows[first:last])
            d_sampled[part] += logits.T @ rows[first:last]

    run_in_threads(work, range(_N_PARTIAL_SUMS))
    d_rows += edges.propagate_to_rows(scores, columns)
    d_columns = edges.propagate_to_columns(scores, rows)
    np.add.at(d_columns, negatives, d_sampled.sum(axis=0))
    return LossGradients(float(losses.sum()), d_rows, d_columns)


def info_nce(first_view: Float32Array, second_view: Float32Array, temperature: float) -> LossGradients:
    """InfoNCE between two views (n, D) of unit norm: row i of each view is the positive of the other. O(n² · D).

    The mean over i of −log softmax_j(first_i · second_j / temperature) at j = i (van den Oord, Li & Vinyals,
    "Representation Learning with Contrastive Predictive Coding", 2018). ``rows`` and ``columns`` of the result are the
    gradients of ``first_view`` and ``second_view``.
    """
    n, inverse_temperature = len(first_view), np.float32(1 / temperature)
    d_first, d_second = np.empty_like(first_view), np.zeros((_N_PARTIAL_SUMS, *second_view.shape), np.float32)
    losses = np.zeros(_N_PARTIAL_SUMS)

    def work(part: int) -> None:
        for first in range(part * _BLOCK_ROWS, n, _N_PARTIAL_SUMS * _BLOCK_ROWS):
            last = min(first + _BLOCK_ROWS, n)
            diagonal = np.arange(last - first), np.arange(first, last)
            p = first_view[first:last] @ second_view.T
            p *= inverse_temperature
            positives = p[diagonal]
            row_max = p.max(axis=1, keepdims=True)
            np.exp(np.subtract(p, row_max, out=p), out=p)
            total = p.sum(axis=1, keepdims=True)
            losses[part] += float((np.log(total) + row_max)[:, 0].sum() - positives.sum())
            p /= total
            p[diagonal] -= 1
            p *= inverse_temperature / n
            np.matmul(p, second_view, out=d_first[first:last])
            d_second[part] += p.T @ first_view[first:last]

    run_in_threads(work, range(_N_PARTIAL_SUMS))
    return LossGradients(float(losses.sum()) / max(1, n), d_first, d_second.sum(axis=0))


def contrastive_bytes(n_rows: int, n_columns: int, edges: int, negatives: int, width: int) -> int:
    """Upper estimate of the memory of a loss, gradients included."""
    return (
        8 * width * (n_rows + n_columns)
        + 16 * n_columns
        + 48 * edges
        + _N_PARTIAL_SUMS * negatives * (4 * _BLOCK_ROWS * 4 + 8 * width)
        + 2**20
    )


def _segment_sums(values: Float32Array, starts: Int64Array) -> Float32Array:
    """Sums over the segments of ``values`` given by ``starts`` (b + 1,); 0 for an empty segment."""
    running = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    sums = running[starts[1:] - starts[0]] - running[starts[:-1] - starts[0]]
    return np.asarray(sums, np.float32)
