"""Compiled kernel that draws diagrams of arbitrary numbers, in float32 and about as fast as those of 8-bit levels.

On an even grid the profile of a point depends only on its place between two boxes, so it is read from a table of
places and mended by three terms of a series (``_tables.Axis``): no exponential, no error function. The points of a
diagram are taken ``POINTS`` at a time; each writes its profile along births, its weighted profile along persistences,
and its number in the lists of those groups of rows that it reaches. A group of rows of the image is then a sum of few
profiles, with all sums in registers. Sums of so few float32 numbers round to less than 1e-6 even if all are equal; the
sums of different batches of points are added in float64.

Images that are divided by a maximum as small as what the tables leave out are drawn again with all digits.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from persistill.topology._kernels_images import MAXIMUM, PLAIN, draw
from persistill.topology._kernels_levels import GROUP, PANEL, finish
from persistill.topology._vectors import WIDTH, cubic, weighted_sums

POINTS = 32
_sums = weighted_sums(GROUP, PANEL)


@njit(nogil=True, cache=True)
def place(axis: Any, value: float, weight: float, boxes: int, room: NDArray[np.float32], line: int) -> int:
    """Write the weighted profile of ``value`` into ``room[line]``; gives its first box, or ``boxes`` if it has none.

    In a line, the length of the table's lines stands free before the boxes, and after them and their padding.
    """
    at = (value - axis.origin) * axis.rate
    length = axis.table.shape[2]
    if not -length < at < boxes + length:
        return boxes
    whole = math.floor(at)
    rest = (at - whole) * axis.steps
    row = min(int(rest + 0.5), axis.steps)
    first: int = int(whole) - axis.reach
    if first <= -length or first >= boxes:
        return boxes
    room[line, length : length + boxes] = 0
    source = axis.table.ctypes.data + row * 4 * length * 4
    target = room.ctypes.data + (line * room.shape[1] + length + first) * 4
    for k in range(0, length * 4, WIDTH * 4):
        cubic(source + k, length * 4, np.float32(rest - row), np.float32(weight), target + k)
    room[line, length + boxes : room.shape[1] - length] = 0
    return first


@njit(nogil=True, cache=True)
def paint(
    births: NDArray[np.float64],
    lengths: NDArray[np.float64],
    count: int,
    linear: bool,
    across: Any,
    down: Any,
    shape: tuple[int, int],
    columns: NDArray[np.float32],
    rows: NDArray[np.float32],
    lists: NDArray[np.int64],
    totals: NDArray[np.float64],
    peaks: NDArray[np.float32],
    image: NDArray[np.float32],
) -> float:
    """Draw points into ``image``, ``shape`` padded to whole groups and panels; gives its maximum.

    ``columns`` and ``rows`` are (POINTS, line) for profiles, ``lists`` is (groups, POINTS), ``totals`` is like
    ``image``.
    """
    tall, wide = image.shape
    left, top = across.table.shape[2], down.table.shape[2]
    groups = tall // GROUP
    sizes = np.empty(groups, np.int64)
    several = count > POINTS
    peaks[:] = 0
    if several:
        totals[:] = 0
    begin = 0
    while True:
        # Points beside the window take no place in the batch.
        taken = 0
        sizes[:] = 0
        while begin < count and taken < POINTS:
            k = begin
            begin += 1
            if place(across, births[k], 1.0, shape[1], columns, taken) == shape[1]:
                continue
            weight = lengths[k] if linear else 1.0
            first = place(down, lengths[k], weight, shape[0], rows, taken)
            if first == shape[0]:
                continue
            stop = min(first + 2 * down.reach + 2, shape[0])
            for g in range(max(first, 0) // GROUP, (stop + GROUP - 1) // GROUP):
                lists[g, sizes[g]] = taken
                sizes[g] += 1
            taken += 1
        for g in range(groups):
            for c in range(0, wide, PANEL * WIDTH):
                _sums(
                    columns.ctypes.data + (left + c) * 4,
                    columns.shape[1] * 4,
                    rows.ctypes.data + (top + g * GROUP) * 4,
                    rows.shape[1] * 4,
                    lists.ctypes.data + g * POINTS * 8,
                    sizes[g],
                    image.ctypes.data + (g * GROUP * wide + c) * 4,
                    wide * 4,
                    peaks.ctypes.data,
                )
        if not several:
            return float(peaks.max())
        sums, parts = totals.reshape(-1), image.reshape(-1)
        for k in range(len(sums)):
            sums[k] += parts[k]
        if begin == count:
            break
    peaks[:] = 0
    for k in range(0, len(sums), WIDTH):
        for lane in range(WIDTH):
            parts[k + lane] = sums[k + lane]
            peaks[lane] = max(peaks[lane], parts[k + lane])
    return float(peaks.max())


@njit(nogil=True, cache=True)
def draw_points(
    values: NDArray[Any],
    offsets: NDArray[np.int64],
    unit: float,
    threshold: float,
    linear: bool,
    bandwidth: float,
    row_lower: NDArray[np.float64],
    row_upper: NDArray[np.float64],
    column_lower: NDArray[np.float64],
    column_upper: NDArray[np.float64],
    across: Any,
    down: Any,
    limit: float,
    scaling: int,
    scale: float,
    full: float,
    out: NDArray[Any],
) -> None:
    """Draw the diagrams ``values[offsets[i]:offsets[i + 1]] / unit`` into ``out`` (n, rows * columns), times ``full``.

    An image is drawn with all digits if its maximum is not above ``limit`` times the sum of its weights; a limit below
    0 lets none be so.
    """
    n = len(out)
    shape = (len(row_lower), len(column_lower))
    tall = -(-shape[0] // GROUP) * GROUP
    wide = -(-shape[1] // (PANEL * WIDTH)) * PANEL * WIDTH
    most = 1
    for i in range(n):
        most = max(most, offsets[i + 1] - offsets[i])
    births = np.empty(most, np.float64)
    lengths = np.empty(most, np.float64)
    weights = np.empty(most, np.float64)
    columns = np.zeros((POINTS, wide + 2 * across.table.shape[2]), np.float32)
    rows = np.zeros((POINTS, tall + 2 * down.table.shape[2]), np.float32)
    lists = np.empty((tall // GROUP, POINTS), np.int64)
    totals = np.empty((tall, wide), np.float64)
    peaks = np.empty(WIDTH, np.float32)
    image = np.empty((tall, wide), np.float32)
    exact = np.empty(shape, np.float64)
    for i in range(n):
        count = 0
        longest = total = 0.0
        for k in range(offsets[i], offsets[i + 1]):
            birth, death = values[k, 0] / unit, values[k, 1] / unit
            length = abs(death - birth)
            births[count] = birth
            lengths[count] = length
            if length > threshold:
                longest = max(longest, length)
                total += length
                count += 1
        largest = 0.0
        if limit < math.inf:
            largest = paint(
                births, lengths, count, linear, across, down, shape, columns, rows, lists, totals, peaks, image
            )
        if largest > limit * (total if linear else count):
            finish(image, shape[0], shape[1], scaling, largest, scale, full, out[i])
            continue
        # persim's weights, relative to the longest bar. The factor is put back where no maximum cancels it.
        for k in range(count):
            weights[k] = lengths[k] * (1.0 / longest) if linear else 1.0
        exact[:] = 0.0
        draw(
            births[:count],
            lengths[:count],
            weights[:count],
            bandwidth,
            row_lower,
            row_upper,
            column_lower,
            column_upper,
            exact,
        )
        highest = exact.max()
        if scaling == MAXIMUM:
            if highest > 0:
                exact /= highest
        elif linear:
            exact *= longest
        kind = PLAIN if scaling == MAXIMUM else scaling
        finish(exact.astype(np.float32), shape[0], shape[1], kind, 1.0, scale, full, out[i])
