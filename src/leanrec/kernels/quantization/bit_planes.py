"""Codes of 1 to 8 bits in rows of bit planes: packing, decoding, and products with a query.

The bits of a code are split into planes of 8, 4, 2 and 1 bits, highest first: 6 bits are a plane of 4 and one of 2. A plane of
p bits of D codes has W = ⌈D · p / 8⌉ bytes, and byte k holds codes k, k + W, k + 2 W … from its lowest bits on, so that
neighboring codes are in neighboring bytes and a loop over them is vectorized.

Code c of a row stands for step · (c − (2^bits − 1) / 2): the levels lie symmetrically around 0.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from leanrec.kernels.threads import MIN_ROWS_FOR_THREADS, compile_serial_and_parallel
from leanrec.types import Float32Array

__all__ = ["count_row_bytes", "decode_rows", "dot_rows", "pack_rows", "unpack_rows"]

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


def decode_rows(packed: UInt8Array, steps: Float32Array, n_dims: int, bits: int) -> Float32Array:
    """(R, D) float32 vectors of packed rows with the steps (R,)."""
    out = np.empty((len(packed), n_dims), np.float32)
    if out.size:
        planes = np.array(_split_bits(bits), np.int64)
        _decode_rows(packed, steps, planes, np.float32((2**bits - 1) / 2), out)
    return out


def dot_rows(packed: UInt8Array, steps: Float32Array, query: Float32Array, bits: int) -> Float32Array:
    """(R,) products of one query (D,) with packed rows, which are not decoded. O(R · D)."""
    out = np.empty(len(packed), np.float32)
    planes = np.array(_split_bits(bits), np.int64)
    work = _dot_rows.serial if len(packed) < 64 * MIN_ROWS_FOR_THREADS else _dot_rows.parallel
    work(packed, steps, planes, np.float32((2**bits - 1) / 2), np.ascontiguousarray(query, np.float32), out)
    return out


def _split_bits(bits: int) -> list[int]:
    """The planes of a code: the powers of two that sum to its bits, largest first."""
    return [plane for plane in (8, 4, 2, 1) if bits & plane]


@numba.njit(cache=True, nogil=True)
def _decode_rows(
    packed: UInt8Array, steps: Float32Array, planes: NDArray[np.int64], middle: np.float32, out: Float32Array
) -> None:
    for row in range(len(packed)):
        _decode_row(packed[row], steps[row], planes, middle, out[row])


@numba.njit(cache=True, nogil=True)
def _decode_row(
    packed: UInt8Array, step: np.float32, planes: NDArray[np.int64], middle: np.float32, out: Float32Array
) -> None:
    width, start = len(out), 0
    out[:] = -middle
    rest = np.int64(0)
    for plane in planes:
        rest += plane
    for plane in planes:
        rest -= plane
        n_bytes = (width * plane + 7) // 8
        part = packed[start : start + n_bytes]
        for lane in range(8 // plane):
            first, shift = lane * n_bytes, lane * plane
            # Masked and not shifted: only bytes are computed with, so that the loop is vectorized.
            mask, weight = np.uint8(((1 << plane) - 1) << shift), np.float32(2.0 ** (rest - shift))
            _add_lane(part, mask, weight, out[first : min(first + n_bytes, width)])
        start += n_bytes
    for d in range(width):
        out[d] *= step


@compile_serial_and_parallel
def _dot_rows(
    packed: UInt8Array,
    steps: Float32Array,
    planes: NDArray[np.int64],
    middle: np.float32,
    query: Float32Array,
    out: Float32Array,
) -> None:
    offset = np.float32(0)
    for d in range(len(query)):
        offset += middle * query[d]
    for row in numba.prange(len(packed)):
        out[row] = steps[row] * (_dot_row(packed[row], planes, query) - offset)


@numba.njit(cache=True, nogil=True)
def _dot_row(packed: UInt8Array, planes: NDArray[np.int64], query: Float32Array) -> np.float32:
    """Σ c_d · query_d over the codes of a row."""
    width, start, total = len(query), 0, np.float32(0)
    rest = np.int64(0)
    for plane in planes:
        rest += plane
    for plane in planes:
        rest -= plane
        n_bytes = (width * plane + 7) // 8
        part = packed[start : start + n_bytes]
        for lane in range(8 // plane):
            first, shift = lane * n_bytes, lane * plane
            mask, weight = np.uint8(((1 << plane) - 1) << shift), np.float32(2.0 ** (rest - shift))
            total += weight * _dot_lane(part, mask, query[first : min(first + n_bytes, width)])
        start += n_bytes
    return total


@numba.njit(cache=True, nogil=True)
def _add_lane(packed: UInt8Array, mask: np.uint8, weight: np.float32, out: Float32Array) -> None:
    for k in range(len(out)):
        out[k] += weight * np.float32(np.uint8(packed[k] & mask))


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot_lane(packed: UInt8Array, mask: np.uint8, query: Float32Array) -> np.float32:
    total = np.float32(0)
    for k in range(len(query)):
        total += np.float32(np.uint8(packed[k] & mask)) * query[k]
    return total
