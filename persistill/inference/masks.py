"""Masks that a student of pixels gives to image files, as images in the colors of their classes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from persistill.errors import UserError
from persistill.inference.image_files import UnreadableImage, read_batches
from persistill.inference.predictor import Predictor
from persistill.utils.atomic_io import atomic
from persistill.utils.class_colors import class_colors
from persistill.utils.image_files import DRAWN_MASKS
from persistill.utils.progress import Progress
from persistill.utils.units import first_few


class MaskPrediction(NamedTuple):
    """An image file, and the mask that was written for it.

    Attributes:
        file: the image.
        mask: the file of the mask.
        shares: name of a class -> the share of pixels that are given it, largest first, without those of no pixel.
    """

    file: Path
    mask: Path
    shares: dict[str, float]


def write_masks(
    student: Predictor, files: Sequence[Path], progress: Progress
) -> tuple[list[MaskPrediction], list[UnreadableImage]]:
    """Write the mask of each image beside it, ``street.png`` -> ``street.mask.png``, in the size that the student sees.

    A mask is a PNG with a palette: its pixels are class numbers, shown in the colors of the report.

    Args:
        student: answers for pixels.
        files: images; masks of earlier times among them are passed over.
        progress: told how many files were dealt with.

    Raises:
        UserError: if a mask is there already. Nothing is written then.
    """
    files = [file for file in files if not file.name.endswith(DRAWN_MASKS)]
    there = [str(mask) for mask in map(_mask_of, files) if mask.exists()]
    if there:
        raise UserError(f"{first_few(there, 1)} exist already and were not overwritten; move them away.")
    written: list[MaskPrediction] = []
    unreadable: list[UnreadableImage] = []
    for some, pixels, _ in read_batches(student, files, unreadable, progress):
        written += _write(student.classes, some, student.predict_masks(pixels))
    progress.finish(f"{len(written):,} masks")
    return written, unreadable


def _write(classes: Sequence[str], files: Sequence[Path], masks: NDArray[np.uint8]) -> Iterator[MaskPrediction]:
    colors = class_colors(len(classes)).tobytes()
    for file, mask in zip(files, masks, strict=True):
        image = Image.fromarray(mask)
        image.putpalette(colors)
        with atomic(_mask_of(file)) as temporary:
            image.save(temporary, "PNG")
        counts = np.bincount(mask.ravel(), minlength=len(classes))
        order = [number for number in np.argsort(-counts, kind="stable").tolist() if counts[number]]
        yield MaskPrediction(file, _mask_of(file), {classes[number]: counts[number] / mask.size for number in order})


def _mask_of(file: Path) -> Path:
    return file.with_name(file.stem + DRAWN_MASKS)
