"""Scalar codes: 1 to 8 bits for each number, with one step for each row."""

import dataclasses
import functools
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from leanrec.compression.vectors.codec import TiledCodes, check_vectors
from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape
from leanrec.kernels.quantization.bit_planes import (
    count_row_bytes,
    decode_rows,
    dot_rows,
    pack_rows,
    unpack_rows,
)
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

    With ``balanced`` each axis is divided by the root of its size before that, so that short axes keep more of what they say:
    the query vectors of iALS are long where the items are short. On Gowalla iALS with 256 dimensions then keeps .93 instead
    of .92 of its NDCG@20 at 1 bit, and .998 instead of .993 at 4 bits.

    Cost: D · bits / 8 + 2 bytes for each item, and 4 D bytes with ``balanced``.
    """

    bits: int = setting(8, between=(1, 8), doc="Bits of each number.")
    rotated: bool = setting(True, doc="Whether rows are rotated before they are rounded.")
    balanced: bool = setting(False, doc="Whether axes are first divided by the root of their size.")

    def __post_init__(self) -> None:
        check_settings(self)

    def __str__(self) -> str:
        return f"scalar bits={self.bits}{' rotated' * self.rotated}{' balanced' * self.balanced}"

    def encode(self, V: Float32Array, *, queries: Float32Array | None = None, seed: int = 0) -> "ScalarCodes":  # noqa: ARG002 - of other codecs
        """Code (N, D) vectors. Raises DataError for a number that is not finite."""
        vectors = check_vectors(V)
        rotation = seed % 2**32 if self.rotated else None
        return _encode(vectors, self.bits, rotation, _measure_axes(vectors) if self.balanced else None)

    def count_bytes(self, n_items: int, n_dims: int) -> int:
        """Bytes of the codes of (N, D) vectors."""
        return n_items * (count_row_bytes(n_dims, self.bits) + 2) + 4 * n_dims * self.balanced


def _measure_axes(V: Float32Array) -> Float32Array:
    """(D,) root of the root mean square of each axis; 1 for one of zeros."""
    largest = max(float(np.abs(V).max(initial=0)), 1e-37)
    size = np.sqrt(np.square(V / np.float32(largest), dtype=np.float64).sum(axis=0) / max(1, len(V)))
    middle = float(np.median(size[size > 0])) if (size > 0).any() else 1.0
    return np.where(size > 0, np.sqrt(np.maximum(size / middle, 1e-6)), 1).astype(np.float32)


def _encode(V: Float32Array, bits: int, rotation: int | None, factors: Float32Array | None) -> "ScalarCodes":
    shaped = V if factors is None else V / factors
    codes, steps = quantize_rows(shaped if rotation is None else rotate_rows(shaped, rotation), bits)
    return ScalarCodes(pack_rows(codes, bits), shorten_steps(steps), V.shape[1], bits, rotation, factors)


@dataclasses.dataclass(frozen=True, eq=False)
class ScalarCodes(TiledCodes):
    """Vectors coded by `ScalarCodec`.

    Attributes:
        packed: (N, W) uint8 codes in bit planes, see `leanrec.kernels.quantization.bit_planes`.
        steps: (N,) uint16 upper halves of the float32 steps.
        n_dims: D.
        bits: bits of each number.
        rotation: seed of the rotation; None = the rows are not rotated.
        factors: (D,) float32 that the axes are divided by before the rotation; None = they are not.
    """

    packed: Annotated[NDArray[np.uint8], ArrayShape("N", "W")]
    steps: Annotated[NDArray[np.uint16], ArrayShape("N")]
    n_dims: int
    bits: int
    rotation: int | None
    factors: Annotated[Float32Array | None, ArrayShape("D")] = None

    def check_state(self) -> None:
        """Raise DataError unless the rows are as wide as their codes, and all steps finite."""
        if not 1 <= self.bits <= 8 or self.packed.shape[1] != count_row_bytes(self.n_dims, self.bits):
            raise DataError(
                f"ScalarCodes.packed must have the width of {self.n_dims} codes of {self.bits} bits. "
                f"Got {self.packed.shape[1]} bytes."
            )
        if not np.isfinite(widen_steps(self.steps)).all():
            raise DataError("ScalarCodes.steps must be finite.")
        if self.factors is not None and (len(self.factors) != self.n_dims or not (self.factors > 0).all()):
            raise DataError(f"ScalarCodes.factors must be {self.n_dims} numbers above 0.")

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
        """(B, D) queries in the axes of the codes."""
        shaped = Q if self.factors is None else Q * self.factors
        return shaped if self.rotation is None else rotate_rows(shaped, self.rotation)

    def restore(self, coded: Float32Array) -> Float32Array:
        """(K, D) rows in the axes of the vectors."""
        shaped = coded if self.rotation is None else rotate_back(coded, self.rotation)
        return shaped if self.factors is None else shaped * self.factors

    def read_levels(self) -> tuple[NDArray[np.uint8], Float32Array]:
        """The codes (N, D) and steps (N,), unpacked."""
        return unpack_rows(self.packed, self.n_dims, self.bits), self._steps.copy()

    def with_levels(self, codes: NDArray[np.uint8], steps: Float32Array) -> "ScalarCodes":
        """These codes with others of the same bits. Steps lose the digits beyond their first 8 bits."""
        return dataclasses.replace(self, packed=pack_rows(codes, self.bits), steps=shorten_steps(steps))

    def encode_alike(self, V: Float32Array) -> "ScalarCodes":
        """Codes of other vectors in the same axes."""
        return _encode(check_vectors(V), self.bits, self.rotation, self.factors)
