"""A step of a recipe, and what a recipe cannot know of itself: which models exist, and what goes together."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persistill import evaluation, export, models, runs
from persistill.errors import UserError
from persistill.recipe import Recipe
from persistill.runs import RunFolder


@dataclass(frozen=True)
class Stage:
    """One step of a recipe.

    Attributes:
        kind: of its run folder.
        name: of its run folder.
        inputs: all that its result depends on.
        work: fills the folder and returns the result.
    """

    kind: runs.Kind
    name: str
    inputs: dict[str, Any]
    work: Callable[[RunFolder], dict[str, Any]]

    @property
    def key(self) -> str:
        """Hash of the inputs."""
        return runs.key_of(self.kind, self.inputs)

    @property
    def folder_name(self) -> str:
        """The run folder's name below the root."""
        return runs.place(Path(), self.kind, self.name, self.key).name


def problems(recipe: Recipe) -> list[str]:
    """What a recipe cannot know of itself: which models exist, and what goes together."""
    found = []
    networks = {"student": recipe.student} | {f"teacher {name!r}": t.model for name, t in recipe.teachers.items()}
    for role, model in networks.items():
        try:
            models.check(model.name)
        except UserError as error:
            found.append(f"{role}: {error}")
    try:
        evaluation.corruption_names(recipe.evaluate.corruptions)
    except UserError as error:
        found.append(f"evaluate.corruptions: {error}")
    if recipe.quantise is not None and (missing := export.FORMATS["int8"].missing()):
        found.append(
            f"quantise trains for the int8 file, which cannot be written: {', '.join(missing)} cannot be imported. "
            'Install with: pip install "persistill[onnx]", or leave quantise out.'
        )
    for name, teacher in recipe.teachers.items():
        if teacher.weights is not None and not Path(teacher.weights).is_file():
            found.append(f"teacher {name!r}: there is no file {teacher.weights!r} (weights).")
    for name, arm in recipe.arms.items():
        augmented = (arm.train or recipe.train).augment
        if arm.teachers and augmented and recipe.teacher_cache != "off":
            found.append(
                f"arm {name!r}: teacher_cache={recipe.teacher_cache!r} stores what teachers say of whole pictures, and "
                f"train.augment={augmented} shows other crops and flips at every epoch; set teacher_cache=off."
            )
    return found
