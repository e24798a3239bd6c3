"""A teacher's weights that somebody brings along: do they fit, and how were its images normalized?"""

from dataclasses import dataclass
from pathlib import Path

import torch

from persistill import evaluation, models
from persistill.autoconfig.method_defaults import IMAGE
from persistill.config import CLASSIFICATION, Recipe
from persistill.data import Loader, Splits
from persistill.data.sources.inspect import Outline
from persistill.errors import UserError
from persistill.utils.chance import better_than_chance, share_by_chance

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


def look_at_weights(
    path: Path, model: str, seen: Outline, size: tuple[int, int], data: str, task: str = CLASSIFICATION
) -> TeacherCheckpoint:
    """Check that a file holds weights of a network that tells these classes apart.

    Args:
        path: a safetensors file.
        model: the network's name.
        seen: the images in outline.
        size: their height and width.
        data: what to call them.
        task: what the teacher is to do.

    Raises:
        UserError: if the file is missing, no safetensors, of another network, lacks classes, or is of a network that
            does not see images.
    """
    if not path.is_file():
        raise UserError(
            f"--teacher-weights: there is no file {path}. Without --teacher-weights the teacher is trained first."
        )
    channels = 1 if seen.gray else 3
    # How the images will be normalized is not known yet; the teacher is asked by its own numbers anyway.
    given = models.ImageFormat((channels, *size), (0.0,) * channels, (1.0,) * channels)
    try:
        found = models.read_trained(path, model, given, seen.classes, task=task)
    except UserError as error:
        raise UserError(
            f"--teacher-weights: {error} The teacher has to tell the {len(seen.classes)} classes of {data} apart. "
            "Without --teacher-weights it is trained on them first."
        ) from None
    if not found.source or len(found.own.mean) != channels:
        return TeacherCheckpoint(found.trained_on)
    return TeacherCheckpoint(found.trained_on, found.own.mean, found.own.std, found.source)


@dataclass(frozen=True)
class TeacherTrial:
    """How a teacher answered for some images.

    Attributes:
        right: images that it is right on.
        asked: images.
        chance: share that it would be right on by chance, see ``share_by_chance``.
    """

    right: int
    asked: int
    chance: float

    @property
    def better_than_chance(self) -> bool:
        """Whether chance would hardly do as well: a one-sided binomial test at 1 %."""
        return better_than_chance(self.right, self.asked, self.chance)


def try_teacher(
    recipe: Recipe, splits: Splits, normalization: tuple[Numbers, Numbers], device: torch.device
) -> TeacherTrial:
    """Ask a teacher with weights of its own about validation images, before anything is trained.

    Args:
        recipe: its teacher "image" has weights.
        splits: the images.
        normalization: channel means and standard deviations.
        device: where to ask.

    Returns:
        How it answered, for 500 images at most.
    """
    teacher = recipe.teachers[IMAGE]
    assert teacher.weights is not None
    given = models.ImageFormat(splits.train.shape, *normalization)
    path, own = Path(teacher.weights), teacher
    trained = models.read_trained(
        path, own.model.name, given, splits.classes, mean=own.mean, std=own.std, size=own.size
    )
    network = models.adapt_input(trained.network, given, trained.own, splits.classes, trained.classes)
    count = min(_ASKED, len(splits.validation))
    some = splits.validation.subset(torch.arange(count) * len(splits.validation) // count)
    mean, std = normalization
    loader = Loader(
        some, {}, batch_size=recipe.evaluate.batch_size, mean=mean, std=std, shuffle_seed=None, device=device
    )
    found = evaluation.predict(network.to(device), loader, teacher.view)
    answers = found.logits.argmax(1)
    chance = share_by_chance(answers.numpy(), found.target.numpy(), len(splits.classes))
    return TeacherTrial(int((answers == found.target).sum()), count, chance)
