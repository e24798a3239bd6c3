"""One network, measured on the test images."""

from dataclasses import replace
from typing import Any, ClassVar

from persistill import evaluation
from persistill.pipeline.context import Context
from persistill.pipeline.input_view import open_views
from persistill.pipeline.network_stage import NetworkStage
from persistill.pipeline.stage import Stage
from persistill.run_folder import Kind, RunFolder


class EvaluationStage(Stage):
    """Measures a teacher or a student on the test images, once.

    Args:
        context: of the recipe.
        trained: the stage that leaves the network.
    """

    kind: ClassVar[Kind] = "evaluation"

    def __init__(self, context: Context, trained: NetworkStage) -> None:
        self.trained = trained
        inputs = {
            "network": trained.key,
            "settings": context.data.evaluate.to_json(),
            "data": context.data.splits.fingerprint,
        }
        # Images of other things have no stored view.
        if not trained.view.stored and context.data.ood is not None:
            inputs["ood"] = context.data.ood.fingerprint
        super().__init__(trained.name, inputs, (*trained.view.stages, trained))

    @property
    def shared(self) -> bool:
        """Batches and steps are."""
        return True

    def work(self, context: Context, folder: RunFolder) -> dict[str, Any]:
        """Measure."""
        loaders = context.data.evaluation_loaders(open_views(context, [self.trained.view]))
        return evaluation.evaluate(
            self.trained.network_on_device(context),
            replace(loaders, ranks=context.ranks),
            self.trained.view.name,
            context.data.evaluate,
            folder.path,
            context.progress,
            task=context.task,
            label=f"evaluation of {self.trained.kind} {self.trained.name}",
        )
