"""The loss of an arm, built for its networks."""

from collections.abc import Sequence
from pathlib import Path

import torch

from persistill import models
from persistill.config import Arm
from persistill.losses import MethodContext
from persistill.pipeline.context import Context
from persistill.training import Criterion, TeacherCallable


def arm_criterion(
    context: Context,
    arm: Arm,
    student: models.Network,
    view: str,
    teachers: Sequence[TeacherCallable],
    prepared: Sequence[Path | None],
) -> Criterion:
    """The loss of an arm, with the trainable parts of its methods, built for what networks say of an example.

    Args:
        context: for the example, the targets and the device.
        arm: names the methods.
        student: is put on the device.
        view: what the student sees.
        teachers: of the arm.
        prepared: for each of the arm's methods, the folder that its preparation filled; None where it has none.

    Raises:
        UserError: if networks and methods do not fit together.
    """
    example = context.data.example()
    student.to(context.device).eval()
    with torch.no_grad():
        features = student(example.inputs[view]), [teacher(example) for teacher in teachers]
    return Criterion(
        arm.methods,
        task=context.task,
        cross_entropy=arm.cross_entropy,
        label_smoothing=context.recipe.training_of(arm).label_smoothing,
        contexts=[
            MethodContext(*features, context.task.image_classes(context.data.splits.train), path) for path in prepared
        ],
    )
