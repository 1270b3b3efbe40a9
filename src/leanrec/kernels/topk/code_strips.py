"""Code strips: codes of 1 to 8 bits, packed so that products of sixteen rows need no horizontal sum.

A plane holds 1, 2 or 4 bits of each code. Rows are interleaved in strips of 16: group g of a strip holds four bytes of each
row, and byte j of them the codes of dimensions g · 32 / p + 4 · s + j at bit s · p, for a plane of p bits. Codes of more than
four bits have a first plane of four bits, which most searches read alone, and planes with the rest.
"""

import numba
import numpy as np

from leanrec.types import Int64Array

__all__ = [
    "FIRST_BITS",
    "REST_BITS",
    "STRIP_ROWS",
    "CodeArray",
    "allocate_strips",
    "count_groups",
    "count_strip_bytes",
    "pack_codes",
    "read_codes",
    "unpack_codes",
    "unpack_strips",
    "write_codes",
]

CodeArray = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
# Rows of one strip: the lanes of a vector of 64 bytes.
STRIP_ROWS = 16
# Bits of the first plane and of those after it, by the bits of a code; 0 = no plane.
FIRST_BITS = np.array([0, 1, 2, 2, 4, 4, 4, 4, 4])
REST_BITS = np.array([[0, 0], [0, 0], [0, 0], [1, 0], [0, 0], [1, 0], [2, 0], [2, 1], [4, 0]])


def count_groups(n_dims: int, bits: int) -> tuple[int, int]:
    """Groups of four bytes of a row: those of the first plane, those of the rest."""
    first = -(-n_dims * int(FIRST_BITS[bits]) // 32)
    return first, int(sum(-(-n_dims * plane // 32) for plane in REST_BITS[bits]))


def count_strip_bytes(n_items: int, n_dims: int, bits: int) -> int:
    """Bytes of both arrays of ``pack_codes``."""
    return -(-n_items // STRIP_ROWS) * STRIP_ROWS * 4 * sum(count_groups(n_dims, bits))


def allocate_strips(strips: int, groups: int) -> CodeArray:
    """An array (S, G, 16, 4) of zeros that begins at a cache line, so that no load of 64 bytes crosses two lines."""
    size = strips * groups * STRIP_ROWS * 4
    # NumPy asks for huge pages for empty arrays only.
    room = np.empty(size + 64, np.uint8)
    room[:] = 0
    start = -room.ctypes.data % 64
    return room[start : start + size].reshape(strips, groups, STRIP_ROWS, 4)


def pack_codes(codes: CodeArray, bits: int) -> tuple[CodeArray, CodeArray]:
    """Pack (N, D) uint8 codes below 2 ** bits.

    Returns:
        first (S, G, 16, 4) uint8, the first plane of each strip, S being ⌈N / 16⌉; rest (S, H, 16, 4), its other planes.
    """
    strips = -(-len(codes) // STRIP_ROWS)
    first, rest = (allocate_strips(strips, groups) for groups in count_groups(codes.shape[1], bits))
    write_codes(first, rest, bits, np.arange(len(codes)), codes)
    return first, rest


def write_codes(first: CodeArray, rest: CodeArray, bits: int, rows: Int64Array, codes: CodeArray) -> None:
    """Write the codes (K, D) of K rows into packed strips, in place."""
    _write_codes(first, rest, bits, np.asarray(rows, np.int64), np.ascontiguousarray(codes, np.uint8))


def unpack_codes(first: CodeArray, rest: CodeArray, bits: int, n_dims: int, rows: Int64Array) -> CodeArray:
    """The codes (K, D) uint8 of K rows. O(K · D)."""
    codes = np.zeros((len(rows), n_dims), np.uint8)
    read_codes(first, rest, bits, np.asarray(rows, np.int64), codes)
    return codes


@numba.njit(cache=True, nogil=True)
def _write_codes(first: CodeArray, rest: CodeArray, bits: int, rows: Int64Array, codes: CodeArray) -> None:
    for at in range(len(rows)):
        strip, lane = rows[at] // STRIP_ROWS, rows[at] % STRIP_ROWS
        width, shift = FIRST_BITS[bits], bits - FIRST_BITS[bits]
        _write_plane(first[strip, :, lane], width, shift, codes[at])
        group = 0
        for plane in range(2):
            width = REST_BITS[bits, plane]
            if width:
                shift -= width
                groups = -(-codes.shape[1] * width // 32)
                _write_plane(rest[strip, group : group + groups, lane], width, shift, codes[at])
                group += groups


@numba.njit(cache=True, nogil=True)
def _write_plane(row: CodeArray, width: int, shift: int, codes: CodeArray) -> None:
    row[:] = 0
    for d in range(len(codes)):
        group, inside = d * width // 32, d % (32 // width)
        part = (np.int64(codes[d]) >> shift) & ((1 << width) - 1)
        row[group, inside % 4] |= np.uint8(part << (inside // 4 * width))


@numba.njit(cache=True, nogil=True)
def read_codes(first: CodeArray, rest: CodeArray, bits: int, rows: Int64Array, codes: CodeArray) -> None:
    """Add the codes of K rows to ``codes`` (K, D), which must be 0."""
    for at in range(len(rows)):
        strip, lane = rows[at] // STRIP_ROWS, rows[at] % STRIP_ROWS
        width, shift = FIRST_BITS[bits], bits - FIRST_BITS[bits]
        _read_plane(first[strip, :, lane], width, shift, codes[at])
        group = 0
        for plane in range(2):
            width = REST_BITS[bits, plane]
            if width:
                shift -= width
                groups = -(-codes.shape[1] * width // 32)
                _read_plane(rest[strip, group : group + groups, lane], width, shift, codes[at])
                group += groups


@numba.njit(cache=True, nogil=True)
def _read_plane(row: CodeArray, width: int, shift: int, codes: CodeArray) -> None:
    for d in range(len(codes)):
        group, inside = d * width // 32, d % (32 // width)
        part = (np.int64(row[group, inside % 4]) >> (inside // 4 * width)) & ((1 << width) - 1)
        codes[d] |= np.uint8(part << shift)


@numba.njit(cache=True, nogil=True)
def unpack_strips(first, rest, bits, start, stop, words):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write strips ``start`` to ``stop`` as planes of 8 bits into ``words`` (stop − start, ⌈D / 4⌉, 16) uint32.

    ``first`` and ``rest`` are viewed as (S, groups, 16) uint32.
    """
    for strip in range(start, stop):
        _unpack_plane(first[strip], 0, FIRST_BITS[bits], bits - FIRST_BITS[bits], words[strip - start], 0)
        shift, group = bits - FIRST_BITS[bits], 0
        for plane in range(2):
            width = REST_BITS[bits, plane]
            if width:
                shift -= width
                _unpack_plane(rest[strip], group, width, shift, words[strip - start], 1)
                group += -(-words.shape[1] * width // 8)


@numba.njit(cache=True, nogil=True)
def _unpack_plane(plane, start, width, shift, out, add):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    slots = 8 // width
    mask = np.uint32(0x01010101 * ((1 << width) - 1))
    up = np.uint32(shift)
    for group in range(out.shape[0]):
        down = np.uint32(group % slots * width)
        source, target = plane[start + group // slots], out[group]
        for lane in range(STRIP_ROWS):
            part = ((source[lane] >> down) & mask) << up
            target[lane] = (target[lane] | part) if add > 0 else part
