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

_BYTE, _INT, _LONG, _FLOAT, _DOUBLE = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType()
_FLOATS = ir.VectorType(_FLOAT, WIDTH)
_MULTIPLY_ADD = ("contract",)  # lets LLVM fuse, where the processor can
_KINDS = {types.uint8: _BYTE, types.float32: _FLOAT, types.float64: _DOUBLE}


def _at(builder: Any, address: Any, kind: Any, offset: int = 0) -> Any:
    if offset:
        address = builder.add(address, _long(offset))
    return builder.inttoptr(address, kind.as_pointer())


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_INT, 0))
    return _shuffled(builder, (first, ir.Constant(kind, ir.Undefined)), [0] * kind.count)


def _shuffled(builder: Any, pair: Any, positions: list[int]) -> Any:
    return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(_INT, len(positions)), positions))


def _long(value: int) -> Any:
    return ir.Constant(_LONG, value)


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
def transpose(typing: Any, source: Any, row: Any, target: Any, column: Any, example: Any) -> Any:
    """Transpose ``WIDTH`` by ``WIDTH`` numbers of the type of ``example``.

    Rows of the source are ``row`` bytes apart, those of the target ``column`` bytes.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, row, target, column, _ = arguments
        kind = ir.VectorType(_KINDS[example], WIDTH)
        rows = [
            builder.load(_at(builder, builder.add(source, builder.mul(row, _long(k))), kind), align=1)
            for k in range(WIDTH)
        ]
        # Swap the blocks beside the diagonal, of 1, 2, 4, ... rows and columns.
        block = 1
        while block < WIDTH:
            upper = [j if not j & block else WIDTH + j - block for j in range(WIDTH)]
            lower = [j + block if not j & block else WIDTH + j for j in range(WIDTH)]
            for k in range(WIDTH):
                if not k & block:
                    pair = rows[k], rows[k + block]
                    rows[k], rows[k + block] = _shuffled(builder, pair, upper), _shuffled(builder, pair, lower)
            block *= 2
        for k in range(WIDTH):
            place = builder.add(target, builder.mul(column, _long(k)))
            builder.store(rows[k], _at(builder, place, kind), align=1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp, example), build


@intrinsic
def turn(typing: Any, samples: Any, held: Any, before: Any, rising: Any, threshold: Any, limit: Any, now: Any) -> Any:
    """One step of ``LANES`` scans for alternating extrema; bit ``i`` of the result tells that scan ``i`` has turned.

    A rising scan holds the highest sample since the last minimum, and turns at a sample that is more than
    ``threshold`` below it and not above ``limit``. A falling scan holds the lowest sample since the last maximum, and
    turns at one that is more than ``threshold`` above it. A scan that turns holds the sample at which it turned, and
    what it held before is the extremum. Of equal samples the first is the lowest and the last the highest.

    ``samples``, ``held`` and ``before`` are addresses of ``LANES`` numbers of the type of ``limit`` (uint8, float32 or
    float64): the next sample of each scan, what it holds (updated), and for what it held before this step. The
    threshold is a uint8 or a float64. Bit ``i`` of the uint64 ``rising`` is set while scan ``i`` rises.

    ``now`` is None, or the number of the sample, an int32; then positions are held as well, as ``LANES`` int32 behind
    the numbers of ``held`` and of ``before``.
    """
    placed = now != types.none

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        samples, held, before, rising, threshold, limit, now = arguments
        element = _KINDS[signature.args[5]]
        kind, places = ir.VectorType(element, LANES), ir.VectorType(_INT, LANES)
        behind = LANES * {_BYTE: 1, _FLOAT: 4, _DOUBLE: 8}[element]
        compare, minus = builder.fcmp_ordered, builder.fsub
        if element == _BYTE:
            compare, minus = builder.icmp_unsigned, builder.sub

        def exceeds(high: Any, low: Any) -> Any:
            wide = ir.VectorType(_DOUBLE, LANES)
            if element == _FLOAT:  # lengths are compared in float64, whatever the samples are
                high, low = builder.fpext(high, wide), builder.fpext(low, wide)
            return compare(">", minus(high, low), _splat(builder, threshold, kind if element == _BYTE else wide))

        x = builder.load(_at(builder, samples, kind), align=1)
        old = builder.load(_at(builder, held, kind), align=1)
        builder.store(old, _at(builder, before, kind), align=1)
        up = builder.bitcast(rising, ir.VectorType(ir.IntType(1), LANES))
        higher, lower = compare(">=", x, old), compare("<", x, old)
        falls = exceeds(builder.select(higher, x, old), x)
        falls = builder.and_(falls, compare("<=", x, _splat(builder, limit, kind)))
        lifts = exceeds(x, builder.select(lower, x, old))
        turned = builder.select(up, falls, lifts)
        taken = builder.or_(turned, builder.select(up, higher, lower))
        builder.store(builder.select(taken, x, old), _at(builder, held, kind), align=1)
        if placed:
            place = builder.load(_at(builder, held, places, behind), align=1)
            builder.store(place, _at(builder, before, places, behind), align=1)
            moved = builder.select(taken, _splat(builder, now, places), place)
            builder.store(moved, _at(builder, held, places, behind), align=1)
        return builder.bitcast(turned, _LONG)

    step = types.uint8 if limit == types.uint8 else types.float64
    clock = types.int32 if placed else types.none
    return types.uint64(types.intp, types.intp, types.intp, types.uint64, step, limit, clock), build


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


@intrinsic
def clear(typing: Any, target: Any) -> Any:
    """Write ``WIDTH`` float32 zeros to an address."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(ir.Constant(_FLOATS, None), _at(builder, arguments[0], _FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(types.intp), build


