"""Exact inner product search at the memory of codes: few vectors are read, from an array that may lie on disk."""

import dataclasses
from typing import Any

import numpy as np

from leanrec.kernels.quantization.rotation import rotate_rows
from leanrec.kernels.quantization.row_steps import quantize_rows
from leanrec.kernels.topk.code_search import TILE_ROWS, CodeRows, bound_tiles, search_codes
from leanrec.kernels.topk.code_strips import STRIP_ROWS, allocate_strips, count_groups, write_codes
from leanrec.kernels.topk.selection import ItemMask
from leanrec.types import CSR, Float32Array, Int32Array

__all__ = ["MappedIndex"]

# Vectors that are read at once while an index is built: 8 MB at 256 dimensions.
_BLOCK_ROWS = 8 * TILE_ROWS
# The longest vector has a length of about this power of two where steps become float16, which ends at 2^16.
_LENGTH_BITS = 14
_ROUNDING = 2.0**-24


@dataclasses.dataclass(frozen=True, eq=False)
class MappedIndex:
    """An index for exact search whose vectors may stay on disk.

    Codes of the rotated rows, longest vector first, rule out most items by bounds of what coding lost; the vectors of the
    others are read and scored in float32. Lists and scores equal those of ``ItemIndex``.

    Cost: N · (D · bits / 8 + 6) bytes besides V. For lists of 20 from iALS with 256 dimensions on Gowalla, 40,981 items, about
    25 vectors are read at 8 bits, 40 at 6, 70 at 5 and 190 at 4; below that, some thousands.

    Attributes:
        V: (N, D) float32, also memory-mapped.
        order: (N,) int32 item at each position, longest vector first.
        rows: the codes.
        rotation: seed of the rotation of the codes.
        exponent: power of two that the vectors of the codes are multiplied with.
    """

    V: Float32Array
    order: Int32Array
    rows: CodeRows
    rotation: int
    exponent: int

    @classmethod
    def build(cls, V: Float32Array, bits: int = 8, *, rotation: int = 0) -> "MappedIndex":
        """Index (N, D) finite float32 vectors with codes of 1 to 8 bits. O(N · (D · log D + log N)); memory of the codes."""
        lengths = np.empty(len(V))
        for start in range(0, len(V), _BLOCK_ROWS):
            part = np.asarray(V[start : start + _BLOCK_ROWS], np.float32)
            lengths[start : start + len(part)] = np.einsum("nd,nd->n", part, part, dtype=np.float64)
        order = np.argsort(-lengths, kind="stable").astype(np.int32)
        exponent = int(np.frexp(np.sqrt(lengths.max(initial=0)))[1]) - _LENGTH_BITS
        offset, n_dims = (2**bits - 1) / 2, V.shape[1]
        strips = -(-len(V) // STRIP_ROWS)
        first, rest = (allocate_strips(strips, groups) for groups in count_groups(n_dims, bits))
        steps = np.zeros(len(V), np.float16)
        tiles: list[Any] = [np.zeros((0, 5))]
        for start in range(0, len(V), _BLOCK_ROWS):
            part = np.ldexp(rotate_rows(V[order[start : start + _BLOCK_ROWS]], rotation), -exponent)
            stop = start + len(part)
            codes, steps[start:stop] = quantize_rows(part, bits)
            write_codes(first, rest, bits, np.arange(start, stop), codes)
            strip = slice(start // STRIP_ROWS, -(-stop // STRIP_ROWS))
            tiles.append(bound_tiles(first[strip], rest[strip], steps[start:stop], bits, offset, n_dims, part))
        bounds = np.concatenate(tiles)
        # A rotation rounds at each of its steps, and the bounds are to hold for the vectors before it.
        bounds[:, 3] += _ROUNDING * 2 * (4 * np.ceil(np.log2(max(n_dims, 2))) + 8) * (bounds[:, 2] + bounds[:, 3])
        return cls(V, order, CodeRows(first, rest, steps, bounds, bits, offset, n_dims), rotation, exponent)

    @property
    def nbytes(self) -> int:
        """Bytes of the index without V."""
        return self.rows.nbytes + self.order.nbytes

    def top_k(
        self, Q: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """The k best items of each of (B, D) finite queries, best first; equal scores in the order of the items."""
        return self.count_reads(Q, k, seen=seen, allowed=allowed)[:2]

    def count_reads(
        self, Q: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
    ) -> tuple[Int32Array, Float32Array, Int32Array]:
        """``top_k``, and (B,) how many vectors were read for each query."""
        Q = np.ascontiguousarray(Q, dtype=np.float32)
        # Kernels are compiled for arrays that must not be written to, as a mapped file is one.
        V = np.asarray(self.V).view()
        V.flags.writeable = False
        rotated = np.ldexp(rotate_rows(Q, self.rotation), self.exponent)
        items, scores, counts = search_codes(self.rows, rotated, k, V, self.order, seen, allowed, original=Q)
        return items, scores, counts[:, 1].astype(np.int32)
