"""Images and their boxes as a source states them, before anything is checked or decoded."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from persistill.data.sources.base import EncodedRows, IntArray

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


class RawObjects(NamedTuple):
    """The objects of one image.

    Attributes:
        boxes: (n, 4): x1, y1, x2, y2 in pixels of the stored image as it is displayed, from its upper left corner; the
            right and lower edges are not part of the box, so that its width is x2 - x1.
        labels: (n,) class numbers.
        difficult: (n,) as in ``structures.Objects``.
        crowd: (n,) likewise.
    """

    boxes: FloatArray
    labels: IntArray
    difficult: BoolArray
    crowd: BoolArray

    def select(self, kept: BoolArray) -> "RawObjects":
        """Those where ``kept`` (n,) is true."""
        return RawObjects(self.boxes[kept], self.labels[kept], self.difficult[kept], self.crowd[kept])


class BoxRows(EncodedRows, Protocol):
    """One part of a source whose images have boxes."""

    def __len__(self) -> int: ...

    def objects(self, row: int, size: tuple[int, int]) -> RawObjects:
        """What is stated of the objects of an image.

        Args:
            row: its position.
            size: its height and width as displayed, for formats that state shares of them.

        Raises:
            ValueError: if it makes no sense, in words that follow the name of the image.
        """


class BoxSource(NamedTuple):
    """A data set of images with boxes before its splits are drawn.

    Attributes:
        classes: class names; labels are positions in it.
        parts: "train" and, where the source has them, "validation" and "test".
        origins: part -> where its images come from, in words.
        notes: what a user should know of how the source was understood, a sentence each.
    """

    classes: tuple[str, ...]
    parts: dict[str, BoxRows]
    origins: Mapping[str, str]
    notes: tuple[str, ...] = ()


def raw_objects(boxes: object, labels: object, difficult: object = None, crowd: object = None) -> RawObjects:
    """Objects of lists of one length; where ``difficult`` or ``crowd`` is None, none is.

    Raises:
        ValueError: if the lists have other lengths or contents.
    """
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    flags = [
        np.zeros(len(corners), dtype=np.bool_) if given is None else np.asarray(given, dtype=np.bool_)
        for given in (difficult, crowd)
    ]
    classes = np.asarray(labels, dtype=np.int64)
    if any(field.shape != (len(corners),) for field in (classes, *flags)):
        raise ValueError(f"it has {len(corners)} boxes and {classes.size} classes")
    return RawObjects(corners, classes, *flags)
