"""What a recipe cannot know of itself: which models exist, and what goes together."""

from pathlib import Path

from persistill import exporters, models
from persistill.config import Recipe
from persistill.data import VIEWS
from persistill.errors import UserError
from persistill.perturbations import corruption_names


def problems(recipe: Recipe) -> list[str]:
    """What a recipe cannot know of itself: which models exist, and what goes together."""
    found = []
    networks = {"student": recipe.student} | {f"teacher {name!r}": t.model for name, t in recipe.teachers.items()}
    for role, model in networks.items():
        try:
            models.check(model.name)
            if model.initial is not None:
                models.check_initial(model.name, model.initial)
        except UserError as error:
            found.append(f"{role}: {error}")
    for name, view in recipe.views.items():
        try:
            VIEWS.find(view)
        except UserError as error:
            found.append(f"views.{name}: {error}")
    try:
        corruption_names(recipe.evaluate.corruptions)
    except UserError as error:
        found.append(f"evaluate.corruptions: {error}")
    if recipe.quantize is not None and (missing := exporters.FORMATS["int8"].missing()):
        found.append(
            f"quantize trains for the int8 file, which cannot be written: {', '.join(missing)} cannot be imported. "
            'Install with: pip install "persistill[onnx]", or leave quantize out.'
        )
    for name, teacher in recipe.teachers.items():
        if teacher.weights is not None and not Path(teacher.weights).is_file():
            found.append(f"teacher {name!r}: there is no file {teacher.weights!r} (weights).")
    for name, arm in recipe.arms.items():
        augmented = recipe.training_of(arm).augment
        if arm.teachers and augmented and recipe.teacher_cache != "off":
            found.append(
                f"arm {name!r}: teacher_cache={recipe.teacher_cache!r} stores what teachers say of whole images, and "
                f"train.augment={augmented} shows other crops and flips at every epoch; set teacher_cache=off."
            )
    return found
