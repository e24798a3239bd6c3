"""A few vector operations that compiled Python has no words for, written in LLVM's language.

LLVM turns vectors of any length into what the processor at hand has (AVX-512, AVX2, NEON, ...), so nothing here is
tied to one. Addresses are plain integers (``array.ctypes.data``); callers see to bounds.
"""
# ruff: noqa: ARG001 - numba calls these functions, with arguments of its own choice.

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

LANES = 64  # signals that are scanned side by side, one byte each
WIDTH = 16  # float32 numbers in a vector

_BYTE, _LONG, _FLOAT = ir.IntType(8), ir.IntType(64), ir.FloatType()
_BYTES, _BITS = ir.VectorType(_BYTE, LANES), ir.VectorType(ir.IntType(1), LANES)
_FLOATS = ir.VectorType(_FLOAT, WIDTH)
_MULTIPLY_ADD = ("contract",)  # lets LLVM fuse, where the processor can


def _at(builder: Any, address: Any, kind: Any, offset: int = 0) -> Any:
    if offset:
        address = builder.add(address, ir.Constant(_LONG, offset))
    return builder.inttoptr(address, kind.as_pointer())


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), None)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)


@intrinsic
def trailing_zeros(typing: Any, word: Any) -> Any:
    """Number of the lowest bit that is set in a uint64 other than 0."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), build


@intrinsic
def bits_set(typing: Any, word: Any) -> Any:
    """How many bits are set in a uint64."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), build


@intrinsic
def turn(typing: Any, samples: Any, held: Any, before: Any, rising: Any, threshold: Any, limit: Any) -> Any:
    """One step of ``LANES`` scans for alternating extrema; bit ``i`` of the result tells that scan ``i`` has turned.

    A rising scan holds the highest sample since the last minimum, and turns at a sample that is more than
    ``threshold`` below it and not above ``limit``. A falling scan holds the lowest sample since the last maximum, and
    turns at one that is more than ``threshold`` above it. A scan that turns holds the sample at which it turned, and
    what it held before is the extremum.

    ``samples``, ``held`` and ``before`` are addresses of ``LANES`` bytes: the next sample of each scan, what it holds
    (updated), and for what it held before this step. Bit ``i`` of the uint64 ``rising`` is set while scan ``i`` rises.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        samples, held, before, rising, threshold, limit = arguments
        x = builder.load(_at(builder, samples, _BYTES), align=1)
        old = builder.load(_at(builder, held, _BYTES), align=1)
        builder.store(old, _at(builder, before, _BYTES), align=1)
        up = builder.bitcast(rising, _BITS)
        highest = builder.select(builder.icmp_unsigned(">", x, old), x, old)
        lowest = builder.select(builder.icmp_unsigned("<", x, old), x, old)
        least = _splat(builder, threshold, _BYTES)
        falls = builder.icmp_unsigned(">", builder.sub(highest, x), least)
        falls = builder.and_(falls, builder.icmp_unsigned("<=", x, _splat(builder, limit, _BYTES)))
        lifts = builder.icmp_unsigned(">", builder.sub(x, lowest), least)
        turned = builder.select(up, falls, lifts)
        new = builder.select(turned, x, builder.select(up, highest, lowest))
        builder.store(new, _at(builder, held, _BYTES), align=1)
        return builder.bitcast(turned, _LONG)

    signature = types.uint64(types.intp, types.intp, types.intp, types.uint64, types.uint8, types.uint8)
    return signature, build


@intrinsic
def add_scaled(typing: Any, target: Any, source: Any, factor: Any) -> Any:
    """Add factor * source to target, for ``WIDTH`` float32 numbers at two addresses."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, source, factor = arguments
        place = _at(builder, target, _FLOATS)
        numbers = builder.load(_at(builder, source, _FLOATS), align=4)
        product = builder.fmul(numbers, _splat(builder, factor, _FLOATS), flags=_MULTIPLY_ADD)
        builder.store(builder.fadd(product, builder.load(place, align=4), flags=_MULTIPLY_ADD), place, align=4)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.float32), build


def weighted_sums(rows: int, vectors: int) -> Callable[..., Any]:
    """An operation that computes ``rows`` weighted sums of table rows, ``vectors * WIDTH`` columns wide.

    The operation ``sums(table, stride, weights, pitch, levels, count, out, step, peaks)`` computes, with all sums in
    registers, ``out[r] = sum(weights[levels[i], r] * table[levels[i]] for i in range(count))``. ``table``, ``weights``
    and ``out`` are addresses of float32 rows that are ``stride``, ``pitch`` and ``step`` bytes apart, ``levels`` is
    the address of int64 numbers. ``peaks``, the address of ``WIDTH`` float32 numbers, is raised to the largest sums
    that were seen at each place of a vector.
    """

    @intrinsic
    def sums(
        typing: Any,
        table: Any,
        stride: Any,
        weights: Any,
        pitch: Any,
        levels: Any,
        count: Any,
        out: Any,
        step: Any,
        peaks: Any,
    ) -> Any:
        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            table, stride, weights, pitch, levels, count, out, step, peaks = arguments
            before, loop, after = builder.block, *(builder.append_basic_block(name) for name in ("loop", "after"))
            cells = [(r, v) for r in range(rows) for v in range(vectors)]
            nothing = ir.Constant(_FLOATS, None)
            builder.cbranch(builder.icmp_signed("<", ir.Constant(_LONG, 0), count), loop, after)

            builder.position_at_end(loop)
            i = builder.phi(_LONG)
            totals = {cell: builder.phi(_FLOATS) for cell in cells}
            level = builder.load(_at(builder, builder.add(levels, builder.shl(i, ir.Constant(_LONG, 3))), _LONG))
            row = builder.add(table, builder.mul(level, stride))
            column = builder.add(weights, builder.mul(level, pitch))
            parts = [builder.load(_at(builder, row, _FLOATS, 4 * WIDTH * v), align=4) for v in range(vectors)]
            added = {}
            for r in range(rows):
                weight = _splat(builder, builder.load(_at(builder, column, _FLOAT, 4 * r)), _FLOATS)
                for v in range(vectors):
                    product = builder.fmul(parts[v], weight, flags=_MULTIPLY_ADD)
                    added[r, v] = builder.fadd(product, totals[r, v], flags=_MULTIPLY_ADD)
            following = builder.add(i, ir.Constant(_LONG, 1))
            builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
            i.add_incoming(ir.Constant(_LONG, 0), before)
            i.add_incoming(following, loop)

            builder.position_at_end(after)
            results = {}
            for cell in cells:
                totals[cell].add_incoming(nothing, before)
                totals[cell].add_incoming(added[cell], loop)
                results[cell] = builder.phi(_FLOATS)
                results[cell].add_incoming(nothing, before)
                results[cell].add_incoming(added[cell], loop)
            peak = builder.load(_at(builder, peaks, _FLOATS), align=4)
            for r, v in cells:
                larger = builder.fcmp_ordered(">", results[r, v], peak)
                peak = builder.select(larger, results[r, v], peak)
                place = builder.add(out, builder.mul(step, ir.Constant(_LONG, r)))
                builder.store(results[r, v], _at(builder, place, _FLOATS, 4 * WIDTH * v), align=4)
            builder.store(peak, _at(builder, peaks, _FLOATS), align=4)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 9), build

    operation: Callable[..., Any] = sums
    return operation
