"""A copy of the exported student, trained on for its int8 file."""

from typing import Any, ClassVar

import torch

from persistill.pipeline.context import Context
from persistill.pipeline.network_stage import NetworkStage, network_inputs
from persistill.pipeline.stages.student import StudentStage
from persistill.run_folder import Kind, RunFolder


class QuantizedStage(NetworkStage):
    """Trains a copy of a student on, rounded to 8 bits, on what the student learned.

    Args:
        context: of a recipe that asks for it.
        student: the exported one.
    """

    kind: ClassVar[Kind] = "quantized"

    def __init__(self, context: Context, student: StudentStage) -> None:
        self.student, quantize = student, context.recipe.quantize
        assert quantize is not None
        inputs = {
            **network_inputs(context, context.recipe.student, started=True),
            "student": student.key,
            "quantize": quantize.to_json(),
        }
        super().__init__(student.name, inputs, (*student.depends_on, student), student.view)

    def work(self, context: Context, folder: RunFolder) -> dict[str, Any]:
        """Train the copy on."""
        settings = context.recipe.int8_training
        assert settings is not None
        torch.manual_seed(self.student.seed)
        network, _ = self.student.network(context)
        return self.student.train(context, network, settings, folder, f"8 bits for {self.name}", quantized=True)
