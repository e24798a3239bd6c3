"""From images that were drawn to images of one shape, decoded in memory or left to be streamed."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
import torch

from persistill.config import Data
from persistill.data.dataset import ImageDataset, InMemoryDataset, StreamedDataset
from persistill.data.sources.base import IntArray, Rows, Source
from persistill.data.splits import Drawn
from persistill.errors import UserError
from persistill.utils.image_reader import Header, read_header, read_pixels
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


def read_splits(source: Source, drawn: Mapping[str, Drawn], settings: Data, progress: Progress) -> Splits:
    """Read the drawn images: all headers first, to settle one shape, then the pixels if they fit into memory.

    Of an image that is streamed only the header is checked here.

    Args:
        source: the encoded images.
        drawn: "train", "validation" and "test" -> which of them.
        settings: size, color, and what to do about images that cannot be read.
        progress: told how many images were read.

    Raises:
        UserError: if images differ in size without ``settings.size``, or cannot be read without
            ``settings.skip_unreadable``.
    """
    problems: dict[str, str] = {}
    total = sum(len(split.rows) for split in drawn.values())

    def each(rows: IntArray, part: Rows, read: Callable[[int, int], Result]) -> list[Result | None]:
        """Call ``read(position, row)`` for all rows in threads; note the problem where it fails, and give None."""

        def one(position: int) -> Result | None:
            row = int(rows[position])
            try:
                return read(position, row)
            except Exception as error:  # noqa: BLE001  decoders raise whatever comes to hand on damaged files
                problems[part.name(row)] = str(error) or type(error).__name__
                return None

        return in_threads(one, len(rows), progress)

    progress.start("looking at images", total)
    readable: dict[str, IntArray] = {}
    headers: list[Header] = []
    for name, (part_name, rows) in drawn.items():
        part = source.parts[part_name]
        found = each(rows, part, partial(_header, part))
        readable[name] = rows[[header is not None for header in found]]
        headers.extend(header for header in found if header is not None)
    progress.finish()

    images: dict[str, ImageDataset] = {}
    if headers:
        shape = _one_shape(headers, settings)
        in_memory = len(headers) * int(np.prod(shape)) <= MEMORY_LIMIT
        if in_memory:
            progress.start("decoding images", len(headers))
        for name, rows in readable.items():
            part = source.parts[drawn[name].part]
            if in_memory:
                images[name] = _decoded(rows, part, shape, each)
            else:
                images[name] = StreamedDataset(part, rows, shape)
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
    return Splits(images["train"], images["validation"], images["test"], source.classes, tuple(sorted(problems)))


def _header(part: Rows, _: int, row: int) -> Header:
    with part.open(row) as image:
        return read_header(image)


def _decoded(
    rows: IntArray,
    part: Rows,
    shape: tuple[int, int, int],
    each: Callable[[IntArray, Rows, Callable[[int, int], bool]], list[bool | None]],
) -> InMemoryDataset:
    pixels = np.empty((len(rows), *shape), dtype=np.uint8)

    def decode(position: int, row: int) -> bool:
        with part.open(row) as image:
            pixels[position] = read_pixels(image, shape)
        return True

    good = np.array(each(rows, part, decode), dtype=bool)  # None, where decoding failed, counts as False
    if not good.all():
        pixels, rows = pixels[good], rows[good]
    return InMemoryDataset(torch.from_numpy(pixels), torch.from_numpy(part.targets[rows]))


def _one_shape(headers: Sequence[Header], settings: Data) -> tuple[int, int, int]:
    channels = 1 if settings.grayscale or all(header.gray for header in headers) else 3
    for field in ("mean", "std"):
        given = getattr(settings, field)
        if given is not None and len(given) != channels:
            raise UserError(
                f"data.{field} must have one value for each of the {channels} channel(s) of {settings.source}; "
                f"{given} was given."
            )
    if settings.size is not None:
        return channels, *settings.size
    sizes = Counter((header.height, header.width) for header in headers).most_common()
    if len(sizes) > 1:
        listing = ", ".join(f"{height} x {width} ({count} images)" for (height, width), count in sizes[:5])
        raise UserError(
            f"the images of {settings.source} have {len(sizes)} sizes (height x width): {listing}"
            f"{', ...' if len(sizes) > 5 else ''}. Bring them to one, data.size=(h, w): "
            f'--set "data.size={sizes[0][0]}"'
        )
    return channels, *sizes[0][0]


def _listed(problems: Mapping[str, str], total: int, settings: Data) -> str:
    first = "; ".join(f"{name} ({problems[name]})" for name in sorted(problems)[:3])
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return f"{len(problems)} of {total} images of {settings.source} cannot be read: {first}{more}."
