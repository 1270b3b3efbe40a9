"""The k largest of many positive numbers, in the order of their columns: no heap, no sort.

The bits of a positive float grow with it, so the k-th largest is found by halving a range of whole numbers. Each
step counts what lies above the middle, sixteen numbers to an instruction, and most searches end after a dozen
steps, once exactly k lie above.
"""

import numba
import numpy as np
import scipy.sparse as sp

from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["PAD", "lists_to_csr", "select_largest", "make_selection_buffers", "indptr_from_counts"]

# Values are read up to the next multiple of this, past the last of them.
PAD = 64
# Halvings before a search looks at which values are left.
_BLIND = 8
# The place of the only bit of a word: its product with this number shows one of 64 patterns in the highest bits.
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_SMALLEST = np.finfo(np.float32).smallest_subnormal
_PLACES = np.zeros(64, np.uint32)
for _place in range(64):
    _PLACES[((int(_DE_BRUIJN) << _place) & (2**64 - 1)) >> 58] = _place


@numba.njit(cache=True, nogil=True)
def make_selection_buffers(n_columns):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Scratch of one thread for ``select_largest``: 8.3 bytes a column."""
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
    # Counted in floats, which fill vector registers as the values do; in chunks, so that each count is exact.
    total = 0
    for start in range(0, len(values), 1 << 20):
        part = values[start : start + (1 << 20)]
        above = np.float32(0)
        for place in range(len(part)):
            above += np.float32(1) if part[place] > floor else np.float32(0)
        total += int(above)
    return total


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nnan", "nsz"})
def _most(values, limit):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """The largest value that is not above the limit, at least 0."""
    most = np.float32(0)
    for place in range(len(values)):
        most = max(most, values[place] if values[place] <= limit else np.float32(0))
    return most


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nnan", "nsz"})
def _least(values, floor):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """The smallest value above the floor."""
    least = np.float32(np.inf)
    for place in range(len(values)):
        least = min(least, values[place] if values[place] > floor else np.float32(np.inf))
    return least


@numba.njit(cache=True, nogil=True)
def _cut(values, k, floats):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """A floor and a number m: the k largest are all values above the floor and m of those equal to it.

    At most 32 steps of O(n). ``floats`` is scratch of one number.
    """
    if _count_above(values, np.float32(0)) <= k:
        return np.float32(0), 0
    bits = floats.view(np.int32)
    floats[0] = _most(values, np.float32(np.inf))
    # More than k lie above ``low``, at most k above ``high``: ``over`` of them. The first guess is a 256th of the largest.
    low, high, over, steps = np.int64(0), np.int64(bits[0]), 0, 0
    middle = max(np.int64(1), high - (8 << 23))
    while high - low > 1:
        bits[0] = middle
        above = _count_above(values, floats[0])
        steps += 1
        if above > k:
            # Long searches end at equal values: from here on the bounds move to values that are there.
            if steps > _BLIND:
                floats[0] = _least(values, floats[0])
            low = np.int64(bits[0]) - (steps > _BLIND)
        else:
            if steps > _BLIND:
                floats[0] = _most(values, floats[0])
            high, over = np.int64(bits[0]), above
            if above == k:
                break
        middle = (low + high) // 2
    bits[0] = high
    return floats[0], k - over


@numba.njit(cache=True, nogil=True)
def select_largest(values, n, ids, names, items, kept, picker):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write the k largest values above 0 and their columns, by column; of equal values those of the first columns.

    Time O(n) for each of at most 32 steps, most of them vectorised, and O(k + N / 4096).

    Args:
        values: (n + PAD,) float32, none of them NaN; overwritten.
        n: number of values.
        ids: (n,) uint32 what the values belong to; one with a value above 0 comes once.
        names: (N,) uint32 the column of each id.
        items: (k,) int32 columns kept, and
        kept: (k,) float32 their values: written; left as they are past the end.
        picker: ``make_selection_buffers(N)``.

    Returns:
        How many were written.
    """
    padded = -(-n // PAD) * PAD
    values[n:padded] = 0
    floor, equal = _cut(values[:padded], len(items), picker[4])
    m = _compact(values, n, ids, names, floor, picker[5])
    return _spread(values[:m], picker[5], floor, equal, items, kept, picker)


@numba.njit(cache=True, nogil=True)
def _compact(values, n, ids, names, floor, columns):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Move what is not below the floor, nor 0, to the front; return how many. Written always, counted if it stays."""
    floor, m = max(floor, _SMALLEST), 0
    for at in range(n):
        value = values[at]
        columns[m], values[m] = names[ids[at]], value
        m += value >= floor
    return m


@numba.njit(cache=True, nogil=True)
def _spread(values, columns, floor, equal, items, kept, picker):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Set a bit for each column that is kept and read the bits in their order."""
    sure, ties, pages, strip = picker[0], picker[1], picker[2], picker[3]
    for at in range(len(values)):
        column, value = columns[at], values[at]
        strip[column] = value
        bit = np.uint64(1) << np.uint64(column & np.uint32(63))
        word = column >> np.uint32(6)
        if value > floor:
            sure[word] |= bit
        else:
            ties[word] |= bit
        pages[word >> np.uint32(6)] |= np.uint64(1) << np.uint64(word & np.uint32(63))
    written = 0
    for page in range(len(pages)):
        words, pages[page] = pages[page], np.uint64(0)
        while words != 0:
            word = np.uint32(page * 64) + _lowest(words)
            words &= words - np.uint64(1)
            bits, maybe = sure[word], ties[word]
            sure[word] = ties[word] = 0
            while maybe != 0 and equal > 0:
                bits |= maybe & (~maybe + np.uint64(1))
                maybe &= maybe - np.uint64(1)
                equal -= 1
            while bits != 0 and written < len(items):
                column = word * np.uint32(64) + _lowest(bits)
                bits &= bits - np.uint64(1)
                items[written], kept[written] = column, strip[column]
                written += 1
    return written


@numba.njit(cache=True, nogil=True)
def _lowest(bits):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """The place of the lowest bit of a word that has one."""
    return _PLACES[((bits & (~bits + np.uint64(1))) * _DE_BRUIJN) >> np.uint64(58)]


def indptr_from_counts(counts: np.ndarray) -> np.ndarray:
    """(B + 1,) where each row begins; 32 bits where they do, since SciPy widens the columns to the type of these."""
    starts = np.concatenate([[0], np.cumsum(counts)])
    return starts.astype(np.int32) if starts[-1] < 2**31 else starts


def lists_to_csr(items: Int32Array, values: Float32Array, counts: Int64Array, n_columns: int) -> CSR:
    """(B, n_columns) from lists (B, k) of which row b holds ``counts[b]``, columns ascending. O(B · k)."""
    indptr = indptr_from_counts(counts)
    columns, data = items.ravel(), values.ravel()
    if indptr[-1] < items.size:
        columns, data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
        _join(items, values, indptr, columns, data)
    matrix = sp.csr_array((data, columns, indptr), shape=(len(items), n_columns))
    # Known, so that nobody has to look.
    matrix.has_canonical_format = True
    return matrix


@numba.njit(cache=True, nogil=True)
def _join(items: Int32Array, values: Float32Array, indptr: Int64Array, columns: Int32Array, data: Float32Array) -> None:
    for row in range(len(items)):
        start, count = indptr[row], indptr[row + 1] - indptr[row]
        columns[start : start + count] = items[row, :count]
        data[start : start + count] = values[row, :count]
