"""What a teacher says of the training images, computed once and stored."""

from typing import Any, ClassVar

from persistill.config import Evaluate
from persistill.data import write_features
from persistill.pipeline.context import Context
from persistill.pipeline.input_view import open_views
from persistill.pipeline.network_stage import NetworkStage
from persistill.pipeline.stage import Stage
from persistill.pipeline.teacher_ref import online
from persistill.run_folder import Kind, RunFolder
from persistill.structures import OutputField

BATCH = 256
"""Images that a teacher is asked about at a time; fewer where the task says that memory would not hold them."""


class FeaturesStage(Stage):
    """Asks a teacher once about every training image, and stores what methods read of its answers.

    Args:
        context: of the recipe, whose ``teacher_cache`` is not "off".
        teacher: the stage that leaves the teacher's weights.
        fields: that are read.
    """

    kind: ClassVar[Kind] = "features"

    def __init__(self, context: Context, teacher: NetworkStage, fields: frozenset[OutputField]) -> None:
        self.teacher, self.fields = teacher, fields
        inputs = {"teacher": teacher.key, "parts": sorted(fields), "precision": context.recipe.teacher_cache}
        super().__init__(teacher.name, inputs, (*teacher.view.stages, teacher))

    @property
    def shared(self) -> bool:
        """Batches are."""
        return True

    def work(self, context: Context, folder: RunFolder) -> dict[str, Any]:
        """Ask and store."""
        precision = context.recipe.teacher_cache
        assert precision != "off"
        teacher = online(context, self.teacher, context.recipe.train)
        views = open_views(context, [self.teacher.view])
        train = context.data.splits.train
        size = context.task.fitting(Evaluate(batch_size=BATCH), train.shape).batch_size
        batches = context.data.loader("train", views, batch_size=size, shuffle_seed=None)
        return write_features(
            folder.path, batches, len(train), teacher, self.fields, precision, context.progress, context.ranks
        )
