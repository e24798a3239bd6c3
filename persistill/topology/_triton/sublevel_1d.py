"""Triton kernels for H0 of the sublevel sets of 1-D signals on a GPU.

The stack of the CPU's kernel is serial. Here every local minimum finds its own bar: on a path, the component that is
born at sample i meets an older one where it first reaches a sample that is lower than i, so with l and r the nearest
such samples on the left and on the right,

    death(i) = min(max x(l..i), max x(i..r)),

of equals the left one, and no death where there is neither. (Samples are ordered by value and index, as everywhere.)

1. *Tree.* Minima and maxima of all aligned blocks of 2, 4, 8, ... samples, in the layout of a heap: node 1 holds the
   whole signal, the children of node k are 2k and 2k + 1, and sample i is node 2^depth + i.
2. *Pairs.* From its leaf, each minimum climbs: whenever its block is the right one of two, the left neighbor is
   either passed as a whole, which takes its maximum, or holds a lower sample and is descended into. The same to the
   other side. At most 2 depth steps each, the same number for all lanes, and no lane waits for another.

Nothing is serial, no result depends on the order of execution, and sizes never leave the device: a signal of N samples
has at most N // 2 bars (one more with the class that never dies), which is the room that its diagram gets.

*How far from the floor* (estimated, H100): 45,000 warp instructions for 1024 samples, 15 ms for the 300,000
signals of CIFAR-10's training images at full issue rate, against 0.1 ms for reading them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from persistill.topology._dispatch import device_of
from persistill.topology.diagrams import Diagrams

_SCRATCH = 1 << 27  # bytes of working memory that one launch may take
_SPAN = 10  # levels of the tree that one program builds
_LANES = 256  # samples that one program looks at together
OPTIONS = {"enable_fp_fusion": True}  # Triton's long-standing default, which it warns that it will change


def sublevel_persistence(
    signals: Tensor, min_persistence: float, *, superlevel: bool, essential: bool, indices: bool
) -> Diagrams[Tensor]:
    """``sublevel_persistence`` of checked signals (..., N), which waits for the number of bars.

    Raises:
        ValueError: if there is a NaN or an infinity (its index is named).
    """
    samples = signals.shape[-1]
    flat = signals.detach().reshape(-1, samples).contiguous()
    empty = torch.zeros(0, dtype=torch.int64, device=signals.device)
    parts, numbers = [empty.reshape(0, 2)], [empty]
    for start, stop in blocks(len(flat), 1, samples, signals.dtype):
        where, counts = padded_pairs(flat[start:stop], min_persistence, superlevel=superlevel, essential=essential)
        parts.append(where[torch.arange(where.shape[1], device=where.device) < counts[:, None]])
        numbers.append(counts.long())
    where, counts = torch.cat(parts), torch.cat(numbers)
    if bool((counts < 0).any()):
        place = (~signals.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"signals[{', '.join(map(str, place))}] is {signals[tuple(place)].item()}; all values must be finite."
        )
    starts = torch.arange(len(flat), device=where.device) * samples
    positions = where.clamp(min=0) + starts.repeat_interleave(counts, output_size=len(where))[:, None]
    values = signals.reshape(-1)[positions]
    if essential:
        values = values if values.is_floating_point() else values.float()
        values = values.masked_fill(where < 0, -torch.inf if superlevel else torch.inf)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    scale = 255.0 if signals.dtype == torch.uint8 else 1.0
    return Diagrams(values, offsets, signals.shape[:-1], indices=where if indices else None, scale=scale)


def padded_pairs(
    signals: Tensor, threshold: float, *, superlevel: bool = False, essential: bool = False
) -> tuple[Tensor, Tensor]:
    """Indices of births and deaths, without waiting for the device.

    Args:
        signals: (n, N) uint8, float32 or float64, contiguous, N >= 1.
        threshold: bars of this length or shorter are left out, in the units of ``signals``.
        superlevel: follow {x >= t} as t falls.
        essential: whether (index of the minimum, -1) comes last in each diagram.

    Returns:
        (n, N // 2 + essential, 2) int64, of which the first ``counts`` rows of each signal are written, the others
        are -1; and ``counts`` (n,) int32, -1 where a sample is not finite.
    """
    n, samples = signals.shape
    if superlevel:
        signals = ~signals if signals.dtype == torch.uint8 else -signals
    where = torch.full((n, samples // 2 + essential, 2), -1, dtype=torch.int64, device=signals.device)
    counts = torch.empty(n, dtype=torch.int32, device=signals.device)
    for start, stop in blocks(n, 1, samples, signals.dtype):
        _launch(signals[start:stop], threshold, None, where[start:stop], counts[start:stop], essential=essential)
    return where, counts


def padded_bars(signals: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Births and deaths themselves: (n, N // 2, 2) in the dtype of ``signals``, and counts as in ``padded_pairs``.

    Rows beyond the counts are not written. ``signals`` are those of one of ``blocks``.
    """
    n, samples = signals.shape
    bars = torch.empty((n, samples // 2, 2), dtype=signals.dtype, device=signals.device)
    counts = torch.empty(n, dtype=torch.int32, device=signals.device)
    _launch(signals, threshold, bars, None, counts, essential=False)
    return bars, counts


def blocks(n: int, each: int, samples: int, dtype: torch.dtype) -> list[tuple[int, int]]:
    """Bounds of blocks of a number times ``each`` signals; their trees and bars fit into the working memory."""
    needed = 2 * (2 << _depth(samples)) + 2 * samples
    size = max(1, _SCRATCH // (needed * each * dtype.itemsize))
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def _depth(samples: int) -> int:
    return max(1, (samples - 1).bit_length())


def _launch(
    signals: Tensor, threshold: float, bars: Tensor | None, where: Tensor | None, counts: Tensor, *, essential: bool
) -> None:
    n, samples = signals.shape
    if n == 0:
        return
    depth = _depth(samples)
    low = torch.empty((n, 2 << depth), dtype=signals.dtype, device=signals.device)
    high = torch.empty_like(low)
    span = min(depth, _SPAN)
    # Triton would round a Python float to float32.
    least = torch.full((1,), threshold, dtype=torch.float64, device=signals.device)
    with device_of(signals):
        _leaves[(n << (depth - span),)](signals, low, high, samples, DEPTH=depth, SPAN=span, **OPTIONS)
        for level in range(span, depth, _SPAN):
            span = min(depth - level, _SPAN)
            _branches[(n << (depth - level - span),)](low, high, DEPTH=depth, LEVEL=level, SPAN=span, **OPTIONS)
        _search[(n,)](
            signals,
            low,
            high,
            least,
            counts if bars is None else bars,
            counts if where is None else where,
            counts,
            samples,
            samples // 2 + essential,
            DEPTH=depth,
            LANES=min(_LANES, 1 << depth),
            ESSENTIAL=essential,
            VALUES=bars is not None,
            INDICES=where is not None,
            **OPTIONS,
        )


@triton.jit
def _leaves(
    signals: tl.tensor, low: tl.tensor, high: tl.tensor, samples: tl.tensor, DEPTH: tl.constexpr, SPAN: tl.constexpr
) -> None:
    """Copy 2^SPAN samples into the tree, infinities beyond the end, and put SPAN levels above them."""
    signal = (tl.program_id(0) >> (DEPTH - SPAN)).to(tl.int64)
    block = tl.program_id(0) & ((1 << (DEPTH - SPAN)) - 1)
    low += signal * (2 << DEPTH)
    high += signal * (2 << DEPTH)
    i = block * (1 << SPAN) + tl.arange(0, 1 << SPAN)
    beyond = float("inf") if signals.dtype.element_ty.is_floating() else 255
    values = tl.load(signals + signal * samples + i, mask=i < samples, other=beyond)
    tl.store(low + (1 << DEPTH) + i, values)
    tl.store(high + (1 << DEPTH) + i, values)
    _grow(values, values, low, high, block, DEPTH, SPAN)


@triton.jit
def _branches(low: tl.tensor, high: tl.tensor, DEPTH: tl.constexpr, LEVEL: tl.constexpr, SPAN: tl.constexpr) -> None:
    """Put SPAN levels above LEVEL, which is complete."""
    signal = (tl.program_id(0) >> (DEPTH - LEVEL - SPAN)).to(tl.int64)
    block = tl.program_id(0) & ((1 << (DEPTH - LEVEL - SPAN)) - 1)
    low += signal * (2 << DEPTH)
    high += signal * (2 << DEPTH)
    node = (1 << (DEPTH - LEVEL)) + block * (1 << SPAN) + tl.arange(0, 1 << SPAN)
    _grow(tl.load(low + node), tl.load(high + node), low, high, block, DEPTH - LEVEL, SPAN)


@triton.jit
def _grow(
    lows: tl.tensor,
    highs: tl.tensor,
    low: tl.tensor,
    high: tl.tensor,
    block: tl.tensor,
    DEPTH: tl.constexpr,
    SPAN: tl.constexpr,
) -> None:
    for k in tl.static_range(1, SPAN + 1):
        lows = tl.min(tl.reshape(lows, (1 << (SPAN - k), 2)), 1)
        highs = tl.max(tl.reshape(highs, (1 << (SPAN - k), 2)), 1)
        node = (1 << (DEPTH - k)) + block * (1 << (SPAN - k)) + tl.arange(0, 1 << (SPAN - k))
        tl.store(low + node, lows.to(low.dtype.element_ty))
        tl.store(high + node, highs.to(high.dtype.element_ty))


@triton.jit
def _search(
    signals: tl.tensor,
    low: tl.tensor,
    high: tl.tensor,
    least: tl.tensor,
    bars: tl.tensor,
    where: tl.tensor,
    counts: tl.tensor,
    samples: tl.tensor,
    room: tl.tensor,
    DEPTH: tl.constexpr,
    LANES: tl.constexpr,
    ESSENTIAL: tl.constexpr,
    VALUES: tl.constexpr,
    INDICES: tl.constexpr,
) -> None:
    """Write the bars of one signal, in the order of their births."""
    signal = tl.program_id(0).to(tl.int64)
    signals += signal * samples
    low += signal * (2 << DEPTH)
    high += signal * (2 << DEPTH)
    bars += signal * room * 2
    where += signal * room * 2
    threshold = tl.load(least)
    found = 0
    oldest = 0
    strange = 0
    for start in range(0, samples, LANES):
        i = start + tl.arange(0, LANES)
        inside = i < samples
        value = tl.load(signals + i, mask=inside, other=0)
        before = tl.load(signals + i - 1, mask=inside & (i > 0), other=0)
        after = tl.load(signals + i + 1, mask=i + 1 < samples, other=0)
        minimum = inside & ((i == 0) | (before > value)) & ((i + 1 == samples) | (after >= value))

        left, left_node, left_met = _barrier(low, high, i, value, minimum, DEPTH, 1)
        right, right_node, right_met = _barrier(low, high, i, value, minimum, DEPTH, 0)
        to_left = left_met & ((left <= right) | (right_met == 0))
        death = tl.where(to_left, left, right)
        length = death.to(tl.float64) - value.to(tl.float64)
        kept = minimum & (left_met | right_met) & (length > threshold)
        place = found + tl.cumsum(kept.to(tl.int32), 0) - 1
        found += tl.sum(kept.to(tl.int32), 0)
        if VALUES:
            tl.store(bars + 2 * place, value, mask=kept)
            tl.store(bars + 2 * place + 1, death, mask=kept)
        if INDICES:
            node = _leaf(high, tl.where(to_left, left_node, right_node), death, kept, DEPTH)
            tl.store(where + 2 * place, i.to(tl.int64), mask=kept)
            tl.store(where + 2 * place + 1, (node - (1 << DEPTH)).to(tl.int64), mask=kept)
        if ESSENTIAL:
            alone = minimum & (left_met == 0) & (right_met == 0)
            oldest = tl.maximum(oldest, tl.max(tl.where(alone, i, 0), 0))
        if signals.dtype.element_ty.is_floating():
            strange += tl.sum((inside & ((value - value) != 0)).to(tl.int32), 0)
    if ESSENTIAL:
        tl.store(where + 2 * found, oldest)
        found += 1
    tl.store(counts + signal, tl.where(strange > 0, -1, found))


@triton.jit
def _barrier(
    low: tl.tensor,
    high: tl.tensor,
    i: tl.tensor,
    value: tl.tensor,
    active: tl.tensor,
    DEPTH: tl.constexpr,
    LEFT: tl.constexpr,
) -> tl.tensor:
    """The largest sample between each lane's sample and the nearest older one on a side.

    Returns:
        Its value, a node of the tree that contains it as its maximum, and whether there is an older sample at all.
        Of equal maxima it is the last in the signal.
    """
    node = (1 << DEPTH) + i
    top = node
    best = value
    down = node < 0  # false everywhere
    for _ in range(2 * DEPTH):
        leaf = node >= (1 << DEPTH)
        near = tl.where(down, 2 * node + LEFT, node ^ 1)
        test = active & tl.where(down, leaf == 0, ((node & 1) == LEFT) & (node > 1))
        lowest = tl.load(low + near, mask=test, other=0)
        highest = tl.load(high + near, mask=test, other=0)
        if LEFT:
            older = test & (lowest <= value)
            better = test & (lowest > value) & (highest > best)
        else:
            older = test & (lowest < value)
            better = test & (lowest >= value) & (highest >= best)
        best = tl.where(better, highest, best)
        top = tl.where(better, near, top)
        onward = tl.where(down, tl.where(leaf, node, near ^ 1), tl.maximum(node >> 1, 1))
        node = tl.where(older, near, onward)
        down = down | older
    return best, top, down


@triton.jit
def _leaf(high: tl.tensor, node: tl.tensor, value: tl.tensor, active: tl.tensor, DEPTH: tl.constexpr) -> tl.tensor:
    """The last leaf below ``node`` with the largest sample, ``value``."""
    for _ in range(DEPTH):
        inner = node < (1 << DEPTH)
        right = 2 * node + 1
        highest = tl.load(high + right, mask=active & inner, other=0)
        node = tl.where(inner, tl.where(highest >= value, right, right - 1), node)
    return node
