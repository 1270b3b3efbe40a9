"""Propagation on a bipartite graph: sums over neighbors in both directions, and a dot product along each edge.

A graph of U rows and N columns is stored as its biadjacency matrix (U, N), never as the (U + N)² adjacency matrix. A pass
to either side is a sparse-dense product, O(E · D), parallel over the rows of the result: it needs no locks, and the
result does not depend on the number of threads.
"""

import dataclasses

import numba
import numpy as np
import scipy.sparse as sp

from leanrec.kernels.threads import compile_serial_and_parallel
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["BipartiteEdges", "BipartiteGraph", "bipartite_graph_bytes", "sample_masked_edges"]

# Below this many multiplications, starting threads costs more than they save.
_MIN_OPERATIONS_FOR_THREADS = 500_000
_N_BLOCKS = 32


@dataclasses.dataclass(frozen=True, eq=False)
class _Adjacency:
    """Edges in one direction, sorted by target row, and the bounds of row blocks of about equal cost."""

    indptr: Int64Array
    indices: Int32Array
    blocks: Int64Array

    @classmethod
    def from_matrix(cls, matrix: CSR) -> "_Adjacency":
        indptr = matrix.indptr.astype(np.int64)
        # A row without edges has a cost too.
        work = indptr + 2 * np.arange(len(indptr))
        cuts = np.searchsorted(work, np.linspace(0, work[-1], _N_BLOCKS + 1))
        return cls(indptr, matrix.indices.astype(np.int32, copy=False), np.clip(cuts, 0, len(indptr) - 1))

    def sum_neighbors(self, values: Float32Array, signals: Float32Array) -> Float32Array:
        out = np.empty((len(self.indptr) - 1, signals.shape[1]), np.float32)
        serial = len(values) * signals.shape[1] < _MIN_OPERATIONS_FOR_THREADS
        work = _sum_blocks.serial if serial else _sum_blocks.parallel
        work(self.indptr, self.indices, values, self.blocks, np.ascontiguousarray(signals), out)
        return out


