"""Compiled kernel that draws diagrams of arbitrary numbers, in float32 and about as fast as those of 8-bit levels.

On an even grid the profile of a point depends only on its place between two boxes, so it is read from a table of
places and mended by two terms of a series (``_tables.Axis``): no exponential, no error function. The points of a
diagram are taken ``POINTS`` at a time; each writes its profile along births, its weighted profile along persistences,
and its number in the lists of those groups of rows that it reaches. A group of rows of the image is then a sum of few
profiles, with all sums in registers. So few float32 numbers add up to within 1e-6 even if all are equal, which is the
worst case; the sums of ``_BATCHES`` batches are added in float32, too, and those of more in float64.

Images that are divided by a maximum as small as what the tables leave out are drawn again with all digits.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from persistill.topology._numba.llvm_vectors import LANES, WIDTH, clear, quadratic, weighted_sums
from persistill.topology._numba.persistence_image_exact import MAXIMUM, PLAIN, draw
from persistill.topology._numba.persistence_image_uint8 import GROUP, PANEL, finish
from persistill.topology._numba.sublevel_1d import merge
from persistill.topology._numba.sublevel_1d_simd import CHUNK, pair, scan

POINTS = 32
_BATCHES = 8  # of points, whose sums are added in float32
_sums = weighted_sums(GROUP, PANEL)
_more_sums = weighted_sums(GROUP, PANEL, onto=True)


class Drawing(NamedTuple):
    """What is drawn.

    Attributes:
        threshold: bars must be longer.
        linear: whether points weigh as much as their bars are long.
        bandwidth: of the Gaussian.
        row_lower, row_upper, column_lower, column_upper: edges of the boxes, in rising order.
        across, down: ``_tables.Axis`` along births, and along persistences from the largest down.
        limit: an image is drawn with all digits if its maximum is not above this times the sum of its weights.
        scaling, scale, full: see ``finish``.
    """

    threshold: float
    linear: bool
    bandwidth: float
    row_lower: NDArray[np.float64]
    row_upper: NDArray[np.float64]
    column_lower: NDArray[np.float64]
    column_upper: NDArray[np.float64]
    across: Any
    down: Any
    limit: float
    scaling: int
    scale: float
    full: float


class Room(NamedTuple):
    """Scratch memory: points of a diagram, profiles of a batch, lists of those that reach a group of rows, images."""

    births: NDArray[np.float64]
    lengths: NDArray[np.float64]
    columns: NDArray[np.float32]
    rows: NDArray[np.float32]
    lists: NDArray[np.int64]
    totals: NDArray[np.float64]
    peaks: NDArray[np.float32]
    image: NDArray[np.float32]
    exact: NDArray[np.float64]


@njit(nogil=True, cache=True)
def make_room(drawing: Any, points: int) -> Any:
    """Room for diagrams of up to ``points`` points."""
    rows, columns = len(drawing.row_lower), len(drawing.column_lower)
    tall = -(-rows // GROUP) * GROUP
    wide = -(-columns // (PANEL * WIDTH)) * PANEL * WIDTH
    return Room(
        np.empty(points + 1, np.float64),
        np.empty(points + 1, np.float64),
        np.zeros((POINTS, wide + 2 * drawing.across.table.shape[2]), np.float32),
        np.zeros((POINTS, tall + 2 * drawing.down.table.shape[2]), np.float32),
        np.empty((tall // GROUP, POINTS), np.int64),
        np.empty((tall, wide), np.float64),
        np.empty(WIDTH, np.float32),
        np.empty((tall, wide), np.float32),
        np.empty((rows, columns), np.float64),
    )


@njit(nogil=True, cache=True)
def place(
    value: float,
    weight: float,
    origin: float,
    rate: float,
    steps: int,
    reach: int,
    table: int,
    length: int,
    boxes: int,
    padded: int,
    line: int,
) -> int:
    """Write a weighted profile to the address ``line``; gives its first box, or ``boxes`` if it has none.

    ``table`` is the address of an ``Axis.table`` whose lines are ``length`` long. In the line, that length stands free
    on both sides of the ``padded`` boxes. Addresses, because counting references to arrays would take longer.
    """
    at = (value - origin) * rate
    if not -length < at < boxes + length:
        return boxes
    whole = math.floor(at)
    rest = (at - whole) * steps
    row = min(int(rest + 0.5), steps)
    first = int(whole) - reach
    if first <= -length or first >= boxes:
        return boxes
    start = line + length * 4
    for c in range(0, boxes, WIDTH):
        clear(start + c * 4)
    for c in range(0, length * 4, WIDTH * 4):
        source = table + row * 3 * length * 4 + c
        quadratic(source, length * 4, np.float32(rest - row), np.float32(weight), start + first * 4 + c)
    for c in range(boxes, padded, WIDTH):
        clear(start + c * 4)
    return first


@njit(nogil=True, cache=True)
def paint(drawing: Any, room: Any, count: int) -> float:
    """Draw the first ``count`` points of the room into its image; gives the maximum."""
    across, down, image = drawing.across, drawing.down, room.image
    tall, wide = image.shape
    boxes_down, boxes_across = room.exact.shape
    across_table, down_table = across.table.ctypes.data, down.table.ctypes.data
    left, top = across.table.shape[2], down.table.shape[2]
    lines, line = room.columns.ctypes.data, room.columns.shape[1] * 4
    stacks, stack = room.rows.ctypes.data, room.rows.shape[1] * 4
    lists, peaks = room.lists, room.peaks
    births, lengths = room.births, room.lengths
    groups = tall // GROUP
    sizes = np.empty(groups, np.int64)
    peaks[:] = 0
    begin = 0
    batch = 0
    folded = False
    while begin < count or batch == 0:
        if batch == _BATCHES:
            _fold(image.reshape(-1), room.totals.reshape(-1), folded)
            folded = True
            batch = 0
        # Points beside the window take no place in the batch.
        taken = 0
        sizes[:] = 0
        while begin < count and taken < POINTS:
            birth, length = births[begin], lengths[begin]
            begin += 1
            first = place(
                birth,
                1.0,
                across.origin,
                across.rate,
                across.steps,
                across.reach,
                across_table,
                left,
                boxes_across,
                wide,
                lines + taken * line,
            )
            if first == boxes_across:
                continue
            first = place(
                length,
                length if drawing.linear else 1.0,
                down.origin,
                down.rate,
                down.steps,
                down.reach,
                down_table,
                top,
                boxes_down,
                tall,
                stacks + taken * stack,
            )
            if first == boxes_down:
                continue
            stop = min(first + 2 * down.reach + 2, boxes_down)
            for g in range(max(first, 0) // GROUP, (stop + GROUP - 1) // GROUP):
                lists[g, sizes[g]] = taken
                sizes[g] += 1
            taken += 1
        for g in range(groups):
            if batch > 0 and sizes[g] == 0:
                continue
            table = lines + left * 4
            weights = stacks + (top + g * GROUP) * 4
            members = lists.ctypes.data + g * POINTS * 8
            for c in range(0, wide * 4, PANEL * WIDTH * 4):
                out = image.ctypes.data + g * GROUP * wide * 4 + c
                if batch == 0:
                    _sums(table + c, line, weights, stack, members, sizes[g], out, wide * 4, peaks.ctypes.data)
                else:
                    _more_sums(table + c, line, weights, stack, members, sizes[g], out, wide * 4, peaks.ctypes.data)
        batch += 1
    if not folded:
        return float(peaks.max())
    _fold(image.reshape(-1), room.totals.reshape(-1), folded)
    largest = 0.0
    for r in range(tall):
        for c in range(wide):
            image[r, c] = room.totals[r, c]
            largest = max(largest, room.totals[r, c])
    return largest


@njit(nogil=True, cache=True)
def _fold(image: NDArray[np.float32], totals: NDArray[np.float64], onto: bool) -> None:
    """Add the sums of some batches to the totals, or begin them."""
    for k in range(len(image)):
        totals[k] = totals[k] + image[k] if onto else image[k]


@njit(nogil=True, cache=True)
def draw_fast(drawing: Any, room: Any, count: int, out: NDArray[Any]) -> bool:
    """Draw the first ``count`` points of the room from the tables; false if they are not exact enough for them."""
    if drawing.limit == math.inf:
        return False
    weight = 0.0
    for k in range(count):
        weight += room.lengths[k] if drawing.linear else 1.0
    largest = paint(drawing, room, count)
    if largest <= drawing.limit * weight:
        return False
    rows, columns = room.exact.shape
    finish(room.image, rows, columns, drawing.scaling, largest, drawing.scale, drawing.full, out)
    return True


@njit(nogil=True, cache=True)
def draw_exactly(drawing: Any, room: Any, count: int, out: NDArray[Any]) -> None:
    """Draw the first ``count`` points of the room with all digits."""
    lengths = room.lengths[:count]
    longest = 0.0
    for length in lengths:
        longest = max(longest, length)
    # persim's weights, relative to the longest bar. The factor is put back where no maximum cancels it.
    weights = np.ones(count)
    if drawing.linear:
        for k in range(count):
            weights[k] = lengths[k] * (1.0 / longest)
    image = room.exact
    image[:] = 0.0
    draw(
        room.births[:count],
        lengths,
        weights,
        drawing.bandwidth,
        drawing.row_lower,
        drawing.row_upper,
        drawing.column_lower,
        drawing.column_upper,
        image,
    )
    scaling = drawing.scaling
    if scaling == MAXIMUM:
        scaling = PLAIN
        largest = image.max()
        if largest > 0:
            image /= largest
    elif drawing.linear:
        image *= longest
    rows, columns = image.shape
    finish(image, rows, columns, scaling, 1.0, drawing.scale, drawing.full, out)


@njit(nogil=True, cache=True)
def draw_diagrams(
    drawing: Any, values: NDArray[Any], offsets: NDArray[np.int64], unit: float, out: NDArray[Any]
) -> None:
    """Draw the diagrams ``values[offsets[i]:offsets[i + 1]] / unit`` into ``out`` (n, rows * columns)."""
    most = 0
    for i in range(len(out)):
        most = max(most, offsets[i + 1] - offsets[i])
    room = make_room(drawing, most)
    for i in range(len(out)):
        count = 0
        for k in range(offsets[i], offsets[i + 1]):
            birth, death = values[k, 0] / unit, values[k, 1] / unit
            room.births[count] = birth
            room.lengths[count] = abs(death - birth)
            count += room.lengths[count] > drawing.threshold
        if not draw_fast(drawing, room, count, out[i]):
            draw_exactly(drawing, room, count, out[i])


@njit(nogil=True, cache=True)
def draw_planes(
    drawing: Any,
    planes: NDArray[Any],
    start: int,
    channels: int,
    height: int,
    width: int,
    scans: NDArray[np.bool_],
    highest: Any,
    visible: Any,
    out: NDArray[Any],
) -> None:
    """Draw planes (n, height * width), the channels of consecutive images from number ``start`` of them on.

    ``scans`` holds true for a scan by columns, ``out`` is (B, scans * C, rows * columns). No sample exceeds
    ``highest``; births above ``visible`` are too high for the tables. Both are of the type of the planes.
    """
    samples = height * width
    room = make_room(drawing, samples // 2)
    lanes = np.empty((CHUNK, LANES), planes.dtype)
    streams = np.empty((LANES, samples + 2), planes.dtype)
    counts = np.empty(LANES, np.int64)
    stack = np.empty((2, samples // 2 + 2), np.float64)
    stack[1, 0] = np.inf
    values = np.empty((samples // 2 + 1, 2), np.float64)
    pairs = np.empty((samples // 2 + 1, 2), np.int64)
    size = np.empty(1, np.int64)
    turned = np.empty((min(LANES, len(planes)), samples), planes.dtype)
    for first in range(0, len(planes), LANES):
        for number in range(len(scans)):
            block = planes[first : first + LANES]
            if scans[number]:
                for lane in range(len(block)):
                    for x in range(width):
                        for y in range(height):
                            turned[lane, x * height + y] = block[lane, y * width + x]
                block = turned[: len(block)]
            scan(block, drawing.threshold, visible, highest, lanes, streams, None, counts)
            for lane in range(len(block)):
                image, channel = divmod(start + first + lane, channels)
                target = out[image, number * channels + channel]
                count = 0
                if counts[lane] > 1:
                    pair(streams[lane], None, counts[lane], np.finfo(np.float64).max, stack, None, values, None)
                    count = counts[lane] // 2 - 1
                for k in range(count):
                    room.births[k], room.lengths[k] = values[k, 0], values[k, 1] - values[k, 0]
                if draw_fast(drawing, room, count, target):
                    continue
                count = merge(block[lane : lane + 1], drawing.threshold, False, pairs, size)
                for k in range(count):
                    birth, death = np.float64(block[lane, pairs[k, 0]]), np.float64(block[lane, pairs[k, 1]])
                    room.births[k], room.lengths[k] = birth, death - birth
                draw_exactly(drawing, room, count, target)
