"""Images of a source that are not decoded yet."""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

IntArray = npt.NDArray[np.int64]

_PART_NAMES = {"train": "train", "val": "validation", "dev": "validation", "test": "test"}


class ImageRows(Protocol):
    """One part of a source."""

    @property
    def targets(self) -> IntArray:
        """(N,) class numbers."""

    def open(self, row: int) -> Image.Image:
        """Open an image; only its header is read."""

    def name(self, row: int) -> str:
        """What to call an image in a message; no two images of a part have one name."""

    def length(self, row: int) -> int:
        """Bytes of the encoded image."""


class MaskRows(Protocol):
    """One part of a source whose images have a class in every pixel."""

    def __len__(self) -> int: ...

    def open(self, row: int) -> Image.Image:
        """Open an image; only its header is read."""

    def open_mask(self, row: int) -> Image.Image:
        """Open the mask of an image; only its header is read."""

    def name(self, row: int) -> str:
        """What to call an image in a message; no two images of a part have one name."""

    def length(self, row: int) -> int:
        """Bytes of the encoded image and of its encoded mask."""


class Source(NamedTuple):
    """A data set before its splits are drawn.

    Attributes:
        classes: class names; targets are positions in it.
        parts: "train" and, where the source has them, "validation" and "test".
    """

    classes: tuple[str, ...]
    parts: dict[str, ImageRows]


class MaskSource(NamedTuple):
    """A data set of images and masks before its splits are drawn.

    Attributes:
        classes: class names; the values of masks are positions in it. None where the source does not name them.
        parts: as of ``Source``.
    """

    classes: tuple[str, ...] | None
    parts: dict[str, MaskRows]


def part_of(name: str) -> str | None:
    """Which part a file, folder or split name speaks of ("val-00000-of-00001" -> "validation"), if any."""
    return next((part for start, part in _PART_NAMES.items() if name.lower().startswith(start)), None)
