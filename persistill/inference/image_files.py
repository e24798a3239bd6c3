"""A student is asked about image files: they are found, read a few at a time, and answered."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from persistill.errors import UserError
from persistill.inference.predictor import Prediction, Predictor
from persistill.utils.image_files import find_image_files, not_taken
from persistill.utils.image_reader import SUFFIXES, open_image, read_header
from persistill.utils.preprocessing import DEFAULT, Preprocessing, read_pixels
from persistill.utils.progress import Progress
from persistill.utils.threads import in_threads

BATCH = 64
"""Images in memory."""

Pixels = npt.NDArray[np.uint8]


class ImagePrediction(NamedTuple):
    """An image file, and what the student says of it."""

    file: Path
    prediction: Prediction


class ReadImages(NamedTuple):
    """Some files as a student sees them.

    Attributes:
        files: n of them.
        pixels: (n, C, H, W).
        sizes: width and height of each image as it is, turned as its EXIF orientation says.
    """

    files: list[Path]
    pixels: Pixels
    sizes: list[tuple[int, int]]


class UnreadableImage(NamedTuple):
    """A file that could not be read as an image, and why."""

    file: Path
    reason: str


def find_images(places: Iterable[Path]) -> list[Path]:
    """Files as they are named, and in folders, at any depth, those that are images by name; none of them twice.

    Raises:
        UserError: if there is no such file or folder, or no image at all.
    """
    return search_images(places)[0]


def search_images(places: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """What ``find_images`` finds, and what it did not take of folders, a sentence each.

    Raises:
        UserError: if there is no such file or folder, or no image at all.
    """
    places = list(places)
    found: dict[Path, None] = {}
    notes: list[str] = []
    for place in places:
        if not place.exists():
            raise UserError(f"there is no file or folder {place}.")
        if place.is_dir():
            files = find_image_files(place)
            found |= dict.fromkeys(sorted(place / name for name in files.names))
            notes += not_taken(files, str(place))
        else:
            found[place] = None
    if not found:
        raise UserError(
            f"there are no images in {', '.join(map(str, places))}, at any depth ({', '.join(sorted(SUFFIXES))}). "
            f"{' '.join(notes)}".rstrip()
        )
    return list(found), notes


def predict_files(
    student: Predictor, files: Sequence[Path], top: int, progress: Progress
) -> tuple[list[ImagePrediction], list[UnreadableImage]]:
    """Read and classify images, in the order of the files.

    Args:
        student: is asked.
        files: of any size and format.
        top: guesses for each.
        progress: told how many files were dealt with.
    """
    predicted: list[ImagePrediction] = []
    unreadable: list[UnreadableImage] = []
    for some, pixels, _ in read_batches(student, files, unreadable, progress):
        answers = student.predict_pixels(pixels, top)
        predicted += [ImagePrediction(file, answer) for file, answer in zip(some, answers, strict=True)]
    progress.finish(f"{len(predicted):,} answered")
    return predicted, unreadable


def read_batches(
    student: Predictor, files: Sequence[Path], unreadable: list[UnreadableImage], progress: Progress
) -> Iterator[ReadImages]:
    """Files as a student sees them, a few at a time: those that can be read.

    Args:
        student: how it sees images.
        files: of any size and format.
        unreadable: receives the others.
        progress: is started, and told how many files were dealt with.
    """
    progress.start("images", len(files))
    for start in range(0, len(files), BATCH):
        some = files[start : start + BATCH]
        read = in_threads(partial(read_file, some, student.shape, student.preprocessing), len(some))
        unreadable += [image for image in read if isinstance(image, UnreadableImage)]
        good = [(file, image) for file, image in zip(some, read, strict=True) if not isinstance(image, UnreadableImage)]
        if good:
            names, images = zip(*good, strict=True)
            yield ReadImages([*names], np.stack([pixels for pixels, _ in images]), [size for _, size in images])
        progress.advance(len(some))


def thumbnail(file: Path, longest: int, preprocessing: Preprocessing = DEFAULT) -> Pixels:
    """The whole image in a file as (3, H, W), no side longer than ``longest`` pixels."""
    with open_image(file) as image:
        header = read_header(image)
        scale = min(1.0, longest / max(header.height, header.width))
        shape = (3, max(1, round(header.height * scale)), max(1, round(header.width * scale)))
        return read_pixels(image, shape, preprocessing._replace(resize="squash"))


def read_file(
    files: Sequence[Path], shape: tuple[int, int, int], preprocessing: Preprocessing, place: int
) -> tuple[Pixels, tuple[int, int]] | UnreadableImage:
    """One of several files as (C, H, W) pixels, with its own width and height, or why it cannot be read."""
    try:
        with open_image(files[place]) as image:
            pixels = read_pixels(image, shape, preprocessing)
            return pixels, image.size  # it was turned in place
    except Exception as error:  # noqa: BLE001  decoders raise whatever comes to hand on damaged files
        return UnreadableImage(files[place], str(error) or type(error).__name__)
