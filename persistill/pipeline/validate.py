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
        augmented = (arm.train or recipe.train).augment
        if arm.teachers and augmented and recipe.teacher_cache != "off":
            found.append(
                f"arm {name!r}: teacher_cache={recipe.teacher_cache!r} stores what teachers say of whole images, and "
                f"train.augment={augmented} shows other crops and flips at every epoch; set teacher_cache=off."
            )
    return found


def normalization_of_recipe(recipe: Recipe, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Channel means and standard deviations of the images, as far as they need not be measured.

    Those that the recipe states; or those that go with the weights from which networks start, the first teacher of
    images before the student. A network gets over another normalization, but there is no reason to make it.

    Args:
        recipe: states them or not.
        channels: of the images.

    Returns:
        None if they are to be measured on the training images.

    Raises:
        UserError: if the recipe states one alone, or not one value a channel.
    """
    data = recipe.data
    if data.mean is not None or data.std is not None:
        if data.mean is None or data.std is None or not len(data.mean) == len(data.std) == channels:
            raise UserError(
                f"data.mean and data.std go together, with one value for each of the {channels} channel(s); "
                f"{data.mean} and {data.std} were given."
            )
        return data.mean, data.std
    for model in (*(teacher.model for teacher in recipe.teachers.values() if teacher.view == "image"), recipe.student):
        found = None if model.initial is None else models.normalization_of(model.name, model.initial)
        if found is not None and len(found[0]) == channels:
            return found[:2]
    return None
