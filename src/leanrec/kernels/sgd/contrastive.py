"""Losses that set the edges of a graph against items that all rows share, with gradients made on the way.

Shared negatives turn the costly part into products of matrices: rows (b, D) by negatives (S, D), a stretch of rows at a
time, so that no (U, S) matrix is held. The results do not depend on the number of threads.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from leanrec.kernels.graph.propagation import BipartiteEdges
from leanrec.kernels.threads import run_in_threads
from leanrec.types import Float32Array, Int32Array, Int64Array

__all__ = [
    "LossGradients",
    "info_nce",
    "sampled_logistic",
    "contrastive_bytes",
    "sampled_softmax",
    "rescale_rows",
    "rescale_rows_backward",
    "normalize_rows",
    "normalize_rows_backward",
]

_STRETCH = 512
# Sums over stretches are kept in this many parts, whatever the number of threads.
_PARTS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class LossGradients:
    """What a loss gives.

    Attributes:
        loss: its value.
        rows: (U, D) its gradient by the rows.
        columns: (N, D) its gradient by the columns.
    """

    loss: float
    rows: Float32Array
    columns: Float32Array


def normalize_rows(vectors: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Rows at length 1 and their lengths (n, 1); a row of zeros stays one, with length 1."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    lengths[lengths < 1e-12] = 1
    return vectors / lengths, lengths


def normalize_rows_backward(gradient: Float32Array, unit: Float32Array, lengths: Float32Array) -> Float32Array:
    """The gradient by the vectors from that by their unit rows."""
    along = np.einsum("nd,nd->n", gradient, unit)[:, None]
    return np.asarray((gradient - along * unit) / lengths, dtype=np.float32)


def rescale_rows(unit: Float32Array, lengths: Float32Array, power: float, scale: float) -> Float32Array:
    """The vectors at length scale · length^power."""
    return np.asarray(unit * (np.float32(scale) * lengths ** np.float32(power)), dtype=np.float32)


def rescale_rows_backward(
    gradient: Float32Array, unit: Float32Array, lengths: Float32Array, power: float, scale: float
) -> Float32Array:
    """The gradient by the vectors from that by what ``rescale_rows`` makes of them."""
    along = np.float32(1 - power) * np.einsum("nd,nd->n", gradient, unit)[:, None]
    return np.asarray(
        np.float32(scale) * lengths ** np.float32(power - 1) * (gradient - along * unit), dtype=np.float32
    )


def sampled_softmax(
    links: BipartiteEdges,
    rows: Float32Array,
    columns: Float32Array,
    negatives: Int64Array,
    log_q: Float32Array,
    weights: Float32Array,
) -> LossGradients:
    """The sum over edges of weight · −log softmax of the edge against the shared negatives.

    With Z_u = Σ_j exp(s_uj − log q_j) over the negatives, an edge costs log(1 + Z_ui / exp(s_ui)), which estimates the
    loss over all columns (Bengio & Senécal 2008). Z_ui is Z_u without what the edge's own column i adds where it was drawn:
    it stands in the sum as the 1. All edges of a row share Z_u, so S products serve all of them, and what is taken out
    is corrected edge by edge. O(E · D + U · S · D) and U · S exponentials.

    Args:
        links: E edges of (U, N).
        rows: (U, D), already divided by a temperature.
        columns: (N, D).
        negatives: (S,) columns.
        log_q: (S,) logarithm of the expected number of draws of each.
        weights: (U,) of the edges of each row.
    """
    scores = links.dots(rows, columns)
    starts, counts, others = links.rows.starts, links.counts, links.rows.others
    drawn = _Drawn.of(negatives, len(columns))

    def stretch(first: int, last: int, pulls: Float32Array) -> float:
        """Turn scores into pulls, logits into the push on each negative; the loss of the stretch."""
        pulls -= log_q
        top = pulls.max(axis=1, keepdims=True)
        np.exp(np.subtract(pulls, top, out=pulls), out=pulls)
        total = pulls.sum(axis=1)
        edges, here = slice(starts[first], starts[last]), counts[first:last]
        hits, places = drawn.among(others[edges])
        own = np.searchsorted(starts[first : last + 1], hits + starts[first], side="right") - 1, places
        own_parts = pulls[own]
        # A column may be drawn more than once, and rounding may leave less than nothing.
        rest = np.repeat(total, here)
        np.subtract.at(rest, hits, own_parts)
        np.maximum(rest, np.float32(1e-30), out=rest)
        ahead = scores[edges] - np.repeat(top[:, 0], here)
        lost = np.logaddexp(np.float32(0), np.log(rest) - ahead)
        each = np.repeat(weights[first:last], here)
        slopes = each / (np.exp(np.minimum(ahead, 80)) + rest)
        scores[edges] = -slopes * rest
        of_rows = _sums(slopes, starts[first : last + 1])
        pulls *= of_rows[:, None]
        # A row has one edge to a column, so no place is met twice.
        pulls[own] = np.maximum(of_rows[own[0]] - slopes[hits], 0) * own_parts
        return float(each @ lost)

    return _shared(links, rows, columns, negatives, stretch, scores)


@dataclasses.dataclass(frozen=True, eq=False)
class _Drawn:
    """Where each column is among the negatives: ``times`` of them from ``first`` on in ``order``."""

    order: Int64Array
    first: Int64Array
    times: Int64Array

    @classmethod
    def of(cls, negatives: Int64Array, n_columns: int) -> "_Drawn":
        times = np.bincount(negatives, minlength=n_columns)
        return cls(np.argsort(negatives, kind="stable"), np.cumsum(times) - times, times)

    def among(self, columns: Int32Array) -> tuple[Int64Array, Int64Array]:
        """Each meeting of a column with a negative: the place among the columns, and that among the negatives."""
        met = np.flatnonzero(self.times[columns])
        times = self.times[columns[met]]
        places = np.repeat(self.first[columns[met]] - (np.cumsum(times) - times), times)
        return np.repeat(met, times), self.order[places + np.arange(len(places))]


def sampled_logistic(
    links: BipartiteEdges,
    rows: Float32Array,
    columns: Float32Array,
    negatives: Int64Array,
    *,
    positive: Float32Array,
    of_rows: Float32Array,
    of_negatives: Float32Array,
) -> LossGradients:
    """Σ over edges of positive (E,) · softplus(−s) + Σ over rows and negatives of of_rows · of_negatives · softplus(s).

    O(E · D + U · S · D) and U · S exponentials. Shapes as in ``sampled_softmax``; ``of_rows`` (U,), ``of_negatives`` (S,).
    """
    scores = links.dots(rows, columns)
    starts = links.rows.starts

    def stretch(first: int, last: int, pulls: Float32Array) -> float:
        edges = slice(starts[first], starts[last])
        here = scores[edges]
        loss = float(positive[edges] @ np.logaddexp(np.float32(0), -here))
        scores[edges] = -positive[edges] / (1 + np.exp(np.minimum(here, 80)))
        # softplus(s) = max(s, 0) + log1p(exp(−|s|)), and its slope from the same exponential.
        small = np.exp(-np.abs(pulls))
        soft = np.log1p(small)
        soft += np.maximum(pulls, 0)
        loss += float(of_rows[first:last] @ (soft @ of_negatives))
        np.divide(np.where(pulls >= 0, np.float32(1), small), 1 + small, out=pulls)
        pulls *= of_rows[first:last, None] * of_negatives
        return loss

    return _shared(links, rows, columns, negatives, stretch, scores)


def _shared(
    links: BipartiteEdges,
    rows: Float32Array,
    columns: Float32Array,
    negatives: Int64Array,
    stretch: Callable[[int, int, Float32Array], float],
    scores: Float32Array,
) -> LossGradients:
    """Both products of every stretch with the negatives, and the edges' own part from what ``stretch`` left in ``scores``."""
    chosen = np.ascontiguousarray(columns[negatives])
    d_rows = np.empty_like(rows)
    losses, parts = np.zeros(_PARTS), np.zeros((_PARTS, *chosen.shape), np.float32)

    def work(part: int) -> None:
        for first in range(part * _STRETCH, len(rows), _PARTS * _STRETCH):
            last = min(first + _STRETCH, len(rows))
            pulls = rows[first:last] @ chosen.T
            losses[part] += stretch(first, last, pulls)
            np.matmul(pulls, chosen, out=d_rows[first:last])
            parts[part] += pulls.T @ rows[first:last]

    run_in_threads(work, range(_PARTS))
    d_rows += links.to_rows(scores, columns)
    d_columns = links.to_columns(scores, rows)
    np.add.at(d_columns, negatives, parts.sum(axis=0))
    return LossGradients(float(losses.sum()), d_rows, d_columns)


