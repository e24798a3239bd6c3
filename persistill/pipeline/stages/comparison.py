"""All networks of a recipe beside each other: what can be told only once all of them are measured.

Evaluations have left their figures, predictions and embeddings in their folders; here they are set beside each other.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from persistill.data import IMAGE
from persistill.pipeline.context import Context
from persistill.pipeline.input_view import open_views
from persistill.pipeline.network_stage import NetworkStage
from persistill.pipeline.stage import Stage
from persistill.pipeline.stages.choice import ChoiceStage
from persistill.pipeline.stages.cost import CostStage
from persistill.pipeline.stages.evaluation import EvaluationStage
from persistill.pipeline.stages.export import ExportStage
from persistill.pipeline.stages.student import StudentStage
from persistill.pipeline.stages.teacher import TeacherStage
from persistill.pipeline.stages.view import ViewStage
from persistill.run_folder import Kind, RunFolder
from persistill.tasks import TARGET, Look, Networks, Trained


class ComparisonStage(Stage):
    """Sets students beside their teachers and rivals, and lists everything that a report needs.

    The task says what is compared, and leaves files for the report.

    Args:
        context: of the recipe.
        views: by name.
        teachers: by name.
        students: by arm and seed; the arm of the first is the baseline.
        evaluations: key of a teacher or student -> its evaluation.
        choice: of the exported student.
        exported: its files.
        costs: teacher's name, or "" for the student -> what such a network costs to run.
        depends_on: all other stages of the recipe.
    """

    kind: ClassVar[Kind] = "comparison"

    def __init__(
        self,
        context: Context,
        *,
        views: Mapping[str, ViewStage],
        teachers: Mapping[str, TeacherStage],
        students: Mapping[tuple[str, int], StudentStage],
        evaluations: Mapping[str, EvaluationStage],
        choice: ChoiceStage,
        exported: ExportStage,
        costs: Mapping[str, CostStage],
        depends_on: Sequence[Stage],
    ) -> None:
        self.views, self.teachers, self.students = views, teachers, students
        self.evaluations, self.choice, self.exported, self.costs = evaluations, choice, exported, costs
        inputs = {
            "recipe": context.recipe.to_json(),
            "data": context.data.splits.fingerprint,
            "stages": [student.key for student in students.values()],
        }
        super().__init__(context.recipe.name, inputs, depends_on)

    def work(self, context: Context, folder: RunFolder) -> dict[str, Any]:
        """Compare."""
        splits = context.data.splits
        seconds = [stage.open(context).result()["seconds"] for stage in self.depends_on]
        return {
            "recipe": context.recipe.name,
            "command": context.command,
            "classes": list(splits.classes),
            "seconds": math.fsum(seconds),
            "views": {name: stage.folder_name for name, stage in self.views.items()},
            "choice": self.choice.open(context).result(),
            "export": self.exported.folder_name,
            "unreadable": list(splits.unreadable),
            "notes": list(splits.notes),
            "origins": dict(splits.origins),
            "costs": {
                "student": self.costs[""].folder_name,
                "teachers": {name: stage.folder_name for name, stage in self.costs.items() if name},
            },
            "teachers": {name: self._folders(teacher) for name, teacher in self.teachers.items()},
            "rows": [
                {"arm": arm, "seed": seed, **self._folders(student)} for (arm, seed), student in self.students.items()
            ],
            "task": context.task.report(),
            **context.task.compare(self._networks(context), folder.path, self._look(context), context.progress),
        }

    def _folders(self, trained: NetworkStage) -> dict[str, str]:
        return {"run": trained.folder_name, "evaluation": self.evaluations[trained.key].folder_name}

    def _networks(self, context: Context) -> Networks:
        return Networks(
            context.out,
            teachers={name: Trained(**self._folders(teacher)) for name, teacher in self.teachers.items()},
            students={key: Trained(**self._folders(student)) for key, student in self.students.items()},
            of_stored_views=frozenset(name for name, teacher in self.teachers.items() if teacher.view.stored),
            similarity=context.recipe.evaluate.similarity,
        )

    def _look(self, context: Context) -> Look:
        """Test images as all views show them, and their targets."""
        test, opened = context.data.splits.test, open_views(context, [one.view for one in self.teachers.values()])

        def look(rows: Tensor) -> dict[str, Tensor]:
            seen = {name: opened[name].fetch("test", rows) for name in sorted(opened)}
            return {IMAGE: test.fetch(rows), TARGET: test.fetch_targets(rows), **seen}

        return look
