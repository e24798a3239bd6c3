"""The teachers of an arm, from the stages that leave them to what a training asks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from persistill.config import Train
from persistill.data import open_features
from persistill.pipeline.context import Context
from persistill.pipeline.input_view import InputView
from persistill.pipeline.network_stage import NetworkStage
from persistill.pipeline.stage import Stage
from persistill.training import Frozen, OnlineTeacher, StoredTeacher, TeacherCallable


@dataclass(frozen=True)
class TeacherRef:
    """A teacher of an arm, and the stages that it comes from.

    Attributes:
        trained: the stage that leaves its weights.
        features: the stage that stores what it says of the training images; None if it is asked at every step.
    """

    trained: NetworkStage
    features: Stage | None = None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All of these, and the stage of what the teacher sees."""
        return (*self.trained.view.stages, self.trained, *([self.features] if self.features else []))

    @property
    def views(self) -> tuple[InputView, ...]:
        """What has to be loaded for it: nothing, where its features are stored."""
        return (self.trained.view,) if self.features is None else ()

    def callable(self, context: Context, settings: Train, *, with_network: bool = False) -> TeacherCallable:
        """What a training asks, on the device.

        Args:
            context: of the recipe.
            settings: of the training.
            with_network: whether a teacher whose features are stored brings its network along.
        """
        if self.features is None:
            return online(context, self.trained, settings)
        folder = self.features.open(context)
        fetch = open_features(folder.path, folder.result(), context.device).fetch
        network = online(context, self.trained, settings).network if with_network else None
        return StoredTeacher(fetch, self.trained.view.name, network)


def online(context: Context, trained: NetworkStage, settings: Train) -> OnlineTeacher:
    """A teacher that is asked at every step, on the device, in the memory format of the training."""
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    network = context.task.teaching(trained.network_on_device(context, layout))
    return OnlineTeacher(Frozen(network), trained.view.name)


def teacher_inputs(context: Context, teachers: Sequence[TeacherRef]) -> dict[str, Any]:
    """What depends on teachers depends on these."""
    inputs: dict[str, Any] = {"teachers": [teacher.trained.key for teacher in teachers]}
    if teachers and context.recipe.teacher_cache != "off":
        # Which fields are stored depends on the other arms, and changes nothing for this one.
        inputs["teacher_cache"] = context.recipe.teacher_cache
    return inputs
