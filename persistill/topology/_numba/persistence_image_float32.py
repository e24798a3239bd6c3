"""Compiled kernel that renders diagrams of arbitrary numbers, in float32 and about as fast as those of 8-bit levels.

On an even grid the profile of a point depends only on its place between two boxes, so it is read from a table of
places (``_tables.ProfileTable``) and corrected by two terms of a series: no exponential, no error function. The points
of a diagram are taken ``POINTS`` at a time; each writes its profile along births, its weighted profile along
persistences, and its number in the lists of those groups of rows that it reaches. A group of rows of the persistence
image is then a sum of few profiles, with all sums in registers. So few float32 numbers add up to within 1e-6 even if
all are equal, which is the worst case; the sums of ``_BATCHES`` batches are added in float32, too, and those of more in
float64.

Persistence images that are divided by a maximum as small as what the tables leave out are rendered again with all
digits.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persistill.topology._numba.jit import kernel
from persistill.topology._numba.llvm_vectors import LANES, WIDTH, clear, quadratic, weighted_sums
from persistill.topology._numba.persistence_image_exact import MAXIMUM, PLAIN, render
from persistill.topology._numba.persistence_image_uint8 import GROUP, PANEL, scale_and_store
from persistill.topology._numba.sublevel_1d import merge
from persistill.topology._numba.sublevel_1d_simd import CHUNK, pair, scan

POINTS = 32
_BATCHES = 8  # of points, whose sums are added in float32
_sums = weighted_sums(GROUP, PANEL)
_more_sums = weighted_sums(GROUP, PANEL, onto=True)


class KernelSettings(NamedTuple):
    """Settings of persistence images as the kernels read them.

    Attributes:
        threshold: bars must be longer.
        linear: whether points weigh as much as their bars are long.
        bandwidth: of the Gaussian.
        row_lower, row_upper, column_lower, column_upper: edges of the boxes, in rising order.
        across, down: ``_tables.ProfileTable`` along births, and along persistences from the largest down.
        limit: a persistence image is rendered with all digits if its maximum is not above this times the sum of its
            weights.
        scaling, scale, full: see ``scale_and_store``.
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


class Workspace(NamedTuple):
    """Scratch memory: points, profiles of a batch, lists of those that reach a group of rows, persistence images."""

    births: NDArray[np.float64]
    lengths: NDArray[np.float64]
    columns: NDArray[np.float32]
    rows: NDArray[np.float32]
    lists: NDArray[np.int64]
    totals: NDArray[np.float64]
    peaks: NDArray[np.float32]
    image: NDArray[np.float32]
    exact: NDArray[np.float64]


