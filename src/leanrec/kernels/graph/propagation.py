"""Signals along the edges of a bipartite graph: sums over neighbours both ways, and products along each edge.

The halves are kept apart: a graph of U rows and N columns with E edges is never written as an (U + N)² matrix. A pass
to either side is a product of a sparse and a dense matrix, O(E · D), by rows, so that it needs no locks, and its
result does not depend on the number of threads.
"""

import dataclasses

import numba
import numpy as np
import scipy.sparse as sp

from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["BipartiteGraph", "BipartiteEdges", "sample_masked_edges", "bipartite_graph_bytes"]

# Below this many multiplications, starting threads costs more than they save.
_FEW = 500_000
_STRETCHES = 32


@dataclasses.dataclass(frozen=True, eq=False)
class _Side:
    """One direction: who is tied to whom, and stretches of rows of like work."""

    starts: Int64Array
    others: Int32Array
    stretches: Int64Array

    @classmethod
    def of(cls, matrix: CSR) -> "_Side":
        starts = matrix.indptr.astype(np.int64)
        # A row costs something even where nobody is tied to it.
        work = starts + 2 * np.arange(len(starts))
        cuts = np.searchsorted(work, np.linspace(0, work[-1], _STRETCHES + 1))
        return cls(starts, matrix.indices.astype(np.int32, copy=False), np.clip(cuts, 0, len(starts) - 1))

    def sums(self, values: Float32Array, signals: Float32Array) -> Float32Array:
        out = np.empty((len(self.starts) - 1, signals.shape[1]), np.float32)
        few = len(values) * signals.shape[1] < _FEW
        work = _sums_few if few else _sums_many
        work(self.starts, self.others, values, self.stretches, np.ascontiguousarray(signals), out)
        return out


