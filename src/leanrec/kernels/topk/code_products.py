"""Integer products of packed codes and queries, as intrinsics of Numba for AVX-512 VNNI, AVX2 and any other processor.

All three give the same integers. VNNI multiplies and adds 64 bytes in one instruction, AVX2 32 bytes in a few; the portable
one is left to LLVM. The choice is made when a kernel is compiled, by the processor that Numba compiles for.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from leanrec.kernels.topk.code_strips import STRIP_ROWS
from leanrec.kernels.topk.simd import has_vnni

__all__ = [
    "BLOCK_ROWS",
    "block_scores_1x1",
    "block_scores_1x2",
    "block_scores_1x3",
    "block_scores_1x4",
    "block_scores_4x8",
    "find_instruction_set",
    "make_block_scores",
    "strip_scores_1",
    "strip_scores_2",
    "strip_scores_3",
    "strip_scores_4",
]

# Rows of one call: four strips, one bit for each in a 64-bit word.
BLOCK_ROWS = 64
_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_F32 = ir.FloatType()
_LANES = {"vnni": 16, "avx2": 8, "portable": 4}
# Bits of the planes that are read, by the bits of a code.
_PLANES = {1: (1,), 2: (2,), 3: (2, 1), 4: (4,), 8: (8,)}


def find_instruction_set() -> str:
    """The fastest of "vnni", "avx2" and "portable" that code compiled by Numba may use."""
    if has_vnni():
        return "vnni"
    name = getattr(numba.config, "CPU_NAME", None)
    is_host = name in {None, "", "host", llvmlite.binding.get_host_cpu_name()}
    return "avx2" if is_host and llvmlite.binding.get_host_cpu_features().get("avx2") else "portable"


class _BlockEmitter:
    """LLVM code of one call of ``block_scores``, for R queries and codes of p bits."""

    def __init__(
        self, builder: ir.IRBuilder, arguments: list[ir.Value], rows: int, bits: int, size: int, target: str
    ) -> None:
        self.builder, self.rows, self.planes, self.size, self.target = builder, rows, _PLANES[bits], size, target
        self.strips, self.stride, self.rest, self.rest_groups, self.queries, self.groups = arguments[:6]
        self.base, self.steps, self.floors, self.scores, self.words = arguments[6:]
        self.lanes = _LANES[target]
        # As many vectors as there are registers for sums.
        self.vectors = min(4 if target == "vnni" else 2, size // self.lanes)
        if rows == 1:
            # One query is bound by memory, which is read fastest in the order of its addresses.
            self.vectors = STRIP_ROWS // self.lanes
        self.ints = ir.VectorType(_I32, self.lanes)
        self.floats = ir.VectorType(_F32, self.lanes)

    def emit(self) -> ir.Value:
        builder = self.builder
        per_chunk = self.lanes * self.vectors
        self.sums = [[cgutils.alloca_once(builder, self.ints) for _ in range(self.vectors)] for _ in range(self.rows)]
        found = [cgutils.alloca_once_value(builder, _I64(0)) for _ in range(self.rows)]
        for row in found:
            builder.store(_I64(0), row)
        with cgutils.for_range(builder, _I64(self.size // per_chunk)) as chunk:
            first = builder.mul(chunk.index, _I64(per_chunk))
            self._start_sums()
            with cgutils.for_range(builder, self.groups) as loop:
                self._add_group(first, loop.index, self.strips, self.stride, self.planes[0])
            if len(self.planes) > 1:
                self._double_sums()
                stride = builder.shl(self.rest_groups, _I64(6))
                with cgutils.for_range(builder, self.rest_groups) as loop:
                    self._add_group(first, loop.index, self.rest, stride, self.planes[1])
            reached = [
                [self._reaches_floor(row, vector, first) for vector in range(self.vectors)] for row in range(self.rows)
            ]
            for row, lanes in enumerate(reached):
                word = _I64(0)
                for vector, bits in enumerate(lanes):
                    word = builder.or_(word, builder.shl(builder.zext(bits, _I64), _I64(vector * self.lanes)))
                builder.store(builder.or_(builder.load(found[row]), builder.shl(word, first)), found[row])
                with builder.if_then(builder.icmp_unsigned("!=", word, _I64(0)), likely=False):
                    for vector in range(self.vectors):
                        self._store_scores(row, vector, first)
        any_found = _I64(0)
        for row in range(self.rows):
            word = builder.load(found[row])
            builder.store(word, self._at(self.words, _I64(row), _I64))
            any_found = builder.or_(any_found, word)
        return builder.icmp_unsigned("!=", any_found, _I64(0))

    def _at(self, pointer: ir.Value, index: ir.Value, kind: ir.Type) -> ir.Value:
        return self.builder.gep(self.builder.bitcast(pointer, kind.as_pointer()), [index])

    def _splat(self, value: ir.Value, kind: ir.VectorType) -> ir.Value:
        empty = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(empty, value, _I32(0))
        return self.builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count))

    def _start_sums(self) -> None:
        for row in range(self.rows):
            start = self._splat(self.builder.load(self._at(self.base, _I64(row), _I32)), self.ints)
            for vector in range(self.vectors):
                self.builder.store(start, self.sums[row][vector])

    def _double_sums(self) -> None:
        """Twice the products, before those of a plane of one bit are added."""
        for row in range(self.rows):
            start = self._splat(self.builder.load(self._at(self.base, _I64(row), _I32)), self.ints)
            for place in self.sums[row]:
                total = self.builder.load(place)
                self.builder.store(self.builder.sub(self.builder.add(total, total), start), place)

    def _add_group(self, first: ir.Value, group: ir.Value, strips: ir.Value, stride: ir.Value, bits: int) -> None:
        """Add the products of one group of a plane of ``bits`` bits."""
        builder, slots = self.builder, 8 // bits
        loaded = [self._load_codes(first, group, strips, stride, vector) for vector in range(self.vectors)]
        # Products of two codes below 16 with bytes fit into 16 bits eight times.
        is_short = self.target == "avx2" and bits < 8
        shorts: dict[tuple[int, int], ir.Value] = {}
        for slot in range(slots):
            codes = [self._take_slot(word, slot, bits) for word in loaded]
            for row in range(self.rows):
                at = builder.add(builder.mul(self.groups, _I64(row)), group)
                at = builder.add(builder.mul(at, _I64(slots)), _I64(slot))
                query = self._splat(builder.load(self._at(self.queries, at, _I32), align=1), self.ints)
                for vector in range(self.vectors):
                    if is_short:
                        products = self._multiply_small(codes[vector], query)
                        before = shorts.get((row, vector))
                        shorts[row, vector] = products if before is None else builder.add(before, products)
                    else:
                        total = builder.load(self.sums[row][vector])
                        builder.store(self._multiply_add(codes[vector], query, total), self.sums[row][vector])
        for (row, vector), products in shorts.items():
            pairs = self._multiply_pairs(products, ir.Constant(products.type, [1] * products.type.count))
            total = builder.load(self.sums[row][vector])
            builder.store(builder.add(total, pairs), self.sums[row][vector])

    def _load_codes(
        self, first: ir.Value, group: ir.Value, strips: ir.Value, stride: ir.Value, vector: int
    ) -> ir.Value:
        builder = self.builder
        item = builder.add(first, _I64(vector * self.lanes))
        strip = builder.mul(builder.lshr(item, _I64(4)), stride)
        lane = builder.shl(builder.and_(item, _I64(STRIP_ROWS - 1)), _I64(2))
        offset = builder.add(strip, builder.add(builder.shl(group, _I64(6)), lane))
        return builder.load(builder.bitcast(self._at(strips, offset, _I8), self.ints.as_pointer()), align=1)

    def _take_slot(self, word: ir.Value, slot: int, bits: int) -> ir.Value:
        """The codes of one slot as bytes."""
        if bits == 8:
            return word
        if slot:
            word = self.builder.lshr(word, ir.Constant(self.ints, [slot * bits] * self.lanes))
        mask = 0x01010101 * ((1 << bits) - 1)
        return self.builder.and_(word, ir.Constant(self.ints, [mask] * self.lanes))

    def _multiply_small(self, unsigned: ir.Value, signed: ir.Value) -> ir.Value:
        """Sums of two products of neighbors of bytes below 16 with signed bytes, as numbers of 16 bits."""
        builder, n_bytes = self.builder, 4 * self.lanes
        bytes_type, shorts = ir.VectorType(_I8, n_bytes), ir.VectorType(_I16, n_bytes // 2)
        kind = ir.FunctionType(shorts, [bytes_type] * 2)
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx2.pmadd.ub.sw")
        return builder.call(function, [builder.bitcast(unsigned, bytes_type), builder.bitcast(signed, bytes_type)])

    def _multiply_add(self, unsigned: ir.Value, signed: ir.Value, total: ir.Value) -> ir.Value:
        builder = self.builder
        if self.target == "vnni":
            kind = ir.FunctionType(self.ints, [self.ints] * 3)
            # LLVM does not generate the instruction from a loop.
            return builder.call(ir.InlineAsm(kind, "vpdpbusd $2, $1, $0", "=v,v,v,0"), [unsigned, signed, total])
        # Bytes 0 and 2, and bytes 1 and 3, as signed numbers of 16 bits.
        shorts = ir.VectorType(_I16, 2 * self.lanes)
        eight = ir.Constant(shorts, [8] * shorts.count)
        items, query = builder.bitcast(unsigned, shorts), builder.bitcast(signed, shorts)
        even = (
            builder.and_(items, ir.Constant(shorts, [255] * shorts.count)),
            builder.ashr(builder.shl(query, eight), eight),
        )
        odd = builder.lshr(items, eight), builder.ashr(query, eight)
        for one, other in (even, odd):
            total = builder.add(total, self._multiply_pairs(one, other))
        return total

    def _multiply_pairs(self, one: ir.Value, other: ir.Value) -> ir.Value:
        """Sums of two products of neighbors, as numbers of 32 bits."""
        builder = self.builder
        if self.target == "avx2":
            kind = ir.FunctionType(self.ints, [one.type] * 2)
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx2.pmadd.wd")
            return builder.call(function, [one, other])
        sixteen = ir.Constant(self.ints, [16] * self.lanes)
        one, other = builder.bitcast(one, self.ints), builder.bitcast(other, self.ints)
        low = [builder.ashr(builder.shl(each, sixteen), sixteen) for each in (one, other)]
        high = [builder.ashr(each, sixteen) for each in (one, other)]
        return builder.add(builder.mul(*low), builder.mul(*high))

    def _compute_scores(self, row: int, vector: int, item: ir.Value) -> ir.Value:
        builder = self.builder
        pointer = builder.bitcast(self._at(self.steps, item, _F32), self.floats.as_pointer())
        score = builder.sitofp(builder.load(self.sums[row][vector]), self.floats)
        return builder.fmul(score, builder.load(pointer, align=4))

    def _reaches_floor(self, row: int, vector: int, first: ir.Value) -> ir.Value:
        """Which scores of one vector reach the floor, as bits."""
        builder = self.builder
        score = self._compute_scores(row, vector, builder.add(first, _I64(vector * self.lanes)))
        floor = self._splat(builder.load(self._at(self.floors, _I64(row), _F32)), self.floats)
        return builder.bitcast(builder.fcmp_ordered(">=", score, floor), ir.IntType(self.lanes))

    def _store_scores(self, row: int, vector: int, first: ir.Value) -> None:
        builder = self.builder
        item = builder.add(first, _I64(vector * self.lanes))
        at = self._at(self.scores, builder.add(item, _I64(row * self.size)), _F32)
        builder.store(self._compute_scores(row, vector, item), builder.bitcast(at, self.floats.as_pointer()), align=4)


def make_block_scores(rows: int, bits: int, size: int = BLOCK_ROWS, target: str | None = None) -> Callable[..., Any]:
    """An intrinsic that scores B = 64 or 16 rows of codes for R queries.

    ``block_scores(strips, stride, rest, rest_groups, queries, groups, base, steps, floors, scores, words) -> bool``, all but
    ``stride``, ``groups`` and ``rest_groups`` pointers: B / 16 strips of one plane, ``stride`` bytes apart; for codes of 3 bits the
    same strips of the plane of the lowest bit, of ``rest_groups`` groups (for others both are ignored); queries
    (R, groups · 32 / bits) int8; base (R,) int32; steps (B,) float32; floors (R,) float32. Writes words (R,) uint64, whose bit i
    says that score i reaches the floor, and near those bits scores (R, B) float32, (base + integer product) · step. Returns
    whether any does.

    Args:
        rows: R; 1 for codes of 3 bits.
        bits: bits of a code: 1, 2, 3, 4 or 8.
        size: B.
        target: the instruction set; None = ``find_instruction_set()`` of the processor that is compiled for.
    """

    @intrinsic
    def block_scores(
        _context: Any,
        strips: Any,
        stride: Any,
        rest: Any,
        rest_groups: Any,
        queries: Any,
        groups: Any,
        base: Any,
        steps: Any,
        floors: Any,
        scores: Any,
        words: Any,
    ) -> Any:
        def emit(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            return _BlockEmitter(builder, list(arguments), rows, bits, size, target or find_instruction_set()).emit()

        pointer, count = types.voidptr, types.int64
        arguments = (pointer, count, pointer, count, pointer, count, *[pointer] * 5)
        return types.boolean(*arguments), emit

    return block_scores


# block_scores_RxP: R queries and codes of P bits; strip_scores_P: one query and one strip.
block_scores_1x1 = make_block_scores(1, 1)
block_scores_1x2 = make_block_scores(1, 2)
block_scores_1x3 = make_block_scores(1, 3)
block_scores_1x4 = make_block_scores(1, 4)
block_scores_4x8 = make_block_scores(4, 8)
strip_scores_1 = make_block_scores(1, 1, STRIP_ROWS)
strip_scores_2 = make_block_scores(1, 2, STRIP_ROWS)
strip_scores_3 = make_block_scores(1, 3, STRIP_ROWS)
strip_scores_4 = make_block_scores(1, 4, STRIP_ROWS)
