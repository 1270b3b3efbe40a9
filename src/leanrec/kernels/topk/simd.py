"""Vector instructions that the compiler does not find by itself, for numba functions.

AVX-512 VNNI multiplies four unsigned by four signed bytes and adds the products to a 32-bit sum, sixteen sums at a
time: a product of 64 bytes with one instruction where float32 needs four. LLVM does not make it from a loop in
Python, so it is written here as assembly that the surrounding code is compiled with.
"""

import functools
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["PANEL_ITEMS", "any_reaches_1x2", "any_reaches_4x1", "has_vnni", "lowest_set_bit", "element_pointer"]

# Items side by side in one panel: four vectors of sixteen sums, and one bit each in a 64-bit word.
PANEL_ITEMS = 64
_LANES, _VECTORS = 16, 4
_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_LANES_I32 = ir.VectorType(_I32, _LANES)

llvmlite.binding.initialize_native_asmparser()


@functools.cache
def has_vnni() -> bool:
    """Whether the code compiled here may use AVX-512 VNNI."""
    if getattr(numba.config, "CPU_NAME", None) not in {None, "", "host", llvmlite.binding.get_host_cpu_name()}:
        return False
    features = llvmlite.binding.get_host_cpu_features()
    return bool(features.get("avx512f")) and bool(features.get("avx512vnni"))


@intrinsic
def _place(_context: Any, array: Any, offset: Any) -> Any:
    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.bitcast(builder.gep(data, [arguments[1]]), _I8.as_pointer())

    return types.voidptr(array, types.int64), emit


@intrinsic
def _lowest_bit(_context: Any, word: Any) -> Any:
    def emit(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), emit


def _spread(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    empty = ir.Constant(_LANES_I32, ir.Undefined)
    first = builder.insert_element(empty, value, _I32(0))
    return builder.shuffle_vector(first, empty, ir.Constant(_LANES_I32, [0] * _LANES))


def _multiply_add(builder: ir.IRBuilder, unsigned: ir.Value, signed: ir.Value, total: ir.Value) -> ir.Value:
    kind = ir.FunctionType(_LANES_I32, [_LANES_I32] * 3)
    return builder.call(ir.InlineAsm(kind, "vpdpbusd $2, $1, $0", "=v,v,v,0"), [unsigned, signed, total])


def _products(
    builder: ir.IRBuilder, pointers: tuple[ir.Value, ...], groups: ir.Value, rows: int, panels: int
) -> list[list[ir.Value]]:
    """Sums (rows, panels · 4 vectors), held in registers over the loop of the groups."""
    of_items, of_queries, of_base = pointers
    vectors = panels * _VECTORS
    sums = [[cgutils.alloca_once(builder, _LANES_I32) for _ in range(vectors)] for _ in range(rows)]
    for row in range(rows):
        start = _spread(builder, builder.load(builder.gep(of_base, [_I64(row)])))
        for vector in range(vectors):
            builder.store(start, sums[row][vector])
    with cgutils.for_range(builder, groups) as loop:
        items = []
        for vector in range(vectors):
            panel, lane = divmod(vector, _VECTORS)
            group = builder.add(builder.mul(groups, _I64(panel)), loop.index)
            at = builder.add(builder.mul(group, _I64(_VECTORS)), _I64(lane))
            items.append(builder.load(builder.gep(of_items, [at]), align=1))
        for row in range(rows):
            at = builder.add(builder.mul(groups, _I64(row)), loop.index)
            query = _spread(builder, builder.load(builder.gep(of_queries, [at]), align=1))
            for vector in range(vectors):
                total = _multiply_add(builder, items[vector], query, builder.load(sums[row][vector]))
                builder.store(total, sums[row][vector])
    return sums


def _beats(rows: int, panels: int) -> Callable[..., Any]:
    @intrinsic
    def beats(_context: Any, items: Any, queries: Any, groups: Any, base: Any, floors: Any, words: Any) -> Any:
        def emit(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            of_items, of_queries, groups, of_base, of_floors, of_words = arguments
            pointers = (
                builder.bitcast(of_items, _LANES_I32.as_pointer()),
                builder.bitcast(of_queries, _I32.as_pointer()),
                builder.bitcast(of_base, _I32.as_pointer()),
            )
            sums = _products(builder, pointers, groups, rows, panels)
            of_floors = builder.bitcast(of_floors, _I32.as_pointer())
            of_words = builder.bitcast(of_words, _I16.as_pointer())
            any_lane = ir.Constant(_I16, 0)
            for row in range(rows):
                floor = _spread(builder, builder.load(builder.gep(of_floors, [_I64(row)])))
                for vector, total in enumerate(sums[row]):
                    lanes = builder.icmp_signed(">=", builder.load(total), floor)
                    word = builder.bitcast(lanes, _I16)
                    builder.store(word, builder.gep(of_words, [_I64(row * len(sums[row]) + vector)]))
                    any_lane = builder.or_(any_lane, word)
            return builder.icmp_unsigned("!=", any_lane, ir.Constant(_I16, 0))

        pointer = types.voidptr
        return types.boolean(pointer, pointer, types.int64, pointer, pointer, pointer), emit

    return beats


# Address of the element ``offset`` of a C-ordered array, counted from its first: place(array, offset).
element_pointer: Callable[[Any, int], Any] = _place  # type: ignore[assignment]  # numba calls it, not Python
# Position of the lowest bit that is set in a uint64 other than 0.
lowest_set_bit: Callable[[Any], int] = _lowest_bit  # type: ignore[assignment]
# beats(items, queries, groups, base, floors, words) -> bool: products of R queries (R, groups, 4) int8 with P panels
# (P, groups, 64, 4) uint8, begun at base (R,) int32. Bit i of words (R, P) uint64 says whether item i of the panel
# reaches floors (R,) int32; the answer says whether any does. Only where ``has_vnni()``.
any_reaches_1x2: Callable[..., bool] = _beats(1, 2)
any_reaches_4x1: Callable[..., bool] = _beats(4, 1)
