"""From images that were drawn to images of one shape, decoded in memory or left to be streamed."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch

from persistill.config import Data
from persistill.data.dataset import ImageDataset
from persistill.data.detection.box_reader import BoxReader
from persistill.data.detection.checked_source import CheckedSource
from persistill.data.duplicate_check import look_for_duplicates
from persistill.data.row_reader import ClassReader, MaskReader, RowReader
from persistill.data.sources.base import EncodedRows, IntArray, MaskSource, Source, threads_of
from persistill.data.splits import Drawn
from persistill.data.value_range import LARGEST_LOOKED_AT, Range, describe_depth, join_ranges, measure_range
from persistill.errors import UserError
from persistill.utils.image_reader import Header
from persistill.utils.preprocessing import DEFAULT, Preprocessing
from persistill.utils.progress import Progress
from persistill.utils.threads import in_threads
from persistill.utils.units import counted, file_size

MEMORY_LIMIT = 2 * 1024**3
"""Images of up to so many decoded bytes, all three splits together, are held in memory; larger sets are streamed."""

_STREAMED = (
    "These images take {size} decoded and are decoded in every epoch. data.cache=resized decodes them once and keeps "
    "them at {height} x {width} beside the results."
)
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
        preprocessing: how encoded images were, and are to be, brought to pixels.
        origins: split -> where its images come from, in words.
        notes: what a user should know of these images, a sentence each.
    """

    train: ImageDataset
    validation: ImageDataset
    test: ImageDataset
    classes: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    preprocessing: Preprocessing = DEFAULT
    origins: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 hash of the three splits, the class names and the preprocessing where it is not the usual one."""
        parts = (self.train.fingerprint, self.validation.fingerprint, self.test.fingerprint, *self.classes)
        if self.preprocessing != DEFAULT:
            parts = (*parts, repr(self.preprocessing))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def to(self, device: torch.device | str) -> "Splits":
        """The same images on another device."""
        return replace(
            self, train=self.train.to(device), validation=self.validation.to(device), test=self.test.to(device)
        )


def read_splits(
    source: Source | MaskSource | CheckedSource, drawn: Mapping[str, Drawn], settings: Data, progress: Progress
) -> Splits:
    """Read the drawn images: all headers first, to settle one shape, then the pixels if they fit into memory.

    Of an image that is streamed, and of its mask, only the header is checked here.

    Args:
        source: the encoded images, with a class, a mask or boxes each.
        drawn: "train", "validation" and "test" -> which of them.
        settings: size, color, and what to do about images that cannot be read.
        progress: told how many images were read.

    Raises:
        UserError: if images differ in size without ``settings.size``, or cannot be read without
            ``settings.skip_unreadable``.
    """
    reader: RowReader
    if isinstance(source, CheckedSource):
        reader = BoxReader(source, settings)
    else:
        reader = MaskReader(source, settings) if isinstance(source, MaskSource) else ClassReader(source, settings)
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

        return in_threads(one, len(rows), progress, threads=threads_of(source.parts[part]))

    progress.start("looking at images", total)
    readable: dict[str, IntArray] = {}
    headers: list[Header] = []
    deep = np.array([], dtype=np.int64)
    for name, (part, rows) in drawn.items():
        found = each(part, rows, lambda _, row, part=part: reader.header(part, row))  # type: ignore[misc]
        readable[name] = rows[[header is not None for header in found]]
        headers.extend(header for header in found if header is not None)
        if name == "train":
            deep = rows[[header is not None and header.deep for header in found]]
    reader.keep_headers()
    progress.finish()

    train = source.parts[drawn["train"].part]
    glanced = _glance(train, deep, progress) if settings.range == "full" and len(deep) else []
    depth = describe_depth(glanced, len(deep), len(readable["train"]), settings)
    span: Range | None = settings.range if isinstance(settings.range, tuple) else None
    if settings.range == "measured" and len(deep):
        progress.start("measuring the range", len(deep))
        measured = each("train", deep, lambda _, row: _range_of(train, row))
        progress.finish()
        span = join_ranges([one for one in measured if one is not None], settings)
    preprocessing = Preprocessing(settings.resize, span)

    images: dict[str, ImageDataset] = {}
    in_memory = True
    streamed: tuple[str, ...] = ()
    if headers:
        shape = _one_shape(headers, settings)
        size = len(headers) * reader.bytes_per_image(shape)
        in_memory = size <= MEMORY_LIMIT
        if not in_memory and settings.cache == "off":
            streamed = (_STREAMED.format(size=file_size(size), height=shape[1], width=shape[2]),)
        if in_memory:
            progress.start("decoding images", len(headers))
        for name, rows in readable.items():
            part = drawn[name].part
            if in_memory:
                images[name], readable[name] = reader.decoded(part, rows, shape, preprocessing, each)
            else:
                images[name] = reader.streamed(part, rows, shape, preprocessing)
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
    origins = {
        name: source.origins.get(part, f"the {part} part of {settings.where}") for name, (part, _) in drawn.items()
    }
    duplicates = look_for_duplicates(
        images,
        lambda split, position: source.parts[drawn[split].part].name(int(readable[split][position])),
        settings,
        progress,
        in_memory=in_memory,
    )
    images |= {name: images[name].subset(torch.from_numpy(kept)) for name, kept in duplicates.kept.items()}
    _still_every_class(images, duplicates.kept, reader.classes, settings)
    return Splits(
        images["train"],
        images["validation"],
        images["test"],
        reader.classes,
        tuple(sorted(problems)),
        preprocessing,
        origins,
        (*source.notes, *depth, *duplicates.notes, *streamed),
    )


def _range_of(images: EncodedRows, row: int) -> Range:
    with images.open(row) as image:
        return measure_range(image)


def _glance(images: EncodedRows, deep: IntArray, progress: Progress) -> list[Range]:
    """The ranges of some images of more than 8 bits; what cannot be decoded is named where it is to be decoded."""
    count = min(len(deep), LARGEST_LOOKED_AT)

    def one(position: int) -> Range | None:
        with suppress(Exception):
            return _range_of(images, int(deep[position * len(deep) // count]))
        return None

    progress.start("looking at values", count)
    found = [span for span in in_threads(one, count, progress) if span is not None]
    progress.finish()
    return found


def _still_every_class(
    images: Mapping[str, ImageDataset], kept: Mapping[str, IntArray], classes: Sequence[str], settings: Data
) -> None:
    """See that duplicates which were taken out have left something.

    Raises:
        UserError: if they have not.
    """
    for name in kept:
        left = images[name]
        one_class_each = not left.dense and left.targets.ndim == 1
        missing = set(range(len(classes))) - set(left.targets.tolist()) if len(left) and one_class_each else set()
        if len(left) and not (missing and name == "train"):
            continue
        what = f"no image of the class {classes[min(missing)]!r}" if missing else "nothing"
        raise UserError(
            f"data.duplicates=drop leaves {what} in the {name} split of {settings.where}. Look at the duplicates with "
            "data.duplicates=warn."
        )


def _one_shape(headers: Sequence[Header], settings: Data) -> tuple[int, int, int]:
    channels = 1 if settings.grayscale or all(header.gray for header in headers) else 3
    for name in ("mean", "std"):
        given = getattr(settings, name)
        if given is not None and len(given) != channels:
            raise UserError(
                f"data.{name} must have one value for each of {counted(channels, 'channel')} of {settings.where}; "
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