@dataclasses.dataclass(frozen=True, eq=False)
class BipartiteEdges:
    """The edges of a bipartite graph, sorted by row and by column; each call takes the values of the edges.

    Attributes:
        rows: edges sorted by row, which is the order of all edge values.
        columns: the same edges sorted by column.
        positions: (E,) position in the row order of each edge in the column order.
    """

    rows: _Adjacency
    columns: _Adjacency
    positions: Int64Array

    @classmethod
    def from_matrix(cls, matrix: CSR) -> "BipartiteEdges":
        """The edges of a matrix (U, N). O(E) time, 24 bytes per edge and 8 per row or column."""
        numbered = sp.csr_array((np.arange(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
        transposed = sp.csr_array(numbered.T)
        return cls(
            _Adjacency.from_matrix(matrix),
            _Adjacency.from_matrix(transposed),
            transposed.data.astype(np.int64, copy=False),
        )

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def row_counts(self) -> Int64Array:
        """(U,) number of edges of each row."""
        return np.diff(self.rows.indptr)

    def propagate_to_rows(self, values: Float32Array, signals: Float32Array) -> Float32Array:
        """(U, D): sums of value (E,) · signal (N, D) over the edges of each row."""
        return self.rows.sum_neighbors(values, signals)

    def propagate_to_columns(self, values: Float32Array, signals: Float32Array) -> Float32Array:
        """(N, D): sums of value (E,) · signal (U, D) over the edges of each column."""
        return self.columns.sum_neighbors(values[self.positions], signals)

    def dot_along_edges(self, of_rows: Float32Array, of_columns: Float32Array) -> Float32Array:
        """(E,) dot products of the vectors of both ends of each edge, from (U, D) and (N, D). O(E · D)."""
        out = np.empty(len(self.positions), np.float32)
        side, serial = self.rows, len(out) * of_rows.shape[1] < _MIN_OPERATIONS_FOR_THREADS
        work = _dot_blocks.serial if serial else _dot_blocks.parallel
        ends = np.ascontiguousarray(of_rows), np.ascontiguousarray(of_columns)
        work(side.indptr, side.indices, side.blocks, *ends, out)
        return out


@dataclasses.dataclass(frozen=True, eq=False)
class BipartiteGraph:
    """A weighted bipartite graph.

    Attributes:
        edges: the edges.
        row_values: (E,) float32 edge weights, sorted by row.
        column_values: (E,) float32 the same weights, sorted by column.
    """

    edges: BipartiteEdges
    row_values: Float32Array
    column_values: Float32Array

    @classmethod
    def from_matrix(cls, matrix: CSR) -> "BipartiteGraph":
        """The graph of a matrix (U, N) float32."""
        edges = BipartiteEdges.from_matrix(matrix)
        values = matrix.data.astype(np.float32, copy=False)
        return cls(edges, values, values[edges.positions])

    def propagate_to_rows(self, signals: Float32Array) -> Float32Array:
        """(U, D): weighted sums over the neighbors of each row, from (N, D)."""
        return self.edges.rows.sum_neighbors(self.row_values, signals)

    def propagate_to_columns(self, signals: Float32Array) -> Float32Array:
        """(N, D): weighted sums over the neighbors of each column, from (U, D)."""
        return self.edges.columns.sum_neighbors(self.column_values, signals)

    def sum_layers(
        self, of_rows: Float32Array, of_columns: Float32Array, shares: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """Σ_k shares[k] · Aᵏ · (rows, columns), where A is the (U + N)² adjacency matrix: (U, D) and (N, D).

        The map is symmetric, so it also turns gradients of its outputs into gradients of its inputs. O(2 K · E · D).
        """
        rows, columns = shares[0] * of_rows, shares[0] * of_columns
        for share in shares[1:]:
            of_rows, of_columns = self.propagate_to_rows(of_columns), self.propagate_to_columns(of_rows)
            rows += share * of_rows
            columns += share * of_columns
        return rows, columns

    def sum_layers_from_columns(
        self, of_columns: Float32Array, shares: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """``sum_layers`` for zero row inputs: odd layers reach rows only, even layers columns only. O(K · E · D)."""
        rows = np.zeros((len(self.edges.row_counts), of_columns.shape[1]), np.float32)
        columns, layer = shares[0] * of_columns, of_columns
        for k, share in enumerate(shares[1:], 1):
            layer = self.propagate_to_rows(layer) if k % 2 else self.propagate_to_columns(layer)
            if k % 2:
                rows += share * layer
            else:
                columns += share * layer
        return rows, columns

    def sum_layers_from_columns_backward(
        self, d_rows: Float32Array, d_columns: Float32Array, shares: Float32Array
    ) -> Float32Array:
        """Gradient of the input of ``sum_layers_from_columns`` from the gradients of its outputs. O(K · E · D)."""
        layer = np.zeros_like(d_columns if len(shares) % 2 else d_rows)
        for k in range(len(shares) - 1, -1, -1):
            layer = layer + shares[k] * (d_rows if k % 2 else d_columns)
            if k:
                layer = self.propagate_to_columns(layer) if k % 2 else self.propagate_to_rows(layer)
        return layer

    def without_edges(self, edges: Int64Array) -> "BipartiteGraph":
        """The same graph with weight 0 at some edges, given by their positions in the row order. O(E)."""
        values = self.row_values.copy()
        values[edges] = 0
        return BipartiteGraph(self.edges, values, values[self.edges.positions])


def sample_masked_edges(
    matrix: CSR, rows: Int64Array, share: float, rng: np.random.Generator
) -> tuple[CSR, Int64Array]:
    """Sample a share of the edges of some rows, to be masked and predicted.

    A row with a single edge keeps it. O(edges of the rows).

    Returns:
        The sampled edges as a matrix of these rows (b, N), and their positions in the data of ``matrix``.
    """
    numbered = sp.csr_array((np.arange(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)[rows]
    counts = np.diff(numbered.indptr)
    chosen = (rng.random(numbered.nnz, dtype=np.float32) < share) & np.repeat(counts > 1, counts)
    positions = numbered.data[chosen].astype(np.int64)
    kept = np.concatenate([[0], np.cumsum(chosen)])[numbered.indptr]
    masked = sp.csr_array((matrix.data[positions], numbered.indices[chosen], kept), shape=numbered.shape)
    return masked, positions


def bipartite_graph_bytes(n_rows: int, n_columns: int, edges: int) -> int:
    """Upper estimate of the memory of a BipartiteGraph and of its construction."""
    return 56 * edges + 24 * (n_rows + n_columns) + 2**16


@numba.njit(cache=True, nogil=True, fastmath=True)
def _sum_neighbors(
    first: int,
    last: int,
    indptr: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    signals: Float32Array,
    out: Float32Array,
) -> None:
    width = signals.shape[1]
    for row in range(first, last):
        sums = out[row]
        sums[:] = 0
        edge, end = indptr[row], indptr[row + 1]
        # Four neighbors per pass: the sums move through the cache a quarter as often.
        while edge + 4 <= end:
            a, b, c, d = values[edge], values[edge + 1], values[edge + 2], values[edge + 3]
            sa, sb = signals[indices[edge]], signals[indices[edge + 1]]
            sc, sd = signals[indices[edge + 2]], signals[indices[edge + 3]]
            for i in range(width):
                sums[i] += a * sa[i] + b * sb[i] + c * sc[i] + d * sd[i]
            edge += 4
        while edge < end:
            a, sa = values[edge], signals[indices[edge]]
            for i in range(width):
                sums[i] += a * sa[i]
            edge += 1


@compile_serial_and_parallel
def _sum_blocks(
    indptr: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    blocks: Int64Array,
    signals: Float32Array,
    out: Float32Array,
) -> None:
    for block in numba.prange(len(blocks) - 1):
        _sum_neighbors(blocks[block], blocks[block + 1], indptr, indices, values, signals, out)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _dot_edges(
    first: int,
    last: int,
    indptr: Int64Array,
    indices: Int32Array,
    of_rows: Float32Array,
    of_columns: Float32Array,
    out: Float32Array,
) -> None:
    width = of_rows.shape[1]
    for row in range(first, last):
        row_vector = of_rows[row]
        for edge in range(indptr[row], indptr[row + 1]):
            column_vector = of_columns[indices[edge]]
            total = np.float32(0)
            for i in range(width):
                total += row_vector[i] * column_vector[i]
            out[edge] = total


@compile_serial_and_parallel
def _dot_blocks(
    indptr: Int64Array,
    indices: Int32Array,
    blocks: Int64Array,
    of_rows: Float32Array,
    of_columns: Float32Array,
    out: Float32Array,
) -> None:
    for block in numba.prange(len(blocks) - 1):
        _dot_edges(blocks[block], blocks[block + 1], indptr, indices, of_rows, of_columns, out)
