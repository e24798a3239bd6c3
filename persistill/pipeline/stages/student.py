"""The student of one arm and one seed."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch

from persistill import models
from persistill.config import Train
from persistill.pipeline.arm_criterion import arm_criterion
from persistill.pipeline.context import Context
from persistill.pipeline.input_view import InputView
from persistill.pipeline.network_stage import NetworkStage, build_initial, network_inputs
from persistill.pipeline.network_training import train_network
from persistill.pipeline.stages.preparation import PreparationStage
from persistill.pipeline.teacher_ref import TeacherRef, teacher_inputs
from persistill.run_folder import Kind, RunFolder


class StudentStage(NetworkStage):
    """Trains the student of one arm from one seed.

    Args:
        context: of the recipe.
        arm: its name in ``Recipe.arms``.
        seed: of the first weights and of the order of the images.
        view: what the student sees.
        teachers: of the arm.
        preparations: for each of the arm's methods; None where a method has none.
        start: the student whose weights it starts from; None for those from which its model starts.
    """

    kind: ClassVar[Kind] = "student"

    def __init__(
        self,
        context: Context,
        arm: str,
        seed: int,
        *,
        view: InputView,
        teachers: Sequence[TeacherRef],
        preparations: Sequence[PreparationStage | None],
        start: Self | None,
    ) -> None:
        recipe, self.arm_name, self.arm, self.seed = context.recipe, arm, context.recipe.arms[arm], seed
        self.teachers, self.preparations, self.start = teachers, preparations, start
        prepared = [stage for stage in preparations if stage is not None]
        inputs: dict[str, Any] = {
            **network_inputs(context, recipe.student, started=start is not None),
            "cross_entropy": self.arm.cross_entropy,
            "methods": [method.to_json() for method in self.arm.methods],
            "start": start.key if start else None,
            "train": recipe.training_of(self.arm).to_json(),
            "seed": seed,
            **teacher_inputs(context, teachers),
        }
        if prepared:
            inputs["preparations"] = [stage.key if stage else None for stage in preparations]
        if self.arm.inherit_head:
            inputs["inherit_head"] = True
        depends_on = [*view.stages, *(stage for teacher in teachers for stage in teacher.stages), *prepared]
        super().__init__(f"{arm}-seed{seed}", inputs, [*depends_on, *([start] if start else [])], view)
        self._label = f"student {arm}, seed {seed}"

    @property
    def shared(self) -> bool:
        """A training is."""
        return True

    def work(self, context: Context, folder: RunFolder) -> dict[str, Any]:
        """Train."""
        torch.manual_seed(self.seed)
        if self.start is None:
            network = build_initial(context, context.recipe.student, self.view.name)
        else:
            network, _ = self.start.network(context)
        if self.arm.inherit_head:
            context.task.inherit_head(network, self.teachers[0].trained.network(context)[0])
        return self.train(context, network, context.recipe.training_of(self.arm), folder, self._label)

    def train(
        self,
        context: Context,
        network: models.Network,
        settings: Train,
        folder: RunFolder,
        label: str,
        *,
        quantized: bool = False,
    ) -> dict[str, Any]:
        """Train a network on what this student learns.

        Args:
            context: of the recipe.
            network: as the training starts.
            settings: of the training.
            folder: of the stage that trains.
            label: of the training, for whoever watches.
            quantized: round weights and activations as the int8 file will.
        """
        uses_classifiers = any(loss.requires_classifier for loss in self.arm.methods)
        teachers = [t.callable(context, settings, with_network=uses_classifiers) for t in self.teachers]
        prepared = [stage.open(context).path if stage else None for stage in self.preparations]
        network, criterion = arm_criterion(context, self.arm, network, self.view.name, teachers, prepared)
        return train_network(
            context,
            network,
            criterion,
            settings,
            folder,
            seed=self.seed,
            label=label,
            view=self.view,
            teachers=teachers,
            teacher_views=[view for teacher in self.teachers for view in teacher.views],
            quantized=quantized,
        )
