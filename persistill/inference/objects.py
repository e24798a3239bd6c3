"""The objects that a detector finds in image files, in pixels of each image as it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from persistill.inference.found_objects import FoundObject
from persistill.inference.image_files import UnreadableImage, read_batches
from persistill.inference.predictor import Predictor
from persistill.utils.image_files import DRAWN_BOXES
from persistill.utils.progress import Progress


class ImageObjects(NamedTuple):
    """An image file, and what was found in it.

    Attributes:
        file: the image.
        objects: the highest score first.
        size: width and height of the image in pixels, in which boxes are.
    """

    file: Path
    objects: tuple[FoundObject, ...]
    size: tuple[int, int]


def find_in_files(
    student: Predictor, files: Sequence[Path], threshold: float, progress: Progress
) -> tuple[list[ImageObjects], list[UnreadableImage]]:
    """Read images and find objects in them, in the order of the files.

    Args:
        student: a detector.
        files: of any size and format; images that ``detect.py`` has drawn among them are passed over.
        threshold: least score.
        progress: told how many files were dealt with.
    """
    files = [file for file in files if not file.name.endswith(DRAWN_BOXES)]
    found: list[ImageObjects] = []
    unreadable: list[UnreadableImage] = []
    for some, pixels, sizes in read_batches(student, files, unreadable, progress):
        answers = student.objects_in_pixels(pixels, sizes, threshold)
        found += list(map(ImageObjects, some, answers, sizes))
    progress.finish(f"{sum(len(one.objects) for one in found):,} objects")
    return found, unreadable
