"""From images that were drawn to images of one shape, decoded in memory or left to be streamed."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import torch

from persistill.config import Data
from persistill.data.dataset import (
    ImageDataset,
    InMemoryDataset,
    InMemoryMaskDataset,
    StreamedDataset,
    StreamedMaskDataset,
)
from persistill.data.sources.base import IntArray, MaskSource, Source
from persistill.data.splits import Drawn
from persistill.errors import UserError
from persistill.utils.image_reader import IGNORED, Header, read_header, read_mask, read_pixels
from persistill.utils.progress import Progress
from persistill.utils.threads import in_threads

MEMORY_LIMIT = 2 * 1024**3
"""Images of up to so many decoded bytes, all three splits together, are held in memory; larger sets are streamed."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Splits:
    """The images of a recipe.

    Attributes:
        train: what networks are trained on.
        validation: what is looked at to choose between them.
        test: read once, at the end.
        classes: names of the classes; targets are positions in it.
        unreadable: images that were left out because they cannot be read.
    """

    train: ImageDataset
    validation: ImageDataset
    test: ImageDataset
    classes: tuple[str, ...]
    unreadable: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 hash of the three splits and the class names."""
        parts = (self.train.fingerprint, self.validation.fingerprint, self.test.fingerprint, *self.classes)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def to(self, device: torch.device | str) -> "Splits":
        """The same images on another device."""
        return replace(
            self, train=self.train.to(device), validation=self.validation.to(device), test=self.test.to(device)
        )


def read_splits(source: Source | MaskSource, drawn: Mapping[str, Drawn], settings: Data, progress: Progress) -> Splits:
    """Read the drawn images: all headers first, to settle one shape, then the pixels if they fit into memory.

    Of an image that is streamed, and of its mask, only the header is checked here.

    Args:
        source: the encoded images, with a class or a mask each.
        drawn: "train", "validation" and "test" -> which of them.
        settings: size, color, and what to do about images that cannot be read.
        progress: told how many images were read.

    Raises:
        UserError: if images differ in size without ``settings.size``, or cannot be read without
            ``settings.skip_unreadable``.
    """
    reader: _Reader = _MaskReader(source, settings) if isinstance(source, MaskSource) else _ClassReader(source)
    problems: dict[str, str] = {}
    total = sum(len(split.rows) for split in drawn.values())

    def each(part: str, rows: IntArray, read: Callable[[int, int], Result]) -> list[Result | None]:
        """Call ``read(position, row)`` for all rows in threads; note the problem where it fails, and give None."""

        def one(position: int) -> Result | None:
            row = int(rows[position])
            try:
                return read(position, row)
            except Exception as error:  # noqa: BLE001  decoders raise whatever comes to hand on damaged files
                problems[source.parts[part].name(row)] = str(error) or type(error).__name__
                return None

        return in_threads(one, len(rows), progress)

    progress.start("looking at images", total)
    readable: dict[str, IntArray] = {}
    headers: list[Header] = []
    for name, (part, rows) in drawn.items():
        found = each(part, rows, lambda _, row, part=part: reader.header(part, row))  # type: ignore[misc]
        readable[name] = rows[[header is not None for header in found]]
        headers.extend(header for header in found if header is not None)
    progress.finish()

    images: dict[str, ImageDataset] = {}
    if headers:
        shape = _one_shape(headers, settings)
        in_memory = len(headers) * reader.bytes_per_image(shape) <= MEMORY_LIMIT
        if in_memory:
            progress.start("decoding images", len(headers))
        for name, rows in readable.items():
            part = drawn[name].part
            images[name] = reader.decoded(part, rows, shape, each) if in_memory else reader.streamed(part, rows, shape)
        if in_memory:
            progress.finish()

    if problems and not settings.skip_unreadable:
        raise UserError(
            f"{_listed(problems, total, settings)} Mend or remove them, or go on without them: "
            "--set data.skip_unreadable=true"
        )
    empty = [name for name in drawn if not images.get(name)]
    if empty:
        raise UserError(f"{_listed(problems, total, settings)} Nothing is left of the {empty[0]} split.")
    return Splits(images["train"], images["validation"], images["test"], reader.classes, tuple(sorted(problems)))


class _Each(Protocol):
    """Calls a function of (position, row) for all rows of a part; None where it failed."""

    def __call__(self, part: str, rows: IntArray, read: Callable[[int, int], bool], /) -> list[bool | None]: ...


class _Reader(Protocol):
    """How images and their targets are read."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, once all headers were read."""

    def header(self, part: str, row: int) -> Header:
        """Of an image, once it was seen that its target belongs to it."""

    def bytes_per_image(self, shape: tuple[int, int, int]) -> int:
        """Of image and target in memory."""

    def decoded(self, part: str, rows: IntArray, shape: tuple[int, int, int], each: _Each) -> ImageDataset:
        """The images that can be decoded, in memory."""

    def streamed(self, part: str, rows: IntArray, shape: tuple[int, int, int]) -> ImageDataset:
        """The images, not decoded yet."""


