"""A trained student is asked about image files from Python. Exported ONNX files need no torch for it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from persistill.api.progress_bars import watched
from persistill.errors import UserError
from persistill.inference import (
    THRESHOLD,
    ImageObjects,
    ImagePrediction,
    Predictor,
    UnreadableImage,
    find_images,
    find_in_files,
    predict_files,
)
from persistill.utils.progress import Progress


def predict(
    model: Predictor | str | Path,
    images: str | Path | Iterable[str | Path],
    *,
    top: int = 1,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> list[ImagePrediction]:
    """Classify image files with a trained student.

    Args:
        model: what ``load`` gives, or what it takes.
        images: files, and folders that are searched for images at any depth.
        top: so many classes for each image.
        skip_unreadable: pass over files that cannot be read.
        progress: told how many files were dealt with; None for bars in a terminal or notebook.

    Returns:
        Each file with its prediction, in order; a folder's sorted by name.

    Raises:
        UserError: if there is no such student or file, or a file cannot be read.
    """
    student, files = _opened(model, images)
    with watched(progress) as bars:
        predicted, unreadable = predict_files(student, files, top, bars)
    if not skip_unreadable:
        _require_read(unreadable, files)
    return predicted


def find_objects(
    model: Predictor | str | Path,
    images: str | Path | Iterable[str | Path],
    *,
    threshold: float = THRESHOLD,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> list[ImageObjects]:
    """Find objects in image files with a trained detector.

    Args:
        model: what ``load`` gives, or what it takes.
        images: files, and folders that are searched for images at any depth.
        threshold: least score of an object.
        skip_unreadable: pass over files that cannot be read.
        progress: told how many files were dealt with; None for bars in a terminal or notebook.

    Returns:
        Each file with its objects, in order; a folder's sorted by name. Boxes are in pixels of the image.

    Raises:
        UserError: if there is no such detector or file, or a file cannot be read.
    """
    student, files = _opened(model, images)
    with watched(progress) as bars:
        found, unreadable = find_in_files(student, files, threshold, bars)
    if not skip_unreadable:
        _require_read(unreadable, files)
    return found


def _opened(model: Predictor | str | Path, images: str | Path | Iterable[str | Path]) -> tuple[Predictor, list[Path]]:
    student = model if isinstance(model, Predictor) else Predictor.load(model)
    return student, find_images([Path(images)] if isinstance(images, str | Path) else map(Path, images))


def _require_read(unreadable: Sequence[UnreadableImage], files: Sequence[Path]) -> None:
    if unreadable:
        first = unreadable[0]
        raise UserError(
            f"{len(unreadable):,} of {len(files):,} files cannot be read as images, the first is {first.file} "
            f"({first.reason}). Leave them out, or pass over them with skip_unreadable=True."
        )
