"""Rows of sparse weights packed into bits: columns as Elias–Fano codes, values as codes of a few bits.

A row of c sorted columns below N begins at a whole byte. First come the high parts of the columns: column i, without its
``low`` lowest bits, is the position of the i-th set bit minus i. Then come c pairs of the ``low`` lowest bits of a
column and the code of its value. So a column takes about 2 + log₂(N / c) bits (Elias, "Efficient Storage and Retrieval by
Content and Address of Static Files", JACM 1974; Fano, 1971), and one unaligned load reads a column's rest and its value.

Every 16th row has its first byte in ``starts``; the sizes of the rows between follow from their counts.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from leanrec.kernels.csr import csr_arrays
from leanrec.kernels.sparse import COLUMN_BLOCK, select_from_sums
from leanrec.kernels.threads import MIN_ROWS_FOR_THREADS, compile_serial_and_parallel
from leanrec.kernels.topk.selection import ItemMask, mask_array
from leanrec.kernels.topk.simd import lowest_set_bit
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = [
    "GROUP_ROWS",
    "PAD_BYTES",
    "PackedRows",
    "count_packed_bytes",
    "fill_packed_rows",
    "multiply_packed",
    "select_packed",
    "unpack_rows",
]

UInt8Array = NDArray[np.uint8]

# Rows between two stored positions.
GROUP_ROWS = 16
# Bytes after the last row, so that a load of eight bytes may begin in the last one.
PAD_BYTES = 8
# Bytes of a line of the cache.
_LINE = 64
_BYTE, _INT = ir.IntType(8), ir.IntType(32)
_IS_LITTLE_ENDIAN = sys.byteorder == "little"


class PackedRows(NamedTuple):
    """M packed rows over N columns, as the kernels take them.

    Attributes:
        stream: (bytes,) uint8, the rows one after the other.
        starts: (M / 16,) int64 first byte of every 16th row.
        counts: (M,) number of entries of each row: uint8, uint16 or uint32.
        sizes: (C,) int32 bytes of a row by its count; C − 1 is the largest count.
        low_bits: (C,) uint8 number of low bits of a column by the count of the row.
        scales: (M,) uint8 code of the factor of each row.
        factors: (256,) float32 factor of each of these codes.
        levels: (2^bits,) float32 value of each code.
        bits: bits of a code, at most 8.
        n_columns: N.
    """

    stream: UInt8Array
    starts: Int64Array
    counts: NDArray[Any]
    sizes: Int32Array
    low_bits: UInt8Array
    scales: UInt8Array
    factors: Float32Array
    levels: Float32Array
    bits: int
    n_columns: int


def count_packed_bytes(max_count: int, bits: int, n_columns: int) -> tuple[Int32Array, UInt8Array]:
    """Bytes of a row with 0 … ``max_count`` entries, (C,) int32, and the low bits of its columns, (C,) uint8."""
    counts = np.arange(max_count + 1)
    # The size is least for N / c, rounded down to a power of two.
    low = np.log2(np.maximum(1, n_columns // np.maximum(1, counts)) + 0.5).astype(np.int64)
    high = counts + (max(0, n_columns - 1) >> low) + 1
    sizes = np.where(counts > 0, (high + counts * (low + bits) + 7) // 8, 0)
    return sizes.astype(np.int32), low.astype(np.uint8)


def fill_packed_rows(matrix: CSR, codes: UInt8Array, packed: PackedRows) -> None:
    """Write the columns of ``matrix`` and the code of each entry into ``packed.stream``, zeros on entry. O(entries)."""
    starts, columns, _ = csr_arrays(matrix)
    _fill_rows.parallel(starts, columns, codes, packed)


def unpack_rows(packed: PackedRows, rows: Int64Array, indptr: Int64Array) -> tuple[Int32Array, Float32Array]:
    """Columns and values of ``rows`` (R,), one after the other; row r of them has the entries ``indptr[r]`` on. O(entries)."""
    columns, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
    (_unpack_rows.serial if len(rows) < MIN_ROWS_FOR_THREADS else _unpack_rows.parallel)(
        packed, rows, indptr, columns, values
    )
    return columns, values


def multiply_packed(profile: CSR, packed: PackedRows) -> Float32Array:
    """Profile (B, M) times the packed rows (M, N): (B, N) float32. O(entries of the selected rows + B · N)."""
    scores = np.zeros((profile.shape[0], packed.n_columns), np.float32)
    if scores.size:
        serial = len(scores) < MIN_ROWS_FOR_THREADS
        (_multiply_rows.serial if serial else _multiply_rows.parallel)(*csr_arrays(profile), packed, scores)
    return scores


def select_packed(
    profile: CSR, packed: PackedRows, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
) -> tuple[Int32Array, Float32Array, ItemMask]:
    """The k largest of ``multiply_packed`` without the (B, N) scores: as of the product of sparse matrices.

    The rows that a query selects are read once, about a quarter of the bytes of a CSR matrix, and the next row is
    loaded into the cache while one is added.
    """
    rows, n = profile.shape[0], packed.n_columns
    items = np.full((rows, k), -1, np.int32)
    best = np.full((rows, k), -np.inf, np.float32)
    is_constant = np.ones(rows, np.bool_)
    if rows and n:
        masked = (np.zeros(rows + 1, np.int64), np.zeros(0, np.int32)) if seen is None else csr_arrays(seen)[:2]
        serial = rows < MIN_ROWS_FOR_THREADS
        work = _select_rows.serial if serial else _select_rows.parallel
        workers = 1 if serial else min(rows, numba.get_num_threads())
        work(workers, csr_arrays(profile), packed, masked, mask_array(allowed), (items, best, is_constant))
    return items, best, is_constant


@intrinsic
def _make_load(_context: Any, array: Any, offset: Any) -> Any:  # noqa: ARG001 - the names of its arguments
    """The eight bytes from ``offset`` on as a number, the first one lowest."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(64).as_pointer())
        word = builder.load(pointer, align=1)
        return word if _IS_LITTLE_ENDIAN else builder.bswap(word)

    return types.uint64(array, types.int64), emit