def info_nce(one: Float32Array, other: Float32Array, temperature: float) -> LossGradients:
    """InfoNCE (van den Oord et al. 2018): the mean over i of −log softmax of one_i · other_i among all one_i · other_j.

    Both (n, D) of unit length. ``rows`` and ``columns`` of the result belong to ``one`` and ``other``. O(n² · D).
    """
    n, sharp = len(one), np.float32(1 / temperature)
    d_one, parts = np.empty_like(one), np.zeros((_PARTS, *other.shape), np.float32)
    losses = np.zeros(_PARTS)

    def work(part: int) -> None:
        for first in range(part * _STRETCH, n, _PARTS * _STRETCH):
            last = min(first + _STRETCH, n)
            same = np.arange(last - first), np.arange(first, last)
            p = one[first:last] @ other.T
            p *= sharp
            mine = p[same]
            top = p.max(axis=1, keepdims=True)
            np.exp(np.subtract(p, top, out=p), out=p)
            total = p.sum(axis=1, keepdims=True)
            losses[part] += float((np.log(total) + top)[:, 0].sum() - mine.sum())
            p /= total
            p[same] -= 1
            p *= sharp / n
            np.matmul(p, other, out=d_one[first:last])
            parts[part] += p.T @ one[first:last]

    run_in_threads(work, range(_PARTS))
    return LossGradients(float(losses.sum()) / max(1, n), d_one, parts.sum(axis=0))


def contrastive_bytes(n_rows: int, n_columns: int, edges: int, negatives: int, width: int) -> int:
    """Upper estimate of the memory of a call, gradients included."""
    return (
        8 * width * (n_rows + n_columns)
        + 16 * n_columns
        + 48 * edges
        + _PARTS * negatives * (4 * _STRETCH * 4 + 8 * width)
        + 2**20
    )


def _sums(values: Float32Array, starts: Int64Array) -> Float32Array:
    """Sums over the stretches of ``values`` that ``starts`` (b + 1,) cut, 0 for an empty one."""
    running = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    sums = running[starts[1:] - starts[0]] - running[starts[:-1] - starts[0]]
    return np.asarray(sums, np.float32)
