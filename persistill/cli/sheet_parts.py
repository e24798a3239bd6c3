"""What contact sheets have in common: images of one size, short names, a PNG that is written whole."""

import warnings
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from persistill.utils.atomic_io import atomic

SIDE = 256
"""Pixels of an image on a sheet."""
_TITLE = 22  # characters

Pixels = NDArray[np.uint8]


def shortened(name: str) -> str:
    """The end of a name, in which images differ."""
    return name if len(name) <= _TITLE else f"…{name[1 - _TITLE :]}"


def framed(image: Pixels, side: int) -> Pixels:
    """The image in the middle of a white square, as large as fits."""
    scale = side / max(image.shape[1:])
    height, width = (max(1, round(length * scale)) for length in image.shape[1:])
    if scale != 1:
        method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BICUBIC  # small ones keep their pixels
        resized = [np.asarray(Image.fromarray(channel).resize((width, height), method)) for channel in image]
        image = np.stack(resized)
    framed = np.full((len(image), side, side), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    framed[:, top : top + height, left : left + width] = image
    return framed


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG, whole or not at all."""
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")


def quiet_save(figure: Figure, path: Path) -> None:
    """``save``, with signs that the font lacks drawn as boxes, and no warning of them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+")
        save(figure, path)
