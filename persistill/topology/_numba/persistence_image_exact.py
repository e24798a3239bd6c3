"""Compiled kernels that render persistence images, in float64 and to the last tail.

A Gaussian integrated over a box is a product of two differences of the normal distribution function, one along births
and one along persistences, so a point costs two profiles and one outer product. Persistence images that are divided by
their maximum may consist of nothing but tails of points far outside the window (one natural signal in thirty), down to
the smallest numbers of float64. The differences are therefore taken on the side of the distribution where both terms
are small, and points are left out only where they are negligible *relative* to those that are nearest to the window.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill.topology._numba.jit import kernel

MAXIMUM, LOGARITHM, PLAIN = 0, 1, 2
SCALINGS = {"max": MAXIMUM, "log": LOGARITHM, "none": PLAIN}

# A point may be left out where it is exp(-40) = 4e-18 of another: no ratio of weights or of box sizes makes up for it.
NEGLIGIBLE = 80.0
# A profile is computed to 8.6 standard deviations on both sides of its point, or of the point of the window that is
# nearest to it: 1e-17 of its largest value.
_REACH = 8.6


@kernel
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


@kernel
def render(
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


@kernel
def outside(value: float, low: float, high: float, bandwidth: float) -> float:
    """Squared distance of ``value`` from the interval, in standard deviations."""
    gap = max(low - value, value - high, 0.0) / bandwidth
    return gap * gap


@kernel
def derivative(lower: NDArray[Any], upper: NDArray[Any], mean: float, bandwidth: float, out: NDArray[Any]) -> None:
    """The derivatives of ``profile`` with respect to the mean, of all boxes."""
    for i in range(len(out)):
        low = (lower[i] - mean) / bandwidth
        high = (upper[i] - mean) / bandwidth
        change = math.exp(-0.5 * low * low) - math.exp(-0.5 * high * high)
        out[i] = change / (math.sqrt(2 * math.pi) * bandwidth)


@kernel
def backward(
    values: NDArray[np.float64],
    offsets: NDArray[np.int64],
    threshold: float,
    linear: bool,
    bandwidth: float,
    row_lower: NDArray[np.float64],
    row_upper: NDArray[np.float64],
    column_lower: NDArray[np.float64],
    column_upper: NDArray[np.float64],
    gradients: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """The gradients (P, 2) of points from those of their persistence images (n, rows, columns), before any scaling."""
    _, rows, columns = gradients.shape
    across, down = np.empty((2, columns)), np.empty((2, rows))
    for i in range(len(gradients)):
        gradient = gradients[i, ::-1]
        for k in range(offsets[i], offsets[i + 1]):
            birth, death = values[k]
            length = abs(death - birth)
            out[k] = 0.0
            if not length > threshold:
                continue
            across[:], down[:] = 0.0, 0.0
            left, right = profile(column_lower, column_upper, birth, bandwidth, across[0])
            bottom, top = profile(row_lower, row_upper, length, bandwidth, down[0])
            derivative(column_lower[left:right], column_upper[left:right], birth, bandwidth, across[1, left:right])
            derivative(row_lower[bottom:top], row_upper[bottom:top], length, bandwidth, down[1, bottom:top])
            weight, change = (length, 1.0) if linear else (1.0, 0.0)
            by_birth = by_length = 0.0
            for r in range(bottom, top):
                straight = sloped = 0.0
                for c in range(left, right):
                    straight += gradient[r, c] * across[0, c]
                    sloped += gradient[r, c] * across[1, c]
                by_birth += weight * down[0, r] * sloped
                by_length += (change * down[0, r] + weight * down[1, r]) * straight
            sign = 1.0 if death >= birth else -1.0
            out[k, 0] = by_birth - sign * by_length
            out[k, 1] = sign * by_length
