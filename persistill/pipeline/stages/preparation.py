"""What a method needs to be done once, before any student."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch

from persistill.config import Arm
from persistill.losses import Preparation
from persistill.pipeline.context import Context
from persistill.pipeline.input_view import open_views
from persistill.pipeline.stage import Stage
from persistill.pipeline.teacher_ref import TeacherRef, teacher_inputs
from persistill.run_folder import Kind, RunFolder
from persistill.structures import ModelOutput


class PreparationStage(Stage):
    """Does what a method of an arm needs done, with what the arm's teachers say of one epoch after another.

    Args:
        context: of the recipe.
        arm: that the method belongs to.
        preparation: of the method.
        teachers: of the arm.
    """

    kind: ClassVar[Kind] = "preparation"

    def __init__(self, context: Context, arm: Arm, preparation: Preparation, teachers: Sequence[TeacherRef]) -> None:
        self.preparation, self.teachers, self.settings = preparation, teachers, context.recipe.training_of(arm)
        inputs = {
            "preparation": preparation.to_json(),
            "teachers": teacher_inputs(context, teachers),
            "batches": {
                "size": self.settings.batch_size,
                "augment": self.settings.to_json()["augment"],
                "padding": self.settings.crop_padding,
                "crop_size": self.settings.crop_size,
            },
            "seed": context.recipe.teacher_seed,
        }
        name = "-".join([type(preparation).__name__, *arm.teachers])
        super().__init__(name, inputs, [stage for teacher in teachers for stage in teacher.stages])

    def work(self, context: Context, folder: RunFolder) -> dict[str, Any]:
        """Prepare."""
        seed = context.recipe.teacher_seed
        torch.manual_seed(seed)
        teachers = [teacher.callable(context, self.settings) for teacher in self.teachers]
        views = open_views(context, [view for teacher in self.teachers for view in teacher.views])
        loader = context.data.training_loader(self.settings, seed, views)

        def teacher_batches(epoch: int) -> Iterator[Sequence[ModelOutput]]:
            for batch in loader.epoch(epoch):
                yield [teacher(batch) for teacher in teachers]

        return self.preparation.prepare(teacher_batches, folder.path, context.progress)
