"""Exact maximum inner product search: 8-bit products with an error bound rule out most items before float32 scoring."""

import dataclasses

import numba
import numpy as np

from leanrec.kernels.threads import run_in_threads
from leanrec.kernels.topk.selection import (
    ItemMask,
    empty_lists,
    fill_zero_queries,
    is_allowed,
    mask_array,
    merge_score_rows,
    merge_scores,
    ranks_below,
    row_entries,
    sift_down,
    sort_heap,
    sort_heaps,
)
from leanrec.kernels.topk.simd import (
    PANEL_ITEMS,
    any_reaches_1x2,
    any_reaches_4x1,
    element_pointer,
    has_vnni,
    lowest_set_bit,
)
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array

__all__ = ["ItemIndex", "top_k_dot"]

UInt8Array = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Int8Array = np.ndarray[tuple[int, ...], np.dtype[np.int8]]
Float64Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
UInt64Array = np.ndarray[tuple[int], np.dtype[np.uint64]]

# A tile of float32 scores is 1 MB, split over the threads, so that it stays in the second-level cache.
_TILE_QUERIES, _TILE_ITEMS = 256, 1024
# Panels per tile of codes: 1,024 items share one quantization step and one error bound.
_TILE_PANELS = _TILE_ITEMS // PANEL_ITEMS
# Below this many queries, quantizing the items costs more than it saves.
_MIN_QUERIES_FOR_INDEX = 16
# Below this share of allowed items, only their vectors are copied and searched.
_MIN_SHARE_ALLOWED = 0.1
# Quantization step of zero vectors; it must not be 0, because it divides.
_MIN_STEP = 1e-38


def top_k_dot(
    Q: Float32Array, V: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
) -> tuple[Int32Array, Float32Array]:
    """``top_k(Q @ V.T, k)`` without the (B, N) matrix of scores.

    16 or more queries are searched with a temporary ``ItemIndex``, fewer are scored in float32. Whether an item is
    seen or allowed is checked only when it would enter a list. Time O(B · N · D); memory O(B · k), one tile and
    N · D bytes.

    Args:
        Q: (B, D) float32.
        V: (N, D) float32.
        k: length of the lists, at least 0.
        seen: (B, N) entries to leave out.
        allowed: (N,) items that may be chosen; None = all.

    Returns:
        items (B, k) int32, −1 past the end; scores (B, k) float32, −inf past the end.
    """
    V = np.ascontiguousarray(V, dtype=np.float32)
    if len(Q) < _MIN_QUERIES_FOR_INDEX:
        return _search_float(np.ascontiguousarray(Q, dtype=np.float32), V, k, seen, allowed)
    return ItemIndex.build(V).top_k(Q, k, seen=seen, allowed=allowed)


