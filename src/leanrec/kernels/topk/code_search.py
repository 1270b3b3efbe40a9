"""Exact search over packed codes: integer bounds rule out most rows, and only the others are scored in float32."""

import dataclasses
from typing import Any

import numba
import numpy as np

from leanrec.kernels.threads import run_in_threads
from leanrec.kernels.topk.code_products import (
    BLOCK_ROWS,
    block_scores_1x1,
    block_scores_1x2,
    block_scores_1x3,
    block_scores_1x4,
    block_scores_4x8,
    strip_scores_1,
    strip_scores_2,
    strip_scores_3,
    strip_scores_4,
)
from leanrec.kernels.topk.code_strips import (
    FIRST_BITS,
    STRIP_ROWS,
    CodeArray,
    allocate_strips,
    pack_codes,
    read_codes,
    unpack_codes,
    unpack_strips,
)
from leanrec.kernels.topk.selection import (
    ItemMask,
    empty_lists,
    fill_zero_queries,
    is_allowed,
    mask_array,
    ranks_below,
    row_entries,
    sift_down,
    sort_heap,
    top_k,
)
from leanrec.kernels.topk.simd import element_pointer, lowest_set_bit
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["TILE_ROWS", "CodeRows", "bound_tiles"]

# Rows that share bounds, and that are unpacked at once: 64 kB of bytes at 64 dimensions.
TILE_ROWS = 1024
_TILE_STRIPS, _TILE_BLOCKS = TILE_ROWS // STRIP_ROWS, TILE_ROWS // BLOCK_ROWS
_BLOCK_QUERIES = 256
# Queries that are searched together unpack each tile once; fewer read packed codes where they can.
_MIN_QUERIES_TOGETHER = 4
# Below this share of allowed items, only their codes are scored.
_MIN_SHARE_ALLOWED = 0.1
_MIN_STEP = 1e-38
# Candidates of a query that wait for their float32 scores.
_CAPACITY = 1024
_NO_TILE = np.zeros((0, 0, STRIP_ROWS), np.uint32)
# Columns of ``tiles``.
_FIRST_NORM, _REST_NORM, _CODE_NORM, _ERROR, _LENGTH = range(5)

Float64Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Int8Array = np.ndarray[tuple[int, ...], np.dtype[np.int8]]
UInt16Array = np.ndarray[tuple[int, ...], np.dtype[np.uint16]]
UInt32Array = np.ndarray[tuple[int, ...], np.dtype[np.uint32]]
UInt64Array = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]
Float16Array = np.ndarray[tuple[int], np.dtype[np.float16]]

# Functions that are called for each row that is looked at and allocate nothing: counting references to their arguments
# would take more time than they do.
_njit_without_counts: Any = numba.njit(cache=True, nogil=True, _nrt=False)  # type: ignore[call-overload]  # not in its types


