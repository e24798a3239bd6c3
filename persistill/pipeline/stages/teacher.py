"""A teacher, trained on its view or taken from a file."""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from persistill import models
from persistill.pipeline.context import Context
from persistill.pipeline.input_view import InputView
from persistill.pipeline.network_stage import (
    WEIGHTS,
    NetworkStage,
    build_initial,
    count_parameters,
    file_hash,
    image_format,
    network_inputs,
    read_recipe_teacher,
    save,
)
from persistill.pipeline.network_training import train_network
from persistill.run_folder import Kind, RunFolder
from persistill.training import Criterion

_ADOPTION = 2
"""In the keys of teachers out of files. Before the second version they saw images as the recipe normalizes them."""


class TeacherStage(NetworkStage):
    """Trains a teacher from ``Recipe.teacher_seed``, or adopts weights from a file.

    Args:
        context: of the recipe.
        name: in ``Recipe.teachers``.
        view: what it sees.
    """

    kind: ClassVar[Kind] = "teacher"

    def __init__(self, context: Context, name: str, view: InputView) -> None:
        recipe, self.settings = context.recipe, context.recipe.teachers[name]
        inputs: dict[str, Any] = {**network_inputs(context, self.settings.model), "view": view.key}
        if self.settings.weights is not None:
            inputs |= {"weights": file_hash(Path(self.settings.weights)), "adoption": _ADOPTION}
            stated = {"mean": self.settings.mean, "std": self.settings.std, "size": self.settings.size}
            inputs |= {f"own {name}": list(values) for name, values in stated.items() if values is not None}
        else:
            inputs |= {"train": recipe.training_of(self.settings).to_json(), "seed": recipe.teacher_seed}
        super().__init__(name, inputs, view.stages, view)

    @cached_property
    def own_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of the images that a teacher out of a file was trained on; None if they are as the recipe's."""
        if self.settings.weights is None or self.view.stored:
            return None
        header = models.read_checkpoint(Path(self.settings.weights))[0] or {}
        if "shape" not in header:
            return None
        channels, height, width = header["shape"]
        return channels, *(self.settings.size or (height, width))

    @property
    def sharded(self) -> bool:
        """As the recipe says."""
        return self.settings.shard

    @property
    def shared(self) -> bool:
        """A training is; to adopt weights is not."""
        return self.settings.weights is None

    def work(self, context: Context, folder: RunFolder) -> dict[str, Any]:
        """Train, or adopt the weights."""
        if self.settings.weights is not None:
            return self._adopt(context, self.settings.weights, folder)
        settings, seed = context.recipe.training_of(self.settings), context.recipe.teacher_seed
        torch.manual_seed(seed)
        network = build_initial(context, self.settings.model, self.view.name)
        criterion = Criterion(task=context.task, label_smoothing=settings.label_smoothing)
        label = f"teacher {self.name}"
        return train_network(context, network, criterion, settings, folder, seed=seed, label=label, view=self.view)

    def network(self, context: Context) -> tuple[models.Network, dict[str, Any]]:
        """The teacher as it sees the recipe's images, and the header of its weights file."""
        if self.settings.weights is None:
            return super().network(context)
        path = self.open(context).checked(WEIGHTS)
        given, classes = image_format(context, self.view.name), context.data.splits.classes
        header, _ = models.read_checkpoint(path)
        assert header is not None
        own = models.stored_format(header, self.view.name, given)
        network = models.build(self.settings.model.name, own.shape[0], header["num_classes"], own.shape[1:])
        network, header = models.open_network(network, path)
        return models.adapt_input(network.eval(), given, own, classes, header["classes"]), header

    def _adopt(self, context: Context, weights: str, folder: RunFolder) -> dict[str, Any]:
        given, classes = image_format(context, self.view.name), context.data.splits.classes
        found = read_recipe_teacher(context, self.settings)
        about = {**found.about(), "classes": list(found.classes or classes)}
        save(context, found.network, folder, self.view.name, about)
        notes = found.notes(given, classes)
        return {"epochs": 0, "parameters": count_parameters(found.network), "weights": weights, "notes": notes}
