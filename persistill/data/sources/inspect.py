"""What images a source holds, found out from class numbers and some headers, before anything is decoded."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from persistill.config import Data
from persistill.data.sources.base import EncodedRows, IntArray, MaskRows, threads_of
from persistill.data.sources.known_headers import header_of, keep_headers, known_of
from persistill.data.sources.registry import open_mask_source, open_source
from persistill.data.splits import DEFAULT_TEST_SHARE, draw_splits
from persistill.errors import UserError
from persistill.utils.image_reader import Header
from persistill.utils.preprocessing import Resize
from persistill.utils.threads import in_threads
from persistill.utils.units import counted

LOOKED_AT = 500
"""Images whose headers are read, evenly spaced in the training part."""

_SHARES = (0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Outline:
    """A source in outline.

    Attributes:
        classes: names of the classes.
        train: number of training images, without those for validation.
        validation: share of the training images that leaves no class without a validation image.
        test: as in ``Data``: None for the source's own test part, or for a fifth of the training images.
        sizes: (height, width) -> how many of the images looked at have it.
        gray: whether none of the images looked at has color.
        resize: as in ``Data``.
        notes: what else was seen, a sentence each.
    """

    classes: tuple[str, ...]
    train: int
    validation: float
    test: int | None
    sizes: Mapping[tuple[int, int], int]
    gray: bool
    resize: Resize = "crop"
    notes: tuple[str, ...] = ()


def outline(settings: Data) -> Outline:
    """Look at a source.

    Args:
        settings: where the images are; its ``validation`` and ``test`` are not used.

    Raises:
        UserError: if there is no such source, none of the images looked at can be read, or a class has too few
            images to have some in training, validation and test.
    """
    source = open_source(settings)
    targets = {part: rows.targets for part, rows in source.parts.items()}
    require_several(settings, source.classes)
    validation, test, train = _shares(settings, targets, source.classes)
    rows = source.parts["train"]
    headers = read_headers(settings, rows, len(rows.targets))
    return Outline(
        classes=source.classes,
        train=train,
        validation=validation,
        test=test,
        sizes=Counter((header.height, header.width) for header in headers),
        gray=all(header.gray for header in headers),
        resize=settings.resize,
    )


def require_several(settings: Data, classes: tuple[str, ...]) -> None:
    """See that there is something to tell apart.

    Raises:
        UserError: if there is one class.
    """
    if len(classes) < 2:
        raise UserError(
            f"{settings.where} holds one class only, {classes[0]!r}; a classifier needs two or more. Put the "
            "images of each class into a folder of their own, and name the folder above these."
        )


def _shares(settings: Data, targets: Mapping[str, IntArray], classes: tuple[str, ...]) -> tuple[float, int | None, int]:
    """The smallest usual shares for validation and test by which every class has images everywhere."""
    total, own_test = len(targets.get("train", ())), len(targets) > 1
    first: UserError | None = None
    for share in _SHARES:
        # A fifth is what is taken without being asked for.
        test = round(share * total) if share > DEFAULT_TEST_SHARE and not own_test else None
        try:
            drawn = draw_splits(targets, settings.model_copy(update={"validation": share, "test": test}), classes)
        except UserError as error:
            first = first or error
            continue
        return share, test, len(drawn["train"].rows)
    assert first is not None
    counts = np.bincount(targets["train"], minlength=len(classes)) if "train" in targets else np.zeros(1, int)
    if len(counts) < len(classes) or counts.min() >= 10:
        raise first
    smallest = int(counts.argmin())
    raise UserError(
        f"the class {classes[smallest]!r} of {settings.where} has {counted(int(counts[smallest]), 'image')}, "
        "too few to train on some, to choose with others and to test on the rest: about ten are the least. Add images, "
        "or take the class out."
    )


def outline_masks(settings: Data) -> Outline:
    """Look at a source of images with masks, whose splits are drawn by the seed alone.

    Args:
        settings: as of ``outline``.

    Raises:
        UserError: if there is no such source, or too few or no readable images.
    """
    source = open_mask_source(settings)
    of_one = {part: np.zeros(len(rows), dtype=np.int64) for part, rows in source.parts.items()}
    drawn = draw_splits(of_one, settings.model_copy(update={"validation": _SHARES[0], "test": None}), ("image",))
    rows = source.parts["train"]
    headers = read_headers(settings, rows, len(rows))
    return Outline(
        classes=source.classes or _numbered(settings, rows),
        train=len(drawn["train"].rows),
        validation=_SHARES[0],
        test=None,
        sizes=Counter((header.height, header.width) for header in headers),
        gray=all(header.gray for header in headers),
        resize=settings.resize,
    )


def _numbered(settings: Data, rows: MaskRows) -> tuple[str, ...]:
    """Numbers of the classes in some masks, for sources without names."""
    count = min(len(rows), LOOKED_AT)

    def largest(position: int) -> int:
        with rows.open_mask(position * len(rows) // count) as mask:
            values = np.asarray(mask)
        return int(values[values != settings.ignore].max(initial=0))

    return tuple(map(str, range(1 + max(in_threads(largest, count)))))


def read_headers(settings: Data, rows: EncodedRows, total: int) -> list[Header]:
    """The headers of some images of a part, evenly spaced.

    Args:
        settings: what to call the source.
        rows: the part.
        total: its images.

    Raises:
        UserError: if none of them can be read.
    """
    count = min(total, LOOKED_AT)
    positions = np.arange(count) * total // count
    problems: list[str] = []

    def read(position: int) -> Header | None:
        row = int(positions[position])
        try:
            return header_of(known_of(rows), row, rows.open, range_known=True)
        except Exception as error:  # noqa: BLE001  decoders raise whatever comes to hand on damaged files
            problems.append(f"{rows.name(row)} ({error})")
            return None

    found = [header for header in in_threads(read, count, threads=threads_of(rows)) if header is not None]
    keep_headers({"": rows})
    if not found:
        raise UserError(f"none of {count} images of {settings.where} can be read: {'; '.join(sorted(problems)[:3])}.")
    return found
