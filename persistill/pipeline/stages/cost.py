"""What a network costs to run."""

from typing import Any, ClassVar

import torch

from persistill import evaluation, run_folder
from persistill.pipeline.context import Context
from persistill.pipeline.network_stage import build
from persistill.pipeline.stage import Stage
from persistill.run_folder import Kind, RunFolder


class CostStage(Stage):
    """Measures what networks of one architecture cost to run here, whatever their weights are.

    Args:
        context: of the recipe.
        model: name of the architecture.
        view: what such a network sees.
    """

    kind: ClassVar[Kind] = "cost"

    def __init__(self, context: Context, model: str, view: str) -> None:
        self.model, self.view, device = model, view, context.device
        inputs = {
            "model": model,
            "shape": list(context.data.view_shape(view)),
            "classes": len(context.data.splits.classes),
            "machine": {**run_folder.circumstances()["hardware"], "threads": torch.get_num_threads()},
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "torch": torch.__version__,
        }
        super().__init__(model, inputs)

    def work(self, context: Context, folder: RunFolder) -> dict[str, Any]:  # noqa: ARG002 - the result is all
        """Measure a network with random weights."""
        network = build(context, self.model, self.view)
        return evaluation.measure_cost(network, context.data.view_shape(self.view), context.device, context.progress)
