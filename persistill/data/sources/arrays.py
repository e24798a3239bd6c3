"""Images that lie in one array."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from persistill.data.sources.base import IntArray


class ArrayRows:
    """The images of one part of a source, as an array.

    Args:
        pixels: (N, H, W) gray or (N, H, W, 3) RGB, uint8.
        targets: (N,) class numbers.
        name: what to call an image in a message, its number at "{}".
    """

    def __init__(self, pixels: npt.NDArray[Any], targets: IntArray, name: str) -> None:
        if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[3] != 3):
            raise ValueError(
                f"pixels must be uint8, (N, H, W) or (N, H, W, 3); {pixels.shape} {pixels.dtype} was given."
            )
        if len(targets) != len(pixels):
            raise ValueError(f"there must be a target for each of the {len(pixels)} images; there are {len(targets)}.")
        self._pixels = pixels
        self._name = name
        self.targets = targets

    def open(self, row: int) -> Image.Image:
        """An image."""
        return Image.fromarray(self._pixels[row])

    def name(self, row: int) -> str:
        """Its name with its number."""
        return self._name.format(row)

    def length(self, row: int) -> int:
        """Bytes of its pixels."""
        return int(self._pixels[row].nbytes)