@dataclasses.dataclass(frozen=True, eq=False)
class CodeRows:
    """Vectors as packed codes: row i is steps[i] · (codes[i] − offset).

    A search quantizes the queries to 8 bits and bounds what that loses, so integer products rule out most rows; the others
    are scored in float32. Lists and scores are those of the float32 products with the decoded vectors. Codes of five to
    eight bits are first read by their upper four bits, and the rest of a row only where these leave it open.

    Attributes:
        first: (S, G, 16, 4) uint8, see ``pack_codes``.
        rest: (S, H, 16, 4) uint8.
        steps: (N,) float16, at least 0.
        tiles: (T, 5) float64 for each 1,024 rows, see ``bound_tiles``.
        bits: bits of a code.
        offset: the code of 0.
        n_dims: D.
    """

    first: CodeArray
    rest: CodeArray
    steps: Float16Array
    tiles: Float64Array
    bits: int
    offset: float
    n_dims: int

    @classmethod
    def build(
        cls,
        codes: CodeArray,
        steps: Float16Array,
        bits: int,
        offset: float,
        original: Float32Array | None = None,
        order: Int32Array | None = None,
    ) -> "CodeRows":
        """Pack (N, D) uint8 codes. O(N · D).

        With the ``original`` vectors (N, D), answers can be certified; row i was vector ``order[i]``, or vector i.
        """
        packed, n_dims = pack_codes(codes, bits), codes.shape[1]
        tiles = bound_tiles(*packed, steps, bits, offset, n_dims, original, order)
        return cls(*packed, steps, tiles, bits, offset, n_dims)

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.first.nbytes + self.rest.nbytes + self.steps.nbytes + self.tiles.nbytes

    def decode(self, rows: Int64Array) -> Float32Array:
        """The vectors (K, D) of K rows."""
        codes = unpack_codes(self.first, self.rest, self.bits, self.n_dims, rows)
        steps = self.steps[rows].astype(np.float32)[:, None]
        return (codes - np.float32(self.offset)) * steps

    def score(self, Q: Float32Array, rows: Int64Array | None = None) -> Float32Array:
        """Scores (B, K) of K rows, or (B, N) of all, in float32; 1,024 rows are decoded at a time."""
        wanted = np.arange(len(self)) if rows is None else np.asarray(rows)
        scores = np.empty((len(Q), len(wanted)), np.float32)
        for start in range(0, len(wanted), TILE_ROWS):
            part = self.decode(wanted[start : start + TILE_ROWS])
            scores[:, start : start + len(part)] = Q @ part.T
        return scores

    def top_k(
        self, Q: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """The k best rows of each query, best first; equal scores in the order of the rows. As ``top_k_dot``."""
        Q = np.ascontiguousarray(Q, dtype=np.float32)
        if not np.isfinite(Q).all():
            return top_k(self.score(Q), k, seen=seen, allowed=allowed)
        if allowed is not None and np.count_nonzero(allowed) < _MIN_SHARE_ALLOWED * len(allowed):
            kept = np.flatnonzero(allowed).astype(np.int32)
            few, best = top_k(self.score(Q, kept.astype(np.int64)), k, seen=None if seen is None else seen[:, kept])
            return np.where(few >= 0, np.append(kept, np.int32(-1))[few], np.int32(-1)), best
        none = np.zeros((0, self.n_dims), np.float32)
        return search_codes(self, Q, k, none, np.zeros(0, np.int32), seen, allowed)[:2]

    def certify_top_k(
        self, Q: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
    ) -> tuple[Int32Array, Float32Array, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        """``top_k``, and (B,) whether the k rows are provably the best k of the vectors before they were coded."""
        Q = np.ascontiguousarray(Q, dtype=np.float32)
        none = np.zeros((0, self.n_dims), np.float32)
        items, scores, counts = search_codes(self, Q, k, none, np.zeros(0, np.int32), seen, allowed, certify=True)
        return items, scores, counts[:, 0] <= k


def search_codes(
    rows: CodeRows,
    Q: Float32Array,
    k: int,
    V: Float32Array,
    order: Int32Array,
    seen: CSR | None,
    allowed: ItemMask | None,
    *,
    certify: bool = False,
    original: Float32Array | None = None,
) -> tuple[Int32Array, Float32Array, Int64Array]:
    """Search codes; what the bounds leave open is scored by ``V`` (N, D) where it has rows, by the decoded codes else.

    Args:
        rows: the codes.
        Q: (B, D) float32, finite.
        k: length of the lists.
        V: (N, D) float32 vectors before they were coded, or (0, D).
        order: (N,) int32 item of each row, longest vector first; empty where row i is item i.
        seen: (B, N) entries to leave out.
        allowed: (N,) items that may be chosen.
        certify: bounds hold for the vectors before they were coded, too.
        original: (B, D) float32 queries in the axes of ``V``, where the codes have others; None = ``Q``.

    Returns:
        items (B, k) and scores (B, k) as ``top_k_dot``; counts (B, 2) int64: candidates that the bounds left open, and those
        of them that were scored in float32.
    """
    items, best = empty_lists(len(Q), k)
    counts = np.zeros((len(Q), 2), np.int64)
    if not k or not len(Q) or not len(rows):
        return items, best, counts
    starts, columns = row_entries(seen, len(Q))
    together = len(Q) >= _MIN_QUERIES_TOGETHER
    # A single query runs on the calling thread: waiting for other threads is slow on a busy machine.
    size = min(_BLOCK_QUERIES, max(_MIN_QUERIES_TOGETHER, -(-len(Q) // numba.get_num_threads()))) if together else 1
    arrays = (rows.first, rows.rest, rows.steps.view(np.uint16), rows.tiles, rows.offset, rows.bits, order, V)
    exact = Q if original is None else original
    rules = (certify or len(V) > 0, exact, items, best, counts, starts, columns, mask_array(allowed))

    def work(first_row: int) -> None:
        tile = allocate_strips(_TILE_STRIPS, -(-rows.n_dims // 4)).view(np.uint32)[..., 0] if together else _NO_TILE
        _search_block(Q, first_row, min(first_row + size, len(Q)), *arrays, tile, *rules)

    blocks = range(0, len(Q), size)
    if together:
        run_in_threads(work, blocks)
    else:
        for first_row in blocks:
            work(first_row)
    return items, best, counts


@numba.njit(cache=True, nogil=True)
def _quantize_queries(Q: Float32Array, rows: int, width: int) -> tuple[Int8Array, Int64Array, Float64Array]:
    """Codes (R, width) int8 of at most R queries; their sums (R,); bounds (R, 3).

    Bounds of a query: quantization step, norm of the rounding error, norm.
    """
    codes, totals, bounds = np.zeros((rows, width), np.int8), np.zeros(rows, np.int64), np.zeros((rows, 3))
    for row in range(len(Q)):
        largest = np.float64(0)
        for d in range(Q.shape[1]):
            largest = max(largest, abs(np.float64(Q[row, d])))
        step = max(largest / 127, _MIN_STEP)
        error, length = 0.0, 0.0
        for d in range(Q.shape[1]):
            exact = np.float64(Q[row, d])
            whole = np.rint(exact / step)
            codes[row, d] = np.int8(whole)
            totals[row] += np.int64(whole)
            error += (exact - whole * step) ** 2
            length += exact**2
        bounds[row, 0], bounds[row, 1], bounds[row, 2] = step, np.sqrt(error), np.sqrt(length)
    return codes, totals, bounds


@numba.njit(cache=True, nogil=True)
def _search_block(  # noqa: C901, PLR0915  # one loop, whose arrays would be counted at each call of a part of it
    Q: Float32Array,
    first_query: int,
    last_query: int,
    first: CodeArray,
    rest: CodeArray,
    steps: UInt16Array,
    tiles: Float64Array,
    offset: float,
    bits: int,
    order: Int32Array,
    V: Float32Array,
    unpacked: UInt32Array,
    is_original: bool,
    original: Float32Array,
    items: Int32Array,
    best: Float32Array,
    counts: Int64Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: ItemMask,
) -> None:
    """Fill the lists of the queries ``first_query`` to ``last_query``, on the calling thread.

    A list of lower bounds, ``heap``, says what upper bound a row must reach. Rows that do wait in ``places``.
    """
    Q, starts = Q[first_query:last_query], starts[first_query : last_query + 1]
    original = original[first_query:last_query]
    items, best, counts = items[first_query:last_query], best[first_query:last_query], counts[first_query:last_query]
    n_queries, k, together = len(Q), items.shape[1], len(unpacked) > 0
    # Bits of the codes that are read first, and those that are read where a bound leaves a row open.
    width, shift = (8, 0) if together else (min(bits, 4), max(bits - 4, 0))
    rows, dims = (4 * (-(-n_queries // 4)), 4 * unpacked.shape[1]) if together else (1, 32 * (-(-Q.shape[1] // 32)))
    codes, totals, bounds = _quantize_queries(Q, rows, dims)
    first_words, rest_words = first.view(np.uint32)[:, :, :, 0], rest.view(np.uint32)[:, :, :, 0]
    heap_items, heap = np.full((n_queries, k), -1, np.int32), np.full((n_queries, k), -np.inf, np.float32)
    places, uppers = np.empty((n_queries, _CAPACITY), np.int32), np.empty((n_queries, _CAPACITY))
    n_found = np.zeros(n_queries, np.int64)
    # Of each query: the smallest score that matters, the start of its sums, and the bounds of a score before and after
    # the rest of the code is read, in units of the step of the row.
    floors, base, slacks = np.empty(len(codes), np.float32), np.zeros(len(codes), np.int32), np.zeros((len(codes), 2))
    scores, words = np.empty((4, BLOCK_ROWS), np.float32), np.zeros(4, np.uint64)
    hits, hit_bounds = np.empty(BLOCK_ROWS, np.int32), np.empty((BLOCK_ROWS, 2))
    rest_scores, settings = np.empty(STRIP_ROWS, np.float32), np.ones(STRIP_ROWS + 2, np.float32)
    settings[STRIP_ROWS], settings[STRIP_ROWS + 1] = 0, -np.inf
    rest_word = np.empty(1, np.uint64)
    tile_steps = np.empty(TILE_ROWS, np.float32)
    padded = np.zeros((4, first.shape[1], STRIP_ROWS, 1), np.uint32)[:, :, :, 0]
    padded_rest = np.zeros((4, rest.shape[1], STRIP_ROWS, 1), np.uint32)[:, :, :, 0]
    fill_zero_queries(bounds[:, 2], len(steps), items, best, starts, columns, mask)
    for tile in range(len(tiles)):
        if not _start_tile(
            floors, base, slacks, heap, totals, bounds, tiles[tile], offset, shift, is_original, Q.shape[1]
        ):
            if len(order):
                break
            continue
        start, n_rows = tile * TILE_ROWS, min(TILE_ROWS, len(steps) - tile * TILE_ROWS)
        _load_steps(steps[start : start + n_rows], np.float64(1 << shift), tile_steps)
        strip, n_strips = tile * _TILE_STRIPS, -(-n_rows // STRIP_ROWS)
        if together:
            unpack_strips(first_words, rest_words, bits, strip, strip + n_strips, unpacked)
        n_blocks, block, query = -(-n_strips // 4), 0, 0
        source, first_strip, stop = (unpacked, 0, n_blocks) if together else (first_words, strip, n_strips // 4)
        source_rest = rest_words
        while block < n_blocks:
            if block == stop:
                # A call reads four strips, also where the array has fewer.
                padded[: n_strips % 4] = first_words[strip + block * 4 : strip + n_strips]
                padded_rest[: n_strips % 4] = rest_words[strip + block * 4 : strip + n_strips]
                source, source_rest, first_strip, stop = padded, padded_rest, -4 * block, n_blocks
            block, query = _find_hit(
                source,
                source_rest,
                width,
                first_strip,
                block,
                stop,
                codes,
                query,
                base,
                tile_steps,
                floors,
                scores,
                words,
            )
            for at in range(4 if query else 0):
                row = query - 4 + at
                if not words[at]:
                    continue
                n_hits = _bound_hits(
                    words[at],
                    scores,
                    at,
                    base[row],
                    slacks[row, 1],
                    offset * totals[row],
                    shift,
                    block,
                    start,
                    n_rows,
                    tile_steps,
                    rest_words,
                    bits,
                    codes,
                    Q.shape[1],
                    rest_scores,
                    settings,
                    rest_word,
                    hits,
                    hit_bounds,
                )
                if n_found[row] + n_hits > _CAPACITY:
                    _keep_open(places, uppers, row, n_found, heap[row, 0])
                    if n_found[row] + n_hits > _CAPACITY:
                        _score_found(
                            row,
                            Q,
                            bounds,
                            first,
                            rest,
                            steps,
                            offset,
                            bits,
                            order,
                            V,
                            original,
                            places,
                            uppers,
                            n_found,
                            items,
                            best,
                            counts,
                        )
                _note_hits(
                    row,
                    n_hits,
                    hits,
                    hit_bounds,
                    order,
                    starts,
                    columns,
                    mask,
                    heap_items,
                    heap,
                    places,
                    uppers,
                    n_found,
                )
                floors[row] = _floor_of(heap[row, 0])
    for row in range(n_queries):
        _keep_open(places, uppers, row, n_found, heap[row, 0])
        _score_found(
            row,
            Q,
            bounds,
            first,
            rest,
            steps,
            offset,
            bits,
            order,
            V,
            original,
            places,
            uppers,
            n_found,
            items,
            best,
            counts,
        )
        sort_heap(items[row], best[row])


@_njit_without_counts
def _find_hit(
    source: UInt32Array,
    rest: UInt32Array,
    width: int,
    strip: int,
    block: int,
    n_blocks: int,
    codes: Int8Array,
    query: int,
    base: Int32Array,
    steps: Float32Array,
    floors: Float32Array,
    scores: Float32Array,
    words: UInt64Array,
) -> tuple[int, int]:
    """Score blocks of codes of ``width`` bits for queries, from ``query`` on in the first, until a score reaches its floor.

    Returns:
        The block, and the query after those that were scored last; all blocks and 0 where no score reaches its floor.
    """
    groups, others = source.shape[1], rest.shape[1]
    stride = groups * STRIP_ROWS * 4
    out, bits = element_pointer(scores, 0), element_pointer(words, 0)
    while block < n_blocks:
        strips = element_pointer(source, (strip + block * 4) * groups * STRIP_ROWS)
        step = element_pointer(steps, block * BLOCK_ROWS)
        while query < len(codes):
            of_query = element_pointer(codes, query * codes.shape[1])
            begin, floor = element_pointer(base, query), element_pointer(floors, query)
            low = element_pointer(rest, (strip + block * 4) * others * STRIP_ROWS) if width == 3 else strips
            if width == 8:
                hit = block_scores_4x8(strips, stride, low, others, of_query, groups, begin, step, floor, out, bits)
            elif width == 4:
                hit = block_scores_1x4(strips, stride, low, others, of_query, groups, begin, step, floor, out, bits)
            elif width == 3:
                hit = block_scores_1x3(strips, stride, low, others, of_query, groups, begin, step, floor, out, bits)
            elif width == 2:
                hit = block_scores_1x2(strips, stride, low, others, of_query, groups, begin, step, floor, out, bits)
            else:
                hit = block_scores_1x1(strips, stride, low, others, of_query, groups, begin, step, floor, out, bits)
            query += 4
            if hit:
                return block, query
        block, query = block + 1, 0
    return block, 0


@_njit_without_counts
def _bound_hits(
    word: np.uint64,
    scores: Float32Array,
    at: int,
    base: int,
    slack: float,
    of_offset: float,
    shift: int,
    block: int,
    start: int,
    n_rows: int,
    steps: Float32Array,
    rest: UInt32Array,
    bits: int,
    codes: Int8Array,
    n_dims: int,
    rest_scores: Float32Array,
    settings: Float32Array,
    rest_word: UInt64Array,
    hits: Int32Array,
    hit_bounds: Float64Array,
) -> int:
    """Bounds of the scores of the rows whose bits are set, from all of their codes. Returns the number of rows."""
    n, summed = 0, -1
    while word:
        row = block * BLOCK_ROWS + lowest_set_bit(word)
        word &= word - np.uint64(1)
        if row >= n_rows:
            break
        step = np.float64(steps[row])
        whole = np.rint(scores[at, row % BLOCK_ROWS] / step) - base if step > 0 else 0.0
        whole = whole * (1 << shift) - of_offset
        if shift:
            if summed != row // STRIP_ROWS:
                summed = row // STRIP_ROWS
                _sum_rest(rest, start // STRIP_ROWS + summed, bits, codes, n_dims, rest_scores, settings, rest_word)
            whole += np.float64(rest_scores[row % STRIP_ROWS])
            step /= 1 << shift
        hits[n], hit_bounds[n, 0], hit_bounds[n, 1] = start + row, (whole - slack) * step, (whole + slack) * step
        n += 1
    return n


@_njit_without_counts
def _note_hits(
    row: int,
    n_hits: int,
    hits: Int32Array,
    hit_bounds: Float64Array,
    order: Int32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: ItemMask,
    heap_items: Int32Array,
    heap: Float32Array,
    places: Int32Array,
    uppers: Float64Array,
    n_found: Int64Array,
) -> None:
    """Note rows as candidates of a query, unless their bounds or the user's rules exclude them."""
    for at in range(n_hits):
        if hit_bounds[at, 1] < heap[row, 0]:
            continue
        item = order[hits[at]] if len(order) else hits[at]
        if not is_allowed(item, columns[starts[row] : starts[row + 1]], mask):
            continue
        places[row, n_found[row]], uppers[row, n_found[row]] = hits[at], hit_bounds[at, 1]
        n_found[row] += 1
        # The lower bound in float32 must not be above that in float64.
        lower = _floor_of(hit_bounds[at, 0])
        if lower > heap[row, 0]:
            heap_items[row, 0], heap[row, 0] = item, lower
            sift_down(heap_items[row], heap[row], 0, heap.shape[1])


@numba.njit(cache=True, nogil=True)
def _floor_of(score: float) -> np.float32:
    """A bound in float32 that rounding cannot lift above the score."""
    return np.float32(score - 1e-6 * abs(score)) if score > -np.inf else np.float32(-np.inf)


@numba.njit(cache=True, nogil=True)
def _load_steps(steps: UInt16Array, power: float, out: Float32Array) -> None:
    """Steps of rows in float32, times ``power``, and 0 after them. They come as the bits of halves: Numba knows none."""
    out[len(steps) :] = 0
    words = out.view(np.uint32)
    for at in range(len(steps)):
        words[at] = np.uint32(steps[at]) << np.uint32(13)
    # The exponent of a half is 112 less than that of a float.
    factor = np.float32(2.0**112 * power)
    for at in range(len(steps)):
        out[at] *= factor


@numba.njit(cache=True, nogil=True)
def _start_tile(
    floors: Float32Array,
    base: Int32Array,
    slacks: Float64Array,
    heap: Float32Array,
    totals: Int64Array,
    bounds: Float64Array,
    tile: Float64Array,
    offset: float,
    shift: int,
    is_original: bool,
    n_dims: int,
) -> bool:
    """Set what the scores of a tile are compared with. Returns whether any list can still change.

    q · v differs from the product of the codes by at most |error(q)| · |decoded v| + |q| · |error(v)|; the margin covers the
    rounding of float32 scores.
    """
    floors[:] = np.inf
    any_open, margin = False, 1e-7 * (n_dims + 8)
    for row in range(len(heap)):
        step, error, length = bounds[row, 0], bounds[row, 1], bounds[row, 2]
        if length == 0 or length * tile[_LENGTH] * (1 + margin) < heap[row, 0] * step:
            continue
        lost = tile[_ERROR] if is_original else 0.0
        slacks[row, 1] = ((error + margin * length) * tile[_CODE_NORM] + length * lost * (1 + margin)) / step
        slacks[row, 0] = slacks[row, 1]
        middle = 0.0
        if shift:
            middle = ((1 << shift) - 1) / 2
            slacks[row, 0] += (error * tile[_FIRST_NORM] + length * tile[_REST_NORM]) / step
        start = np.ceil((slacks[row, 0] + (middle - offset) * totals[row]) / (1 << shift))
        base[row] = np.int32(min(start, 1e9))
        floors[row] = _floor_of(heap[row, 0])
        any_open = True
    return any_open


@_njit_without_counts
def _sum_rest(
    rest: UInt32Array,
    strip: int,
    bits: int,
    codes: Int8Array,
    n_dims: int,
    scores: Float32Array,
    settings: Float32Array,
    word: UInt64Array,
) -> None:
    """Products of one query and the codes of a strip without their first plane: ``scores`` (16,).

    ``settings`` are 16 ones, 0, and minus infinity: steps, base and floor of ``block_scores``.
    """
    query, out, found = element_pointer(codes, 0), element_pointer(scores, 0), element_pointer(word, 0)
    step, begin = element_pointer(settings, 0), element_pointer(settings, STRIP_ROWS)
    floor = element_pointer(settings, STRIP_ROWS + 1)
    groups, others = rest.shape[1], 0
    source = low = element_pointer(rest, strip * groups * STRIP_ROWS)
    if bits == 8:
        strip_scores_4(source, 0, low, others, query, groups, begin, step, floor, out, found)
    elif bits == 7:
        others = -(-n_dims // 32)
        low = element_pointer(rest, (strip * groups + groups - others) * STRIP_ROWS)
        strip_scores_3(source, 0, low, others, query, groups - others, begin, step, floor, out, found)
    elif bits == 6:
        strip_scores_2(source, 0, low, others, query, groups, begin, step, floor, out, found)
    else:
        strip_scores_1(source, 0, low, others, query, groups, begin, step, floor, out, found)


@_njit_without_counts
def _keep_open(places: Int32Array, uppers: Float64Array, row: int, n_found: Int64Array, floor: float) -> None:
    """Move the candidates of a query whose bound reaches the floor to the front, and forget the others."""
    kept = 0
    for at in range(n_found[row]):
        if uppers[row, at] >= floor:
            places[row, kept], uppers[row, kept] = places[row, at], uppers[row, at]
            kept += 1
    n_found[row] = kept


@numba.njit(cache=True, nogil=True)
def _score_found(
    row: int,
    Q: Float32Array,
    bounds: Float64Array,
    first: CodeArray,
    rest: CodeArray,
    steps: UInt16Array,
    offset: float,
    bits: int,
    order: Int32Array,
    V: Float32Array,
    original: Float32Array,
    places: Int32Array,
    uppers: Float64Array,
    n_found: Int64Array,
    items: Int32Array,
    best: Float32Array,
    counts: Int64Array,
) -> None:
    """Score the candidates of one query in float32, highest bound first, until no bound reaches its list; forget them."""
    n, n_found[row] = n_found[row], 0
    counts[row, 0] += n
    codes, place, step = np.empty((1, Q.shape[1]), np.uint8), np.empty(1, np.int64), np.empty(1, np.float32)
    for _ in range(n):
        at = 0
        for other in range(1, n):
            if uppers[row, other] > uppers[row, at]:
                at = other
        if uppers[row, at] * bounds[row, 0] < best[row, 0]:
            break
        uppers[row, at] = -np.inf
        position = places[row, at]
        item = order[position] if len(order) else position
        if len(V):
            score = _dot_original(original, row, V, item)
        else:
            score = _dot_codes(Q, row, first, rest, steps, offset, bits, position, codes, place, step)
        counts[row, 1] += 1
        if ranks_below(best[row, 0], items[row, 0], score, item):
            items[row, 0], best[row, 0] = item, score
            sift_down(items[row], best[row], 0, items.shape[1])


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot_original(Q: Float32Array, row: int, V: Float32Array, item: int) -> float:
    total = np.float32(0)
    for d in range(Q.shape[1]):
        total += Q[row, d] * V[item, d]
    return total  # type: ignore[return-value]  # numba's float


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot_codes(
    Q: Float32Array,
    row: int,
    first: CodeArray,
    rest: CodeArray,
    steps: UInt16Array,
    offset: float,
    bits: int,
    position: int,
    codes: CodeArray,
    place: Int64Array,
    step: Float32Array,
) -> float:
    codes[:], place[0] = 0, position
    read_codes(first, rest, bits, place, codes)
    _load_steps(steps[position : position + 1], 1.0, step)
    total = np.float32(0)
    for d in range(Q.shape[1]):
        total += Q[row, d] * (np.float32(codes[0, d]) - np.float32(offset))
    return total * step[0]  # type: ignore[no-any-return]


@numba.njit(cache=True, nogil=True)
def _bound_tiles(
    first: CodeArray,
    rest: CodeArray,
    steps: UInt16Array,
    bits: int,
    offset: float,
    n_dims: int,
    V: Float32Array,
    order: Int32Array,
    tiles: Float64Array,
) -> None:
    shift, step, codes = bits - FIRST_BITS[bits], np.empty(1, np.float32), np.zeros((1, n_dims), np.uint8)
    middle, norms = ((1 << shift) - 1) / 2, np.zeros(5)
    for row in range(len(steps)):
        codes[:], norms[:] = 0, 0
        read_codes(first, rest, bits, np.full(1, row), codes)
        _load_steps(steps[row : row + 1], 1.0, step)
        for d in range(n_dims):
            rest_code = np.float64(codes[0, d] & ((1 << shift) - 1)) - middle
            code = np.float64(codes[0, d]) - offset
            exact = np.float64(V[order[row], d]) if len(V) else code * step[0]
            norms[_FIRST_NORM] += (code - rest_code) ** 2
            norms[_REST_NORM] += rest_code**2
            norms[_CODE_NORM] += code**2
            norms[_ERROR] += (exact - code * step[0]) ** 2
            norms[_LENGTH] += exact**2
        norms[:] = np.sqrt(norms)
        norms[_LENGTH] = max(norms[_LENGTH], norms[_CODE_NORM] * step[0])
        if norms[_ERROR] > 0:
            norms[_ERROR] = norms[_ERROR] / step[0] if step[0] > 0 else np.inf
        tiles[row // TILE_ROWS] = np.maximum(tiles[row // TILE_ROWS], norms)


def bound_tiles(
    first: CodeArray,
    rest: CodeArray,
    steps: Float16Array,
    bits: int,
    offset: float,
    n_dims: int,
    original: Float32Array | None = None,
    order: Int32Array | None = None,
) -> Float64Array:
    """Bounds (T, 5) of each 1,024 rows, in units of the step of a row: O(N · D).

    The largest norm of what the first plane alone decodes to, of the rest, of all of the code, and of what was lost by
    coding (0 without the ``original`` vectors, of which row i was vector ``order[i]``, or vector i); and the largest norm of
    a vector, decoded or original.
    """
    tiles = np.zeros((-(-len(steps) // TILE_ROWS), 5))
    V = np.zeros((0, n_dims), np.float32) if original is None else np.asarray(original, np.float32)
    places = np.arange(len(steps), dtype=np.int32) if order is None else order
    _bound_tiles(first, rest, steps.view(np.uint16), bits, offset, n_dims, V, places, tiles)
    return tiles
