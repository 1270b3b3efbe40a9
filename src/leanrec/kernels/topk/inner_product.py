"""Exact top-k of inner products, by proving with small integers that most products need not be made."""

import dataclasses

import numba
import numpy as np

from leanrec.kernels.threads import run_in_threads
from leanrec.kernels.topk.selection import (
    ItemMask,
    empty_lists,
    is_allowed,
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

Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
SignedBytes = np.ndarray[tuple[int, ...], np.dtype[np.int8]]
Float64Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Words = np.ndarray[tuple[int], np.dtype[np.uint64]]

# A tile of float32 scores: half of it for each of two cores stays in a second-level cache of 1 MB.
_TILE_QUERIES, _TILE_ITEMS = 256, 1024
# Panels of one tile of codes: 1,024 items share a step and a bound.
_TILE_PANELS = _TILE_ITEMS // PANEL_ITEMS
# Below this many queries, codes of the items cost more than they save.
_FEW = 16
# Below this share of allowed items, their vectors are taken out and searched alone.
_SPARSE = 0.1
# The step of vectors of zeros: anything that can be divided by.
_TINY = 1e-38


def top_k_dot(
    Q: Float32Array, V: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
) -> tuple[Int32Array, Float32Array]:
    """``top_k(Q @ V.T, k)`` without the (B, N) matrix of scores.

    Many queries go through an ``ItemIndex`` made for them; few are multiplied out in float32. Items that are seen
    or not allowed are looked up only when they would enter a list. Time O(B · N · D); memory O(B · k), one tile and
    N · D bytes.

    Args:
        Q: (B, D) float32.
        V: (N, D) float32.
        k: length of the lists, at least 0.
        seen: (B, N) entries that must not be chosen.
        allowed: (N,) items that may be chosen; None = all.

    Returns:
        items (B, k) int32, −1 past the end; scores (B, k) float32, −inf there.
    """
    V = np.ascontiguousarray(V, dtype=np.float32)
    if len(Q) < _FEW:
        return _multiply(np.ascontiguousarray(Q, dtype=np.float32), V, k, seen, allowed)
    return ItemIndex.build(V).top_k(Q, k, seen=seen, allowed=allowed)


@dataclasses.dataclass(frozen=True, eq=False)
class ItemIndex:
    """Item vectors, prepared for exact search of the largest inner products.

    The vectors, longest first, are cut into tiles of 1,024 and written with 8 bits per number and one step per tile.
    The rounding error of a tile has a bound, so an integer product proves that most items cannot enter a list; the
    few that may are multiplied in float32. Lists and scores are those of the float32 products. A tile whose
    longest vector is too short for every list ends the search, as in LEMP (Teflioudi, Gemulla & Mykytiuk 2015).

    Needs AVX-512 VNNI; elsewhere, and for numbers that are not finite, the products are made by BLAS.
    Memory: N · D bytes besides V. Time of ``build``: O(N · (D + log N)).

    Attributes:
        V: (N, D) float32.
        order: (P · 64,) int32 item at each place, longest vector first; −1 fills the last tile.
        panels: (P, ⌈D / 4⌉, 64, 4) uint8 numbers of 64 items, plus 128; empty where codes cannot be used.
        tiles: (T, 4) float64 per tile: its step, the largest rounding error, the largest coded and real length.
    """

    V: Float32Array
    order: Int32Array
    panels: Bytes
    tiles: Float64Array

    @classmethod
    def build(cls, V: Float32Array) -> "ItemIndex":
        """Prepare (N, D) float32 vectors."""
        V = np.ascontiguousarray(V, dtype=np.float32)
        norms = np.sqrt(np.einsum("nd,nd->n", V, V, dtype=np.float64))
        if not has_vnni() or not V.size or not np.isfinite(norms).all():
            return cls(V, np.zeros(0, np.int32), np.zeros((0, 0, PANEL_ITEMS, 4), np.uint8), np.zeros((0, 4)))
        n_tiles = -(-len(V) // _TILE_ITEMS)
        order = np.full(n_tiles * _TILE_ITEMS, -1, np.int32)
        order[: len(V)] = np.argsort(-norms, kind="stable")
        panels = _aligned((n_tiles * _TILE_PANELS, -(-V.shape[1] // 4), PANEL_ITEMS, 4))
        tiles = np.empty((n_tiles, 4))
        for tile in range(n_tiles):
            part = order[tile * _TILE_ITEMS : (tile + 1) * _TILE_ITEMS]
            rows = slice(tile * _TILE_PANELS, (tile + 1) * _TILE_PANELS)
            tiles[tile] = _code_tile(V[part[part >= 0]], panels[rows])
        return cls(V, order, panels, tiles)

    def top_k(
        self, Q: Float32Array, k: int, *, seen: CSR | None = None, allowed: ItemMask | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """The k best items of each query, best first; equal scores in the order of the items. As ``top_k_dot``."""
        Q = np.ascontiguousarray(Q, dtype=np.float32)
        if not len(self.panels) or not np.isfinite(Q).all() or _sparse(allowed):
            return _multiply(Q, self.V, k, seen, allowed)
        items, best = empty_lists(len(Q), k)
        if not k or not len(Q):
            return items, best
        starts, columns = row_entries(seen, len(Q))
        mask = np.zeros(0, np.bool_) if allowed is None else allowed
        # One query runs on the calling thread alone: no thread to wait for, so a busy machine does not slow it twice.
        size = min(_TILE_QUERIES, max(_FEW, -(-len(Q) // numba.get_num_threads())))

        def work(top: int) -> None:
            rows = slice(top, min(top + size, len(Q)))
            coded = _code_queries(Q[rows])
            begin = starts[top : rows.stop + 1]
            lists = items[rows], best[rows]
            _search(Q[rows], *coded, self.V, self.order, self.panels, self.tiles, *lists, begin, columns, mask)

        run_in_threads(work, range(0, len(Q), size))
        return items, best


def _aligned(shape: tuple[int, ...]) -> Bytes:
    """Bytes that begin at a cache line, so that no load of 64 crosses two."""
    size = int(np.prod(shape))
    room = np.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].reshape(shape)


def _code_tile(V: Float32Array, panels: Bytes) -> tuple[float, float, float, float]:
    """Write the codes of at most 1,024 vectors into their panels; the row of ``tiles``."""
    step = max(float(np.abs(V).max()) / 127, _TINY)
    codes = np.zeros((len(panels) * PANEL_ITEMS, panels.shape[1] * 4), np.float32)
    codes[: len(V), : V.shape[1]] = np.rint(V / step)
    panels[:] = (codes + 128).astype(np.uint8).reshape(len(panels), PANEL_ITEMS, -1, 4).transpose(0, 2, 1, 3)
    coded = codes[: len(V), : V.shape[1]].astype(np.float64) * step
    return step, _longest(V - coded), _longest(coded), _longest(V.astype(np.float64))


def _longest(vectors: Float64Array) -> float:
    return float(np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max()))


def _code_queries(Q: Float32Array) -> tuple[SignedBytes, Int32Array, Float64Array]:
    """Codes (R, G · 4) int8 of the queries, R a multiple of 4 or 1; what the +128 of the items adds; bounds (R, 3)."""
    rows = 1 if len(Q) == 1 else -(-len(Q) // 4) * 4
    codes = np.zeros((rows, -(-Q.shape[1] // 4) * 4), np.int8)
    exact = Q.astype(np.float64)
    steps = np.maximum(np.abs(exact).max(axis=1, initial=0) / 127, _TINY)
    whole = np.rint(exact / steps[:, None])
    codes[: len(Q), : Q.shape[1]] = whole
    error = exact - whole * steps[:, None]
    bounds = np.zeros((rows, 3))
    bounds[: len(Q), 0] = steps
    bounds[: len(Q), 1] = np.sqrt(np.einsum("bd,bd->b", error, error))
    bounds[: len(Q), 2] = np.sqrt(np.einsum("bd,bd->b", exact, exact))
    return codes, -128 * codes.sum(axis=1, dtype=np.int32), bounds


def _sparse(allowed: ItemMask | None) -> bool:
    return allowed is not None and bool(np.count_nonzero(allowed) < _SPARSE * len(allowed))


def _multiply(
    Q: Float32Array, V: Float32Array, k: int, seen: CSR | None, allowed: ItemMask | None
) -> tuple[Int32Array, Float32Array]:
    """Every product in float32; those of few allowed items alone."""
    items, best = empty_lists(len(Q), k)
    if not k or not len(Q) or not len(V):
        return items, best
    if allowed is not None and _sparse(allowed):
        kept = np.flatnonzero(allowed).astype(np.int32)
        few, best = _multiply(Q, V[kept], k, None if seen is None else seen[:, kept], None)
        return np.where(few >= 0, np.append(kept, np.int32(-1))[few], np.int32(-1)), best
    starts, columns = row_entries(seen, len(Q))
    mask = np.zeros(0, np.bool_) if allowed is None else allowed
    if len(Q) == 1:
        _dot_one(Q, V, items[0], best[0], columns[starts[0] : starts[1]], mask)
    else:
        _tiles(Q, V, items, best, starts, columns, mask)
    return items, best


def _tiles(
    Q: Float32Array,
    V: Float32Array,
    items: Int32Array,
    best: Float32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: ItemMask,
) -> None:
    """Deal blocks of queries to threads; each goes through the items tile by tile."""
    size = min(_TILE_QUERIES, max(4, -(-len(Q) // numba.get_num_threads())))

    def work(top: int) -> None:
        rows = slice(top, min(top + size, len(Q)))
        part, begin = Q[rows], starts[top : rows.stop + 1]
        tile = np.empty(len(part) * min(_TILE_ITEMS, len(V)), np.float32)
        for left in range(0, len(V), _TILE_ITEMS):
            those = V[left : left + _TILE_ITEMS]
            scores = tile[: len(part) * len(those)].reshape(len(part), len(those))
            np.dot(part, those.T, out=scores)
            merge_score_rows(scores, left, items[rows], best[rows], begin, columns, mask)
        sort_heaps(items[rows], best[rows])

    run_in_threads(work, range(0, len(Q), size))


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot(Q: Float32Array, row: int, V: Float32Array, item: int) -> float:
    """One product; free order of the sum, so that it fills vector registers."""
    total = np.float32(0)
    for d in range(Q.shape[1]):
        total += Q[row, d] * V[item, d]
    return total  # type: ignore[return-value]  # numba's float


@numba.njit(cache=True, nogil=True)
def _dot_one(
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
def _search(
    Q: Float32Array,
    codes: SignedBytes,
    base: Int32Array,
    bounds: Float64Array,
    V: Float32Array,
    order: Int32Array,
    panels: Bytes,
    tiles: Float64Array,
    items: Int32Array,
    best: Float32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: ItemMask,
) -> None:
    """Lists of one block of queries, on the calling thread."""
    groups, single = panels.shape[1], len(codes) == 1
    # Covers the rounding of the float32 products that the floors are made of.
    margin = 1e-7 * (Q.shape[1] + 8)
    floors, words = np.empty(len(codes), np.int32), np.zeros(4, np.uint64)
    _answer_zeros(bounds, len(V), items, best, starts, columns, mask)
    for tile in range(len(tiles)):
        if not _aim(floors, best, bounds, tiles, tile, margin):
            break
        first = tile * _TILE_PANELS
        for panel in range(first, min(first + _TILE_PANELS, -(-len(V) // PANEL_ITEMS)), 2 if single else 1):
            there = element_pointer(panels, panel * groups * PANEL_ITEMS * 4)
            for top in range(0, len(codes), 4):
                asked, begin, reach = element_pointer(codes, top * groups * 4), element_pointer(base, top), element_pointer(floors, top)
                if single:
                    any_reaches = any_reaches_1x2(there, asked, groups, begin, reach, element_pointer(words, 0))
                else:
                    any_reaches = any_reaches_4x1(there, asked, groups, begin, reach, element_pointer(words, 0))
                if not any_reaches:
                    continue
                for pair in range(2 if single else 4):
                    row, start = (0, (panel + pair) * PANEL_ITEMS) if single else (top + pair, panel * PANEL_ITEMS)
                    if _take(Q, row, V, order, start, words[pair], items, best, starts, columns, mask):
                        floors[row] = _floor(best[row, 0], bounds, row, tiles, tile, margin)
    sort_heaps(items, best)


@numba.njit(cache=True, nogil=True)
def _take(
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
    """Multiply out the items whose bits are set and keep those that belong in the list; whether any did."""
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
def _aim(
    floors: Int32Array, best: Float32Array, bounds: Float64Array, tiles: Float64Array, tile: int, margin: float
) -> bool:
    """Set the least integer product that can enter each list; whether any list can still change."""
    floors[:] = np.iinfo(np.int32).max
    alive = False
    for row in range(len(best)):
        if bounds[row, 2] > 0 and bounds[row, 2] * tiles[tile, 3] * (1 + margin) >= best[row, 0]:
            floors[row] = _floor(best[row, 0], bounds, row, tiles, tile, margin)
            alive = True
    return alive


@numba.njit(cache=True, nogil=True)
def _floor(least: float, bounds: Float64Array, row: int, tiles: Float64Array, tile: int, margin: float) -> int:
    """q·v ≤ step · step · codes + U with U = |q| · error(v) + error(q) · |coded v|: below this floor, q·v < least."""
    slack = bounds[row, 2] * tiles[tile, 1] + bounds[row, 1] * tiles[tile, 2]
    slack += margin * bounds[row, 2] * tiles[tile, 3]
    floor = np.floor((least - slack) / (bounds[row, 0] * tiles[tile, 0]))
    return np.int32(min(max(floor, -2147483648.0), 2147483647.0))  # type: ignore[return-value]  # numba's int


@numba.njit(cache=True, nogil=True)
def _answer_zeros(
    bounds: Float64Array,
    n: int,
    items: Int32Array,
    best: Float32Array,
    starts: Int64Array,
    columns: Int32Array,
    mask: ItemMask,
) -> None:
    """A query of zeros scores everything 0: its list is the first items that may be shown."""
    k = items.shape[1]
    for row in range(len(items)):
        item = n if bounds[row, 2] > 0 else 0
        found = 0
        while item < n and found < k:
            if is_allowed(item, columns[starts[row] : starts[row + 1]], mask):
                # Worst first, empty places before it: a list under work is a heap.
                items[row, k - 1 - found], best[row, k - 1 - found] = item, 0
                found += 1
            item += 1