@intrinsic
def _make_prefetch(_context: Any, array: Any, offset: Any) -> Any:  # noqa: ARG001
    """Begin to load the cache line of a byte."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), _BYTE.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), _INT, _INT, _INT])
        function = builder.module.declare_intrinsic("llvm.prefetch", [_BYTE.as_pointer()], kind)
        # For reading, to be kept in all levels, as data.
        builder.call(function, [pointer, _INT(0), _INT(3), _INT(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), emit


_load_word: Callable[[Any, Any], Any] = _make_load  # type: ignore[assignment]  # numba calls it, not Python
_prefetch: Callable[[Any, Any], None] = _make_prefetch  # type: ignore[assignment]


@numba.njit(cache=True, nogil=True)
def _find_row(row, packed):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """First byte of a row."""
    group = row // GROUP_ROWS
    at = packed.starts[group]
    for before in range(group * GROUP_ROWS, row):
        at += packed.sizes[packed.counts[before]]
    return at


@numba.njit(cache=True, nogil=True)
def _add_row(at, count, packed, factor, sums, has_entry):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Add ``factor`` times the row at byte ``at`` to the sums. ``has_entry`` may be empty."""
    stream, levels = packed.stream, packed.levels
    low, bits = np.uint64(packed.low_bits[count]), np.uint64(packed.bits)
    width = low + bits
    pair_mask, low_mask = (np.uint64(1) << width) - np.uint64(1), (np.uint64(1) << low) - np.uint64(1)
    pair = np.uint64(at) * np.uint64(8) + np.uint64(count + ((packed.n_columns - 1) >> np.int64(low)) + 1)
    found, base = 0, np.int64(0)
    while found < count:
        word = _load_word(stream, at)
        # The bits after the last column are the first pairs.
        while word != np.uint64(0) and found < count:
            high = base + lowest_set_bit(word) - found
            word &= word - np.uint64(1)
            both = (_load_word(stream, np.int64(pair >> np.uint64(3))) >> (pair & np.uint64(7))) & pair_mask
            column = (np.uint64(high) << low) | (both & low_mask)
            sums[column] += factor * levels[both >> low]
            if len(has_entry):
                has_entry[column >> np.uint64(6)] = True
            pair += width
            found += 1
        base += 64
        at += 8


