"""Exact inner product search at the memory of 8-bit codes: few vectors are read, from an array that may lie on disk."""

import dataclasses

import numpy as np

from leanrec.kernels.topk.code_search import CodeRows, Float16Array, search_codes
from leanrec.kernels.topk.code_strips import CodeArray
from leanrec.kernels.topk.selection import ItemMask
from leanrec.types import CSR, Float32Array, Int32Array

__all__ = ["MappedIndex", "quantize_rows"]

# Vectors that are read at once while an index is built.
_BLOCK_ROWS = 65_536
# The smallest step, so that each row has bounds.
_MIN_STEP = np.float16(6e-8)


@dataclasses.dataclass(frozen=True, eq=False)
class MappedIndex:
    """An index for exact search whose vectors may stay on disk.

    Rows of 8-bit codes, longest vector first, rule out most items by the bounds of what coding lost; the vectors of the
    others, some tens for each query, are read and scored in float32. Lists and scores equal those of ``ItemIndex``. A single
    query reads the upper four bits of the codes, so it takes about two thirds of the time where the codes exceed the caches;
    batches take longer than with ``ItemIndex``.

    Memory: N · (D + 6) bytes besides V.

    Attributes:
        V: (N, D) float32, also memory-mapped.
        order: (N,) int32 item at each position, longest vector first.
        rows: the codes.
    """

    V: Float32Array
    order: Int32Array
    rows: CodeRows

    @classmethod
    def build(cls, V: Float32Array) -> "MappedIndex":
        """Index (N, D) finite float32 vectors. O(N · (D + log N)); memory of the codes twice."""
        lengths = np.empty(len(V))
        for start in range(0, len(V), _BLOCK_ROWS):
            part = np.asarray(V[start : start + _BLOCK_ROWS], np.float32)
            lengths[start : start + len(part)] = np.einsum("nd,nd->n", part, part, dtype=np.float64)
        order = np.argsort(-lengths, kind="stable").astype(np.int32)
        codes, steps = np.empty(V.shape, np.uint8), np.empty(len(V), np.float16)
        for start in range(0, len(V), _BLOCK_ROWS):
            part = np.asarray(V[order[start : start + _BLOCK_ROWS]], np.float32)
            codes[start : start + len(part)], steps[start : start + len(part)] = quantize_rows(part)
        return cls(V, order, CodeRows.build(codes, steps, 8, 128.0, V, order))

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
        items, scores, counts = search_codes(self.rows, Q, k, self.V, self.order, seen, allowed)
        return items, scores, counts[:, 1].astype(np.int32)


def quantize_rows(V: Float32Array) -> tuple[CodeArray, Float16Array]:
    """8-bit codes (N, D) uint8, 128 being 0, and steps (N,) float16 of (N, D) vectors below 8e6 in size."""
    largest = np.abs(V).max(axis=1, initial=0) / np.float32(127)
    steps = largest.astype(np.float16)
    # A step that was rounded down would need codes above 255.
    steps = np.where(steps < largest, np.nextafter(steps, np.float16(np.inf)), steps)
    steps = np.maximum(steps, _MIN_STEP)
    return (np.rint(V / steps.astype(np.float32)[:, None]) + 128).astype(np.uint8), steps
