"""Product codes: groups of numbers share one code, with codebooks for products with real queries.

Jégou, Douze & Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011. Errors count as much as queries see them, as in
Guo et al., "Accelerating Large-Scale Inference with Anisotropic Vector Quantization", ICML 2020.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from leanrec.compression.vectors.codec import TiledCodes, check_vectors
from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape
from leanrec.kernels.quantization.bit_planes import count_row_bytes, pack_rows, unpack_rows
from leanrec.kernels.quantization.sub_codes import (
    add_tables,
    decode_sub_codes,
    fill_tables,
    fit_centroids,
    merge_table_scores,
    nearest_centroids,
)
from leanrec.kernels.topk.selection import ItemMask, empty_lists, mask_array, row_entries, sort_heaps, top_k
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array

__all__ = ["ProductCodec", "ProductCodes", "importance_of", "round_books", "round_scales"]

# Rows for each centroid, at least: with fewer items the codebooks are smaller, and so are the codes.
_ROWS_PER_CENTROID = 16
# Rows for each centroid that the codebooks are fitted on, at most.
_MOST_ROWS = 64
# Levels of the length of a row from one power of two to the next, and powers of two above the longest row that are kept free for
# items that come later. 255 levels reach 32 powers of two.
_LEVELS, _SPARE = 8, 4
# Below this many queries their products are added from tables; more are multiplied with decoded tiles.
_MANY_QUERIES = 16
# Bits of a code that is a byte, and rows of other codes that are unpacked at once.
_BYTE, _PART_ROWS = 8, 16_384
# The least second moment of queries along an axis, relative to the mean.
_LEAST_MOMENT = 1e-3


@dataclasses.dataclass(frozen=True)
class ProductCodec:
    """Rows in ``n_codes`` groups of numbers, each replaced by one of 2^bits centroids, and the length of each row in a byte.

    Groups are made so that each has about the same part of the variance of scores. The centroids are fitted to rows divided
    by their lengths, with axes weighted by how large the queries are there, and rows by their squared length and by how often
    they are near the top of lists. Few items have fewer centroids: one for each 16 items, at most.

    When to use: 8 to 32 bytes for each item. Above that scalar codes keep as much and cost no codebooks.

    Cost: n_codes · bits / 8 + 1 bytes for each item, and 2^bits · D for the codebooks.
    """

    n_codes: int = setting(16, at_least=1, doc="Groups of numbers, each with one code; at most D.")
    bits: int = setting(8, between=(1, 8), doc="Bits of each code, at most.")

    def __post_init__(self) -> None:
        check_settings(self)

    def __str__(self) -> str:
        return f"product codes={self.n_codes} bits={self.bits}"

    def encode(self, V: Float32Array, *, queries: Float32Array | None = None, seed: int = 0) -> "ProductCodes":
        """Code (N, D) vectors. Raises DataError for a number that is not finite."""
        vectors = check_vectors(V)
        bits, n_groups = self._fit_bits(len(vectors)), min(self.n_codes, vectors.shape[1])
        importance = _axis_importance(queries, vectors.shape[1])
        levels, unit = _measure_lengths(vectors, importance)
        scales = _widen_levels(levels, unit)
        rows = vectors * (np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0)[:, None] * importance)
        axes, starts = _group_axes(np.square(rows, dtype=np.float64).sum(axis=0), n_groups)
        rng = np.random.default_rng(seed)
        sample = rng.permutation(np.flatnonzero(levels))[: _MOST_ROWS << bits]
        weights = (_row_importance(vectors, queries) * _relative_squares(scales))[sample]
        books = fit_centroids(rows[sample][:, axes], weights, starts.astype(np.int64), 1 << bits, rng)
        rounded, steps = round_books(books / importance[axes])
        empty = np.zeros((0, count_row_bytes(n_groups, bits)), np.uint8)
        codes = ProductCodes(empty, levels[:0], rounded, steps, importance[axes], axes, starts, unit, bits)
        return codes.encode_alike(vectors)

    def count_bytes(self, n_items: int, n_dims: int) -> int:
        """Bytes of the codes of (N, D) vectors."""
        bits, n_groups = self._fit_bits(n_items), min(self.n_codes, n_dims)
        return n_items * (count_row_bytes(n_groups, bits) + 1) + n_dims * ((1 << bits) + 10) + 2 * (n_groups + 1)

    def _fit_bits(self, n_items: int) -> int:
        return int(min(self.bits, max(1, np.log2(max(n_items, 1) / _ROWS_PER_CENTROID))))


@dataclasses.dataclass(frozen=True, eq=False)
class ProductCodes(TiledCodes):
    """Vectors coded by `ProductCodec`.

    Attributes:
        packed: (N, W) uint8 codes of M groups in bit planes, see ``kernels.quantization.bit_planes``.
        levels: (N,) uint8 lengths: level l > 0 stands for unit · 2^(l / 8), and 0 for a row of zeros.
        books: (K, D) int8 centroids of all groups, for rows of length 1.
        steps: (D,) float32 that the numbers of ``books`` are multiplied by.
        importance: (D,) float32 weight of each axis in the choice of codes.
        axes: (D,) uint16 axis of the vectors that each column of ``books`` is of.
        starts: (M + 1,) uint16 first column of each group.
        unit: the shortest length.
        bits: of each code, K = 2^bits.
    """

    packed: Annotated[NDArray[np.uint8], ArrayShape("N", "W")]
    levels: Annotated[NDArray[np.uint8], ArrayShape("N")]
    books: Annotated[NDArray[np.int8], ArrayShape("K", "D")]
    steps: Annotated[Float32Array, ArrayShape("D")]
    importance: Annotated[Float32Array, ArrayShape("D")]
    axes: Annotated[NDArray[np.uint16], ArrayShape("D")]
    starts: Annotated[NDArray[np.uint16], ArrayShape("B")]
    unit: float
    bits: int

    def check_state(self) -> None:
        """Raise DataError unless codes, codebooks, groups and axes fit each other."""
        width = self.books.shape[1]
        if not 1 <= self.bits <= 8 or len(self.books) != 1 << self.bits:
            raise DataError(f"ProductCodes.books must have 2^bits rows. Got {len(self.books)} for {self.bits} bits.")
        if self.packed.shape[1] != count_row_bytes(self.n_codes, self.bits):
            raise DataError(
                f"ProductCodes.packed must have the width of {self.n_codes} codes of {self.bits} bits. "
                f"Got {self.packed.shape[1]} bytes."
            )
        if not np.array_equal(np.sort(self.axes), np.arange(width)):
            raise DataError(f"ProductCodes.axes must have each of the {width} axes once.")
        bounds = self.starts.astype(np.int64)
        if bounds[0] != 0 or bounds[-1] != width or (np.diff(bounds) < 0).any():
            raise DataError(f"ProductCodes.starts must rise from 0 to {width}.")
        finite = np.isfinite(self.steps).all() and np.isfinite(self.importance).all() and np.isfinite(self.unit)
        if not finite or (self.importance <= 0).any() or self.unit <= 0:
            raise DataError("ProductCodes must have finite steps, and an importance and a unit above 0.")

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.packed)

    @property
    def n_dims(self) -> int:
        """D."""
        return int(self.books.shape[1])

    @property
    def n_codes(self) -> int:
        """M, the number of groups."""
        return len(self.starts) - 1

    @functools.cached_property
    def groups(self) -> NDArray[np.int64]:
        """(M + 1,) first column of each group."""
        return self.starts.astype(np.int64)

    @functools.cached_property
    def centroids(self) -> Float32Array:
        """(K, D) float32 centroids of all groups."""
        return np.asarray(self.books * self.steps, np.float32)

    @functools.cached_property
    def _centroids_by_dim(self) -> Float32Array:
        """(D, K) the centroids, transposed."""
        return np.ascontiguousarray(self.centroids.T)

    @functools.cached_property
    def level_scales(self) -> Float32Array:
        """(256,) length of each level."""
        return _widen_levels(np.arange(256, dtype=np.uint8), self.unit)

    @functools.cached_property
    def scales(self) -> Float32Array:
        """(N,) lengths that the decoded rows are multiplied by."""
        return _widen_levels(self.levels, self.unit)

    def unpack(self, rows: NDArray[Any] | slice = slice(None)) -> NDArray[np.uint8]:
        """(K, M) codes of some rows."""
        return unpack_rows(self.packed[rows], self.n_codes, self.bits)

    def decode_tile(self, rows: NDArray[Any] | slice) -> Float32Array:
        """(K, D) vectors of some rows, their axes in the order of the codebooks."""
        return decode_sub_codes(self.unpack(rows), self.centroids, self.groups, self.scales[rows])

    def project_queries(self, Q: Float32Array) -> Float32Array:
        """(B, D) queries with their axes in the order of the codebooks."""
        return np.ascontiguousarray(Q[:, self.axes])

    def restore(self, coded: Float32Array) -> Float32Array:
        """(K, D) rows with their axes in the order of the vectors."""
        out = np.empty_like(coded)
        out[:, self.axes] = coded
        return out

    def score(self, Q: Float32Array, items: Int32Array | None = None) -> Float32Array:
        """``Q @ decode(items).T``: (B, N), or (B, K) for ``items`` (K,) or (B, K). O(B · (K · D + N · M)) for few queries."""
        if items is not None or len(Q) >= _MANY_QUERIES or not self.n_items:
            return super().score(Q, items)
        scores, codes = np.empty((len(Q), self.n_items), np.float32), self.unpack()
        for row, tables in enumerate(self._make_tables(Q)):
            scores[row] = add_tables(tables, codes, self.scales)
        return scores

    def _make_tables(self, Q: Float32Array) -> Iterator[Float32Array]:
        """For each query its products (M, K) with the centroids of each group."""
        for query in self.project_queries(np.asarray(Q, np.float32)):
            tables = np.empty((self.n_codes, 1 << self.bits), np.float32)
            fill_tables(self._centroids_by_dim, query, self.groups, tables)
            yield tables

    def search(
        self, Q: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """The k items with the largest products, best first; equal ones in the order of the items."""
        if len(Q) >= _MANY_QUERIES:
            return super().search(Q, k, seen=seen, allowed=allowed)
        items, best = empty_lists(len(Q), k)
        if not (k and len(Q) and self.n_items):
            return items, best
        starts, columns = row_entries(seen, len(Q))
        # Codes of eight bits are read where they are; others are unpacked a part at a time.
        size, mask, tables = (
            self.n_items if self.bits == _BYTE else _PART_ROWS,
            mask_array(allowed),
            [*self._make_tables(Q)],
        )
        for first in range(0, self.n_items, size):
            part = slice(first, first + size)
            codes, levels = self.packed if self.bits == _BYTE else self.unpack(part), self.levels[part]
            for row, of_query in enumerate(tables):
                left_out = columns[starts[row] : starts[row + 1]]
                merge_table_scores(
                    of_query, codes, levels, self.level_scales, first, items[row], best[row], left_out, mask
                )
        sort_heaps(items, best)
        return items, best

    def encode_alike(self, V: Float32Array) -> "ProductCodes":
        """Codes of other vectors with the same codebooks: the nearest centroids, by the importance of the axes."""
        importance = self.restore(self.importance[None])[0]
        levels = round_scales(_weighted_lengths(V, importance), self.unit)
        scales = _widen_levels(levels, self.unit)
        rows = V * (np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0)[:, None] * importance)
        codes = nearest_centroids(rows[:, self.axes], self.centroids * self.importance, self.groups)
        return dataclasses.replace(self, packed=pack_rows(codes, self.bits), levels=levels)


def round_books(books: Float32Array) -> tuple[NDArray[np.int8], Float32Array]:
    """Codebooks (K, D) as int8, and the step of each column (D,)."""
    steps = np.maximum(np.abs(books).max(axis=0, initial=0) / 127, 1e-30).astype(np.float32)
    return np.rint(books / steps).astype(np.int8), steps


def round_scales(lengths: NDArray[Any], unit: float) -> NDArray[np.uint8]:
    """Levels (N,) of lengths; 0 for a length of 0."""
    exact = _LEVELS * np.log2(np.maximum(lengths, unit) / unit)
    return np.where(lengths > 0, np.clip(np.rint(exact), 1, 255), 0).astype(np.uint8)


def _widen_levels(levels: NDArray[np.uint8], unit: float) -> Float32Array:
    return np.asarray(np.where(levels > 0, unit * 2.0 ** (levels / _LEVELS), 0), np.float32)


def importance_of(moments: NDArray[np.float64]) -> Float32Array:
    """(D,) importance of axes, 1 in the mean square, from the second moments of the queries along them."""
    mean = float(moments.mean()) if len(moments) else 0.0
    if not mean > 0:
        return np.ones(len(moments), np.float32)
    return np.asarray(np.sqrt(np.maximum(moments / mean, _LEAST_MOMENT)), np.float32)


def _axis_importance(queries: Float32Array | None, n_dims: int) -> Float32Array:
    if queries is None or not len(queries):
        return np.ones(n_dims, np.float32)
    return importance_of(np.square(queries, dtype=np.float64).mean(axis=0))


def _weighted_lengths(V: Float32Array, importance: Float32Array) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(np.einsum("nd,nd,d->n", V, V, np.square(importance), dtype=np.float64)))


def _measure_lengths(V: Float32Array, importance: Float32Array) -> tuple[NDArray[np.uint8], float]:
    """Levels (N,) of the lengths of the rows, and their unit."""
    lengths = _weighted_lengths(V, importance)
    unit = float(max(lengths.max(initial=0), 1e-30) * 2.0 ** (_SPARE - 255 / _LEVELS))
    return round_scales(lengths, unit), unit


def _group_axes(variances: NDArray[np.float64], n_groups: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """The axes in the order of their groups, and the first place of each group.

    The product of the variances of a group is about that of any other, as in Ge, He, Ke & Sun, "Optimized Product
    Quantization", TPAMI 2014, section 3.2.3.
    """
    order = np.argsort(-variances, kind="stable")
    logs = np.log(np.maximum(variances, variances.max(initial=1e-30) * 1e-9 + 1e-300))
    logs -= logs.min(initial=0)
    groups: list[list[int]] = [[] for _ in range(n_groups)]
    most, sums = -(-len(order) // max(n_groups, 1)), np.zeros(n_groups)
    for axis in order:
        free = [m for m in range(n_groups) if len(groups[m]) < most]
        chosen = min(free, key=lambda m: (sums[m], len(groups[m]), m))
        groups[chosen].append(int(axis))
        sums[chosen] += logs[axis]
    starts = np.cumsum([0, *(len(each) for each in groups)]).astype(np.uint16)
    return np.array([axis for each in groups for axis in each], np.uint16), starts


def _relative_squares(scales: Float32Array) -> Float32Array:
    """(N,) squares of the lengths, to the longest and at least 1e-4: an error counts as much as the row is long."""
    return np.asarray(np.maximum(np.square(scales / max(scales.max(initial=0), 1e-30)), 1e-4), np.float32)


def _row_importance(V: Float32Array, queries: Float32Array | None) -> Float32Array:
    """(N,) weights of rows: 1, and how often a row is near the top of a list of up to 256 queries, 1 on average."""
    weights = np.ones(len(V), np.float32)
    if queries is None or not len(queries) or len(V) < 2:
        return weights
    Q = queries[:: -(-len(queries) // 256)]
    items, _ = top_k((Q @ V.T).astype(np.float32), max(1, len(V) // 100))
    found = np.bincount(items[items >= 0], minlength=len(V))
    return np.asarray(weights + found * (len(V) / max(found.sum(), 1)), np.float32)
