"""Packed weights: a sparse matrix in about a quarter of the bytes of CSR, which is multiplied as it is."""

import dataclasses
import functools
from typing import Annotated

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape
from leanrec.kernels.csr import indptr_from_counts
from leanrec.kernels.packed_rows import (
    GROUP_ROWS,
    PAD_BYTES,
    PackedRows,
    count_packed_bytes,
    fill_packed_rows,
    multiply_packed,
    select_packed,
    unpack_rows,
)
from leanrec.settings import check_between
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, compact_indices

__all__ = ["PackedWeights", "count_weight_bytes"]

# Factors of rows lie on a geometric scale: one byte a row, and each factor is at least the largest weight of its row.
_SCALES = 255
# Levels are placed on a histogram of the weights of all rows, each over the factor of its row.
_BINS = 8192
_ROUNDS = 40
# Rows that are decoded at once by checks.
_ROWS = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class PackedWeights:
    """A sparse matrix (M, N) in packed rows: Elias–Fano columns, and values as codes of 4 to 8 bits with a factor per row.

    The levels that codes stand for are shared by all rows and fitted to the weights (Lloyd, "Least Squares Quantization
    in PCM", IEEE Transactions on Information Theory 1982). A row of c entries takes c · (2 + log₂(N / c) + bits) / 8
    bytes and about 3 more. Make it with ``encode``.

    Attributes:
        stream: (bytes,) uint8 the rows; see ``kernels.packed_rows``.
        starts: (G,) int64 first byte of every 16th row.
        counts: (M,) number of entries of each row, in the smallest type that holds them.
        scales: (M,) uint8 code of the factor of each row.
        levels: (2^bits,) float32 value of each code, times the factor of the row.
        lowest_scale: factor of code 0.
        highest_scale: factor of code 255.
        n_columns: N.
    """

    stream: Annotated[NDArray[np.uint8], ArrayShape("S")]
    starts: Annotated[Int64Array, ArrayShape("G")]
    counts: Annotated[NDArray[np.uint], ArrayShape("M")]
    scales: Annotated[NDArray[np.uint8], ArrayShape("M")]
    levels: Annotated[Float32Array, ArrayShape("L")]
    lowest_scale: float
    highest_scale: float
    n_columns: int

    @classmethod
    def encode(cls, matrix: CSR, bits: int = 6) -> "PackedWeights":
        """Pack a matrix. Zeros are dropped. O(entries · bits). The same matrix gives the same bytes.

        Args:
            matrix: (M, N) float32, finite.
            bits: bits of a value, from 1 to 8.

        Raises DataError for values that are not finite, and SettingError for other numbers of bits.
        """
        check_between("bits", bits, 1, 8)
        matrix = sp.csr_array(matrix, copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        if not np.isfinite(matrix.data).all():
            raise DataError("Weights must be finite to be packed. Got NaN or an infinite number; fit the model again.")
        counts = np.diff(matrix.indptr)
        largest = np.zeros(len(counts), np.float64)
        largest[counts > 0] = (
            np.maximum.reduceat(np.abs(matrix.data), matrix.indptr[:-1][counts > 0]) if matrix.nnz else 0
        )
        used = largest[counts > 0]
        lowest, highest = (float(used.min()), float(used.max())) if len(used) else (1.0, 1.0)
        grid = _scale_grid(lowest, highest)
        scales = np.searchsorted(grid[:-1], largest.astype(np.float32)).astype(np.uint8)
        values = matrix.data / np.repeat(grid[scales], counts)
        levels = _fit_levels(values, bits)
        codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, values).astype(np.uint8)
        max_count = int(counts.max(initial=0))
        sizes, _ = count_packed_bytes(max_count, bits, matrix.shape[1])
        ends = np.cumsum(sizes[counts], dtype=np.int64)
        packed = cls(
            stream=np.zeros((int(ends[-1]) if len(ends) else 0) + PAD_BYTES, np.uint8),
            starts=np.concatenate([[0], ends])[: len(counts) : GROUP_ROWS].astype(np.int64),
            counts=counts.astype(np.min_scalar_type(max_count)),
            scales=scales,
            levels=levels,
            lowest_scale=lowest,
            highest_scale=highest,
            n_columns=int(matrix.shape[1]),
        )
        fill_packed_rows(matrix, codes, packed.rows)
        return packed

    def check_state(self) -> None:
        """Raise DataError unless the rows fill the stream and their columns lie below ``n_columns``. O(entries)."""
        if self.bits not in range(1, 9) or len(self.levels) != 1 << self.bits:
            raise DataError(f"PackedWeights.levels must have 2 to 256 values, a power of two. Got {len(self.levels)}.")
        sizes = self.rows.sizes
        ends = np.concatenate([[0], np.cumsum(sizes[self.counts], dtype=np.int64)])
        if ends[-1] + PAD_BYTES != len(self.stream) or not np.array_equal(ends[:-1:GROUP_ROWS], self.starts):
            raise DataError("PackedWeights.stream must be as long as its rows, and starts must be where they begin.")
        for first in range(0, len(self.counts), _ROWS):
            rows = self.decode(np.arange(first, min(first + _ROWS, len(self.counts))))
            if rows.nnz and not (rows.indices < self.n_columns).all():
                raise DataError(f"PackedWeights.stream must have columns below {self.n_columns}. It has others.")

    @property
    def shape(self) -> tuple[int, int]:
        """(M, N)."""
        return len(self.counts), self.n_columns

    @property
    def bits(self) -> int:
        """Bits of a value."""
        return int(len(self.levels) - 1).bit_length()

    @property
    def nnz(self) -> int:
        """Number of entries."""
        return int(self.counts.sum(dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, in memory and, but for the headers of files, on disk."""
        arrays = (self.stream, self.starts, self.counts, self.scales, self.levels)
        return sum(array.nbytes for array in arrays)

    def decode(self, rows: NDArray[np.integer] | None = None) -> CSR:
        """(M, N) float32, with entries in the given rows only; None = in all. O(M + entries)."""
        chosen = np.arange(len(self.counts)) if rows is None else np.unique(np.asarray(rows, np.int64))
        counts = np.zeros(len(self.counts), np.int64)
        counts[chosen] = self.counts[chosen]
        indptr = indptr_from_counts(counts)
        ends = np.concatenate([[0], np.cumsum(counts[chosen])])
        columns, values = unpack_rows(self.rows, chosen, ends)
        matrix = sp.csr_array((values, columns, indptr), shape=self.shape)
        matrix.has_canonical_format = True
        return compact_indices(matrix)

    def score(self, profile: CSR) -> Float32Array:
        """Profile (B, M) times the weights: (B, N) float32."""
        return multiply_packed(profile, self.rows)

    def search(
        self, profile: CSR, k: int, *, seen: CSR | None = None, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Int32Array, Float32Array, NDArray[np.bool_]]:
        """The k best columns of each row of ``profile @ weights``, and whether a row has no evidence; see ``top_k_sparse``."""
        return select_packed(profile, self.rows, k, seen=seen, allowed=allowed)

    @functools.cached_property
    def rows(self) -> PackedRows:
        """The arrays as the kernels take them, with tables that follow from them: 5 bytes for each count up to the largest."""
        sizes, low_bits = count_packed_bytes(int(self.counts.max(initial=0)), self.bits, self.n_columns)
        factors = _scale_grid(self.lowest_scale, self.highest_scale)
        return PackedRows(
            self.stream, self.starts, self.counts, sizes, low_bits, self.scales, factors, self.levels, self.bits,
            self.n_columns,
        )  # fmt: skip


def count_weight_bytes(counts: NDArray[np.integer], bits: int, n_columns: int) -> int:
    """Bytes of `PackedWeights` with rows of these many entries, (M,), before they are made."""
    largest = int(counts.max(initial=0))
    sizes, _ = count_packed_bytes(largest, bits, n_columns)
    per_row = 1 + np.min_scalar_type(largest).itemsize
    groups = -(-len(counts) // GROUP_ROWS)
    return int(sizes[counts].sum(dtype=np.int64)) + PAD_BYTES + 8 * groups + per_row * len(counts) + 4 * (1 << bits)


def _scale_grid(lowest: float, highest: float) -> Float32Array:
    """(256,) float32 from the lowest to the highest factor, at equal ratios."""
    grid = np.geomspace(lowest, highest, _SCALES + 1)
    grid[-1] = highest
    return np.asarray(grid, dtype=np.float32)


def _fit_levels(values: NDArray[np.floating], bits: int) -> Float32Array:
    """(2^bits,) levels in ascending order, of least squared error on the values, which lie in [−1, 1]."""
    n_levels = 1 << bits
    edges = np.linspace(-1, 1, _BINS + 1)
    counts, _ = np.histogram(values, edges)
    sums, _ = np.histogram(values, edges, weights=values.astype(np.float64))
    totals = np.concatenate([[0], np.cumsum(counts)]), np.concatenate([[0.0], np.cumsum(sums)])
    # A density in proportion to the cube root of that of the values is best for many levels.
    spread = np.concatenate([[0.0], np.cumsum(np.cbrt(counts))])
    middle = (np.arange(n_levels) + 0.5) / n_levels * spread[-1]
    levels = np.interp(middle, spread, edges) if spread[-1] else np.linspace(-1, 1, n_levels)
    for _ in range(_ROUNDS):
        cuts = np.concatenate([[0], np.searchsorted(edges, (levels[1:] + levels[:-1]) / 2), [_BINS]])
        n, total = (np.diff(each[cuts]) for each in totals)
        levels = np.where(n > 0, total / np.maximum(n, 1), levels)
    return np.sort(levels).astype(np.float32)