@dataclasses.dataclass(frozen=True, eq=False)
class BipartiteEdges:
    """The edges of a bipartite graph, sorted by rows and by columns; their values come with each call.

    Attributes:
        rows: edges by rows: the order of all values.
        columns: the same edges by columns.
        places: (E,) for each edge by columns, its place by rows.
    """

    rows: _Side
    columns: _Side
    places: Int64Array

    @classmethod
    def of(cls, matrix: CSR) -> "BipartiteEdges":
        """The structure of (U, N). O(E) time, 24 bytes an edge and 8 a row or column."""
        numbered = sp.csr_array((np.arange(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
        turned = sp.csr_array(numbered.T)
        return cls(_Side.of(matrix), _Side.of(turned), turned.data.astype(np.int64, copy=False))

    def __len__(self) -> int:
        return len(self.places)

    @property
    def counts(self) -> Int64Array:
        """(U,) edges of each row."""
        return np.diff(self.rows.starts)

    def to_rows(self, values: Float32Array, signals: Float32Array) -> Float32Array:
        """(U, D): the sum of value (E,) · signal (N, D) over the edges of each row."""
        return self.rows.sums(values, signals)

    def to_columns(self, values: Float32Array, signals: Float32Array) -> Float32Array:
        """(N, D): the sum of value (E,) · signal (U, D) over the edges of each column."""
        return self.columns.sums(values[self.places], signals)

    def dots(self, of_rows: Float32Array, of_columns: Float32Array) -> Float32Array:
        """(E,) the product of the two ends of each edge: (U, D) and (N, D). O(E · D)."""
        out = np.empty(len(self.places), np.float32)
        side = self.rows
        work = _dots_few if len(out) * of_rows.shape[1] < _FEW else _dots_many
        ends = np.ascontiguousarray(of_rows), np.ascontiguousarray(of_columns)
        work(side.starts, side.others, side.stretches, *ends, out)
        return out


@dataclasses.dataclass(frozen=True, eq=False)
class BipartiteGraph:
    """Edges with fixed values.

    Attributes:
        links: the edges.
        by_rows: (E,) float32 values, in the order of the rows.
        by_columns: the same in the order of the columns.
    """

    links: BipartiteEdges
    by_rows: Float32Array
    by_columns: Float32Array

    @classmethod
    def of(cls, matrix: CSR) -> "BipartiteGraph":
        """The graph of (U, N) float32 with its values."""
        links = BipartiteEdges.of(matrix)
        values = matrix.data.astype(np.float32, copy=False)
        return cls(links, values, values[links.places])

    def to_rows(self, signals: Float32Array) -> Float32Array:
        """(U, D) sums of (N, D)."""
        return self.links.rows.sums(self.by_rows, signals)

    def to_columns(self, signals: Float32Array) -> Float32Array:
        """(N, D) sums of (U, D)."""
        return self.links.columns.sums(self.by_columns, signals)

    def layers(
        self, of_rows: Float32Array, of_columns: Float32Array, shares: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """Σ shares[k] · Aᵏ (rows, columns), A the symmetric adjacency matrix: (U, D) and (N, D).

        A symmetric map: with the gradient by the result it gives the gradient by the start. O(2 K · E · D).
        """
        rows, columns = shares[0] * of_rows, shares[0] * of_columns
        for share in shares[1:]:
            of_rows, of_columns = self.to_rows(of_columns), self.to_columns(of_rows)
            rows += share * of_rows
            columns += share * of_columns
        return rows, columns

    def from_columns(self, of_columns: Float32Array, shares: Float32Array) -> tuple[Float32Array, Float32Array]:
        """``layers`` from a start of zeros for the rows: odd layers belong to rows, even ones to columns. O(K · E · D)."""
        rows = np.zeros((len(self.links.counts), of_columns.shape[1]), np.float32)
        columns, layer = shares[0] * of_columns, of_columns
        for k, share in enumerate(shares[1:], 1):
            layer = self.to_rows(layer) if k % 2 else self.to_columns(layer)
            if k % 2:
                rows += share * layer
            else:
                columns += share * layer
        return rows, columns

    def back_to_columns(self, d_rows: Float32Array, d_columns: Float32Array, shares: Float32Array) -> Float32Array:
        """The gradient by the start of ``from_columns`` from those by its results, from the last layer down. O(K · E · D)."""
        layer = np.zeros_like(d_columns if len(shares) % 2 else d_rows)
        for k in range(len(shares) - 1, -1, -1):
            layer = layer + shares[k] * (d_rows if k % 2 else d_columns)
            if k:
                layer = self.to_columns(layer) if k % 2 else self.to_rows(layer)
        return layer

    def without(self, edges: Int64Array) -> "BipartiteGraph":
        """The same graph with the value 0 at some edges, by their places in the order of the rows. O(E)."""
        values = self.by_rows.copy()
        values[edges] = 0
        return BipartiteGraph(self.links, values, values[self.links.places])


def sample_masked_edges(matrix: CSR, rows: Int64Array, share: float, rng: np.random.Generator) -> tuple[CSR, Int64Array]:
    """A random share of the edges of some rows: as a matrix of these rows (b, N), and their places in ``matrix``.

    A row of one edge keeps it. O(edges of the rows).
    """
    numbered = sp.csr_array((np.arange(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)[rows]
    counts = np.diff(numbered.indptr)
    chosen = (rng.random(numbered.nnz, dtype=np.float32) < share) & np.repeat(counts > 1, counts)
    places = numbered.data[chosen].astype(np.int64)
    kept = np.concatenate([[0], np.cumsum(chosen)])[numbered.indptr]
    hidden = sp.csr_array((matrix.data[places], numbered.indices[chosen], kept), shape=numbered.shape)
    return hidden, places


def bipartite_graph_bytes(n_rows: int, n_columns: int, edges: int) -> int:
    """Upper estimate of the memory of a Graph and of making it."""
    return 56 * edges + 24 * (n_rows + n_columns) + 2**16


@numba.njit(cache=True, nogil=True, fastmath=True)
def _sums_rows(
    first: int,
    last: int,
    starts: Int64Array,
    others: Int32Array,
    values: Float32Array,
    signals: Float32Array,
    out: Float32Array,
) -> None:
    width = signals.shape[1]
    for row in range(first, last):
        sums = out[row]
        sums[:] = 0
        edge, end = starts[row], starts[row + 1]
        # Four neighbours at a time: the sums pass through the cache a quarter as often.
        while edge + 4 <= end:
            a, b, c, d = values[edge], values[edge + 1], values[edge + 2], values[edge + 3]
            sa, sb = signals[others[edge]], signals[others[edge + 1]]
            sc, sd = signals[others[edge + 2]], signals[others[edge + 3]]
            for i in range(width):
                sums[i] += a * sa[i] + b * sb[i] + c * sc[i] + d * sd[i]
            edge += 4
        while edge < end:
            a, sa = values[edge], signals[others[edge]]
            for i in range(width):
                sums[i] += a * sa[i]
            edge += 1


@numba.njit(cache=True)
def _sums_few(
    starts: Int64Array,
    others: Int32Array,
    values: Float32Array,
    stretches: Int64Array,
    signals: Float32Array,
    out: Float32Array,
) -> None:
    _sums_rows(0, stretches[-1], starts, others, values, signals, out)


@numba.njit(parallel=True, cache=True)
def _sums_many(
    starts: Int64Array,
    others: Int32Array,
    values: Float32Array,
    stretches: Int64Array,
    signals: Float32Array,
    out: Float32Array,
) -> None:
    for stretch in numba.prange(len(stretches) - 1):
        _sums_rows(stretches[stretch], stretches[stretch + 1], starts, others, values, signals, out)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _dots_rows(
    first: int,
    last: int,
    starts: Int64Array,
    others: Int32Array,
    of_rows: Float32Array,
    of_columns: Float32Array,
    out: Float32Array,
) -> None:
    width = of_rows.shape[1]
    for row in range(first, last):
        here = of_rows[row]
        for edge in range(starts[row], starts[row + 1]):
            there = of_columns[others[edge]]
            total = np.float32(0)
            for i in range(width):
                total += here[i] * there[i]
            out[edge] = total


@numba.njit(cache=True)
def _dots_few(
    starts: Int64Array,
    others: Int32Array,
    stretches: Int64Array,
    of_rows: Float32Array,
    of_columns: Float32Array,
    out: Float32Array,
) -> None:
    _dots_rows(0, stretches[-1], starts, others, of_rows, of_columns, out)


@numba.njit(parallel=True, cache=True)
def _dots_many(
    starts: Int64Array,
    others: Int32Array,
    stretches: Int64Array,
    of_rows: Float32Array,
    of_columns: Float32Array,
    out: Float32Array,
) -> None:
    for stretch in numba.prange(len(stretches) - 1):
        _dots_rows(stretches[stretch], stretches[stretch + 1], starts, others, of_rows, of_columns, out)
