"""What a recipe cannot know of itself: which models exist, and what goes together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from persistill import exporters, models
from persistill.config import Recipe
from persistill.data import VIEWS
from persistill.errors import UserError
from persistill.evaluation.own_evaluators import EVALUATORS
from persistill.perturbations import find_corruptions
from persistill.tasks import TASKS, Task
from persistill.training import OPTIMIZERS, SCHEDULES
from persistill.utils.registry import Registry, named


def problems(recipe: Recipe, ranks: int = 1) -> list[str]:
    """What a recipe cannot know of itself: which models exist, and what goes together.

    Args:
        recipe: is looked at.
        ranks: how many processes are to work at it together.
    """
    found = []
    networks = {"student": recipe.student} | {f"teacher {name!r}": t.model for name, t in recipe.teachers.items()}
    for role, model in networks.items():
        try:
            models.check(model.name)
            if model.initial is not None:
                models.check_initial(model.name, model.initial)
        except UserError as error:
            found.append(f"{role}: {error}")
    for where, registry, given in _own_parts(recipe):
        try:
            registry.find(given)
        except UserError as error:
            found.append(f"{where}: {error}")
    try:
        find_corruptions(recipe.evaluate.corruptions)
    except UserError as error:
        found.append(f"evaluate.corruptions: {error}")
    try:
        task = TASKS.find(recipe.task)
    except UserError as error:
        found.append(str(error))
    else:
        found += task.problems(recipe)
        try:
            exporters.check_formats(recipe.formats or (), task.export.outputs.formats)
        except UserError as error:
            found.append(f"formats: {error}")
    if recipe.quantize is not None and (missing := exporters.FORMATS["int8"].missing()):
        found.append(
            f"quantize trains for the int8 file, which cannot be written: {', '.join(missing)} cannot be imported. "
            'Install with: pip install "persistill[onnx]", or leave quantize out.'
        )
    if recipe.quantize is not None and recipe.formats is not None and "int8" not in recipe.formats:
        found.append(f"quantize trains for the int8 file, which formats={recipe.formats} leaves out: name it, too.")
    for name, teacher in recipe.teachers.items():
        if teacher.shard and ranks > 1 and recipe.quantize is not None:
            found.append(
                f"teacher {name!r}: shard=True splits it over {ranks} devices, and the copy that quantize trains is "
                "trained on one. Leave out one of the two, or add quantize in a later run on one device."
            )
        if teacher.weights is not None and not Path(teacher.weights).is_file():
            found.append(f"teacher {name!r}: there is no file {teacher.weights!r} (weights).")
        if len(teacher.mean or ()) != len(teacher.std or ()):
            found.append(
                f"teacher {name!r}: mean and std go together, one each a channel; {teacher.mean} and {teacher.std} "
                "were given."
            )
    for name, arm in recipe.arms.items():
        augmented = recipe.training_of(arm).augment
        if arm.teachers and augmented and recipe.teacher_cache != "off":
            found.append(
                f"arm {name!r}: teacher_cache={recipe.teacher_cache!r} stores what teachers say of whole images, and "
                f"train.augment={tuple(map(named, augmented))} shows other crops and flips at every "
                "epoch; set teacher_cache=off."
            )
    return found


def _own_parts(recipe: Recipe) -> Iterator[tuple[str, Registry[Any], object]]:
    """What a recipe names out of a registry: where that stands in it, the registry, and what it holds there."""
    for name, view in recipe.views.items():
        yield f"views.{name}", VIEWS, view
    stated = {"train": recipe.train}
    stated |= {f"teachers.{name}.train": part.train for name, part in recipe.teachers.items() if part.train}
    stated |= {f"arms.{name}.train": part.train for name, part in recipe.arms.items() if part.train}
    try:
        augmentations = TASKS.find(recipe.task).augmentations
    except UserError:
        augmentations = Task.augmentations  # the task itself is told of elsewhere
    for evaluator in recipe.evaluate.evaluators:
        yield "evaluate.evaluators", EVALUATORS, evaluator
    for where, train in stated.items():
        yield f"{where}.optimizer", OPTIMIZERS, train.optimizer
        yield f"{where}.schedule", SCHEDULES, train.schedule
        for augmentation in train.augment:
            yield f"{where}.augment", augmentations, augmentation
