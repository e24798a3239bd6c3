"""Stages that leave a trained network, and how networks are built, kept and read again."""

import hashlib
from abc import ABC
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from persistill import models
from persistill.config import Model, Teacher
from persistill.pipeline.context import Context
from persistill.pipeline.input_view import InputView
from persistill.pipeline.stage import Stage
from persistill.ranks import shard_weights
from persistill.run_folder import RunFolder
from persistill.utils import atomic_io

WEIGHTS = "model.safetensors"


class NetworkStage(Stage, ABC):
    """A stage that leaves a trained network.

    Attributes:
        view: what the network sees.
    """

    def __init__(self, name: str, inputs: dict[str, Any], depends_on: Sequence[Stage], view: InputView) -> None:
        super().__init__(name, inputs, depends_on)
        self.view = view

    @property
    def sharded(self) -> bool:
        """Whether each of several ranks holds a part of the network where it is asked."""
        return False

    def network_on_device(
        self, context: Context, layout: torch.memory_format = torch.contiguous_format
    ) -> models.Network:
        """The trained network, in evaluation mode, on the device, of which it may hold a part alone.

        Args:
            context: of the recipe.
            layout: of weights of convolutions in memory.
        """
        network, _ = self.network(context)
        network.to(memory_format=layout)
        if self.sharded:
            shard_weights(network, context.ranks)
        return network.to(context.device)

    def network(self, context: Context) -> tuple[models.Network, dict[str, Any]]:
        """The trained network, in evaluation mode, on the CPU, and the header of its weights file."""
        network = build(context, self.inputs["model"], self.view.name)
        network, header = models.open_network(network, self.open(context).checked(WEIGHTS))
        return network.eval(), header


def network_inputs(context: Context, model: Model, *, started: bool = False) -> dict[str, Any]:
    """What a network depends on whichever it is; its initial weights, unless another network's are its start."""
    mean, std = context.data.normalization
    inputs = {
        "data": context.data.splits.fingerprint,
        "mean": list(mean),
        "std": list(std),
        "model": model.name,
        **_task(context),
    }
    if model.initial is not None and not started:
        published = model.initial == models.PRETRAINED
        inputs["initial"] = models.find_pretrained(model.name).name if published else file_hash(Path(model.initial))
    return inputs


def build(context: Context, model: str, view: str) -> models.Network:
    """A network for the classes of the recipe's images, with random weights."""
    channels, height, width = context.data.view_shape(view)
    return models.build(model, channels, len(context.data.splits.classes), (height, width))


def build_initial(context: Context, model: Model, view: str) -> models.Network:
    """A network as its training starts."""
    network = build(context, model.name, view)
    if model.initial is not None:
        models.load_initial_weights(network, model.initial)
    return network


def image_format(context: Context, view: str) -> models.ImageFormat:
    """How a view reaches networks."""
    return models.ImageFormat(context.data.view_shape(view), *context.data.normalization)


def read_recipe_teacher(context: Context, teacher: Teacher) -> models.TrainedNetwork:
    """The teacher of a recipe that names weights.

    Raises:
        UserError: see ``models.read_trained``.
    """
    assert teacher.weights is not None
    return models.read_trained(
        Path(teacher.weights),
        teacher.model.name,
        image_format(context, teacher.view),
        context.data.splits.classes,
        mean=teacher.mean,
        std=teacher.std,
        size=teacher.size,
        view=teacher.view,
        task=context.task.name,
    )


def save(
    context: Context, network: models.Network, folder: RunFolder, view: str, about: Mapping[str, Any] | None = None
) -> None:
    """Write a network's weights, with what is needed to use it in their header: as the recipe says, or ``about``."""
    mean, std = context.data.normalization
    header = {
        "classes": list(context.data.splits.classes),
        "mean": list(mean),
        "std": list(std),
        "view": view,
        "shape": list(context.data.view_shape(view)),
        "preprocessing": context.data.splits.preprocessing.to_json(),
        **({"task": context.task.name} if _task(context) else {}),
        **(about or {}),
    }
    with atomic_io.atomic(folder.file(WEIGHTS)) as temporary:
        models.save(network, temporary, header)


def _task(context: Context) -> dict[str, Any]:
    """The task, where it is another than before there were several: keys and headers of that time stay right."""
    task = context.recipe.to_json().get("task")
    return {} if task is None else {"task": task}


def count_parameters(network: nn.Module) -> int:
    """Numbers that the network learned."""
    return sum(parameter.numel() for parameter in network.parameters())


def file_hash(path: Path) -> str:
    """16 hexadecimal digits of the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
