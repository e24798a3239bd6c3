"""A source whose boxes were all looked at once, with the headers of its images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np
from PIL import Image

from persistill.data.detection.box_source import BoxRows, BoxSource, RawObjects
from persistill.data.detection.check_objects import Checked, ObjectCounts, check_objects
from persistill.data.sources.base import Blocks, IntArray, in_blocks
from persistill.data.sources.known_headers import KnownHeaders, header_of, keep_headers, known_of
from persistill.utils.progress import Progress
from persistill.utils.threads import in_threads


@dataclass(frozen=True)
class _Image:
    """The size of an image, and its objects or what is wrong with them."""

    size: tuple[int, int]
    found: Checked | str


class CheckedRows:
    """One part of a source, with its checked boxes.

    Args:
        rows: the part.
        images: what was found of each image.
        num_classes: K.
    """

    def __init__(self, rows: BoxRows, images: Sequence[_Image], num_classes: int) -> None:
        self._rows, self._images, self._num_classes = rows, images, num_classes

    def __len__(self) -> int:
        return len(self._rows)

    def open(self, row: int) -> Image.Image:
        """Open an image."""
        return self._rows.open(row)

    def name(self, row: int) -> str:
        """What to call an image in a message."""
        return self._rows.name(row)

    def length(self, row: int) -> int:
        """Bytes of the encoded image."""
        return self._rows.length(row)

    @property
    def headers(self) -> KnownHeaders | None:
        """What is known of images without opening them."""
        return known_of(self._rows)

    def blocks(self, rows: IntArray) -> Blocks | None:
        """Those of the source, if it is read in blocks."""
        source = in_blocks(self._rows)
        return None if source is None else source.blocks(rows)

    def expect(self, rows: IntArray) -> None:
        """Fetch what is needed next."""
        if (source := in_blocks(self._rows)) is not None:
            source.expect(rows)

    def size(self, row: int) -> tuple[int, int]:
        """Height and width of an image as displayed."""
        return self._images[row].size

    def objects(self, row: int) -> RawObjects:
        """The objects of an image that are kept.

        Raises:
            ValueError: saying what is wrong with them.
        """
        found = self._images[row].found
        if isinstance(found, str):
            raise ValueError(found)  # noqa: TRY004  the type tells that boxes were wrong, and not the caller
        return found.objects

    def counts(self, rows: IntArray) -> ObjectCounts:
        """What some images hold together; those that cannot be read count as none."""
        none = ObjectCounts(0, 0, 0, 0, 0, 0, 0, 0, (0,) * self._num_classes)
        found = (self._images[row].found for row in rows.tolist())
        return reduce(add, (one.counts for one in found if not isinstance(one, str)), none)

    @property
    def class_counts(self) -> IntArray:
        """(N, K) objects of each class in each image."""
        counts = np.zeros((len(self), self._num_classes), dtype=np.int64)
        for row, image in enumerate(self._images):
            if not isinstance(image.found, str):
                counts[row] = image.found.counts.by_class
        return counts


class CheckedSource(NamedTuple):
    """A source whose boxes were checked.

    Attributes:
        classes: class names; labels are positions in it.
        parts: "train" and, where the source has them, "validation" and "test".
        origins: part -> where its images come from, in words.
        notes: what a user should know of what is odd, a sentence each.
    """

    classes: tuple[str, ...]
    parts: Mapping[str, CheckedRows]
    origins: Mapping[str, str]
    notes: tuple[str, ...]


def check_source(source: BoxSource, progress: Progress) -> CheckedSource:
    """Read the headers of all images, and look at all boxes. What is wrong is kept, and told when an image is used.

    Args:
        source: the images.
        progress: told how many were looked at.
    """
    num_classes = len(source.classes)
    progress.start("looking at boxes", sum(len(rows) for rows in source.parts.values()))
    parts = dict[str, CheckedRows]()
    for part, rows in source.parts.items():

        def look(row: int, rows: BoxRows = rows) -> _Image:
            size = (0, 0)
            try:
                size = header_of(known_of(rows), row, rows.open, range_known=True)[:2]
                return _Image(size, check_objects(rows.objects(row, size), size, num_classes))
            except Exception as error:  # noqa: BLE001  decoders raise whatever comes to hand on damaged files
                return _Image(size, str(error) or type(error).__name__)

        parts[part] = CheckedRows(rows, in_threads(look, len(rows), progress), num_classes)
    keep_headers(parts)
    progress.finish()
    whole = {part: rows.counts(np.arange(len(rows))) for part, rows in parts.items()}
    notes = tuple(f"The {part} part: {counts.in_words()}." for part, counts in whole.items() if counts.odd)
    return CheckedSource(source.classes, parts, source.origins, (*source.notes, *notes))
