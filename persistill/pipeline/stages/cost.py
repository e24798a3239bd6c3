"""What a network costs to run."""

from typing import Any, ClassVar

import torch

from persistill import evaluation, models, run_folder
from persistill.pipeline.context import Context
from persistill.pipeline.stage import Stage
from persistill.run_folder import Kind, RunFolder
from persistill.utils.thread_count import all_threads, computing_with


class CostStage(Stage):
    """Measures what networks of one architecture cost to run here, whatever their weights are.

    Args:
        context: of the recipe.
        model: name of the architecture.
        view: what such a network sees.
        shape: (C, H, W) of it; None for the recipe's.
    """

    kind: ClassVar[Kind] = "cost"
    measures_time: ClassVar[bool] = True

    def __init__(self, context: Context, model: str, view: str, shape: tuple[int, int, int] | None = None) -> None:
        self.model, device = model, context.device
        self.shape = shape or context.data.view_shape(view)
        inputs = {
            "model": model,
            "shape": list(self.shape),
            "classes": len(context.data.splits.classes),
            "machine": {**run_folder.circumstances()["hardware"], "threads": all_threads()},
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "torch": torch.__version__,
        }
        super().__init__(model, inputs)

    def work(self, context: Context, folder: RunFolder) -> dict[str, Any]:  # noqa: ARG002 - the result is all
        """Measure a network with random weights."""
        channels, height, width = self.shape
        network = models.build(self.model, channels, len(context.data.splits.classes), (height, width))
        label = f"latency and memory of {self.model}"
        with computing_with(all_threads()):
            return evaluation.measure_cost(network, self.shape, context.device, context.progress, label)
