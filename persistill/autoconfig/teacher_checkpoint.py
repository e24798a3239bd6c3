"""A teacher's weights that somebody brings along: do they fit, and how were its images normalized?"""

from dataclasses import dataclass
from pathlib import Path

import torch

from persistill import evaluation, models
from persistill.autoconfig.method_defaults import IMAGE
from persistill.config import Recipe
from persistill.data import Loader, Splits, is_stored
from persistill.data.sources.inspect import Outline
from persistill.errors import UserError

Numbers = tuple[float, ...]
_ASKED = 500


@dataclass(frozen=True)
class TeacherCheckpoint:
    """What is known of a teacher that is trained already.

    Attributes:
        size: height and width of the images that it was trained on; None if the file does not say.
        mean: channel means by which these were normalized; None likewise.
        std: channel standard deviations.
        source: where the two were found, in words.
    """

    size: tuple[int, int] | None = None
    mean: Numbers | None = None
    std: Numbers | None = None
    source: str = ""


def look_at_weights(path: Path, model: str, seen: Outline, size: tuple[int, int], data: str) -> TeacherCheckpoint:
    """Check that a file holds weights of a network for these classes.

    Args:
        path: a safetensors file.
        model: the network's name.
        seen: the images in outline.
        size: their height and width.
        data: what to call them.

    Raises:
        UserError: if the file is missing, no safetensors, of another network, of other classes, or of a network that
            does not see images.
    """
    channels, classes = 1 if seen.gray else 3, len(seen.classes)
    if not path.is_file():
        raise UserError(
            f"--teacher-weights: there is no file {path}. Leave the option out to have the teacher trained on {data} "
            "first."
        )
    try:
        models.refuse_pickle(path)
    except UserError as error:
        raise UserError(f"--teacher-weights: {error}") from None
    network = models.build(model, channels, classes, size)
    try:
        about = models.load_into(network, path)
    except UserError as error:
        raise UserError(
            f"--teacher-weights: {error} The teacher has to tell the {classes} classes of {data} apart, in images "
            f"with {'one channel' if channels == 1 else 'three channels'}. Without --teacher-weights it is trained on "
            "them first."
        ) from None
    found = about.get("classes")
    if found is not None and tuple(found) != seen.classes:
        raise UserError(
            f"--teacher-weights: the classes of {path} are {_few(found)}, and those of {data} are "
            f"{_few(seen.classes)}: names and order must be the same."
        )
    if "view" in about and is_stored(about["view"]):
        raise UserError(
            f"--teacher-weights: {path} was trained on the view {about['view']!r} and not on images. Give a teacher "
            "of images; the one of persistence images is trained here."
        )
    if "mean" in about and "std" in about:
        shape = about.get("shape")
        trained_on = None if shape is None else (int(shape[1]), int(shape[2]))
        return TeacherCheckpoint(trained_on, tuple(about["mean"]), tuple(about["std"]), f"as {path.name} says")
    usual = models.library_normalization(model) if channels == 3 else None
    return TeacherCheckpoint(None, *usual) if usual else TeacherCheckpoint()


def _few(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:4]) + (f", ... ({len(names)})" if len(names) > 4 else "")


def try_teacher(
    recipe: Recipe, splits: Splits, normalization: tuple[Numbers, Numbers], device: torch.device
) -> tuple[int, int]:
    """Ask a teacher with weights of its own about validation images, before anything is trained.

    Args:
        recipe: its teacher "image" has weights.
        splits: the images.
        normalization: channel means and standard deviations.
        device: where to ask.

    Returns:
        On how many images it is right, and how many it was asked about, 500 at most.
    """
    teacher = recipe.teachers[IMAGE]
    assert teacher.weights is not None
    channels, height, width = splits.train.shape
    network = models.build(teacher.model.name, channels, len(splits.classes), (height, width))
    models.load_into(network, Path(teacher.weights))
    count = min(_ASKED, len(splits.validation))
    some = splits.validation.subset(torch.arange(count) * len(splits.validation) // count)
    mean, std = normalization
    loader = Loader(
        some, {}, batch_size=recipe.evaluate.batch_size, mean=mean, std=std, shuffle_seed=None, device=device
    )
    found = evaluation.predict(network.to(device), loader, teacher.view)
    return int((found.logits.argmax(1) == found.target).sum()), count