@dataclasses.dataclass(frozen=True, eq=False)
class ItemIndex:
    """An index of item vectors for exact maximum inner product search.

    The vectors are sorted by norm, longest first, split into tiles of 1,024, and quantized to 8 bits with one step per
    tile. The rounding error of a tile is bounded, so an integer product proves that most items cannot enter a list; the
    others are scored in float32. Lists and scores equal those of float32 products. The search ends at the first tile
    whose longest vector is too short for every list, as in LEMP (Teflioudi, Gemulla & Mykytiuk, "LEMP: Fast Retrieval
    of Large Entries in a Matrix Product", SIGMOD 2015).

    Needs AVX-512 VNNI. On other machines, and for values that are not finite, BLAS computes all products.
    Memory: N · D bytes besides V. Time of ``build``: O(N · (D + log N)).

    Attributes:
        V: (N, D) float32.
        order: (P · 64,) int32 item at each position, longest vector first; −1 fills the last tile.
        panels: (P, ⌈D / 4⌉, 64, 4) uint8 codes of 64 items each, plus 128; empty where codes cannot be used.
        tiles: (T, 4) float64 for each tile: quantization step, largest norm of a rounding error, of a dequantized vector
            and of a vector.
    """

    V: Float32Array
    order: Int32Array
    panels: UInt8Array
    tiles: Float64Array

    @classmethod
    def build(cls, V: Float32Array) -> "ItemIndex":
        """Index (N, D) float32 vectors."""
        V = np.ascontiguousarray(V, dtype=np.float32)
        norms = np.sqrt(np.einsum("nd,nd->n", V, V, dtype=np.float64))
        if not has_vnni() or not V.size or not np.isfinite(norms).all():
            return cls(V, np.zeros(0, np.int32), np.zeros((0, 0, PANEL_ITEMS, 4), np.uint8), np.zeros((0, 4)))
        n_tiles = -(-len(V) // _TILE_ITEMS)
        order = np.full(n_tiles * _TILE_ITEMS, -1, np.int32)
        order[: len(V)] = np.argsort(-norms, kind="stable")
        panels = _allocate_aligned((n_tiles * _TILE_PANELS, -(-V.shape[1] // 4), PANEL_ITEMS, 4))
        tiles = np.empty((n_tiles, 4))
        for tile in range(n_tiles):
            part = order[tile * _TILE_ITEMS : (tile + 1) * _TILE_ITEMS]
            rows = slice(tile * _TILE_PANELS, (tile + 1) * _TILE_PANELS)
            tiles[tile] = _quantize_tile(V[part[part >= 0]], panels[rows])
        return cls(V, order, panels, tiles)

    def top_k(
        self, Q: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """The k best items of each query, best first; equal scores in the order of the items. As ``top_k_dot``."""
        Q = np.ascontiguousarray(Q, dtype=np.float32)
        if not len(self.panels) or not np.isfinite(Q).all() or _is_selective(allowed):
            return _search_float(Q, self.V, k, seen, allowed)
        items, best = empty_lists(len(Q), k)
        if not k or not len(Q):
            return items, best
        starts, columns = row_entries(seen, len(Q))
        mask = mask_array(allowed)
        # One query is one block and runs on the calling thread: waiting for other threads is slow on a busy machine.
        threads = numba.get_num_threads() if len(Q) > _MIN_QUERIES_FOR_INDEX else 1
        size = min(_TILE_QUERIES, max(_MIN_QUERIES_FOR_INDEX, -(-len(Q) // threads)))

        def work(first_row: int) -> None:
            rows = slice(first_row, min(first_row + size, len(Q)))
            coded = _quantize_queries(Q[rows])
            begin = starts[first_row : rows.stop + 1]
            lists = items[rows], best[rows]
            _search_quantized(
                Q[rows], *coded, self.V, self.order, self.panels, self.tiles, *lists, begin, columns, mask
            )

        run_in_threads(work, range(0, len(Q), size))
        return items, best


def _allocate_aligned(shape: tuple[int, ...]) -> UInt8Array:
    """An array that begins at a cache line, so that no load of 64 bytes crosses two lines."""
    size = int(np.prod(shape))
    room = np.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].reshape(shape)


def _quantize_tile(V: Float32Array, panels: UInt8Array) -> tuple[float, float, float, float]:
    """Write the codes of at most 1,024 vectors into ``panels``. Returns the row of ``ItemIndex.tiles``."""
    step = max(float(np.abs(V).max()) / 127, _MIN_STEP)
    codes = np.zeros((len(panels) * PANEL_ITEMS, panels.shape[1] * 4), np.float32)
    codes[: len(V), : V.shape[1]] = np.rint(V / step)
    panels[:] = (codes + 128).astype(np.uint8).reshape(len(panels), PANEL_ITEMS, -1, 4).transpose(0, 2, 1, 3)
    coded = codes[: len(V), : V.shape[1]].astype(np.float64) * step
    return step, _max_norm(V - coded), _max_norm(coded), _max_norm(V.astype(np.float64))


def _max_norm(vectors: Float64Array) -> float:
    return float(np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max()))


@numba.njit(cache=True, nogil=True)
def _quantize_queries(Q: Float32Array) -> tuple[Int8Array, Int32Array, Float64Array]:
    """Codes (R, G · 4) int8, R being 1 or a multiple of 4; correction for the +128 of items (R,); bounds (R, 3).

    Bounds of a query: quantization step, norm of the rounding error, norm.
    """
    n, width = Q.shape
    rows = 1 if n == 1 else -(-n // 4) * 4
    codes = np.zeros((rows, -(-width // 4) * 4), np.int8)
    base, bounds = np.zeros(rows, np.int32), np.zeros((rows, 3))
    for row in range(n):
        largest = np.float64(0)
        for d in range(width):
            largest = max(largest, abs(np.float64(Q[row, d])))
        step = max(largest / 127, _MIN_STEP)
        total, error, length = 0, 0.0, 0.0
        for d in range(width):
            exact = np.float64(Q[row, d])
            whole = np.rint(exact / step)
            codes[row, d] = np.int8(whole)
            total += int(whole)
            error += (exact - whole * step) ** 2
            length += exact**2
        base[row] = -128 * total
        bounds[row, 0], bounds[row, 1], bounds[row, 2] = step, np.sqrt(error), np.sqrt(length)
    return codes, base, bounds


def _is_selective(allowed: ItemMask | None) -> bool:
    return allowed is not None and bool(np.count_nonzero(allowed) < _MIN_SHARE_ALLOWED * len(allowed))


def _search_float(
    Q: Float32Array, V: Float32Array, k: int, seen: CSR | None, allowed: ItemMask | None
) -> tuple[Int32Array, Float32Array]:
    """Score all items in float32, or only the allowed ones if they are few."""
    items, best = empty_lists(len(Q), k)
    if not k or not len(Q) or not len(V):
        return items, best
    if allowed is not None and _is_selective(allowed):
        kept = np.flatnonzero(allowed).astype(np.int32)
        few, best = _search_float(Q, V[kept], k, None if seen is None else seen[:, kept], None)
        return np.where(few >= 0, np.append(kept, np.int32(-1))[few], np.int32(-1)), best
    starts, columns = row_entries(seen, len(Q))
    mask = mask_array(allowed)
    if len(Q) == 1:
        _search_one(Q, V, items[0], best[0], columns[starts[0] : starts[1]], mask)
    else:
        _search_tiles(Q, V, items, best, starts, columns, mask)
    return items, best


def _search_tiles(
    Q: Float32Array,
    V: Float32Array,
    items: Int32Array,
    best: Float32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: ItemMask,
) -> None:
    """Search blocks of queries in threads; each goes through the items tile by tile."""
    size = min(_TILE_QUERIES, max(4, -(-len(Q) // numba.get_num_threads())))

    def work(first_row: int) -> None:
        rows = slice(first_row, min(first_row + size, len(Q)))
        part, begin = Q[rows], starts[first_row : rows.stop + 1]
        tile = np.empty(len(part) * min(_TILE_ITEMS, len(V)), np.float32)
        for first_item in range(0, len(V), _TILE_ITEMS):
            block = V[first_item : first_item + _TILE_ITEMS]
            scores = tile[: len(part) * len(block)].reshape(len(part), len(block))
            np.dot(part, block.T, out=scores)
            merge_score_rows(scores, first_item, items[rows], best[rows], begin, columns, mask)
        sort_heaps(items[rows], best[rows])

    run_in_threads(work, range(0, len(Q), size))


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot(Q: Float32Array, row: int, V: Float32Array, item: int) -> float:
    """One inner product, summed in any order so that it is vectorized."""
    total = np.float32(0)
    for d in range(Q.shape[1]):
        total += Q[row, d] * V[item, d]
    return total  # type: ignore[return-value]  # numba's float


@numba.njit(cache=True, nogil=True)
def _search_one(
    Q: Float32Array, V: Float32Array, items: Int32Array, best: Float32Array, seen: Int32Array, mask: ItemMask
) -> None:
    scores = np.empty(_TILE_ITEMS, np.float32)
    for start in range(0, len(V), _TILE_ITEMS):
        part = scores[: min(_TILE_ITEMS, len(V) - start)]
        for column in range(len(part)):
            part[column] = _dot(Q, 0, V, start + column)
        merge_scores(part, start, items, best, seen, mask)
    sort_heap(items, best)


@numba.njit(cache=True, nogil=True)
def _search_quantized(
    Q: Float32Array,
    codes: Int8Array,
    base: Int32Array,
    bounds: Float64Array,
    V: Float32Array,
    order: Int32Array,
    panels: UInt8Array,
    tiles: Float64Array,
    items: Int32Array,
    best: Float32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: ItemMask,
) -> None:
    """Fill the lists of one block of queries, on the calling thread."""
    groups, single = panels.shape[1], len(codes) == 1
    # Covers the rounding error of the float32 scores that the floors are computed from.
    margin = 1e-7 * (Q.shape[1] + 8)
    floors, words = np.empty(len(codes), np.int32), np.zeros(4, np.uint64)
    fill_zero_queries(bounds[:, 2], len(V), items, best, starts, columns, mask)
    for tile in range(len(tiles)):
        if not _set_floors(floors, best, bounds, tiles, tile, margin):
            break
        first = tile * _TILE_PANELS
        for panel in range(first, min(first + _TILE_PANELS, -(-len(V) // PANEL_ITEMS)), 2 if single else 1):
            panel_pointer = element_pointer(panels, panel * groups * PANEL_ITEMS * 4)
            for first_row in range(0, len(codes), 4):
                query_pointer, begin, floor_pointer = (
                    element_pointer(codes, first_row * groups * 4),
                    element_pointer(base, first_row),
                    element_pointer(floors, first_row),
                )
                if single:
                    any_reaches = any_reaches_1x2(
                        panel_pointer, query_pointer, groups, begin, floor_pointer, element_pointer(words, 0)
                    )
                else:
                    any_reaches = any_reaches_4x1(
                        panel_pointer, query_pointer, groups, begin, floor_pointer, element_pointer(words, 0)
                    )
                if not any_reaches:
                    continue
                for bit_row in range(2 if single else 4):
                    row, start = (
                        (0, (panel + bit_row) * PANEL_ITEMS) if single else (first_row + bit_row, panel * PANEL_ITEMS)
                    )
                    if _rescore_candidates(Q, row, V, order, start, words[bit_row], items, best, starts, columns, mask):
                        floors[row] = _integer_floor(best[row, 0], bounds, row, tiles, tile, margin)
    sort_heaps(items, best)


@numba.njit(cache=True, nogil=True)
def _rescore_candidates(
    Q: Float32Array,
    row: int,
    V: Float32Array,
    order: Int32Array,
    start: int,
    word: np.uint64,
    items: Int32Array,
    best: Float32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: ItemMask,
) -> bool:
    """Score the items whose bits are set in float32 and keep those that enter the list. Returns whether any did."""
    changed = False
    floor, last = best[row, 0], items[row, 0]
    while word:
        item = order[start + lowest_set_bit(word)]
        word &= word - np.uint64(1)
        if item < 0:
            continue
        score = _dot(Q, row, V, item)
        if ranks_below(floor, last, score, item) and is_allowed(item, columns[starts[row] : starts[row + 1]], mask):
            items[row, 0], best[row, 0] = item, score
            sift_down(items[row], best[row], 0, items.shape[1])
            floor, last = best[row, 0], items[row, 0]
            changed = True
    return changed


@numba.njit(cache=True, nogil=True)
def _set_floors(
    floors: Int32Array, best: Float32Array, bounds: Float64Array, tiles: Float64Array, tile: int, margin: float
) -> bool:
    """Set the smallest integer product that can enter each list. Returns whether any list can still change."""
    floors[:] = np.iinfo(np.int32).max
    any_open = False
    for row in range(len(best)):
        if bounds[row, 2] > 0 and bounds[row, 2] * tiles[tile, 3] * (1 + margin) >= best[row, 0]:
            floors[row] = _integer_floor(best[row, 0], bounds, row, tiles, tile, margin)
            any_open = True
    return any_open


@numba.njit(cache=True, nogil=True)
def _integer_floor(least: float, bounds: Float64Array, row: int, tiles: Float64Array, tile: int, margin: float) -> int:
    """The integer product below which q·v < least.

    q·v ≤ step(q) · step(v) · (integer product) + |q| · |error(v)| + |error(q)| · |dequantized v|.
    """
    slack = bounds[row, 2] * tiles[tile, 1] + bounds[row, 1] * tiles[tile, 2]
    slack += margin * bounds[row, 2] * tiles[tile, 3]
    floor = np.floor((least - slack) / (bounds[row, 0] * tiles[tile, 0]))
    return np.int32(min(max(floor, -2147483648.0), 2147483647.0))  # type: ignore[return-value]  # numba's int
