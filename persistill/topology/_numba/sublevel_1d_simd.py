"""Compiled kernels that scan many signals side by side for their extrema, and pair what they found.

Bars that are not longer than a threshold are those of extrema between which the signal never reverses by more than the
threshold. A scan that holds the highest sample until the signal has fallen far enough, then the lowest until it has
risen far enough, and so on, therefore sees exactly the extrema of the longer bars, in order. Such a scan has no branch
but one, and that one is rare, so ``LANES`` signals can be scanned in step (``llvm_vectors.turn``). The serial part, a
merge with a stack as in ``sublevel_1d``, is left with a tenth or a fifth of the samples.

A scan begins as if the signal came down from an infinite barrier and ends with a minimum, so a stream of extrema is
(barrier, minimum, maximum, minimum, ..., minimum).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill.topology._numba.jit import kernel
from persistill.topology._numba.llvm_vectors import LANES, WIDTH, trailing_zeros, transpose, turn

CHUNK = 1024  # samples of all lanes that are transposed at once
FEW = 10
"""So few signals are scanned faster one after the other: a step of all lanes costs as much with one of them in use."""


@kernel
def to_lanes(planes: NDArray[Any], start: int, stop: int, lanes: NDArray[Any]) -> None:
    """Transpose samples ``start`` to ``stop`` of (n <= LANES, N) signals into (stop - start, LANES)."""
    n = len(planes)
    span = stop - start
    size = planes.itemsize
    whole = span - span % WIDTH if planes.shape[1] >= WIDTH else 0
    full = n - n % WIDTH
    for lane in range(0, full, WIDTH):
        for t in range(0, whole, WIDTH):
            transpose(
                planes.ctypes.data + (lane * planes.shape[1] + start + t) * size,
                planes.shape[1] * size,
                lanes.ctypes.data + (t * LANES + lane) * size,
                LANES * size,
                lanes[0, 0],
            )
        for t in range(whole, span):
            for k in range(lane, lane + WIDTH):
                lanes[t, k] = planes[k, start + t]
    for t in range(span):
        for lane in range(full, n):
            lanes[t, lane] = planes[lane, start + t]
        for lane in range(n, LANES):
            lanes[t, lane] = 0


@kernel
def scan_one(signal: NDArray[Any], threshold: Any, limit: Any, highest: Any, stream: Any, places: Any) -> Any:
    """The scan of a single signal: what ``llvm_vectors.turn`` does for each of its lanes.

    Args:
        signal: (N,).
        threshold: as in ``scan``.
        limit: as there.
        highest: as there.
        stream: (N + 2,), for the extrema; None if only their number is wanted.
        places: the same, for their positions; None if they are not wanted.

    Returns:
        The number of extrema.
    """
    held, place = highest, np.int32(-1)
    rising = True
    count = np.uint64(0)
    for t in range(len(signal)):
        x = signal[t]
        if rising:
            if x >= held:
                held, place = x, np.int32(t)
                continue
            if np.float64(held) - np.float64(x) <= threshold or x > limit:
                continue
        else:
            if x < held:
                held, place = x, np.int32(t)
                continue
            if np.float64(x) - np.float64(held) <= threshold:
                continue
        if stream is not None:
            stream[count] = held
        if places is not None:
            places[count] = place
        count += np.uint64(1)
        held, place = x, np.int32(t)
        rising = not rising
    if not rising:
        if stream is not None:
            stream[count] = held
        if places is not None:
            places[count] = place
        count += np.uint64(1)
    return np.int64(count)


@kernel
def count_bars(
    planes: NDArray[Any], threshold: Any, highest: Any, extra: int, lanes: NDArray[Any], out: NDArray[np.int64]
) -> None:
    """How many bars longer than ``threshold`` each of (n, N) signals has, plus ``extra``; scratch as in ``scan``."""
    n, samples = planes.shape
    size = planes.itemsize
    held = np.empty(LANES, lanes.dtype)
    before = np.empty(LANES, lanes.dtype)
    turns = np.empty(LANES, np.int64)
    for first in range(0, n, LANES):
        block = planes[first : first + LANES]
        if len(block) <= FEW:
            for lane in range(len(block)):
                found = scan_one(block[lane], threshold, highest, highest, None, None)
                out[first + lane] = max(found // 2 - 1, 0) + extra
            continue
        held[:] = highest
        rising = ~np.uint64(0)
        turns[:] = 0
        for start in range(0, samples, CHUNK):
            stop = min(start + CHUNK, samples)
            to_lanes(block, start, stop, lanes)
            for t in range(stop - start):
                sample = lanes.ctypes.data + t * LANES * size
                turned = turn(sample, held.ctypes.data, before.ctypes.data, rising, threshold, highest, None)
                rising ^= turned
                while turned:
                    turns[trailing_zeros(turned)] += 1
                    turned &= turned - np.uint64(1)
        for lane in range(len(block)):
            # The first turn is the one from the infinite barrier; a last minimum has had no turn of its own.
            out[first + lane] = max((turns[lane] + 1) // 2 - 1, 0) + extra


@kernel
def scan(
    planes: NDArray[Any],
    threshold: Any,
    limit: Any,
    highest: Any,
    lanes: NDArray[Any],
    streams: NDArray[Any],
    places: Any,
    counts: NDArray[np.int64],
) -> None:
    """Write the extrema of (n <= LANES, N) signals and their positions, each into its stream.

    Args:
        planes: uint8, float32 or float64, C-contiguous, finite.
        threshold: reversals of this length or less are passed over; uint8 for uint8, otherwise float64.
        limit: a number of the type of ``planes``; bars that are born above it are passed over.
        highest: another, that no sample exceeds.
        lanes: (CHUNK, LANES), scratch.
        streams: (LANES, N + 2), for the extrema.
        places: the same, for their positions; None if they are not wanted.
        counts: (LANES,), for their number.
    """
    samples = planes.shape[1]
    if len(planes) <= FEW:
        for lane in range(len(planes)):
            if places is None:
                counts[lane] = scan_one(planes[lane], threshold, limit, highest, streams[lane], None)
            else:
                counts[lane] = scan_one(planes[lane], threshold, limit, highest, streams[lane], places[lane])
        return
    size = planes.itemsize
    held = np.empty(LANES * (size + 4), np.uint8)
    before = np.empty(LANES * (size + 4), np.uint8)
    values, positions = held[: LANES * size].view(lanes.dtype), held[LANES * size :].view(np.int32)
    old_values, old_positions = before[: LANES * size].view(lanes.dtype), before[LANES * size :].view(np.int32)
    values[:] = highest
    positions[:] = -1
    rising = ~np.uint64(0)
    counts[:] = 0
    for start in range(0, samples, CHUNK):
        stop = min(start + CHUNK, samples)
        to_lanes(planes, start, stop, lanes)
        for t in range(stop - start):
            sample = lanes.ctypes.data + t * LANES * size
            if places is None:
                turned = turn(sample, held.ctypes.data, before.ctypes.data, rising, threshold, limit, None)
            else:
                now = np.int32(start + t)
                turned = turn(sample, held.ctypes.data, before.ctypes.data, rising, threshold, limit, now)
            rising ^= turned
            while turned:
                lane = trailing_zeros(turned)
                turned &= turned - np.uint64(1)
                k = np.uint64(counts[lane])
                streams[lane, k] = old_values[lane]
                if places is not None:
                    places[lane, k] = old_positions[lane]
                counts[lane] += 1
    for lane in range(len(planes)):
        if not (rising >> np.uint64(lane)) & np.uint64(1):
            streams[lane, counts[lane]] = values[lane]
            if places is not None:
                places[lane, counts[lane]] = positions[lane]
            counts[lane] += 1


@kernel
def pair(
    stream: NDArray[Any],
    places: Any,
    size: int,
    last: Any,
    stack: NDArray[Any],
    stack_places: Any,
    values: NDArray[Any],
    indices: Any,
) -> int:
    """Pair the extrema of one stream, of at least two: the merge of ``sublevel_1d``.

    Args:
        stream: extrema as ``scan`` writes them.
        places: their positions, or None.
        size: their number.
        last: a barrier, of the type of ``stack``, that none in the stream exceeds.
        stack: (2, N // 2 + 2) minima, and the barriers on their right, int64 for levels and float64 for floats.
            The first barrier exceeds ``last``.
        stack_places: the same, for their positions; None without ``places``.
        values: (size // 2 - 1, 2), for the bars.
        indices: the same, for their positions; None without ``places``.

    Returns:
        The position of the minimum that is left, -1 without ``places``.
    """
    lows, barriers = stack
    number = stack.dtype.type
    found, top = np.uint64(0), np.uint64(0)
    barrier = under = barriers[0]
    low = number(stream[1])
    low_place = np.int64(-1)
    if places is not None:
        low_place = np.int64(places[1])
    k, end = np.uint64(2), np.uint64(size)
    while True:
        ended = k >= end
        height = last if ended else number(stream[k])
        while barrier <= height:
            # Elder rule: of equal minima the left one, which is the one on the stack, survives.
            elder = under <= low
            values[found, 0] = low if elder else under
            values[found, 1] = barrier
            low = under if elder else low
            if places is not None:
                under_place = stack_places[0, top]
                indices[found, 0] = low_place if elder else under_place
                indices[found, 1] = stack_places[1, top]
                low_place = under_place if elder else low_place
            found += np.uint64(1)
            top -= np.uint64(1)
            barrier, under = barriers[top], lows[top]
        if ended:
            return int(low_place)
        top += np.uint64(1)
        lows[top], barriers[top] = low, height
        under, barrier = low, height
        low = number(stream[k + np.uint64(1)])
        if places is not None:
            stack_places[0, top], stack_places[1, top] = low_place, places[k]
            low_place = np.int64(places[k + np.uint64(1)])
        k += np.uint64(2)


@kernel
def find_bars(
    planes: NDArray[Any],
    threshold: Any,
    highest: Any,
    last: Any,
    bottom: Any,
    essential: bool,
    lanes: NDArray[Any],
    stack: NDArray[Any],
    offsets: NDArray[np.int64],
    values: NDArray[Any],
    indices: Any,
) -> None:
    """Write the bars of (n, N) signals, those of signal ``i`` from ``offsets[i]`` on; see ``scan`` and ``pair``.

    With ``essential``, which wants ``indices``, the last bar of each signal is its minimum, with the death index -1 and
    the death 0.
    """
    n, samples = planes.shape
    streams = np.empty((LANES, samples + 2), planes.dtype)
    counts = np.empty(LANES, np.int64)
    stack[1, 0] = bottom
    if indices is None:
        for first in range(0, n, LANES):
            block = planes[first : first + LANES]
            scan(block, threshold, highest, highest, lanes, streams, None, counts)
            for lane in range(len(block)):
                if counts[lane] > 1:
                    begin = offsets[first + lane]
                    pair(streams[lane], None, counts[lane], last, stack, None, values[begin:], None)
    else:
        places = np.empty((LANES, samples + 2), np.int32)
        heap = np.empty(stack.shape, np.int64)
        for first in range(0, n, LANES):
            block = planes[first : first + LANES]
            scan(block, threshold, highest, highest, lanes, streams, places, counts)
            for lane in range(len(block)):
                begin, end = offsets[first + lane], offsets[first + lane + 1]
                low = np.int64(-1)
                if counts[lane] > 1:
                    stream, marks = streams[lane], places[lane]
                    low = pair(stream, marks, counts[lane], last, stack, heap, values[begin:], indices[begin:])
                if essential:
                    # No extremum at all is what levels near 255 leave, from where no bar can be long enough.
                    low = low if low >= 0 else np.int64(block[lane].argmin())
                    values[end - 1, 0], values[end - 1, 1] = block[lane, low], 0
                    indices[end - 1, 0], indices[end - 1, 1] = low, -1
