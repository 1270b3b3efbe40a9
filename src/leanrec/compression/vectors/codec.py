"""Codecs of vectors: the protocols of a codec and of its codes, and scores and searches over codes in tiles.

A codec holds settings and turns vectors into codes; the codes decode themselves, and score and search without the vectors
ever being decoded all at once.
"""

import abc
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, Protocol, Self, runtime_checkable

import numba
import numpy as np
from numpy.typing import NDArray

from leanrec.compression.methods import count_parts
from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape
from leanrec.kernels.threads import run_in_threads
from leanrec.kernels.topk.selection import (
    ItemMask,
    empty_lists,
    mask_array,
    merge_score_rows,
    row_entries,
    sort_heaps,
)
from leanrec.types import CSR, Float32Array, Int32Array

__all__ = ["TILE_ROWS", "TiledCodes", "VectorCodec", "VectorCodes", "check_vectors"]

# Rows that are decoded at a time: 1 MB at 256 dimensions, which stays in the second-level cache.
TILE_ROWS = 1024
_TILE_QUERIES = 256


@runtime_checkable
class VectorCodes(Protocol):
    """Coded vectors of N items: a frozen dataclass of arrays that can be saved as an artifact."""

    @property
    def n_items(self) -> int:
        """N."""
        ...

    @property
    def n_dims(self) -> int:
        """D, the dimension of the decoded vectors."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, which are the bytes of the files without their headers."""
        ...

    @property
    def norms(self) -> Float32Array:
        """(N,) lengths of the decoded vectors."""
        ...

    def decode(self, rows: NDArray[Any] | slice | None = None) -> Float32Array:
        """(K, D) the vectors of some rows. None = all, which takes the memory that the codes save."""
        ...

    def score(self, Q: Float32Array, items: Int32Array | None = None) -> Float32Array:
        """``Q @ decode(items).T`` up to rounding: (B, N), or (B, K) for ``items`` (K,) or (B, K)."""
        ...

    def search(
        self, Q: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """The k items with the largest products, as exact search gives them: equal ones in the order of the items."""
        ...

    def append(self, V: Float32Array) -> "VectorCodes":
        """The codes with those of more vectors (M, D) at the end. The codes of the others do not change."""
        ...

    def replace(self, rows: NDArray[Any], V: Float32Array) -> "VectorCodes":
        """The codes with those of ``rows`` (M,) made anew from V (M, D). The codes of the others do not change."""
        ...


@runtime_checkable
class VectorCodec(Protocol):
    """Settings of a codec: a frozen dataclass. ``str(codec)`` is its short name, such as "scalar bits=4"."""

    def encode(self, V: Float32Array, *, queries: Float32Array | None = None, seed: int = 0) -> VectorCodes:
        """Code vectors. The same arguments give the same codes, bit for bit.

        Args:
            V: (N, D) float32.
            queries: (Q, D) a sample of the query vectors that the items will be multiplied with; None = unknown.
            seed: of whatever is random.

        Raises:
            DataError: for a number that is not finite.
        """
        ...

    def count_bytes(self, n_items: int, n_dims: int) -> int:
        """``VectorCodes.nbytes`` for (N, D) vectors, before they are coded; at most 1 % too high, never too low."""
        ...


class TiledCodes(abc.ABC):
    """Base of codes that are decoded in tiles of rows: scores, searches, lengths, and rows that are added or replaced.

    A subclass is a frozen dataclass of arrays, in which the first size of an array of rows is declared as "N". Codes may
    be of vectors in a space of their own, such as a rotated one of C dimensions: ``decode_tile`` gives vectors there,
    ``project_queries`` brings queries there, ``restore`` leads back, and products are the same in both.
    """

    @property
    @abc.abstractmethod
    def n_items(self) -> int:
        """N."""

    @abc.abstractmethod
    def decode_tile(self, rows: NDArray[Any] | slice) -> Float32Array:
        """(K, C) float32 vectors of some rows, in the space of the codes."""

    @abc.abstractmethod
    def encode_alike(self, V: Float32Array) -> Self:
        """Codes of other vectors with the scales and codebooks of this one."""

    def project_queries(self, Q: Float32Array) -> Float32Array:
        """(B, C) queries in the space of the codes."""
        return Q

    def restore(self, coded: Float32Array) -> Float32Array:
        """(K, D) vectors from those in the space of the codes."""
        return coded

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D) of the decoded vectors, as an array of them has it."""
        return self.n_items, int(self.n_dims)  # type: ignore[attr-defined]  # a field or property of each subclass

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(count_parts(self).values())

    @functools.cached_property
    def norms(self) -> Float32Array:
        """(N,) lengths of the decoded vectors."""
        tiles = [np.linalg.norm(self.decode(rows), axis=1) for rows in self._tiles()]
        return np.concatenate([np.zeros(0, np.float32), *tiles]).astype(np.float32)

    def decode(self, rows: NDArray[Any] | slice | None = None) -> Float32Array:
        """(K, D) the vectors of some rows; None = all."""
        return self.restore(self.decode_tile(slice(None) if rows is None else rows))

    def score(self, Q: Float32Array, items: Int32Array | None = None) -> Float32Array:
        """``Q @ decode(items).T``: (B, N), or (B, K) for ``items`` (K,) or (B, K)."""
        projected = self.project_queries(np.ascontiguousarray(Q, np.float32))
        if items is None:
            scores = np.empty((len(Q), self.n_items), np.float32)
            for rows in self._tiles():
                scores[:, rows] = self.score_tile(projected, rows)
            return scores
        if np.ndim(items) == 1:
            return np.asarray(projected @ self.decode_tile(np.asarray(items)).T, np.float32)
        chosen = [self.decode_tile(each) @ query for each, query in zip(items, projected, strict=True)]
        return np.asarray(chosen, np.float32).reshape(np.shape(items))

    def score_tile(self, projected: Float32Array, rows: slice) -> Float32Array:
        """(B, K) products of queries in the space of the codes with at most 1,024 rows."""
        return np.asarray(projected @ self.decode_tile(rows).T, np.float32)

    def search(
        self, Q: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """The k items with the largest products, best first; equal ones in the order of the items.

        O(B · N · D) time; memory O(B · k) and one tile for each thread.

        Returns:
            items (B, k) int32, −1 past the end; scores (B, k) float32, −inf past the end.
        """
        items, best = empty_lists(len(Q), k)
        if not (k and len(Q) and self.n_items):
            return items, best
        projected = self.project_queries(np.ascontiguousarray(Q, np.float32))
        starts, columns = row_entries(seen, len(Q))
        mask = mask_array(allowed)
        size = min(_TILE_QUERIES, -(-len(Q) // numba.get_num_threads()))

        def work(first: int) -> None:
            block = slice(first, min(first + size, len(Q)))
            part, begin = projected[block], starts[first : block.stop + 1]
            for rows in self._tiles():
                scores = np.ascontiguousarray(self.score_tile(part, rows))
                merge_score_rows(scores, rows.start, items[block], best[block], begin, columns, mask)
            sort_heaps(items[block], best[block])

        run_in_threads(work, range(0, len(Q), size))
        return items, best

    def append(self, V: Float32Array) -> Self:
        """The codes with those of more vectors (M, D) at the end."""
        others = self.encode_alike(check_vectors(V))
        changed = {name: np.concatenate([getattr(self, name), getattr(others, name)]) for name in self._row_fields()}
        return dataclasses.replace(self, **changed)  # type: ignore[type-var]  # subclasses are dataclasses

    def replace(self, rows: NDArray[Any], V: Float32Array) -> Self:
        """The codes with those of ``rows`` (M,) made anew from V (M, D)."""
        others, changed = self.encode_alike(check_vectors(V)), {}
        for name in self._row_fields():
            changed[name] = getattr(self, name).copy()
            changed[name][rows] = getattr(others, name)
        return dataclasses.replace(self, **changed)  # type: ignore[type-var]  # subclasses are dataclasses

    def _tiles(self) -> Iterator[slice]:
        for start in range(0, self.n_items, TILE_ROWS):
            yield slice(start, min(start + TILE_ROWS, self.n_items))

    def _row_fields(self) -> list[str]:
        """Names of the arrays with a row for each item."""
        fields: tuple[Any, ...] = dataclasses.fields(self)  # type: ignore[arg-type]  # subclasses are dataclasses
        shapes = {
            field.name: rule.sizes
            for field in fields
            for rule in getattr(field.type, "__metadata__", ())
            if isinstance(rule, ArrayShape)
        }
        return [name for name, sizes in shapes.items() if sizes[0] == "N"]


def check_vectors(V: NDArray[Any]) -> Float32Array:
    """The vectors (N, D) as C-ordered float32. Raises DataError for another shape or a number that is not finite."""
    with np.errstate(over="ignore"):
        vectors = np.ascontiguousarray(V, np.float32)
    if vectors.ndim != 2:
        raise DataError(f"Vectors must have the shape (N, D). Got {vectors.shape}.")
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise DataError(f"Vectors must be finite. Row {row} has NaN or infinity; fit the model again.")
    return vectors
