"""From a wish and a look at the images to a whole recipe, with a reason for each thing that was chosen."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

from persistill import models
from persistill.autoconfig.initial_weights import Initial, Role
from persistill.autoconfig.initial_weights import reasons as reasons_of_starts
from persistill.autoconfig.method_defaults import ALONE, IMAGE, TOPOLOGY, make_arms
from persistill.autoconfig.options import Options
from persistill.autoconfig.task_defaults import defaults_of
from persistill.autoconfig.teacher_checkpoint import TeacherCheckpoint
from persistill.autoconfig.train_defaults import choose_epochs, choose_training
from persistill.config import BEST, Arm, Data, Evaluate, Model, Quantize, Recipe, Teacher, Train
from persistill.data import FittedPersistenceView, is_stored
from persistill.data.sources.inspect import Outline
from persistill.errors import UserError, unknown
from persistill.structures import OutputField
from persistill.tasks import TASKS
from persistill.utils.preprocessing import Resize
from persistill.utils.registry import named

STORED_AT_MOST = 8 * 1024**3
"""Bytes that stored answers of teachers may take; beyond, teachers are asked at every step."""
TOPOLOGY_TEACHER = "wrn-16-2"

_SMALL = 64 * 64
"""Pixels up to which a network is asked about an image often: corrupted in 75 ways, and attacked."""
_VIEW, _SMALL_VIEW = (32, 32), (16, 16)
_RESIZED: Mapping[Resize, str] = MappingProxyType(
    {
        "crop": "scaled until they cover {} and cropped at the center",
        "squash": "scaled to {}, whatever their proportions",
        "letterbox": "scaled until they fit into {} and padded with black",
    }
)
_NONE: Mapping[Role, Initial] = MappingProxyType({})
_UNCHANGED: Mapping[str, Any] = MappingProxyType({})

Size = tuple[int, int]


class Chosen(NamedTuple):
    """A recipe, and why it is as it is.

    Attributes:
        recipe: the recipe.
        reasons: a sentence each, for whoever runs it.
    """

    recipe: Recipe
    reasons: tuple[str, ...]


def make_recipe(
    options: Options,
    seen: Outline,
    given: TeacherCheckpoint | None = None,
    starts: Mapping[Role, Initial] = _NONE,
    changes: Mapping[str, Any] = _UNCHANGED,
) -> Chosen:
    """Compare the student alone with one student for each method.

    Args:
        options: what is asked for.
        seen: the images in outline.
        given: what is known of a teacher that is trained already; None to train it.
        starts: what is known of the weights from which trainings start that the options name.
        changes: of fields of the recipe once it is made, path -> value, as ``Settings.with_value`` takes them.

    Raises:
        UserError: if there is no such network, method or field, or the networks cannot see such images.
    """
    defaults = defaults_of(options.task)
    size, why = _size(options, seen, given, changes)
    batch_size = options.batch_size or defaults.batch_size(seen.train, size)
    if batch_size > seen.train:
        raise UserError(
            f"--batch-size {batch_size}: {options.data} leaves {seen.train} images for training, fewer than that. "
            f"Choose at most {seen.train}."
        )
    augment = _augment(options, seen)
    arms = {ALONE: Arm()}
    for wish in options.methods:
        arms |= make_arms(wish, size, batch_size, len(seen.classes), defaults.methods(), options.task)
    if options.export not in (BEST, *arms):
        raise unknown("arm to export (--export):", options.export, [BEST, *arms])
    topology = any(TOPOLOGY in arm.teachers for arm in arms.values())

    def training(model: Model, lr: float | None = None) -> Train:
        started = model.initial is not None
        epochs = options.epochs or choose_epochs(seen.train // batch_size, started=started)
        return choose_training(
            model.name,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            augment=augment,
            size=size,
            started=started,
            own_rates=defaults.own_rates,
        )

    student = Model(name=options.student, initial=options.student_initial)
    own = training(student, options.lr)

    def teacher(model: Model, view: str = "image", weights: str | None = None) -> Teacher:
        train = training(model)
        return Teacher(model=model, view=view, train=None if weights or train == own else train, weights=weights)

    large = Model(name=options.teacher, initial=options.teacher_initial)
    teachers = {IMAGE: teacher(large, weights=options.teacher_weights)}
    if topology:
        teachers[TOPOLOGY] = teacher(Model(name=TOPOLOGY_TEACHER), "persistence")
    known = _normalized(given, starts)
    recipe = Recipe(
        name=_name(options),
        task=options.task,
        data=Data(
            source=options.data,
            resize=defaults.resize,
            validation=seen.validation,
            test=seen.test,
            size=size,
            mean=known.mean if known else None,
            std=known.std if known else None,
        ),
        views={"persistence": FittedPersistenceView(pixels=_SMALL_VIEW if max(size) < 32 else _VIEW)}
        if topology
        else {},
        teachers=teachers,
        student=student,
        arms=arms,
        teacher_cache="off" if augment or not defaults.stores_answers else _cache(teachers, arms, seen, size),
        train=own,
        evaluate=_evaluate(options.task, size, batch_size),
        seeds=options.seeds,
        formats=options.formats,
        export=options.export,
        quantize=None if options.int8_epochs is None else Quantize(epochs=options.int8_epochs),
    )
    recipe = (recipe.quick() if options.quick else recipe).with_values(changes)
    # Reasons are those of what is run, with all that was changed.
    return Chosen(recipe, (*_resized(recipe.data, seen, why), *_reasons(options, seen, given, starts, recipe)))


def _size(
    options: Options, seen: Outline, given: TeacherCheckpoint | None, changes: Mapping[str, Any]
) -> tuple[Size, str]:
    changed = Data(source=options.data).with_value("size", changes.get("data.size")).size
    if changed is not None:
        return changed, "as data.size says"
    if options.size is not None:
        return options.size, "as --size says"
    if given is not None and given.size is not None:
        return given.size, "as the teacher was trained"
    return defaults_of(options.task).choose_size(seen.sizes), "--size HEIGHTxWIDTH chooses another"


def _resized(data: Data, seen: Outline, why: str) -> list[str]:
    size = data.size
    if size is None or (len(seen.sizes) == 1 and size in seen.sizes):
        return []
    return [f"Images are {_RESIZED[data.resize].format(f'{size[0]}x{size[1]}')}, {why}."]


def _augment(options: Options, seen: Outline) -> tuple[str, ...]:
    if options.augment is False:
        return ()
    colored, gray = defaults_of(options.task).augment
    return gray if seen.gray else colored


def _evaluate(task: str, size: Size, batch_size: int) -> Evaluate:
    if not _small(size):
        return Evaluate(batch_size=batch_size, attacks=(), corruptions=())
    return TASKS.find(task).applicable(Evaluate())


def _cache(
    teachers: Mapping[str, Teacher], arms: Mapping[str, Arm], seen: Outline, size: Size
) -> Literal["off", "half"]:
    total = 0
    for name, teacher in teachers.items():
        parts = {
            part for arm in arms.values() if name in arm.teachers for m in arm.methods for part in m.required_outputs
        }
        channels = 1 if seen.gray else 3
        view = (2 * channels, *_VIEW) if is_stored(teacher.view) else (channels, *size)
        total += seen.train * stored_bytes(teacher.model.name, view, len(seen.classes), frozenset(parts))
    return "half" if total <= STORED_AT_MOST else "off"


def stored_bytes(model: str, view: tuple[int, int, int], classes: int, parts: frozenset[OutputField]) -> int:
    """Bytes that a network's answer takes for one image: maps with 16 bits a value, the rest with 32.

    Args:
        model: its name.
        view: (C, H, W) that it sees.
        classes: number of classes.
        parts: what is stored.

    Raises:
        UserError: if there is no such network, or it does not fit.
    """
    channels, height, width = view
    spec = models.build(model, channels, classes, (height, width)).spec
    maps = sum(
        found.channels * -(-height // found.stride) * -(-width // found.stride) for found in spec.feature_maps.values()
    )
    sizes: dict[OutputField, int] = {
        "logits": 4 * classes,
        "embedding": 4 * spec.embedding_dim,
        "feature_maps": 2 * maps,
    }
    return int(np.sum([sizes[part] for part in parts], dtype=np.int64))


def _small(size: Size) -> bool:
    return math.prod(size) <= _SMALL


def _name(options: Options) -> str:
    source = Path(options.data).name or options.data
    words = ["distill", source, options.student.rpartition("/")[2], *(wish.lower() for wish in options.methods)]
    return "_".join(re.sub(r"[^A-Za-z0-9.+-]+", "-", word) for word in words)


def _normalized(given: TeacherCheckpoint | None, starts: Mapping[Role, Initial]) -> TeacherCheckpoint | Initial | None:
    """Whose images were normalized as these are to be: a network gets over other numbers, a trained one least."""
    known: list[TeacherCheckpoint | Initial | None] = [given, starts.get("teacher"), starts.get("student")]
    return next((one for one in known if one is not None and one.mean is not None), None)


def _reasons(
    options: Options, seen: Outline, given: TeacherCheckpoint | None, starts: Mapping[Role, Initial], recipe: Recipe
) -> list[str]:
    train = recipe.train
    said = [*seen.notes]
    if given is None and options.teacher_initial is None:
        published = "/" in options.teacher
        said.append(
            f"The teacher {options.teacher} was given no weights (--teacher-weights), so it is trained first, on these "
            "images" + ("; --teacher-initial pretrained lets it start from published weights." if published else ".")
        )
    said += reasons_of_starts(starts, recipe)
    if (known := _normalized(given, starts)) is not None:
        said.append(f"Images are normalized for the {'teacher' if known is given else 'weights'}, {known.source}.")
    if TOPOLOGY in recipe.teachers:
        said.append(f"A second teacher, {TOPOLOGY_TEACHER}, is trained on persistence images of the same images.")
    if train.augment:
        verbs = {"crop": "cropped", "flip": "flipped", "scale": "scaled"}
        words = " and ".join(verbs.get(named(name), "changed") for name in train.augment)
        said.append(
            f"Images are {words} at random, so teachers are asked at every step; --no-augment "
            + (
                "asks each once and stores its answers: quicker, often less accurate."
                if defaults_of(options.task).stores_answers
                else "takes them as they are: often less accurate."
            )
        )
    elif recipe.teacher_cache == "off" and defaults_of(options.task).stores_answers:
        said.append(
            f"Teachers are asked at every step: their stored answers would take more than {STORED_AT_MOST >> 30} GiB."
        )
    started = [name for name, arm in recipe.arms.items() if arm.start == ALONE]
    if started:
        said.append(
            f"The student{'s' * (len(started) > 1)} of {' and '.join(started)} start{'s' * (len(started) == 1)} from "
            f"the one trained {ALONE}, as published, and so train{'s' * (len(started) == 1)} twice as long."
        )
    for name, arm in recipe.arms.items():
        for loss in arm.methods:
            if dead := ", ".join(loss.constant_terms(len(seen.classes))):
                said.append(f"{type(loss).__name__} of {name} has no term {dead}: with two classes it is constant.")
    task = TASKS.find(recipe.task)
    measured = recipe.evaluation(seen.train)
    if options.quick:
        said.append("As --quick says, networks are measured without corruptions, attacks and likeness to the teacher.")
    elif recipe.evaluate.corruptions and not task.applicable(recipe.evaluate).attacks:
        said.append(
            f"Robustness is measured on up to {measured.corrupted} corrupted test images, as suits the length of the "
            "training: --set evaluate.corruption_images=1000 chooses another number, --quick leaves it out."
        )
    elif recipe.evaluate.corruptions:
        said.append(
            f"Robustness is measured on up to {measured.corrupted} corrupted and {measured.attacked} attacked test "
            "images, as suits the length of the training: --set evaluate.corruption_images=1000 and --set "
            "evaluate.attack_images=500 choose others, --quick leaves both out."
        )
    else:
        attacked = bool(task.applicable(Evaluate()).attacks)
        left_out = "corruptions and attacks" if attacked else "corruptions"
        more = ", --set evaluate.attacks=8" if attacked else ""
        said.append(
            f"Images are large, so networks are measured under noise but not under {left_out}, which would ask them "
            f"about each image a hundred times: --set evaluate.corruptions=standard{more}."
        )
    if options.epochs is None:
        said.append(f"{train.epochs} epochs of {seen.train // train.batch_size} steps; --epochs chooses others.")
    return said
