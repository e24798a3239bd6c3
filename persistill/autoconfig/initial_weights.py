"""Weights from which trainings start: do they fit, and what does that mean for whoever runs them?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from persistill import models
from persistill.config import Recipe
from persistill.data.sources.inspect import Outline
from persistill.errors import UserError

Numbers = tuple[float, ...]
Role = Literal["teacher", "student"]

_SMALL = 2
"""How many times smaller images may be than those of the weights before it is said."""


@dataclass(frozen=True)
class Initial:
    """What is known of weights from which a training starts.

    Attributes:
        name: what they are, in words.
        notes: what of them was not taken as it is, a clause each.
        size: height and width of the images that they were trained on; None if nobody says.
        mean: channel means by which these were normalized; None if nobody says, or for other channels.
        std: channel standard deviations.
        source: where the two were found, in words.
    """

    name: str
    notes: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    mean: Numbers | None = None
    std: Numbers | None = None
    source: str = ""


def look_at_initial(initial: str, model: str, option: str, seen: Outline, size: tuple[int, int]) -> Initial:
    """Check that a network can start from weights; published ones are downloaded.

    Args:
        initial: "pretrained", or a safetensors file.
        model: the network's name.
        option: under which the weights were given, for messages.
        seen: the images in outline.
        size: their height and width.

    Raises:
        UserError: if they are missing, do not fit or cannot be downloaded, or nobody publishes any.
    """
    channels = 1 if seen.gray else 3
    try:
        notes = models.load_initial_weights(models.build(model, channels, len(seen.classes), size), initial)
        found = models.initial_normalization(model, initial)
    except UserError as error:
        raise UserError(f"{option}: {error}") from None
    published = models.find_pretrained(model) if initial == models.PRETRAINED else None
    name = f"the published weights {published.name}" if published else initial
    numbers = found if found is not None and len(found[0]) == channels else (None, None, "")
    return Initial(name, notes, published.size if published else None, *numbers)


def reasons(starts: Mapping[Role, Initial], recipe: Recipe) -> list[str]:
    """What follows from weights from which trainings start, a sentence each.

    Args:
        starts: what is known of them.
        recipe: that uses them.
    """
    said, small = [], {}
    size = recipe.data.size
    for role, initial in starts.items():
        name = recipe.teachers["image"].model.name if role == "teacher" else recipe.student.name
        who = f"The teacher {name} is trained first, on these images," if role == "teacher" else "Every student starts"
        said.append(f"{who} from {initial.name}{': ' if initial.notes else ''}{', and '.join(initial.notes)}.")
        if initial.size is not None and size is not None and max(initial.size) >= _SMALL * max(size):
            small[name] = initial.size
    if small and size is not None:
        known = " and ".join(f"{_times(trained)} ({name})" for name, trained in small.items())
        side = max(max(trained) for trained in small.values()) // 32 * 32
        said.append(
            f"Published weights are of images of {known}, and those here have {_times(size)}, in which networks find "
            f"less of what they know. Larger ones, up to --size {side}, often do better, and take longer."
        )
    if starts:
        said.append(
            "What starts from trained weights is trained at a smaller rate, because large steps lose what it knows, "
            "and for a third of the epochs, because it needs fewer, unless --lr or --epochs say otherwise."
        )
    return said


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
