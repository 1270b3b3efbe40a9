"""Codes of the largest axes: vectors are cut to them before another codec codes them."""

import dataclasses
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from leanrec.compression.vectors.codec import TiledCodes, check_vectors
from leanrec.field_checks import ArrayShape
from leanrec.kernels.topk.selection import ItemMask
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array

__all__ = ["AxesCodec", "AxesCodes"]


@dataclasses.dataclass(frozen=True)
class AxesCodec:
    """The ``n_axes`` axes in which vectors are longest, coded by another codec; the others are 0.

    For vectors in principal axes, as those of iALS and PureSVD are. A query of such a model that is embedded from decoded
    vectors is then solved in the small space.

    Cost: that of the inner codec at ``n_axes`` dimensions, and 2 bytes an axis.

    Attributes:
        inner: the codec of the axes that are kept.
        n_axes: number of axes that are kept; at most D.
    """

    inner: Any
    n_axes: int = setting(64, at_least=1, doc="Number of axes that are kept; at most D.")

    def __post_init__(self) -> None:
        check_settings(self)

    def __str__(self) -> str:
        return f"axes={self.n_axes} {self.inner}"

    def encode(self, V: Float32Array, *, queries: Float32Array | None = None, seed: int = 0) -> "AxesCodes":
        """Code (N, D) vectors. Raises DataError for a number that is not finite."""
        vectors = check_vectors(V)
        largest = max(float(np.abs(vectors).max(initial=0)), 1e-37)
        energy = np.square(vectors / np.float32(largest), dtype=np.float64).sum(axis=0)
        columns = np.sort(np.argsort(-energy, kind="stable")[: self.n_axes]).astype(np.uint16)
        kept = np.ascontiguousarray(vectors[:, columns])
        seen = None if queries is None else np.ascontiguousarray(queries[:, columns])
        return AxesCodes(self.inner.encode(kept, queries=seen, seed=seed), columns, vectors.shape[1])

    def count_bytes(self, n_items: int, n_dims: int) -> int:
        """Bytes of the codes of (N, D) vectors."""
        kept = min(self.n_axes, n_dims)
        return int(self.inner.count_bytes(n_items, kept)) + 2 * kept


@dataclasses.dataclass(frozen=True, eq=False)
class AxesCodes(TiledCodes):
    """Vectors coded by `AxesCodec`.

    Attributes:
        inner: codes of the axes that are kept.
        columns: (C,) uint16 these axes.
        n_dims: D.
    """

    inner: Any
    columns: Annotated[NDArray[np.uint16], ArrayShape("C")]
    n_dims: int

    @property
    def n_items(self) -> int:
        """N."""
        return int(self.inner.n_items)

    def decode_tile(self, rows: NDArray[Any] | slice) -> Float32Array:
        """(K, C) vectors of some rows in the space of the inner codes."""
        return np.asarray(self.inner.decode_tile(rows))

    def search(
        self, Q: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """The k items with the largest products, by the search of the inner codes."""
        items, scores = self.inner.search(np.ascontiguousarray(Q[:, self.columns]), k, seen=seen, allowed=allowed)
        return items, scores

    def project_queries(self, Q: Float32Array) -> Float32Array:
        """(B, C) queries in the space of the inner codes."""
        return np.asarray(self.inner.project_queries(np.ascontiguousarray(Q[:, self.columns])))

    def restore(self, coded: Float32Array) -> Float32Array:
        """(K, D) vectors with zeros in the axes that are left out."""
        vectors = np.zeros((len(coded), self.n_dims), np.float32)
        vectors[:, self.columns] = self.inner.restore(coded)
        return vectors

    def encode_alike(self, V: Float32Array) -> "AxesCodes":
        """Codes of other vectors in the same axes."""
        kept = np.ascontiguousarray(check_vectors(V)[:, self.columns])
        return dataclasses.replace(self, inner=self.inner.encode_alike(kept))

    def append(self, V: Float32Array) -> "AxesCodes":
        """The codes with those of more vectors (M, D) at the end."""
        return dataclasses.replace(self, inner=self.inner.append(check_vectors(V)[:, self.columns]))

    def replace(self, rows: NDArray[Any], V: Float32Array) -> "AxesCodes":
        """The codes with those of ``rows`` (M,) made anew from V (M, D)."""
        return dataclasses.replace(self, inner=self.inner.replace(rows, check_vectors(V)[:, self.columns]))

    def read_levels(self) -> tuple[NDArray[np.uint8], Float32Array]:
        """As `ScalarCodes.read_levels`."""
        codes, steps = self.inner.read_levels()
        return codes, steps

    def with_levels(self, codes: NDArray[np.uint8], steps: Float32Array) -> "AxesCodes":
        """As `ScalarCodes.with_levels`."""
        return dataclasses.replace(self, inner=self.inner.with_levels(codes, steps))

    @property
    def bits(self) -> int:
        """Bits of each number."""
        return int(self.inner.bits)
