"""How encoded images, with a class or a mask each, become images of one shape."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from persistill.config import Data
from persistill.data.dataset import (
    ImageDataset,
    InMemoryDataset,
    InMemoryMaskDataset,
    StreamedDataset,
    StreamedMaskDataset,
)
from persistill.data.sources.base import EncodedRows, IntArray, MaskSource, Source
from persistill.data.sources.known_headers import KnowsMaskHeaders, header_of, keep_headers, known_of
from persistill.utils.image_reader import IGNORED, Header, read_mask
from persistill.utils.preprocessing import Preprocessing, read_pixels


class Each(Protocol):
    """Calls a function for all rows of a part."""

    def __call__(self, part: str, rows: IntArray, read: Callable[[int, int], bool], /) -> list[bool | None]:
        """What ``read(position, row)`` gave; None where it failed."""


class Decoded(NamedTuple):
    """Images that could be decoded, and their rows in their part."""

    images: ImageDataset
    rows: IntArray


class RowReader(Protocol):
    """How images and their targets are read."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, once all headers were read."""

    def header(self, part: str, row: int) -> Header:
        """Of an image, once it was seen that its target belongs to it."""

    def keep_headers(self) -> None:
        """Keep what was learned of images far away, once all headers were read."""

    def bytes_per_image(self, shape: tuple[int, int, int]) -> int:
        """Of image and target in memory."""

    def decoded(
        self, part: str, rows: IntArray, shape: tuple[int, int, int], preprocessing: Preprocessing, each: Each
    ) -> Decoded:
        """The images that can be decoded, in memory."""

    def streamed(
        self, part: str, rows: IntArray, shape: tuple[int, int, int], preprocessing: Preprocessing
    ) -> ImageDataset:
        """The images, not decoded yet."""


class ClassReader:
    """Reads images with one class each."""

    def __init__(self, source: Source, settings: Data) -> None:
        self._parts = source.parts
        self._range_known = settings.range != "full"
        self.classes = source.classes

    def header(self, part: str, row: int) -> Header:
        """Of an image."""
        rows = self._parts[part]
        return header_of(known_of(rows), row, rows.open, range_known=self._range_known)

    def keep_headers(self) -> None:
        """Of all parts."""
        keep_headers(self._parts)

    def bytes_per_image(self, shape: tuple[int, int, int]) -> int:
        """Of its pixels."""
        return int(np.prod(shape))

    def decoded(
        self, part: str, rows: IntArray, shape: tuple[int, int, int], preprocessing: Preprocessing, each: Each
    ) -> Decoded:
        """The images that can be decoded, with their classes."""
        pixels, rows = decode_images(self._parts, part, rows, shape, preprocessing, each)
        return Decoded(InMemoryDataset(pixels, torch.from_numpy(self._parts[part].targets[rows])), rows)

    def streamed(
        self, part: str, rows: IntArray, shape: tuple[int, int, int], preprocessing: Preprocessing
    ) -> ImageDataset:
        """The images, with their classes."""
        return StreamedDataset(self._parts[part], rows, shape, preprocessing=preprocessing)


class MaskReader:
    """Reads images with a mask each."""

    def __init__(self, source: MaskSource, settings: Data) -> None:
        self._parts = source.parts
        self._names = source.classes
        self._ignore = settings.ignore
        self._range_known = settings.range != "full"
        self._largest = [0]  # appended to by threads

    @property
    def classes(self) -> tuple[str, ...]:
        """As the source names them, or numbered up to the largest number in a mask."""
        if self._names is None:
            self._names = tuple(f"class {number}" for number in range(max(self._largest) + 1))
        return self._names

    def header(self, part: str, row: int) -> Header:
        """Of an image, once it was seen that its mask has its size."""
        rows = self._parts[part]
        header = header_of(known_of(rows), row, rows.open, range_known=self._range_known)
        known = rows.mask_headers if isinstance(rows, KnowsMaskHeaders) else None
        size = header_of(known, row, rows.open_mask, range_known=False)[:2]
        if size != header[:2]:
            raise ValueError(
                f"its mask is {size[0]} x {size[1]} (height x width) and the image {header[0]} x {header[1]}"
            )
        if self._names is None:
            with rows.open_mask(row) as mask:
                values = read_mask(mask, size, None, self._ignore)
            self._largest.append(int(values[values != IGNORED].max(initial=0)))
        return header

    def keep_headers(self) -> None:
        """Of images and masks of all parts."""
        keep_headers(self._parts)
        for rows in self._parts.values():
            if isinstance(rows, KnowsMaskHeaders):
                rows.mask_headers.keep()

    def bytes_per_image(self, shape: tuple[int, int, int]) -> int:
        """Of its pixels and its mask."""
        return int(np.prod(shape)) + shape[1] * shape[2]

    def decoded(
        self, part: str, rows: IntArray, shape: tuple[int, int, int], preprocessing: Preprocessing, each: Each
    ) -> Decoded:
        """The images whose pixels and masks can be decoded."""
        pixels = np.empty((len(rows), *shape), dtype=np.uint8)
        masks = np.empty((len(rows), *shape[1:]), dtype=np.uint8)

        def decode(position: int, row: int) -> bool:
            with self._parts[part].open(row) as image:
                pixels[position] = read_pixels(image, shape, preprocessing)
            with self._parts[part].open_mask(row) as mask:
                masks[position] = read_mask(mask, shape[1:], len(self.classes), self._ignore, preprocessing)
            return True

        good = np.array(each(part, rows, decode), dtype=bool)
        if not good.all():
            pixels, masks, rows = pixels[good], masks[good], rows[good]
        return Decoded(InMemoryMaskDataset(torch.from_numpy(pixels), torch.from_numpy(masks)), rows)

    def streamed(
        self, part: str, rows: IntArray, shape: tuple[int, int, int], preprocessing: Preprocessing
    ) -> ImageDataset:
        """The images and their masks."""
        return StreamedMaskDataset(
            self._parts[part], rows, shape, len(self.classes), self._ignore, preprocessing=preprocessing
        )


def decode_images(
    parts: Mapping[str, EncodedRows],
    part: str,
    rows: IntArray,
    shape: tuple[int, int, int],
    preprocessing: Preprocessing,
    each: Each,
) -> tuple[Tensor, IntArray]:
    """(N, C, H, W) uint8 of the images that can be decoded, and their rows."""
    pixels = np.empty((len(rows), *shape), dtype=np.uint8)

    def decode(position: int, row: int) -> bool:
        with parts[part].open(row) as image:
            pixels[position] = read_pixels(image, shape, preprocessing)
        return True

    good = np.array(each(part, rows, decode), dtype=bool)  # None, where decoding failed, counts as False
    if not good.all():
        pixels, rows = pixels[good], rows[good]
    return torch.from_numpy(pixels), rows
