"""A copy of the exported student, trained on for its int8 file."""

from dataclasses import replace
from typing import Any, ClassVar

import torch

from persistill.pipeline.context import Context
from persistill.pipeline.network_stage import NetworkStage, network_inputs
from persistill.pipeline.stages.choice import ChoiceStage
from persistill.ranks import Ranks
from persistill.run_folder import Kind, RunFolder


class QuantizedStage(NetworkStage):
    """Trains a copy of a student on, rounded to 8 bits, on what the student learned.

    Args:
        context: of a recipe that asks for it.
        choice: of the exported student.
    """

    kind: ClassVar[Kind] = "quantized"

    def __init__(self, context: Context, choice: ChoiceStage) -> None:
        self.choice, quantize = choice, context.recipe.quantize
        assert quantize is not None
        students = list(choice.students.values())
        inputs = {
            **network_inputs(context, context.recipe.student, started=True),
            "choice": choice.key,
            "quantize": quantize.to_json(),
        }
        before = [stage for student in students for stage in (*student.depends_on, student)]
        super().__init__(choice.name, inputs, (*dict.fromkeys(before), choice), students[0].view)

    def work(self, context: Context, folder: RunFolder) -> dict[str, Any]:
        """Train the copy on."""
        # Rounded networks keep ranges of what they have seen, which ranks do not share: the first one trains it alone.
        context = replace(context, ranks=Ranks())
        student = self.choice.chosen(context)
        settings = context.recipe.int8_training(student.arm_name)
        assert settings is not None
        torch.manual_seed(student.seed)
        network, _ = student.network(context)
        return student.train(context, network, settings, folder, f"8 bits for {student.name}", quantized=True)
