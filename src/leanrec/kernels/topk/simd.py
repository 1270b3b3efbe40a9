"""Numba intrinsics for AVX-512 VNNI, whose instructions LLVM does not generate from a Python loop.

VNNI multiplies four unsigned by four signed bytes and adds the products to a 32-bit sum, for sixteen sums at once: one
instruction for 64 byte products, where float32 needs four. The instruction is inlined as assembly.
"""

import functools
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["PANEL_ITEMS", "any_reaches_1x2", "any_reaches_4x1", "element_pointer", "has_vnni", "lowest_set_bit"]

# Items in one panel: four vectors of sixteen sums, and one bit per item in a 64-bit word.
PANEL_ITEMS = 64
_LANES, _VECTORS = 16, 4
_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_LANES_I32 = ir.VectorType(_I32, _LANES)

llvmlite.binding.initialize_native_asmparser()


@functools.cache
def has_vnni() -> bool:
    """Whether code compiled by Numba may use AVX-512 VNNI."""
    if getattr(numba.config, "CPU_NAME", None) not in {None, "", "host", llvmlite.binding.get_host_cpu_name()}:
        return False
    features = llvmlite.binding.get_host_cpu_features()
    return bool(features.get("avx512f")) and bool(features.get("avx512vnni"))


@intrinsic
def _element_pointer(_context: Any, array: Any, offset: Any) -> Any:
    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.bitcast(builder.gep(data, [arguments[1]]), _I8.as_pointer())

    return types.voidptr(array, types.int64), emit


@intrinsic
def _lowest_set_bit(_context: Any, word: Any) -> Any:
    def emit(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), emit


def _broadcast(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    empty = ir.Constant(_LANES_I32, ir.Undefined)
    first = builder.insert_element(empty, value, _I32(0))
    return builder.shuffle_vector(first, empty, ir.Constant(_LANES_I32, [0] * _LANES))


def _multiply_add(builder: ir.IRBuilder, unsigned: ir.Value, signed: ir.Value, total: ir.Value) -> ir.Value:
    kind = ir.FunctionType(_LANES_I32, [_LANES_I32] * 3)
    return builder.call(ir.InlineAsm(kind, "vpdpbusd $2, $1, $0", "=v,v,v,0"), [unsigned, signed, total])


def _emit_products(
    builder: ir.IRBuilder, pointers: tuple[ir.Value, ...], groups: ir.Value, rows: int, panels: int
) -> list[list[ir.Value]]:
    """Sums (rows, panels · 4 vectors), held in registers over the loop over groups of four bytes."""
    of_items, of_queries, of_base = pointers
    vectors = panels * _VECTORS
    sums = [[cgutils.alloca_once(builder, _LANES_I32) for _ in range(vectors)] for _ in range(rows)]
    for row in range(rows):
        start = _broadcast(builder, builder.load(builder.gep(of_base, [_I64(row)])))
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
            query = _broadcast(builder, builder.load(builder.gep(of_queries, [at]), align=1))
            for vector in range(vectors):
                total = _multiply_add(builder, items[vector], query, builder.load(sums[row][vector]))
                builder.store(total, sums[row][vector])
    return sums


def _make_any_reaches(rows: int, panels: int) -> Callable[..., Any]:
    @intrinsic
    def any_reaches(_context: Any, items: Any, queries: Any, groups: Any, base: Any, floors: Any, words: Any) -> Any:
        def emit(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            of_items, of_queries, groups, of_base, of_floors, of_words = arguments
            pointers = (
                builder.bitcast(of_items, _LANES_I32.as_pointer()),
                builder.bitcast(of_queries, _I32.as_pointer()),
                builder.bitcast(of_base, _I32.as_pointer()),
            )
            sums = _emit_products(builder, pointers, groups, rows, panels)
            of_floors = builder.bitcast(of_floors, _I32.as_pointer())
            of_words = builder.bitcast(of_words, _I16.as_pointer())
            any_lane = ir.Constant(_I16, 0)
            for row in range(rows):
                floor = _broadcast(builder, builder.load(builder.gep(of_floors, [_I64(row)])))
                for vector, total in enumerate(sums[row]):
                    lanes = builder.icmp_signed(">=", builder.load(total), floor)
                    word = builder.bitcast(lanes, _I16)
                    builder.store(word, builder.gep(of_words, [_I64(row * len(sums[row]) + vector)]))
                    any_lane = builder.or_(any_lane, word)
            return builder.icmp_unsigned("!=", any_lane, ir.Constant(_I16, 0))

        pointer = types.voidptr
        return types.boolean(pointer, pointer, types.int64, pointer, pointer, pointer), emit

    return any_reaches


# element_pointer(array, offset): address of element ``offset`` of a C-ordered array, counted from the first.
element_pointer: Callable[[Any, int], Any] = _element_pointer  # type: ignore[assignment]  # numba calls it, not Python
# Position of the lowest set bit of a nonzero uint64.
lowest_set_bit: Callable[[Any], int] = _lowest_set_bit  # type: ignore[assignment]
# any_reaches(items, queries, groups, base, floors, words) -> bool: products of R queries (R, groups, 4) int8 with P
# panels (P, groups, 64, 4) uint8, plus base (R,) int32. Sets bit i of words (R, P) uint64 if item i of the panel reaches
# floors (R,) int32; returns whether any item does. Requires ``has_vnni()``.
any_reaches_1x2: Callable[..., bool] = _make_any_reaches(1, 2)
any_reaches_4x1: Callable[..., bool] = _make_any_reaches(4, 1)
