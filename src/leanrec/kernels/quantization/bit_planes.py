"""Codes of 1 to 8 bits in rows of bit planes.

The bits of a code are split into planes of 8, 4, 2 and 1 bits, highest first: 6 bits are a plane of 4 and one of 2. A plane of
p bits of D codes has W = ⌈D · p / 8⌉ bytes, and byte k holds codes k, k + W, k + 2 W … from its lowest bits on, so that
neighboring codes are in neighboring bytes and a loop over them is vectorized.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["count_row_bytes", "pack_rows", "unpack_rows"]

UInt8Array = NDArray[np.uint8]


def count_row_bytes(n_dims: int, bits: int) -> int:
    """Bytes of a row of D codes."""
    return sum(-(-n_dims * plane // 8) for plane in _split_bits(bits))


def pack_rows(codes: UInt8Array, bits: int) -> UInt8Array:
    """(R, count_row_bytes(D, bits)) from codes (R, D) below 2^bits."""
    rows, width = codes.shape
    parts, rest = [np.zeros((rows, 0), np.uint8)], bits
    for plane in _split_bits(bits):
        rest -= plane
        lanes, n_bytes = 8 // plane, -(-width * plane // 8)
        padded = np.zeros((rows, lanes * n_bytes), np.uint8)
        padded[:, :width] = (codes >> rest) & (2**plane - 1)
        shifts = plane * np.arange(lanes, dtype=np.uint8)[:, None]
        parts.append(np.bitwise_or.reduce(padded.reshape(rows, lanes, n_bytes) << shifts, axis=1))
    return np.concatenate(parts, axis=1).astype(np.uint8)


def unpack_rows(packed: UInt8Array, n_dims: int, bits: int) -> UInt8Array:
    """Codes (R, D) from packed rows."""
    codes, start = np.zeros((len(packed), n_dims), np.uint8), 0
    for plane in _split_bits(bits):
        lanes, n_bytes = 8 // plane, -(-n_dims * plane // 8)
        shifts = plane * np.arange(lanes, dtype=np.uint8)[:, None]
        spread = (packed[:, None, start : start + n_bytes] >> shifts) & (2**plane - 1)
        codes = (codes << plane) | spread.reshape(len(packed), lanes * n_bytes)[:, :n_dims]
        start += n_bytes
    return codes.astype(np.uint8)


def _split_bits(bits: int) -> list[int]:
    """The planes of a code: the powers of two that sum to its bits, largest first."""
    return [plane for plane in (8, 4, 2, 1) if bits & plane]