@numba.njit(cache=True, nogil=True)
def _add_rows(first, last, columns, data, packed, sums, has_entry):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Add the rows of the entries ``first`` to ``last`` of a profile to the sums."""
    at = _find_row(columns[first], packed) if last > first else 0
    for entry in range(first, last):
        row, here = columns[entry], at
        if entry + 1 < last:
            at = _find_row(columns[entry + 1], packed)
            for line in range(at, at + packed.sizes[packed.counts[columns[entry + 1]]], _LINE):
                _prefetch(packed.stream, line)
        _add_row(
            here,
            np.int64(packed.counts[row]),
            packed,
            data[entry] * packed.factors[packed.scales[row]],
            sums,
            has_entry,
        )


@compile_serial_and_parallel
def _multiply_rows(starts, columns, data, packed, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for row in numba.prange(len(out)):
        _add_rows(starts[row], starts[row + 1], columns, data, packed, out[row], np.zeros(0, np.bool_))


@numba.njit(cache=True, nogil=True)
def _select_rows_of_worker(worker, workers, profile, packed, masked, mask, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Every ``workers``-th row, from row ``worker`` on."""
    starts, columns, data = profile
    n = packed.n_columns
    sums, has_entry = np.zeros(n, np.float32), np.zeros(n // COLUMN_BLOCK + 1, np.bool_)
    for row in range(worker, len(starts) - 1, workers):
        _add_rows(starts[row], starts[row + 1], columns, data, packed, sums, has_entry)
        select_from_sums(row, sums, has_entry, masked, mask, lists)


@compile_serial_and_parallel
def _select_rows(workers, profile, packed, masked, mask, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for worker in numba.prange(workers):
        _select_rows_of_worker(worker, workers, profile, packed, masked, mask, lists)


@compile_serial_and_parallel
def _unpack_rows(packed, rows, indptr, columns, values):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for each in numba.prange(len(rows)):
        at, count = _find_row(rows[each], packed), indptr[each + 1] - indptr[each]
        low = np.uint64(packed.low_bits[count])
        width = low + np.uint64(packed.bits)
        pair = np.uint64(at) * np.uint64(8) + np.uint64(count + ((packed.n_columns - 1) >> np.int64(low)) + 1)
        found, base = np.int64(0), np.int64(0)
        while found < count:
            word = _load_word(packed.stream, at)
            while word != np.uint64(0) and found < count:
                high = base + lowest_set_bit(word) - found
                word &= word - np.uint64(1)
                both = _load_word(packed.stream, np.int64(pair >> np.uint64(3))) >> (pair & np.uint64(7))
                both &= (np.uint64(1) << width) - np.uint64(1)
                columns[indptr[each] + found] = (np.uint64(high) << low) | (
                    both & ((np.uint64(1) << low) - np.uint64(1))
                )
                values[indptr[each] + found] = packed.factors[packed.scales[rows[each]]] * packed.levels[both >> low]
                pair += width
                found += 1
            base += 64
            at += 8


@compile_serial_and_parallel
def _fill_rows(starts, columns, codes, packed):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    stream = packed.stream
    for row in numba.prange(len(starts) - 1):
        count = starts[row + 1] - starts[row]
        low = np.int64(packed.low_bits[count])
        high_bit = _find_row(row, packed) * 8
        pair = high_bit + count + ((packed.n_columns - 1) >> low) + 1
        for found in range(count):
            column, code = columns[starts[row] + found], codes[starts[row] + found]
            bit = high_bit + (column >> low) + found
            stream[bit >> 3] |= np.uint8(1 << (bit & 7))
            both = (column & ((1 << low) - 1)) | (np.int64(code) << low)
            for each in range(low + packed.bits):
                stream[pair >> 3] |= np.uint8(((both >> each) & 1) << (pair & 7))
                pair += 1