@intrinsic
def quadratic(typing: Any, source: Any, part: Any, place: Any, factor: Any, target: Any) -> Any:
    """Write factor * (a + place * (b + place * c)) for ``WIDTH`` float32 numbers each of a, b and c.

    ``source`` is the address of those called a, and the others follow ``part`` bytes apart.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, part, place, factor, target = arguments
        at = _splat(builder, place, _FLOATS)
        value = ir.Constant(_FLOATS, None)
        for k in (2, 1, 0):
            coefficient = _at(builder, builder.add(source, builder.mul(part, _long(k))), _FLOATS)
            value = builder.fmul(at, value, flags=_MULTIPLY_ADD)
            value = builder.fadd(value, builder.load(coefficient, align=4), flags=_MULTIPLY_ADD)
        scaled = builder.fmul(value, _splat(builder, factor, _FLOATS))
        builder.store(scaled, _at(builder, target, _FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.float32, types.float32, types.intp), build


def weighted_sums(rows: int, vectors: int, *, onto: bool = False) -> Callable[..., Any]:
    """An operation that computes ``rows`` weighted sums of table rows, ``vectors * WIDTH`` columns wide.

    The operation ``sums(table, stride, weights, pitch, levels, count, out, step, peaks)`` computes, with all sums in
    registers, ``out[r] = sum(weights[levels[i], r] * table[levels[i]] for i in range(count))``. ``table``, ``weights``
    and ``out`` are addresses of float32 rows that are ``stride``, ``pitch`` and ``step`` bytes apart, ``levels`` is
    the address of int64 numbers. ``peaks``, the address of ``WIDTH`` float32 numbers, is raised to the largest sums
    that were seen at each place of a vector. With ``onto``, the sums are added to what ``out`` holds.
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
            builder.cbranch(builder.icmp_signed("<", _long(0), count), loop, after)

            builder.position_at_end(loop)
            i = builder.phi(_LONG)
            totals = {cell: builder.phi(_FLOATS) for cell in cells}
            level = builder.load(_at(builder, builder.add(levels, builder.shl(i, _long(3))), _LONG))
            row = builder.add(table, builder.mul(level, stride))
            column = builder.add(weights, builder.mul(level, pitch))
            parts = [builder.load(_at(builder, row, _FLOATS, 4 * WIDTH * v), align=4) for v in range(vectors)]
            added = {}
            for r in range(rows):
                weight = _splat(builder, builder.load(_at(builder, column, _FLOAT, 4 * r)), _FLOATS)
                for v in range(vectors):
                    product = builder.fmul(parts[v], weight, flags=_MULTIPLY_ADD)
                    added[r, v] = builder.fadd(product, totals[r, v], flags=_MULTIPLY_ADD)
            following = builder.add(i, _long(1))
            builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
            i.add_incoming(_long(0), before)
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
            places = {
                (r, v): _at(builder, builder.add(out, builder.mul(step, _long(r))), _FLOATS, 4 * WIDTH * v)
                for r, v in cells
            }
            for r, v in cells:
                if onto:
                    results[r, v] = builder.fadd(results[r, v], builder.load(places[r, v], align=4))
                larger = builder.fcmp_ordered(">", results[r, v], peak)
                peak = builder.select(larger, results[r, v], peak)
                builder.store(results[r, v], places[r, v], align=4)
            builder.store(peak, _at(builder, peaks, _FLOATS), align=4)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 9), build

    operation: Callable[..., Any] = sums
    return operation
