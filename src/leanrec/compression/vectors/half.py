"""Half precision: vectors in 16 bits a number, with one exponent for each row."""

import dataclasses
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from leanrec.compression.vectors.codec import TiledCodes, check_vectors
from leanrec.field_checks import ArrayShape
from leanrec.types import Float32Array

__all__ = ["HalfCodec", "HalfCodes"]


@dataclasses.dataclass(frozen=True)
class HalfCodec:
    """Numbers in float16, of which those of a row are divided by a power of two: the largest is then near 1.

    So lengths may lie any number of decades apart, where float16 alone ends at 65,504 and loses digits below 0.00006.

    Cost: 2 D + 1 bytes for each item.
    """

    def __str__(self) -> str:
        return "half"

    def encode(self, V: Float32Array, *, queries: Float32Array | None = None, seed: int = 0) -> "HalfCodes":  # noqa: ARG002 - of other codecs
        """Code (N, D) vectors. Raises DataError for a number that is not finite."""
        vectors = check_vectors(V)
        largest = np.abs(vectors).max(axis=1, initial=0)
        exponents = np.where(largest > 0, np.frexp(largest)[1], 0).astype(np.int8)
        return HalfCodes(np.ldexp(vectors, -exponents[:, None].astype(np.int32)).astype(np.float16), exponents)

    def count_bytes(self, n_items: int, n_dims: int) -> int:
        """Bytes of the codes of (N, D) vectors."""
        return n_items * (2 * n_dims + 1)


@dataclasses.dataclass(frozen=True, eq=False)
class HalfCodes(TiledCodes):
    """Vectors coded by `HalfCodec`.

    Attributes:
        values: (N, D) float16 numbers of at most 1.
        exponents: (N,) int8 power of two of each row.
    """

    values: Annotated[NDArray[np.float16], ArrayShape("N", "D")]
    exponents: Annotated[NDArray[np.int8], ArrayShape("N")]

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.values)

    @property
    def n_dims(self) -> int:
        """D."""
        return int(self.values.shape[1])

    def decode_tile(self, rows: NDArray[Any] | slice) -> Float32Array:
        """(K, D) vectors of some rows."""
        exponents = self.exponents[rows][:, None].astype(np.int32)
        return np.ldexp(self.values[rows].astype(np.float32), exponents)

    def encode_alike(self, V: Float32Array) -> "HalfCodes":
        """Codes of other vectors."""
        return HalfCodec().encode(V)
