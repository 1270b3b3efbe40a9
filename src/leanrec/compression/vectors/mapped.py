"""Mapped codes: vectors that stay in a file, with codes in memory that tell which few of them a list needs."""

import dataclasses
import functools
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from leanrec.compression.vectors.codec import TILE_ROWS, TiledCodes, check_vectors
from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape, check_array_shapes, check_codes
from leanrec.kernels.topk.code_search import CodeRows
from leanrec.kernels.topk.code_strips import STRIP_ROWS, count_groups, count_strip_bytes
from leanrec.kernels.topk.mapped_search import MappedIndex
from leanrec.kernels.topk.selection import ItemMask
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array

__all__ = ["MappedCodec", "MappedCodes", "VectorFile"]

# Bounds of a tile of rows, see `CodeRows`.
_TILE_BYTES = 40


@dataclasses.dataclass(frozen=True)
class MappedCodec:
    """The vectors as they are in a file, and codes of few bits in memory: lists are exactly those of the vectors.

    The file is mapped when a saved model is loaded, and is not read as a whole. A list reads the vectors that the bounds of
    the codes leave open, see `MappedIndex`: fewer bits take less memory and read more. Before a model is saved, its vectors are
    in memory.

    Cost: D · bits / 8 + 6 bytes of memory for each item, and 4 D bytes on disk. With 0 bits no codes are kept, for vectors that
    are read and not searched.
    """

    bits: int = setting(8, between=(0, 8), doc="Bits of each number of the codes; 0 = no codes.")

    def __post_init__(self) -> None:
        check_settings(self)

    def __str__(self) -> str:
        return f"exact, {self.bits} bits in memory"

    def encode(self, V: Float32Array, *, queries: Float32Array | None = None, seed: int = 0) -> "MappedCodes":  # noqa: ARG002 - of other codecs
        """Code (N, D) vectors. Raises DataError for a number that is not finite."""
        vectors = check_vectors(V)
        if not self.bits:
            return MappedCodes(VectorFile(vectors), np.zeros(0, np.int32), None)
        index = MappedIndex.build(vectors, self.bits, rotation=seed % 2**32)
        return MappedCodes(VectorFile(vectors), index.order, index.rows, index.rotation, index.exponent)

    def count_bytes(self, n_items: int, n_dims: int) -> int:
        """Bytes of the codes of (N, D) vectors in memory."""
        packed = count_strip_bytes(n_items, n_dims, self.bits) + 6 * n_items + _TILE_BYTES * -(-n_items // TILE_ROWS)
        return packed if self.bits else 0


@dataclasses.dataclass(frozen=True, eq=False)
class VectorFile:
    """Vectors of which rows are read from a file.

    Attributes:
        vectors: (N, D) float32, mapped from its file in a model that was loaded.
    """

    # Bytes. A smaller file is a few pages.
    MAPPED_FROM: ClassVar[int] = 2**16

    vectors: Annotated[Float32Array, ArrayShape("N", "D")]


@dataclasses.dataclass(frozen=True, eq=False)
class MappedCodes(TiledCodes):
    """Vectors coded by `MappedCodec`.

    Attributes:
        file: the vectors.
        order: (N,) int32 item of each row of the codes, longest vector first; (0,) without codes.
        coded: codes of the rotated vectors; None = there are none.
        rotation: seed of the rotation.
        exponent: power of two that the vectors of the codes are multiplied with.
    """

    file: VectorFile
    order: Int32Array
    coded: CodeRows | None
    rotation: int = 0
    exponent: int = 0

    def check_state(self) -> None:
        """Raise DataError unless the codes are of the vectors, and the steps finite."""
        coded, n = self.coded, self.n_items
        if coded is None:
            return
        if not 1 <= coded.bits <= 8 or coded.n_dims != self.n_dims or len(coded) != n or len(self.order) != n:
            raise DataError(f"MappedCodes must have 1 to 8 bits for each of {n} vectors of {self.n_dims} numbers.")
        check_codes("MappedCodes.order", self.order, n)
        first, rest = (
            (-(-n // STRIP_ROWS), groups, STRIP_ROWS, 4) for groups in count_groups(coded.n_dims, coded.bits)
        )
        shapes = {"first": first, "rest": rest, "tiles": (-(-n // TILE_ROWS), 5)}
        check_array_shapes("MappedCodes.coded", {name: getattr(coded, name) for name in shapes}, shapes)
        if not (np.isfinite(coded.steps) & (coded.steps >= 0)).all():
            raise DataError("MappedCodes.coded must have steps that are finite and at least 0.")

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.file.vectors)

    @property
    def n_dims(self) -> int:
        """D."""
        return int(self.file.vectors.shape[1])

    @functools.cached_property
    def index(self) -> MappedIndex | None:
        """The search over codes and vectors; None without codes."""
        if self.coded is None:
            return None
        return MappedIndex(np.asarray(self.file.vectors), self.order, self.coded, self.rotation, self.exponent)

    def decode_tile(self, rows: NDArray[Any] | slice) -> Float32Array:
        """(K, D) vectors of some rows, read from the file."""
        return np.asarray(self.file.vectors[rows])

    def search(
        self, Q: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """The k items with the largest products with the vectors, best first; equal ones in the order of the items."""
        if self.index is None or not np.isfinite(Q).all():
            return super().search(Q, k, seen=seen, allowed=allowed)
        return self.index.top_k(Q, k, seen=seen, allowed=allowed)

    def encode_alike(self, V: Float32Array) -> "MappedCodes":
        """Codes of other vectors with the same bits and rotation."""
        return MappedCodec(0 if self.coded is None else self.coded.bits).encode(V, seed=self.rotation)

    def append(self, V: Float32Array) -> "MappedCodes":
        """The codes with those of more vectors (M, D) at the end. All vectors are read into memory."""
        return self.encode_alike(np.concatenate([self.decode(), check_vectors(V)]))

    def replace(self, rows: NDArray[Any], V: Float32Array) -> "MappedCodes":
        """The codes with those of ``rows`` (M,) made anew from V (M, D). All vectors are read into memory."""
        vectors = np.array(self.decode())
        vectors[rows] = check_vectors(V)
        return self.encode_alike(vectors)
