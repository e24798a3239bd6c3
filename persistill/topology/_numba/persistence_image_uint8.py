"""Compiled kernel from 8-bit images straight to persistence images, 64 channels at a time.

Five steps, the first two for all 64 signals at once.

1. *Lanes.* Samples are laid out so that those of one time stand side by side, one byte for each signal.
2. *Extrema.* All signals are scanned for alternating minima and maxima whose reversals exceed the least persistence
   (``llvm_vectors.turn``). This loses exactly the bars that are too short, and also minima that are born too high to
   reach
   the window: a component without a visible minimum never kills a visible one.
3. *Pairs.* The stack merge of ``sublevel_1d``, on what is left of each signal: about 70 minima of 1024 samples.
   Equal bars are counted and not added one by one, which would round in the same direction each time.
4. *Persistence image.* A bar adds its profile along births to a table with one row for every length. The rows of the
   persistence image are then sums of few rows of that table, weighted by the profiles along persistences.
5. *Scaling*, and the only write to memory beyond the cache.

Where a persistence image is to be divided by its maximum and the maximum is as small as what the float32 tables leave
out, it is left to ``persistence_image_uint8_tails``.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill.topology._numba.jit import kernel
from persistill.topology._numba.llvm_vectors import (
    LANES,
    WIDTH,
    add_scaled,
    bits_set,
    trailing_zeros,
    turn,
    weighted_sums,
)
from persistill.topology._numba.persistence_image_exact import LOGARITHM, MAXIMUM
from persistill.topology._numba.sublevel_1d_simd import FEW, to_lanes

GROUP, PANEL = 4, 4  # rows and vectors that are summed at once: 16 registers of 64 bytes
_sums = weighted_sums(GROUP, PANEL)


@kernel
def extrema(
    lanes: NDArray[np.uint8],
    height: int,
    width: int,
    by_columns: bool,
    threshold: np.uint8,
    limit: np.uint8,
    streams: NDArray[np.uint8],
    counts: NDArray[np.int64],
) -> None:
    """Write the alternating extrema of each lane, a maximum of 255 first and a minimum last, into its stream."""
    held = np.full(LANES, 255, np.uint8)
    before = np.empty(LANES, np.uint8)
    rising = ~np.uint64(0)
    counts[:] = 0
    outer, inner = (width, height) if by_columns else (height, width)
    outer_step, inner_step = (1, width) if by_columns else (width, 1)
    for a in range(outer):
        for b in range(inner):
            sample = lanes.ctypes.data + (a * outer_step + b * inner_step) * LANES
            turned = turn(sample, held.ctypes.data, before.ctypes.data, rising, threshold, limit, None)
            rising ^= turned
            while turned:
                lane = trailing_zeros(turned)
                turned &= turned - np.uint64(1)
                streams[lane, np.uint64(counts[lane])] = before[lane]
                counts[lane] += 1
    for lane in range(LANES):
        if not (rising >> np.uint64(lane)) & np.uint64(1):
            streams[lane, counts[lane]] = held[lane]
            counts[lane] += 1


@kernel
def extrema_of_few(
    planes: NDArray[np.uint8],
    height: int,
    width: int,
    by_columns: bool,
    threshold: np.uint8,
    limit: np.uint8,
    streams: NDArray[np.uint8],
    counts: NDArray[np.int64],
) -> None:
    """What ``extrema`` does, of planes (n, H * W) one after the other."""
    least, most = np.int64(threshold), np.int64(limit)
    outer, inner = (width, height) if by_columns else (height, width)
    outer_step, inner_step = (1, width) if by_columns else (width, 1)
    for lane in range(len(planes)):
        plane, stream = planes[lane], streams[lane]
        held = np.int64(255)
        rising = True
        count = np.uint64(0)
        for a in range(outer):
            for b in range(inner):
                x = np.int64(plane[np.uint64(a * outer_step + b * inner_step)])
                if rising:
                    if x >= held:
                        held = x
                        continue
                    if held - x <= least or x > most:
                        continue
                else:
                    if x < held:
                        held = x
                        continue
                    if x - held <= least:
                        continue
                stream[count] = held
                count += np.uint64(1)
                held = x
                rising = not rising
        if not rising:
            stream[count] = held
            count += np.uint64(1)
        counts[lane] = np.int64(count)


@kernel
def count_bars(
    stream: NDArray[np.uint8],
    size: int,
    longest: int,
    lows: NDArray[np.int64],
    barriers: NDArray[np.int64],
    seen: NDArray[np.int32],
    bars: NDArray[np.int64],
) -> int:
    """Pair alternating extrema; ``bars`` gets each kind of bar, length * 256 + birth, and ``seen`` their numbers."""
    found = 0
    if size < 2:
        return 0
    barriers[0] = 256  # below the bottom of the stack, never popped
    top = np.uint64(0)
    low = np.int64(stream[1])
    barrier = np.int64(256)
    under = np.int64(0)
    k = np.uint64(2)
    end = np.uint64(size)
    while True:
        # The last minimum is followed by a barrier that pops everything but the bottom.
        height = np.int64(stream[k]) if k < end else np.int64(255)
        while barrier <= height:
            young: Any = max(low, under)
            low = min(low, under)
            length = min(barrier - young, longest + 1)
            bar = np.uint64(length * 256 + young)
            times = seen[bar]
            seen[bar] = times + 1
            bars[np.uint64(found)] = bar
            found += times == 0
            top -= np.uint64(1)
            barrier = barriers[top]
            under = lows[top]
        if k >= end:
            return found
        top += np.uint64(1)
        barriers[top] = height
        lows[top] = low
        barrier = height
        under = low
        low = np.int64(stream[k + np.uint64(1)])
        k += np.uint64(2)


@kernel
def render_counted_bars(
    bars: NDArray[np.int64],
    found: int,
    seen: NDArray[np.int32],
    columns: NDArray[np.float32],
    rows: NDArray[np.float32],
    groups: NDArray[np.int64],
    longest: int,
    table: NDArray[np.float32],
    lengths: NDArray[np.int64],
    peaks: NDArray[np.float32],
    image: NDArray[np.float32],
) -> float:
    """Render counted bars into ``image`` (rows, columns, both padded), and forget their numbers in ``seen``.

    ``table`` (longest + 1, padded columns) must be all 0 and is so again afterwards. Gives the maximum of
    ``image``.
    """
    wide = columns.shape[1]
    used0 = used1 = used2 = used3 = np.uint64(0)
    one = np.uint64(1)
    for i in range(found):
        bar = np.uint64(bars[i])
        length, birth = bar >> np.uint64(8), bar & np.uint64(255)
        times = np.float32(seen[bar])
        seen[bar] = 0
        if length > longest:
            continue
        bit = one << (length & np.uint64(63))
        part = length >> np.uint64(6)
        used0 |= bit if part == 0 else np.uint64(0)
        used1 |= bit if part == 1 else np.uint64(0)
        used2 |= bit if part == 2 else np.uint64(0)
        used3 |= bit if part == 3 else np.uint64(0)
        target = table.ctypes.data + np.int64(length) * wide * 4
        source = columns.ctypes.data + np.int64(birth) * wide * 4
        for c in range(0, wide * 4, WIDTH * 4):
            add_scaled(target + c, source + c, times)

    total = 0
    base = 0
    words = (used0, used1, used2, used3)
    for word in words:
        left = word
        while left:
            lengths[total] = base + np.int64(trailing_zeros(left))
            left &= left - one
            total += 1
        base += 64

    peaks[:] = 0
    for g in range(len(groups)):
        first = _rank(words, groups[g, 0])
        last = _rank(words, groups[g, 1])
        for c in range(0, wide, PANEL * WIDTH):
            _sums(
                table.ctypes.data + c * 4,
                wide * 4,
                rows.ctypes.data + g * GROUP * 4,
                rows.shape[1] * 4,
                lengths.ctypes.data + first * 8,
                last - first,
                image.ctypes.data + (g * GROUP * wide + c) * 4,
                wide * 4,
                peaks.ctypes.data,
            )
    for i in range(total):
        table[lengths[i]] = 0
    return float(peaks.max())


@kernel
def _rank(words: Any, level: int) -> int:
    """How many lengths in use lie below ``level``."""
    count = np.uint64(0)
    for k in range(4):
        below = min(max(level - 64 * k, 0), 64)
        mask = ~np.uint64(0) if below == 64 else (np.uint64(1) << np.uint64(below)) - np.uint64(1)
        count += bits_set(words[k] & mask)
    return int(count)


@kernel
def scale_and_store(
    image: NDArray[Any],
    rows: int,
    columns: int,
    scaling: int,
    largest: float,
    scale: float,
    full: float,
    out: NDArray[Any],
) -> None:
    """Scale ``image`` (padded rows and columns) and write ``full`` times the result to ``out`` (rows * columns,)."""
    factor = np.float32(full)
    one = np.float32(1)
    if scaling == MAXIMUM:
        # Of the two numbers next to the inverse, the one that takes the maximum to 1 or just above.
        inverse = np.float32(1) / np.float32(largest)
        if np.float32(largest) * inverse < 1:
            inverse = np.nextafter(inverse, np.float32(2) * inverse)
        for r in range(rows):
            for c in range(columns):
                value = image[r, c] * inverse
                out[r * columns + c] = factor * min(value, one)
    elif scaling == LOGARITHM:
        for r in range(rows):
            for c in range(columns):
                out[r * columns + c] = factor * math.log1p(image[r, c] / scale)
    else:
        for r in range(rows):
            for c in range(columns):
                out[r * columns + c] = factor * image[r, c]


@kernel
def render_uint8(
    planes: NDArray[np.uint8],
    start: int,
    channels: int,
    height: int,
    width: int,
    scans: NDArray[np.bool_],
    columns: NDArray[np.float32],
    rows: NDArray[np.float32],
    groups: NDArray[np.int64],
    shape: tuple[int, int],
    threshold: int,
    limit: int,
    longest: int,
    faint: float,
    scaling: int,
    scale: float,
    full: float,
    out: NDArray[Any],
    left: NDArray[np.int64],
) -> int:
    """Render planes (n, H * W), the channels of consecutive images from number ``start`` of them on.

    ``scans`` holds true for a scan by columns, ``out`` is (B, scans * C, rows * columns) and receives ``full`` times
    the persistence images, of ``shape`` (rows, columns). One that is to be divided by its maximum is left alone if that
    is not above ``faint``: the numbers of its plane and its scan come into ``left`` instead.

    Returns:
        How many were left alone.
    """
    samples = height * width
    wide = columns.shape[1]
    lanes = np.empty((samples, LANES), np.uint8)
    streams = np.empty((LANES, samples + 2), np.uint8)
    counts = np.empty(LANES, np.int64)
    lows = np.empty(samples // 2 + 2, np.int64)
    barriers = np.empty(samples // 2 + 2, np.int64)
    bars = np.empty(samples // 2 + 2, np.int64)
    seen = np.zeros((longest + 2) * 256, np.int32)
    table = np.zeros((longest + 1, wide), np.float32)
    lengths = np.empty(256, np.int64)
    peaks = np.empty(WIDTH, np.float32)
    rendered = np.empty((rows.shape[1], wide), np.float32)
    unfinished = 0
    for first in range(0, len(planes), LANES):
        block = planes[first : first + LANES]
        few = len(block) <= FEW
        if not few:
            to_lanes(block, 0, samples, lanes)
        for scan in range(len(scans)):
            turned = scans[scan], np.uint8(threshold), np.uint8(limit)
            if few:
                extrema_of_few(block, height, width, *turned, streams, counts)
            else:
                extrema(lanes, height, width, *turned, streams, counts)
            for lane in range(len(block)):
                image, channel = divmod(start + first + lane, channels)
                found = count_bars(streams[lane], counts[lane], longest, lows, barriers, seen, bars)
                largest = render_counted_bars(
                    bars, found, seen, columns, rows, groups, longest, table, lengths, peaks, rendered
                )
                if scaling != MAXIMUM or largest > faint:
                    target = out[image, scan * channels + channel]
                    scale_and_store(rendered, shape[0], shape[1], scaling, largest, scale, full, target)
                else:
                    left[unfinished, 0], left[unfinished, 1] = first + lane, scan
                    unfinished += 1
    return unfinished
