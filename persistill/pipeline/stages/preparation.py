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
from persistill.structures import ModelOutput, OutputField


class PreparationStage(Stage):
    """Does what a method of an arm needs done, with what the arm's teachers say of one epoch after another.

    Args:
        context: of the recipe.
        arm: that the method belongs to.
        preparation: of the method.
        fields: of what teachers say that the method reads.
        teachers: of the arm.
    """

    kind: ClassVar[Kind] = "preparation"

    def __init__(
        self,
        context: Context,
        arm: Arm,
        preparation: Preparation,
        fields: frozenset[OutputField],
        teachers: Sequence[TeacherRef],
    ) -> None:
        self.preparation, self.teachers, self.settings = preparation, teachers, context.recipe.training_of(arm)
        self.fields = fields
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

    @property
    def shared(self) -> bool:
        """Batches are, of which teachers are asked."""
        return True

    def work(self, context: Context, folder: RunFolder) -> dict[str, Any]:
        """Prepare."""
        seed, ranks = context.recipe.teacher_seed, context.ranks
        torch.manual_seed(seed)
        teachers = [teacher.callable(context, self.settings) for teacher in self.teachers]
        views = open_views(context, [view for teacher in self.teachers for view in teacher.views])
        loader = context.data.training_loader(self.settings, seed, views)
        starts = range(0, len(loader), ranks.size)
        own: dict[int, Iterator[list[ModelOutput]]] = {}

        def asked(epoch: int, start: int) -> Sequence[list[ModelOutput]]:
            """What teachers say of a batch for each rank, from one on."""
            if start == 0:
                steps = [min(first + ranks.rank, len(loader) - 1) for first in starts]
                own[epoch] = ([teacher(batch) for teacher in teachers] for batch in loader.epoch(epoch, steps=steps))
            answers = next(own[epoch])
            if ranks.size == 1:
                return [answers]
            found = ranks.to_leader([_read(answer, self.fields, "cpu") for answer in answers])
            return [[_read(answer, self.fields, context.device) for answer in one] for one in found]

        def teacher_batches(epoch: int) -> Iterator[Sequence[ModelOutput]]:
            for start in starts:
                ranks.from_leader((epoch, start))  # one by one: who prepares may need no further batch
                yield from asked(epoch, start)[: len(loader) - start]

        if ranks.leads:
            result = self.preparation.prepare(teacher_batches, folder.path, context.progress)
            ranks.from_leader(None)
            return result
        batch: tuple[int, int] | None = None
        while (batch := ranks.from_leader(batch)) is not None:
            asked(*batch)
        return {}


def _read(output: ModelOutput, fields: frozenset[OutputField], device: torch.device | str) -> ModelOutput:
    """What is read of an output, on a device; the rest is empty."""
    nothing = torch.zeros(0, device=device)
    return ModelOutput(
        output.logits.to(device) if "logits" in fields else nothing,
        output.embedding.to(device) if "embedding" in fields else nothing,
        {name: one.to(device) for name, one in output.feature_maps.items()} if "feature_maps" in fields else {},
    )