@kernel
def make_workspace(settings: Any, points: int) -> Any:
    """Workspace for diagrams of up to ``points`` points."""
    rows, columns = len(settings.row_lower), len(settings.column_lower)
    tall = -(-rows // GROUP) * GROUP
    wide = -(-columns // (PANEL * WIDTH)) * PANEL * WIDTH
    return Workspace(
        np.empty(points + 1, np.float64),
        np.empty(points + 1, np.float64),
        np.zeros((POINTS, wide + 2 * settings.across.table.shape[2]), np.float32),
        np.zeros((POINTS, tall + 2 * settings.down.table.shape[2]), np.float32),
        np.empty((tall // GROUP, POINTS), np.int64),
        np.empty((tall, wide), np.float64),
        np.empty(WIDTH, np.float32),
        np.empty((tall, wide), np.float32),
        np.empty((rows, columns), np.float64),
    )


@kernel
def write_profile(
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


@kernel
def _render_from_tables(settings: Any, workspace: Any, count: int) -> float:
    """Render the first ``count`` points of the workspace into its persistence image; gives the maximum."""
    across, down, image = settings.across, settings.down, workspace.image
    tall, wide = image.shape
    boxes_down, boxes_across = workspace.exact.shape
    across_table, down_table = across.table.ctypes.data, down.table.ctypes.data
    left, top = across.table.shape[2], down.table.shape[2]
    lines, line = workspace.columns.ctypes.data, workspace.columns.shape[1] * 4
    stacks, stack = workspace.rows.ctypes.data, workspace.rows.shape[1] * 4
    lists, peaks = workspace.lists, workspace.peaks
    births, lengths = workspace.births, workspace.lengths
    groups = tall // GROUP
    sizes = np.empty(groups, np.int64)
    peaks[:] = 0
    begin = 0
    batch = 0
    folded = False
    while begin < count or batch == 0:
        if batch == _BATCHES:
            _fold(image.reshape(-1), workspace.totals.reshape(-1), folded)
            folded = True
            batch = 0
        # Points beside the window take no place in the batch.
        taken = 0
        sizes[:] = 0
        while begin < count and taken < POINTS:
            birth, length = births[begin], lengths[begin]
            begin += 1
            first = write_profile(
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
            first = write_profile(
                length,
                length if settings.linear else 1.0,
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
    _fold(image.reshape(-1), workspace.totals.reshape(-1), folded)
    largest = 0.0
    for r in range(tall):
        for c in range(wide):
            image[r, c] = workspace.totals[r, c]
            largest = max(largest, workspace.totals[r, c])
    return largest


@kernel
def _fold(image: NDArray[np.float32], totals: NDArray[np.float64], onto: bool) -> None:
    """Add the sums of some batches to the totals, or begin them."""
    for k in range(len(image)):
        totals[k] = totals[k] + image[k] if onto else image[k]


@kernel
def _render_fast(settings: Any, workspace: Any, count: int, out: NDArray[Any]) -> bool:
    """Render the first ``count`` points of the workspace from the tables; false if the tables are not exact enough."""
    if settings.limit == math.inf:
        return False
    weight = 0.0
    for k in range(count):
        weight += workspace.lengths[k] if settings.linear else 1.0
    largest = _render_from_tables(settings, workspace, count)
    if largest <= settings.limit * weight:
        return False
    rows, columns = workspace.exact.shape
    scale_and_store(workspace.image, rows, columns, settings.scaling, largest, settings.scale, settings.full, out)
    return True


@kernel
def _render_exact(settings: Any, workspace: Any, count: int, out: NDArray[Any]) -> None:
    """Render the first ``count`` points of the workspace with all digits."""
    lengths = workspace.lengths[:count]
    longest = 0.0
    for length in lengths:
        longest = max(longest, length)
    # persim's weights, relative to the longest bar. The factor is put back where no maximum cancels it.
    weights = np.ones(count)
    if settings.linear:
        for k in range(count):
            weights[k] = lengths[k] * (1.0 / longest)
    image = workspace.exact
    image[:] = 0.0
    render(
        workspace.births[:count],
        lengths,
        weights,
        settings.bandwidth,
        settings.row_lower,
        settings.row_upper,
        settings.column_lower,
        settings.column_upper,
        image,
    )
    scaling = settings.scaling
    if scaling == MAXIMUM:
        scaling = PLAIN
        largest = image.max()
        if largest > 0:
            image /= largest
    elif settings.linear:
        image *= longest
    rows, columns = image.shape
    scale_and_store(image, rows, columns, scaling, 1.0, settings.scale, settings.full, out)


@kernel
def render_diagrams(
    settings: Any, values: NDArray[Any], offsets: NDArray[np.int64], unit: float, out: NDArray[Any]
) -> None:
    """Render the diagrams ``values[offsets[i]:offsets[i + 1]] / unit`` into ``out`` (n, rows * columns)."""
    most = 0
    for i in range(len(out)):
        most = max(most, offsets[i + 1] - offsets[i])
    workspace = make_workspace(settings, most)
    for i in range(len(out)):
        count = 0
        for k in range(offsets[i], offsets[i + 1]):
            birth, death = values[k, 0] / unit, values[k, 1] / unit
            workspace.births[count] = birth
            workspace.lengths[count] = abs(death - birth)
            count += workspace.lengths[count] > settings.threshold
        if not _render_fast(settings, workspace, count, out[i]):
            _render_exact(settings, workspace, count, out[i])


@kernel
def render_planes(
    settings: Any,
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
    """Render planes (n, height * width), the channels of consecutive images from number ``start`` of them on.

    ``scans`` holds true for a scan by columns, ``out`` is (B, scans * C, rows * columns). No sample exceeds
    ``highest``; births above ``visible`` are too high for the tables. Both are of the type of the planes.
    """
    samples = height * width
    workspace = make_workspace(settings, samples // 2)
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
            scan(block, settings.threshold, visible, highest, lanes, streams, None, counts)
            for lane in range(len(block)):
                image, channel = divmod(start + first + lane, channels)
                target = out[image, number * channels + channel]
                count = 0
                if counts[lane] > 1:
                    pair(streams[lane], None, counts[lane], np.finfo(np.float64).max, stack, None, values, None)
                    count = counts[lane] // 2 - 1
                for k in range(count):
                    workspace.births[k], workspace.lengths[k] = values[k, 0], values[k, 1] - values[k, 0]
                if _render_fast(settings, workspace, count, target):
                    continue
                count = merge(block[lane : lane + 1], settings.threshold, False, pairs, size)
                for k in range(count):
                    birth, death = np.float64(block[lane, pairs[k, 0]]), np.float64(block[lane, pairs[k, 1]])
                    workspace.births[k], workspace.lengths[k] = birth, death - birth
                _render_exact(settings, workspace, count, target)
