"""Colors by which classes are told apart in masks."""

import colorsys

import numpy as np
from numpy.typing import NDArray

IGNORED = 255
"""In masks of 8 bits, the number of pixels without a class."""


def class_colors(count: int) -> NDArray[np.uint8]:
    """(count, 3) RGB, the same for the same number of classes.

    Hues step by the golden ratio around the wheel, so that neighbors in number are far apart in hue, and lightness
    alternates, so that hues that come close differ in that.

    Args:
        count: of the classes.
    """
    golden = (5**0.5 - 1) / 2
    found = [
        colorsys.hls_to_rgb((0.58 + number * golden) % 1, (0.45, 0.65, 0.3)[number % 3], 0.65)
        for number in range(count)
    ]
    return np.round(255 * np.array(found).reshape(-1, 3)).astype(np.uint8)
