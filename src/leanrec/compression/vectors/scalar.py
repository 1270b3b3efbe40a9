"""Scalar codes: 1 to 8 bits for each number, with one step for each row."""

import dataclasses
import functools
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from leanrec.compression.vectors.codec import TiledCodes, check_vectors
from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape
from leanrec.kernels.quantization.bit_planes import count_row_bytes, decode_rows, dot_rows, pack_rows
from leanrec.kernels.quantization.rotation import rotate_back, rotate_rows
from leanrec.kernels.quantization.row_steps import quantize_rows, shorten_steps, widen_steps
from leanrec.settings import check_settings, setting
from leanrec.types import Float32Array

__all__ = ["ScalarCodec", "ScalarCodes"]


@dataclasses.dataclass(frozen=True)
class ScalarCodec:
    """Each number of a row is rounded to one of 2^bits levels around 0, whose step minimizes the error of the row.

    With ``rotated`` the rows are rotated first, in the same random way, and so are the queries: no number is then much larger
    than the others, and few bits suffice. 1 bit is the sign. The rotation is drawn from the seed and not stored.

    Cost: D · bits / 8 + 2 bytes for each item.
    """

    bits: int = setting(8, between=(1, 8), doc="Bits of each number.")
    rotated: bool = setting(True, doc="Whether rows are rotated before they are rounded.")

    def __post_init__(self) -> None:
        check_settings(self)

    def __str__(self) -> str:
        return f"scalar bits={self.bits}{' rotated' if self.rotated else ''}"

    def encode(self, V: Float32Array, *, queries: Float32Array | None = None, seed: int = 0) -> "ScalarCodes":  # noqa: ARG002 - of other codecs
        """Code (N, D) vectors. Raises DataError for a number that is not finite."""
        vectors = check_vectors(V)
        rotation = seed % 2**32 if self.rotated else None
        codes, steps = quantize_rows(vectors if rotation is None else rotate_rows(vectors, rotation), self.bits)
        return ScalarCodes(pack_rows(codes, self.bits), shorten_steps(steps), vectors.shape[1], self.bits, rotation)

    def count_bytes(self, n_items: int, n_dims: int) -> int:
        """Bytes of the codes of (N, D) vectors."""
        return n_items * (count_row_bytes(n_dims, self.bits) + 2)


@dataclasses.dataclass(frozen=True, eq=False)
class ScalarCodes(TiledCodes):
    """Vectors coded by `ScalarCodec`.

    Attributes:
        packed: (N, W) uint8 codes in bit planes, see `leanrec.kernels.quantization.bit_planes`.
        steps: (N,) uint16 upper halves of the float32 steps.
        n_dims: D.
        bits: bits of each number.
        rotation: seed of the rotation; None = the rows are not rotated.
    """

    packed: Annotated[NDArray[np.uint8], ArrayShape("N", "W")]
    steps: Annotated[NDArray[np.uint16], ArrayShape("N")]
    n_dims: int
    bits: int
    rotation: int | None

    def check_state(self) -> None:
        """Raise DataError unless the rows are as wide as their codes, and all steps finite."""
        if not 1 <= self.bits <= 8 or self.packed.shape[1] != count_row_bytes(self.n_dims, self.bits):
            raise DataError(
                f"ScalarCodes.packed must have the width of {self.n_dims} codes of {self.bits} bits. "
                f"Got {self.packed.shape[1]} bytes."
            )
        if not np.isfinite(widen_steps(self.steps)).all():
            raise DataError("ScalarCodes.steps must be finite.")

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.packed)

    @functools.cached_property
    def _steps(self) -> Float32Array:
        return widen_steps(self.steps)

    def decode_tile(self, rows: NDArray[Any] | slice) -> Float32Array:
        """(K, D) vectors of some rows, rotated."""
        return decode_rows(np.ascontiguousarray(self.packed[rows]), self._steps[rows], self.n_dims, self.bits)

    def score_tile(self, projected: Float32Array, rows: slice) -> Float32Array:
        """(B, K) products of rotated queries with some rows; for one query without decoding them."""
        if len(projected) == 1:
            return dot_rows(self.packed[rows], self._steps[rows], projected[0], self.bits)[None]
        return super().score_tile(projected, rows)

    def project_queries(self, Q: Float32Array) -> Float32Array:
        """(B, D) queries, rotated as the rows are."""
        return Q if self.rotation is None else rotate_rows(Q, self.rotation)

    def restore(self, coded: Float32Array) -> Float32Array:
        """(K, D) rows, rotated back."""
        return coded if self.rotation is None else rotate_back(coded, self.rotation)

    def encode_alike(self, V: Float32Array) -> "ScalarCodes":
        """Codes of other vectors in the same rotation."""
        return ScalarCodec(self.bits, self.rotation is not None).encode(V, seed=self.rotation or 0)
