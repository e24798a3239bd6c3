"""Compiled kernel for 8-bit images whose persistence images consist of tails of points far outside the window.

One natural signal in twenty-five is so bright that no bar comes near the published window, and yet its persistence
image is divided by its maximum. Such persistence images are rendered in float64, from exact profiles of the 256 levels
and with all bars. Only the bars nearest to the window matter, and of their profiles only the few boxes at its edge.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill.topology._numba.jit import kernel
from persistill.topology._numba.llvm_vectors import LANES
from persistill.topology._numba.persistence_image_exact import NEGLIGIBLE, PLAIN
from persistill.topology._numba.persistence_image_uint8 import extrema, scale_and_store
from persistill.topology._numba.sublevel_1d_simd import pair, to_lanes


@kernel
def render_exact(
    bars: NDArray[np.int64],
    exact_columns: NDArray[np.float64],
    exact_rows: NDArray[np.float64],
    column_distances: NDArray[np.float64],
    row_distances: NDArray[np.float64],
    column_spans: NDArray[np.int64],
    row_spans: NDArray[np.int64],
    weights: NDArray[np.float64],
    sums: NDArray[np.float64],
    image: NDArray[np.float32],
) -> None:
    """Render those of the bars (k, 2), births and deaths, that are nearest to the window, and divide by the maximum.

    ``sums`` is of the shape of ``image``.
    """
    sums[:] = 0.0
    nearest = math.inf
    heaviest = 0.0
    for birth, death in bars:
        nearest = min(nearest, column_distances[birth] + row_distances[death - birth])
        heaviest = max(heaviest, weights[death - birth])
    for birth, death in bars:
        length = death - birth
        if column_distances[birth] + row_distances[length] > nearest + NEGLIGIBLE:
            continue
        weight = weights[length] * (1.0 / heaviest)
        for r in range(row_spans[length, 0], row_spans[length, 1]):
            for c in range(column_spans[birth, 0], column_spans[birth, 1]):
                sums[r, c] += exact_columns[birth, c] * exact_rows[length, r] * weight
    # A maximum of many numbers one after the other would take longer than all the rest.
    best = np.zeros(image.shape[1], np.float64)
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            best[c] = max(best[c], sums[r, c])
    largest = best.max()
    inverse = 1.0 / largest if largest > 0 else 0.0
    if inverse < math.inf:  # in float64 the product may miss 1 by its last digit, but not in float32
        image[:] = sums * inverse
    else:
        image[:] = sums / largest


@kernel
def render_uint8_tails(
    planes: NDArray[np.uint8],
    left: NDArray[np.int64],
    start: int,
    channels: int,
    height: int,
    width: int,
    scans: NDArray[np.bool_],
    threshold: int,
    exact_columns: NDArray[np.float64],
    exact_rows: NDArray[np.float64],
    column_distances: NDArray[np.float64],
    row_distances: NDArray[np.float64],
    column_spans: NDArray[np.int64],
    row_spans: NDArray[np.int64],
    weights: NDArray[np.float64],
    full: float,
    out: NDArray[Any],
) -> None:
    """Render the planes and scans that ``render_uint8`` left alone, divided by their maxima."""
    samples = height * width
    signals = np.empty((min(LANES, len(left)), samples), np.uint8)
    lanes = np.empty((samples, LANES), np.uint8)
    streams = np.empty((LANES, samples + 2), np.uint8)
    counts = np.empty(LANES, np.int64)
    bars = np.empty((samples // 2 + 1, 2), np.int64)
    stack = np.empty((2, samples // 2 + 2), np.int64)
    stack[1, 0] = 256
    rendered = np.empty((exact_rows.shape[1], exact_columns.shape[1]), np.float32)
    sums = np.empty(rendered.shape, np.float64)
    for first in range(0, len(left), LANES):
        block = left[first : first + LANES]
        for lane in range(len(block)):
            plane = planes[block[lane, 0]]
            if scans[block[lane, 1]]:
                for x in range(width):
                    for y in range(height):
                        signals[lane, x * height + y] = plane[y * width + x]
            else:
                signals[lane] = plane
        to_lanes(signals[: len(block)], 0, samples, lanes)
        extrema(lanes, height, width, False, np.uint8(threshold), np.uint8(255), streams, counts)
        for lane in range(len(block)):
            found = 0
            if counts[lane] > 1:
                pair(streams[lane], None, counts[lane], np.int64(255), stack, None, bars, None)
                found = counts[lane] // 2 - 1
            render_exact(
                bars[:found],
                exact_columns,
                exact_rows,
                column_distances,
                row_distances,
                column_spans,
                row_spans,
                weights,
                sums,
                rendered,
            )
            image, channel = divmod(start + block[lane, 0], channels)
            target = out[image, block[lane, 1] * channels + channel]
            scale_and_store(rendered, rendered.shape[0], rendered.shape[1], PLAIN, 1.0, 1.0, full, target)
