"""A teacher, trained on its view or taken from a file."""

from pathlib import Path
from typing import Any, ClassVar

import torch

from persistill import models
from persistill.pipeline.context import Context
from persistill.pipeline.input_view import InputView
from persistill.pipeline.network_stage import (
    NetworkStage,
    build,
    build_initial,
    count_parameters,
    file_hash,
    network_inputs,
    save,
)
from persistill.pipeline.network_training import train_network
from persistill.run_folder import Kind, RunFolder
from persistill.training import Criterion


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
            inputs["weights"] = file_hash(Path(self.settings.weights))
        else:
            inputs |= {"train": recipe.training_of(self.settings).to_json(), "seed": recipe.teacher_seed}
        super().__init__(name, inputs, view.stages, view)

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

    def _adopt(self, context: Context, weights: str, folder: RunFolder) -> dict[str, Any]:
        network = build(context, self.settings.model.name, self.view.name)
        models.load_into(network, Path(weights))
        save(context, network, folder, self.view.name)
        return {"epochs": 0, "parameters": count_parameters(network), "weights": weights}
