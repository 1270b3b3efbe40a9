"""Selection of the k largest positive values in column order, by bisection of a threshold: no heap, no sort.

The bit pattern of a positive float, read as an integer, grows with the float, so the k-th largest value is found by
bisecting a range of integers. Each step counts the values above the middle, sixteen per instruction, and most searches
end after a dozen steps, once exactly k values lie above.
"""

import numba
import numpy as np

__all__ = ["PAD", "make_selection_buffers", "select_largest"]

# Values are read up to the next multiple of this, past the last one.
PAD = 64
# Bisection steps before the bounds move to existing values.
_BISECTIONS = 8
# De Bruijn sequence: the product of a word with one set bit and this number has one of 64 patterns in its upper six bits.
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_SMALLEST = np.finfo(np.float32).smallest_subnormal
_BIT_POSITIONS = np.zeros(64, np.uint32)
for _position in range(64):
    _BIT_POSITIONS[((int(_DE_BRUIJN) << _position) & (2**64 - 1)) >> 58] = _position


@numba.njit(cache=True, nogil=True)
def make_selection_buffers(n_columns):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Buffers of one thread for ``select_largest``: 8.3 bytes per column."""
    words = n_columns // 64 + 1
    return (
        np.zeros(words, np.uint64),
        np.zeros(words, np.uint64),
        np.zeros(words // 64 + 1, np.uint64),
        np.empty(n_columns, np.float32),
        np.empty(1, np.float32),
        np.empty(n_columns + 1, np.uint32),
    )


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})
def _count_above(values, floor):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    # Counted in float32, the width of the values, so that it is vectorized; in chunks, so that each count is exact.
    total = 0
    for start in range(0, len(values), 1 << 20):
        part = values[start : start + (1 << 20)]
        above = np.float32(0)
        for at in range(len(part)):
            above += np.float32(1) if part[at] > floor else np.float32(0)
        total += int(above)
    return total


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nnan", "nsz"})
def _largest_up_to(values, limit):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """The largest value up to the limit, at least 0."""
    largest = np.float32(0)
    for at in range(len(values)):
        largest = max(largest, values[at] if values[at] <= limit else np.float32(0))
    return largest


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nnan", "nsz"})
def _smallest_above(values, floor):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """The smallest value above the floor."""
    smallest = np.float32(np.inf)
    for at in range(len(values)):
        smallest = min(smallest, values[at] if values[at] > floor else np.float32(np.inf))
    return smallest


@numba.njit(cache=True, nogil=True)
def _find_threshold(values, k, floats):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """A threshold and a number m: the k largest are all values above the threshold and m of those equal to it.

    At most 32 steps of O(n). ``floats`` is a buffer of one number.
    """
    if _count_above(values, np.float32(0)) <= k:
        return np.float32(0), 0
    bits = floats.view(np.int32)
    floats[0] = _largest_up_to(values, np.float32(np.inf))
    # More than k values lie above ``low``; ``n_above``, at most k, above ``high``. First guess: a 256th of the largest.
    low, high, n_above, steps = np.int64(0), np.int64(bits[0]), 0, 0
    middle = max(np.int64(1), high - (8 << 23))
    while high - low > 1:
        bits[0] = middle
        above = _count_above(values, floats[0])
        steps += 1
        if above > k:
            # Long searches end at equal values, so from here on the bounds move to existing values.
            if steps > _BISECTIONS:
                floats[0] = _smallest_above(values, floats[0])
            low = np.int64(bits[0]) - (steps > _BISECTIONS)
        else:
            if steps > _BISECTIONS:
                floats[0] = _largest_up_to(values, floats[0])
            high, n_above = np.int64(bits[0]), above
            if above == k:
                break
        middle = (low + high) // 2
    bits[0] = high
    return floats[0], k - n_above


@numba.njit(cache=True, nogil=True)
def select_largest(values, n, ids, names, items, kept, buffers):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write the k largest values above 0 and their columns, in column order; ties go to the first columns.

    Time O(n) for each of at most 32 steps, most of them vectorized, and O(k + N / 4096).

    Args:
        values: (n + PAD,) float32 without NaN; overwritten.
        n: number of values.
        ids: (n,) uint32 id of each value; ids of positive values are distinct.
        names: (N,) uint32 column of each id.
        items: (k,) int32 output: columns; unchanged past the end.
        kept: (k,) float32 output: their values; unchanged past the end.
        buffers: ``make_selection_buffers(N)``.

    Returns:
        Number of columns written.
    """
    padded = -(-n // PAD) * PAD
    values[n:padded] = 0
    floor, equal = _find_threshold(values[:padded], len(items), buffers[4])
    m = _compact_candidates(values, n, ids, names, floor, buffers[5])
    return _write_by_column(values[:m], buffers[5], floor, equal, items, kept, buffers)


@numba.njit(cache=True, nogil=True)
def _compact_candidates(values, n, ids, names, floor, columns):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Move values that are positive and at least the floor to the front. Returns their number.

    Each value is written and counted only if it stays, so the loop has no branch.
    """
    floor, m = max(floor, _SMALLEST), 0
    for at in range(n):
        value = values[at]
        columns[m], values[m] = names[ids[at]], value
        m += value >= floor
    return m


@numba.njit(cache=True, nogil=True)
def _write_by_column(values, columns, floor, equal, items, kept, buffers):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Set a bit for each kept column and read the bits in order."""
    above_floor, ties, pages, strip = buffers[0], buffers[1], buffers[2], buffers[3]
    for at in range(len(values)):
        column, value = columns[at], values[at]
        strip[column] = value
        bit = np.uint64(1) << np.uint64(column & np.uint32(63))
        word = column >> np.uint32(6)
        if value > floor:
            above_floor[word] |= bit
        else:
            ties[word] |= bit
        pages[word >> np.uint32(6)] |= np.uint64(1) << np.uint64(word & np.uint32(63))
    written = 0
    for page in range(len(pages)):
        words, pages[page] = pages[page], np.uint64(0)
        while words != 0:
            word = np.uint32(page * 64) + _lowest_bit(words)
            words &= words - np.uint64(1)
            bits, tied = above_floor[word], ties[word]
            above_floor[word] = ties[word] = 0
            while tied != 0 and equal > 0:
                bits |= tied & (~tied + np.uint64(1))
                tied &= tied - np.uint64(1)
                equal -= 1
            while bits != 0 and written < len(items):
                column = word * np.uint32(64) + _lowest_bit(bits)
                bits &= bits - np.uint64(1)
                items[written], kept[written] = column, strip[column]
                written += 1
    return written


@numba.njit(cache=True, nogil=True)
def _lowest_bit(bits):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Position of the lowest set bit of a nonzero word."""
    return _BIT_POSITIONS[((bits & (~bits + np.uint64(1))) * _DE_BRUIJN) >> np.uint64(58)]
