"""Codes of vectors with offsets: columns that are no directions, such as the bias of an item, are kept apart."""

import dataclasses
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from leanrec.compression.vectors.codec import TiledCodes, check_vectors
from leanrec.compression.vectors.half import HalfCodec, HalfCodes
from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape
from leanrec.kernels.topk.selection import ItemMask, top_k
from leanrec.types import CSR, Float32Array, Int32Array

__all__ = ["OffsetCodec", "OffsetCodes"]

# From this many queries on, tiles are decoded once for all of them.
_MANY_QUERIES = 32


@dataclasses.dataclass(frozen=True)
class OffsetCodec:
    """Some columns in half precision, or once for all rows, and the others coded by another codec.

    An offset is added to a score as it is, and one number is often much larger than those of the vector: in the same code it
    would take the levels of the others, and an item whose vector is 0 would get one of rounding errors.

    Cost: that of the inner codec at the other columns, 2 bytes an item for each offset and 1 for all.

    Attributes:
        inner: the codec of the other columns.
        offsets: the columns that are kept in half precision; negative ones count from the end.
        constants: the columns that have one number in all rows.
    """

    inner: Any
    offsets: tuple[int, ...] = (-1,)
    constants: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.inner} and offsets"

    def encode(self, V: Float32Array, *, queries: Float32Array | None = None, seed: int = 0) -> "OffsetCodes":
        """Code (N, D) vectors. Raises DataError for a number that is not finite, and for a constant that is none."""
        vectors = check_vectors(V)
        width = vectors.shape[1]
        offsets, constants = (tuple(range(width)[each] for each in part) for part in (self.offsets, self.constants))
        rest = np.setdiff1d(np.arange(width), offsets + constants)
        seen = None if queries is None else np.ascontiguousarray(queries[:, rest])
        return OffsetCodes(
            self.inner.encode(np.ascontiguousarray(vectors[:, rest]), queries=seen, seed=seed),
            HalfCodec().encode(vectors[:, offsets]),
            _read_constants(vectors, constants),
            offsets,
            constants,
        )

    def count_bytes(self, n_items: int, n_dims: int) -> int:
        """Bytes of the codes of (N, D) vectors."""
        rest = n_dims - len(self.offsets) - len(self.constants)
        halves = HalfCodec().count_bytes(n_items, len(self.offsets))
        return int(self.inner.count_bytes(n_items, rest)) + halves + 4 * len(self.constants)


def _read_constants(V: Float32Array, columns: tuple[int, ...]) -> Float32Array:
    """(C,) the number of each column, 0 without rows. Raises DataError where rows differ."""
    found = V[:, columns]
    first = found[0].copy() if len(found) else np.zeros(len(columns), np.float32)
    if (found != first).any():
        raise DataError(f"A constant column must have one number in all rows. Columns {list(columns)} have several.")
    return first


@dataclasses.dataclass(frozen=True, eq=False)
class OffsetCodes(TiledCodes):
    """Vectors coded by `OffsetCodec`. Their space is that of the inner codes with the offsets and constants at the end.

    Attributes:
        inner: codes of the other columns.
        halves: codes of the offsets.
        numbers: (C,) float32 numbers of the constant columns.
        offsets: the columns of the offsets.
        constants: the constant columns.
    """

    inner: Any
    halves: HalfCodes
    numbers: Annotated[Float32Array, ArrayShape("C")]
    offsets: tuple[int, ...]
    constants: tuple[int, ...]

    def check_state(self) -> None:
        """Raise DataError unless the parts are of the same items, and the columns are numbers of columns."""
        if self.inner.n_items != self.halves.n_items:
            raise DataError(
                f"OffsetCodes must have the offsets of {self.inner.n_items} items. Got {self.halves.n_items}."
            )
        special, width = self.offsets + self.constants, self.n_dims
        sizes = self.halves.n_dims == len(self.offsets) and len(self.numbers) == len(self.constants)
        if not sizes or len(set(special)) != len(special) or not all(0 <= each < width for each in special):
            raise DataError(f"OffsetCodes must have one of {width} columns for each offset and constant.")

    @property
    def n_items(self) -> int:
        """N."""
        return self.halves.n_items

    @property
    def n_dims(self) -> int:
        """D, with the offsets and constants."""
        return int(self.inner.n_dims) + len(self.offsets) + len(self.constants)

    @property
    def _rest(self) -> NDArray[Any]:
        """The columns of the inner codes."""
        return np.setdiff1d(np.arange(self.n_dims), self.offsets + self.constants)

    def decode_tile(self, rows: NDArray[Any] | slice) -> Float32Array:
        """(K, C) vectors of some rows, in the space of the codes."""
        coded, offsets = self.inner.decode_tile(rows), self.halves.decode_tile(rows)
        return np.concatenate([coded, offsets, np.broadcast_to(self.numbers, (len(coded), len(self.numbers)))], axis=1)

    def project_queries(self, Q: Float32Array) -> Float32Array:
        """(B, C) queries in the space of the codes."""
        inner = self.inner.project_queries(np.ascontiguousarray(Q[:, self._rest]))
        return np.concatenate([inner, Q[:, self.offsets + self.constants]], axis=1)

    def restore(self, coded: Float32Array) -> Float32Array:
        """(K, D) vectors with their columns in their order."""
        vectors = np.empty((len(coded), self.n_dims), np.float32)
        n_special = len(self.offsets) + len(self.constants)
        vectors[:, self._rest] = self.inner.restore(np.ascontiguousarray(coded[:, : coded.shape[1] - n_special]))
        vectors[:, self.offsets + self.constants] = coded[:, coded.shape[1] - n_special :]
        return vectors

    def score(self, Q: Float32Array, items: Int32Array | None = None) -> Float32Array:
        """``Q @ decode(items).T``: (B, N), or (B, K) for ``items`` (K,) or (B, K)."""
        if items is not None:
            return super().score(Q, items)
        scores: Float32Array = self.inner.score(np.ascontiguousarray(Q[:, self._rest], np.float32))
        scores += (Q[:, self.constants] @ self.numbers)[:, None]
        scores += Q[:, self.offsets] @ self.halves.decode().T
        return scores

    def search(
        self, Q: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """The k items with the largest products, best first; equal ones in the order of the items."""
        if len(Q) >= _MANY_QUERIES:
            return super().search(Q, k, seen=seen, allowed=allowed)
        return top_k(self.score(Q), k, seen=seen, allowed=allowed)

    def encode_alike(self, V: Float32Array) -> "OffsetCodes":
        """Codes of other vectors with the same constants."""
        return self._replace_parts(V, self.inner.encode_alike, HalfCodec().encode)

    def append(self, V: Float32Array) -> "OffsetCodes":
        """The codes with those of more vectors (M, D) at the end."""
        return self._replace_parts(V, self.inner.append, self.halves.append)

    def replace(self, rows: NDArray[Any], V: Float32Array) -> "OffsetCodes":
        """The codes with those of ``rows`` (M,) made anew from V (M, D)."""
        return self._replace_parts(
            V, lambda part: self.inner.replace(rows, part), lambda part: self.halves.replace(rows, part)
        )

    def _replace_parts(self, V: Float32Array, code_rest: Any, code_offsets: Any) -> "OffsetCodes":
        vectors = check_vectors(V)
        if (vectors[:, self.constants] != self.numbers).any():
            raise DataError(f"The columns {list(self.constants)} must be {self.numbers.tolist()} in all rows.")
        rest = np.ascontiguousarray(vectors[:, self._rest])
        return dataclasses.replace(self, inner=code_rest(rest), halves=code_offsets(vectors[:, self.offsets]))