class _ClassReader:
    """Reads images with one class each."""

    def __init__(self, source: Source) -> None:
        self._parts = source.parts
        self.classes = source.classes

    def header(self, part: str, row: int) -> Header:
        with self._parts[part].open(row) as image:
            return read_header(image)

    def bytes_per_image(self, shape: tuple[int, int, int]) -> int:
        return int(np.prod(shape))

    def decoded(self, part: str, rows: IntArray, shape: tuple[int, int, int], each: _Each) -> ImageDataset:
        pixels = np.empty((len(rows), *shape), dtype=np.uint8)

        def decode(position: int, row: int) -> bool:
            with self._parts[part].open(row) as image:
                pixels[position] = read_pixels(image, shape)
            return True

        good = np.array(each(part, rows, decode), dtype=bool)  # None, where decoding failed, counts as False
        if not good.all():
            pixels, rows = pixels[good], rows[good]
        return InMemoryDataset(torch.from_numpy(pixels), torch.from_numpy(self._parts[part].targets[rows]))

    def streamed(self, part: str, rows: IntArray, shape: tuple[int, int, int]) -> ImageDataset:
        return StreamedDataset(self._parts[part], rows, shape)


class _MaskReader:
    """Reads images with a mask each."""

    def __init__(self, source: MaskSource, settings: Data) -> None:
        self._parts = source.parts
        self._names = source.classes
        self._ignore = settings.ignore
        self._largest = [0]  # appended to by threads

    @property
    def classes(self) -> tuple[str, ...]:
        if self._names is None:
            self._names = tuple(f"class {number}" for number in range(max(self._largest) + 1))
        return self._names

    def header(self, part: str, row: int) -> Header:
        with self._parts[part].open(row) as image:
            header = read_header(image)
        with self._parts[part].open_mask(row) as mask:
            size = read_header(mask)[:2]
            if size != header[:2]:
                raise ValueError(
                    f"its mask is {size[0]} x {size[1]} (height x width) and the image {header[0]} x {header[1]}"
                )
            if self._names is None:
                values = read_mask(mask, size, None, self._ignore)
                self._largest.append(int(values[values != IGNORED].max(initial=0)))
        return header

    def bytes_per_image(self, shape: tuple[int, int, int]) -> int:
        return int(np.prod(shape)) + shape[1] * shape[2]

    def decoded(self, part: str, rows: IntArray, shape: tuple[int, int, int], each: _Each) -> ImageDataset:
        pixels = np.empty((len(rows), *shape), dtype=np.uint8)
        masks = np.empty((len(rows), *shape[1:]), dtype=np.uint8)

        def decode(position: int, row: int) -> bool:
            with self._parts[part].open(row) as image:
                pixels[position] = read_pixels(image, shape)
            with self._parts[part].open_mask(row) as mask:
                masks[position] = read_mask(mask, shape[1:], len(self.classes), self._ignore)
            return True

        good = np.array(each(part, rows, decode), dtype=bool)
        if not good.all():
            pixels, masks = pixels[good], masks[good]
        return InMemoryMaskDataset(torch.from_numpy(pixels), torch.from_numpy(masks))

    def streamed(self, part: str, rows: IntArray, shape: tuple[int, int, int]) -> ImageDataset:
        return StreamedMaskDataset(self._parts[part], rows, shape, len(self.classes), self._ignore)


def _one_shape(headers: Sequence[Header], settings: Data) -> tuple[int, int, int]:
    channels = 1 if settings.grayscale or all(header.gray for header in headers) else 3
    for field in ("mean", "std"):
        given = getattr(settings, field)
        if given is not None and len(given) != channels:
            raise UserError(
                f"data.{field} must have one value for each of the {channels} channel(s) of {settings.where}; "
                f"{given} was given."
            )
    if settings.size is not None:
        return channels, *settings.size
    sizes = Counter((header.height, header.width) for header in headers).most_common()
    if len(sizes) > 1:
        listing = ", ".join(f"{height} x {width} ({count} images)" for (height, width), count in sizes[:5])
        raise UserError(
            f"the images of {settings.where} have {len(sizes)} sizes (height x width): {listing}"
            f"{', ...' if len(sizes) > 5 else ''}. Bring them to one, data.size=(h, w): "
            f'--set "data.size={sizes[0][0]}"'
        )
    return channels, *sizes[0][0]


def _listed(problems: Mapping[str, str], total: int, settings: Data) -> str:
    first = "; ".join(f"{name} ({problems[name]})" for name in sorted(problems)[:3])
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return f"{len(problems)} of {total} images of {settings.where} cannot be read: {first}{more}."
