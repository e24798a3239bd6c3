"""The network that an arm trains, and its loss, built for its networks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from persistill import models
from persistill.config import Arm
from persistill.losses import MethodContext
from persistill.pipeline.context import Context
from persistill.ranks import hold_whole
from persistill.structures import Batch
from persistill.training import Criterion, TeacherCallable


def arm_criterion(
    context: Context,
    arm: Arm,
    student: models.Network,
    view: str,
    teachers: Sequence[TeacherCallable],
    prepared: Sequence[Path | None],
) -> tuple[models.Network, Criterion]:
    """The network that an arm trains, and its loss with the trainable parts of its methods.

    Both are built for what networks say of an example.

    Args:
        context: for the example, the targets and the device.
        arm: names the methods.
        student: is put on the device.
        view: what the student sees.
        teachers: of the arm.
        prepared: for each of the arm's methods, the folder that its preparation filled; None where it has none.

    Returns:
        The student, or what the methods make of it (``DistillationLoss.student_network``), and the loss.

    Raises:
        UserError: if networks and methods do not fit together.
    """
    example = context.data.example()
    student.to(context.device).eval()
    uses_classifiers = any(loss.requires_classifier for loss in arm.methods)
    with torch.no_grad():
        output, taught = student(example.inputs[view]), [teacher(example) for teacher in teachers]
        classifiers = [_classifier(teacher, example) for teacher in teachers] if uses_classifiers else []
    targets = context.task.image_classes(context.data.splits.train)
    contexts = [MethodContext(output, taught, targets, path, classifiers) for path in prepared]
    for position, loss in enumerate(arm.methods):
        network = loss.student_network(student, contexts[position])
        if network is not student:
            student = network.to(context.device).eval()
            with torch.no_grad():
                contexts = [replace(one, student=student(example.inputs[view])) for one in contexts]
    criterion = Criterion(
        arm.methods,
        task=context.task,
        cross_entropy=arm.cross_entropy,
        label_smoothing=context.recipe.training_of(arm).label_smoothing,
        contexts=contexts,
    )
    return student, criterion


def _classifier(teacher: TeacherCallable, example: Batch) -> nn.Module | None:
    """A teacher's classifier, if it has one that makes its logits."""
    if teacher.network is None or not isinstance(network := teacher.network.network, models.Network):
        return None
    found = models.find_classifier(network, teacher.network(example.inputs[teacher.view]))
    if found is not None:
        hold_whole(found)  # losses take it for a layer like others: they copy it, and train with it
    return found
