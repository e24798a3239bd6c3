"""Whether the networks, views and methods of a recipe fit together, before anything is trained."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from persistill import models
from persistill.config import Arm, Model
from persistill.data import IMAGE
from persistill.errors import UserError
from persistill.pipeline.arm_criterion import arm_criterion
from persistill.pipeline.context import Context
from persistill.pipeline.network_stage import build, image_format, read_recipe_teacher
from persistill.training import Frozen, OnlineTeacher, TeacherCallable


def check_shapes(context: Context) -> None:
    """Send two random images through every arm, untrained: what does not fit shows now, not after the teachers.

    Initial weights are tried as well, because they may have to be downloaded.

    Raises:
        UserError: if networks, views and methods do not fit together.
    """
    recipe = context.recipe
    if context.ranks.size > 1 and any(teacher.shard for teacher in recipe.teachers.values()):
        context = replace(context, data=context.data.on(torch.device("cpu")))  # where the whole teacher fits
    networks = {name: _teacher(context, name) for name in recipe.teachers}
    for who, model, view in _networks(context):
        if models.is_user_code(model.name):
            context.progress.start(f"{who} in training and in evaluation", 1)
            try:
                notes = models.probe_modes(build(context, model.name, view), context.data.view_shape(view))
            except UserError as error:
                raise UserError(f"{who}: {error}") from None
            context.progress.finish("; ".join(notes))
        if model.initial is not None:
            context.progress.start(f"initial weights of the {who}", 1)
            notes = models.load_initial_weights(build(context, model.name, view), model.initial)
            context.progress.finish("; ".join(notes))
    student = build(context, recipe.student.name, IMAGE).to(context.device)
    example = context.data.example()
    _check_answers(context, networks)
    for name, arm in recipe.arms.items():
        _refuse_constant(name, arm, len(context.data.splits.classes))
        teachers: list[TeacherCallable] = []
        for teacher_name in arm.teachers:
            teacher = recipe.teachers[teacher_name]
            network = context.task.teaching(networks[teacher_name].to(context.device))
            teachers.append(OnlineTeacher(Frozen(network), teacher.view))
        try:
            if arm.inherit_head:
                context.task.inherit_head(student, networks[arm.teachers[0]])
            trained, criterion = arm_criterion(context, arm, student, IMAGE, teachers, [None] * len(arm.methods))
            with torch.no_grad():
                taught = [teacher(example) for teacher in teachers]
                output = context.task.forward(trained.train(), example.inputs[IMAGE], example)
                criterion.to(context.device)(output, taught, example)
        except UserError as error:
            raise UserError(f"arm {name!r}: {error}") from None


def _refuse_constant(name: str, arm: Arm, num_classes: int) -> None:
    """See that every weighted term of an arm can teach something of so many classes."""
    for place, loss in enumerate(arm.methods):
        weights = loss.weights
        for term, why in loss.constant_terms(num_classes).items():
            if weights[term] > 0:
                raise UserError(
                    f"arm {name!r}: with {num_classes} classes the term {term!r} of {type(loss).__name__} is constant "
                    f"and teaches nothing, since {why} (arms.{name}.methods.{place}), or use KD(), which works here."
                )


def _check_answers(context: Context, teachers: Mapping[str, models.Network]) -> None:
    """See that every network answers as the task needs it."""
    example, recipe = context.data.example(), context.recipe
    networks = [(f"teacher {name}", network, recipe.teachers[name].view) for name, network in teachers.items()]
    networks.append(("student", build(context, recipe.student.name, IMAGE), IMAGE))
    for who, network, view in networks:
        network.to(context.device).eval()
        try:
            with torch.no_grad():
                context.task.check(network(example.inputs[view]), example)
        except UserError as error:
            raise UserError(f"{who}: {error}") from None


def _teacher(context: Context, name: str) -> models.Network:
    """A teacher as it will see the images: out of its file, or untrained."""
    teacher = context.recipe.teachers[name]
    if teacher.weights is None:
        return build(context, teacher.model.name, teacher.view)
    context.progress.start(f"weights of teacher {name}", 1)
    given, classes = image_format(context, teacher.view), context.data.splits.classes
    try:
        found = read_recipe_teacher(context, teacher)
    except UserError as error:
        raise UserError(f"teacher {name!r}: {error}") from None
    context.progress.finish("; ".join(found.notes(given, classes)))
    return models.adapt_input(found.network, given, found.own, classes, found.classes)


def _networks(context: Context) -> list[tuple[str, Model, str]]:
    """What to call a network, its model, and the view that it sees."""
    teachers = context.recipe.teachers.items()
    return [
        *((f"teacher {name}", teacher.model, teacher.view) for name, teacher in teachers),
        ("student", context.recipe.student, IMAGE),
    ]
