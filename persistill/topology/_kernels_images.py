"""Compiled kernels that draw persistence images, in float64 and to the last tail.

A Gaussian integrated over a box is a product of two differences of the normal distribution function, one along births
and one along persistences, so a point costs two profiles and one outer product. Images that are divided by their
maximum may consist of nothing but tails of points far outside the window (one natural signal in thirty), down to the
smallest numbers of float64. The differences are therefore taken on the side of the distribution where both terms are
small, and points are left out only where they are negligible *relative* to those that are nearest to the window.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

MAXIMUM, LOGARITHM, PLAIN = 0, 1, 2

# A point may be left out where it is exp(-40) = 4e-18 of another: no ratio of weights or of box sizes makes up for it.
NEGLIGIBLE = 80.0
# A profile is computed to 8.6 standard deviations on both sides of its point, or of the point of the window that is
# nearest to it: 1e-17 of its largest value.
_REACH = 8.6


@njit(nogil=True, cache=True)
def profile(lower: NDArray[Any], upper: NDArray[Any], mean: float, bandwidth: float, out: NDArray[Any]) -> Any:
    """The integrals of a Gaussian over the boxes, in ``out``; gives the range of boxes that were written."""
    nearest = min(max(mean, lower[0]), upper[-1])
    begin = np.searchsorted(upper, nearest - _REACH * bandwidth, side="right")
    end = np.searchsorted(lower, nearest + _REACH * bandwidth, side="left")
    for i in range(begin, end):
        low = (lower[i] - mean) / bandwidth
        high = (upper[i] - mean) / bandwidth
        if low > 0:
            low, high = -high, -low
        out[i] = 0.5 * math.erfc(-high * math.sqrt(0.5)) - 0.5 * math.erfc(-low * math.sqrt(0.5))
    return begin, end


@njit(nogil=True, cache=True)
def draw(
    births: NDArray[Any],
    lengths: NDArray[Any],
    weights: NDArray[Any],
    bandwidth: float,
    row_lower: NDArray[Any],
    row_upper: NDArray[Any],
    column_lower: NDArray[Any],
    column_upper: NDArray[Any],
    image: NDArray[Any],
) -> None:
    """Add up one diagram in ``image`` (rows, columns), float64 zeros, row 0 for the largest persistence."""
    rows, columns = image.shape
    vertical = np.empty(rows, np.float64)
    horizontal = np.empty(columns, np.float64)
    nearest = math.inf
    for k in range(len(births)):
        nearest = min(
            nearest,
            outside(births[k], column_lower[0], column_upper[-1], bandwidth)
            + outside(lengths[k], row_lower[0], row_upper[-1], bandwidth),
        )
    for k in range(len(births)):
        distance = outside(births[k], column_lower[0], column_upper[-1], bandwidth) + outside(
            lengths[k], row_lower[0], row_upper[-1], bandwidth
        )
        if distance > nearest + NEGLIGIBLE:
            continue
        left, right = profile(column_lower, column_upper, births[k], bandwidth, horizontal)
        bottom, top = profile(row_lower, row_upper, lengths[k], bandwidth, vertical)
        for r in range(bottom, top):
            for c in range(left, right):
                image[rows - 1 - r, c] += horizontal[c] * vertical[r] * weights[k]


@njit(nogil=True, cache=True)
def outside(value: float, low: float, high: float, bandwidth: float) -> float:
    """Squared distance of ``value`` from the interval, in standard deviations."""
    gap = max(low - value, value - high, 0.0) / bandwidth
    return gap * gap


@njit(nogil=True, cache=True)
def draw_all(
    values: NDArray[Any],
    offsets: NDArray[np.int64],
    threshold: float,
    linear: bool,
    bandwidth: float,
    row_lower: NDArray[Any],
    row_upper: NDArray[Any],
    column_lower: NDArray[Any],
    column_upper: NDArray[Any],
    scaling: int,
    scale: float,
    out: NDArray[np.float32],
) -> None:
    """Draw the diagrams ``values[offsets[i]:offsets[i + 1]]``, float64, into ``out`` (n, rows, columns)."""
    n, rows, columns = out.shape
    image = np.empty((rows, columns), np.float64)
    most = 0
    for i in range(n):
        most = max(most, offsets[i + 1] - offsets[i])
    births = np.empty(most, np.float64)
    lengths = np.empty(most, np.float64)
    weights = np.empty(most, np.float64)
    for i in range(n):
        count = 0
        longest = 0.0
        for k in range(offsets[i], offsets[i + 1]):
            length = abs(values[k, 1] - values[k, 0])
            if length > threshold:
                births[count] = values[k, 0]
                lengths[count] = length
                longest = max(longest, length)
                count += 1
        # persim's weights, relative to the longest bar. The factor is put back where no maximum cancels it.
        for k in range(count):
            weights[k] = lengths[k] * (1.0 / longest) if linear else 1.0
        image[:] = 0.0
        draw(
            births[:count],
            lengths[:count],
            weights[:count],
            bandwidth,
            row_lower,
            row_upper,
            column_lower,
            column_upper,
            image,
        )
        if scaling == MAXIMUM:
            largest = image.max()
            if largest > 0:
                image /= largest
        elif linear:
            image *= longest
        if scaling == LOGARITHM:
            for r in range(rows):
                for c in range(columns):
                    image[r, c] = math.log1p(image[r, c] / scale)
        out[i] = image
