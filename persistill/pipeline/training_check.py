"""Whether trainings and evaluations of a recipe can begin, before anything is trained: batches, crops and own code."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch

from persistill.config import Train
from persistill.data import IMAGE, augment
from persistill.errors import UserError
from persistill.evaluation.own_evaluators import own_steps
from persistill.perturbations import SEVERITIES, corrupt, find_corruptions
from persistill.pipeline.context import Context
from persistill.pipeline.network_stage import build
from persistill.training import Compilation, build_optimizer, learning_rate, make_fabric
from persistill.utils.progress import Silent
from persistill.utils.registry import is_own_code, named

_TRIED = 64  # test images that evaluators of one's own are tried on


def check_trainings(context: Context) -> None:
    """Try what trainings and evaluations need beside networks and losses.

    Code of one's own (optimizers, schedules, augmentations, corruptions, evaluators) is called once, on a few images.

    Raises:
        UserError: if batches or crops are larger than the images allow, batches are to be taken in parts and a network
            cannot be shown parts, the device has no such precision, compiled networks would wait for other ranks, or
            code of one's own does not do what it must.
    """
    _check_parts(context)
    for where, settings in _trainings(context):
        _check_device(context, where, settings)
        _check_batches(context, where, settings)
        _check_crops(context, where, settings)
        _check_own_parts(context, where, settings)
    _check_own_corruptions(context)
    _check_own_evaluators(context)


def _trainings(context: Context) -> Iterator[tuple[str, Train]]:
    """Where settings of a training stand in the recipe, and the settings, each once."""
    recipe = context.recipe
    seen: list[Train] = []
    for kind, parts in (("teachers", recipe.teachers), ("arms", recipe.arms)):
        for name, part in parts.items():
            settings = recipe.training_of(part)
            if getattr(part, "weights", None) is None and settings not in seen:
                seen.append(settings)
                yield f"{kind}.{name}.train" if part.train else "train", settings


def _check_parts(context: Context) -> None:
    recipe = context.recipe
    shared = "several devices" if context.ranks.size > 1 else "auto_batch, --auto-batch" if context.auto_batch else ""
    trained = [(one.model.name, one.view, one.train) for one in recipe.teachers.values() if one.weights is None]
    trained += [(recipe.student.name, IMAGE, arm.train) for arm in recipe.arms.values()]
    wanted = {
        (name, view): shared or "train.accumulate"
        for name, view, train in trained
        if shared or (train or recipe.train).accumulate > 1
    }
    for (name, view), how in wanted.items():
        if why := context.task.indivisible(build(context, name, view)):
            raise UserError(
                f"batches of {name} cannot be taken in parts ({how}): {why}. Choose a smaller train.batch_size."
            )


def _check_device(context: Context, where: str, settings: Train) -> None:
    """See that there is the precision, and that compiled networks do not have to wait for other ranks."""
    try:
        make_fabric(str(context.device), settings)
        Compilation(settings, context.ranks, context.device)
    except UserError as error:
        raise UserError(str(error) if where == "train" else f"{where}: {error}") from None


def _check_batches(context: Context, where: str, settings: Train) -> None:
    count = len(context.data.splits.train)
    if settings.batch_size > count:
        raise UserError(
            f"{where}.batch_size={settings.batch_size} is more than the {count} training images (without those for "
            f"validation): no batch would be filled. Choose at most {count}."
        )
    size, least = context.ranks.size, context.ranks.size * settings.accumulate
    if size > 1 and settings.batch_size < least:
        parts = f", each in {settings.accumulate} parts" if settings.accumulate > 1 else ""
        raise UserError(
            f"{where}.batch_size={settings.batch_size} is less than an image for each of {size} devices{parts}. Choose "
            f"at least {least}, or fewer devices."
        )


def _check_crops(context: Context, where: str, settings: Train) -> None:
    if "crop" not in settings.augment:
        return
    size = context.data.splits.train.shape[1:]
    if settings.crop_padding > min(size):
        raise UserError(
            f"{where}.crop_padding={settings.crop_padding} is more than images of {size[0]}x{size[1]} have on their "
            f"shorter side, so that crops could be all black. Choose at most {min(size)}; an eighth of a side is usual."
        )
    if settings.crop_size is not None:
        largest = tuple(side + 2 * settings.crop_padding for side in size)
        if any(side > most for side, most in zip(settings.crop_size, largest, strict=True)):
            raise UserError(
                f"{where}.crop_size={settings.crop_size} is larger than the padded images, {largest[0]}x{largest[1]}."
            )


def _check_own_parts(context: Context, where: str, settings: Train) -> None:
    if is_own_code(settings.optimizer):
        student = build(context, context.recipe.student.name, IMAGE)
        _try(f"{where}.optimizer", settings.optimizer, partial(build_optimizer, student.parameters(), settings))
    if is_own_code(settings.schedule):
        steps = len(context.data.splits.train) // settings.batch_size
        for step in (0, settings.epochs * steps - 1):
            _try(f"{where}.schedule", settings.schedule, partial(learning_rate, settings, step, steps))
    for own in filter(is_own_code, settings.augment):
        index = torch.arange(2)
        images, target = (context.data.splits.train.fetch(index), context.data.splits.train.fetch_targets(index))
        generator = torch.Generator().manual_seed(0)
        _try(f"{where}.augment", own, partial(augment, images, target, (own,), 0, generator))


def _check_own_corruptions(context: Context) -> None:
    test = context.data.splits.test
    rows = torch.arange(min(2, len(test)))
    for given in filter(is_own_code, context.recipe.evaluate.corruptions):
        (corruption,) = find_corruptions((given,))
        for severity in SEVERITIES:
            images = test.fetch(rows) / 255
            _try(
                "evaluate.corruptions",
                given,
                partial(corrupt, images, corruption, severity, context.recipe.evaluate.noise_seed, rows),
            )


def _check_own_evaluators(context: Context) -> None:
    """Call evaluators on an untrained student and some test images; what they give must be figures.

    What else they raise may come of the few images, and is left to the evaluation.
    """
    settings = context.recipe.evaluate
    if not settings.evaluators:
        return
    splits = context.data.splits
    few = replace(splits, test=splits.test.subset(torch.arange(min(_TRIED, len(splits.test)))))
    loaders = context.task.evaluation_loaders(few, {}, settings, context.data.normalization, device=context.device)
    student = build(context, context.recipe.student.name, IMAGE).to(context.device)
    for step in own_steps(student, loaders, IMAGE, settings):
        try:
            step.measure(Silent())
        except UserError as error:
            raise UserError(f"evaluate.evaluators: {error}") from None
        except Exception:  # noqa: BLE001, S112
            continue


def _try(where: str, given: object, call: Callable[[], object]) -> None:
    """Call code of one's own.

    Raises:
        UserError: if it raises anything.
    """
    try:
        call()
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except Exception as error:
        message = str(error).strip() or "without a message"
        raise UserError(f"{where}: {named(given)} raised {type(error).__name__}: {message}") from error
