"""Images of a source that are not decoded yet."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

LABEL_NAMES = ("label", "labels", "class", "class_name", "category", "target")
"""What columns of classes are called, the usual name first."""
IntArray = npt.NDArray[np.int64]

_PART_NAMES = {"train": "train", "val": "validation", "dev": "validation", "test": "test"}
_PART = re.compile(r"(train|val|dev|test)(?:ing|id|idation|elopment|set|val)?(?![a-z])", re.IGNORECASE)
_NOWHERE: Mapping[str, str] = MappingProxyType({})


class EncodedRows(Protocol):
    """Images that are not decoded yet, whatever their targets are."""

    def open(self, row: int) -> Image.Image:
        """Open an image; only its header is read."""

    def name(self, row: int) -> str:
        """What to call an image in a message; no two images of a part have one name."""

    def length(self, row: int) -> int:
        """Bytes of the encoded image."""


class EncodedColumn(EncodedRows, Protocol):
    """A column of encoded images, or masks."""

    def __len__(self) -> int: ...


class Blocks(NamedTuple):
    """Images that are read together, since any of them costs as much as all.

    Attributes:
        numbers: (N,) int64, the block that each image lies in.
        window: how many blocks may be in memory.
    """

    numbers: IntArray
    window: int


@runtime_checkable
class InBlocks(Protocol):
    """Encoded images that are read in blocks."""

    def blocks(self, rows: IntArray) -> Blocks | None:
        """The blocks of some rows, ((n,) int64); None if each is read by itself after all."""

    def expect(self, rows: IntArray) -> None:
        """Fetch meanwhile what some rows ((n,) int64), which are asked for next, in this order, need."""


def in_blocks(rows: object) -> InBlocks | None:
    """Encoded images, if they are read in blocks."""
    return rows if isinstance(rows, InBlocks) else None


@runtime_checkable
class ReadInThreads(Protocol):
    """Encoded images that say in how many threads to read them, as those do that are waited for."""

    @property
    def threads(self) -> int | None:
        """How many; None for as many as elsewhere."""


def threads_of(rows: object) -> int | None:
    """In how many threads to read encoded images; None where they do not say."""
    return rows.threads if isinstance(rows, ReadInThreads) else None


class ImageRows(EncodedRows, Protocol):
    """One part of a source."""

    @property
    def targets(self) -> IntArray:
        """(N,) class numbers."""


class MaskRows(EncodedRows, Protocol):
    """One part of a source whose images have a class in every pixel."""

    def __len__(self) -> int: ...

    def open_mask(self, row: int) -> Image.Image:
        """Open the mask of an image; only its header is read."""

    def length(self, row: int) -> int:
        """Bytes of the encoded image and of its encoded mask."""


class Source(NamedTuple):
    """A data set before its splits are drawn.

    Attributes:
        classes: class names; targets are positions in it.
        parts: "train" and, where the source has them, "validation" and "test".
        origins: part -> where its images come from, in words: a folder, a file, a split on the hub.
        notes: what a user should know of how the source was understood, a sentence each.
    """

    classes: tuple[str, ...]
    parts: dict[str, ImageRows]
    origins: Mapping[str, str] = _NOWHERE
    notes: tuple[str, ...] = ()


class MaskSource(NamedTuple):
    """A data set of images and masks before its splits are drawn.

    Attributes:
        classes: class names; the values of masks are positions in it. None where the source does not name them.
        parts: as of ``Source``.
        origins: as of ``Source``.
        notes: as of ``Source``.
    """

    classes: tuple[str, ...] | None
    parts: dict[str, MaskRows]
    origins: Mapping[str, str] = _NOWHERE
    notes: tuple[str, ...] = ()


def part_of(name: str) -> str | None:
    """Which part a file, folder or split name speaks of ("val-00000-of-00001" -> "validation"), if any.

    The name begins with the word of a part, and the word ends there: "testing" and "test_1" speak of test images,
    "testudo" does not.
    """
    found = _PART.match(name)
    return None if found is None else _PART_NAMES[found[1].lower()]
