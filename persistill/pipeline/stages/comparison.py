"""All networks of a recipe beside each other: what can be told only once all of them are measured.

Evaluations have left their figures, predictions and embeddings in their folders; here they are set beside each other.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from persistill import evaluation, perturbations
from persistill.data import IMAGE
from persistill.pipeline.context import Context
from persistill.pipeline.input_view import open_views
from persistill.pipeline.network_stage import NetworkStage
from persistill.pipeline.stage import Stage
from persistill.pipeline.stages.cost import CostStage
from persistill.pipeline.stages.evaluation import EvaluationStage
from persistill.pipeline.stages.export import ExportStage
from persistill.pipeline.stages.student import StudentStage
from persistill.pipeline.stages.teacher import TeacherStage
from persistill.pipeline.stages.view import ViewStage
from persistill.run_folder import Kind, RunFolder


class ComparisonStage(Stage):
    """Sets students beside their teachers and rivals, and lists everything that a report needs.

    It writes ``images.npz``, the test images that tell most, and ``embedding_maps.npz``, where networks lay images
    out, as ``docs/evaluation.md`` lists them.

    Args:
        context: of the recipe.
        views: by name.
        teachers: by name.
        students: by arm and seed; the arm of the first is the baseline.
        evaluations: key of a teacher or student -> its evaluation.
        exported: the exported student.
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
        exported: ExportStage,
        costs: Mapping[str, CostStage],
        depends_on: Sequence[Stage],
    ) -> None:
        self.views, self.teachers, self.students = views, teachers, students
        self.evaluations, self.exported, self.costs = evaluations, exported, costs
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
        self._keep_images(context, folder.path)
        self._map_embeddings(context, folder.path)
        return {
            "recipe": context.recipe.name,
            "command": context.command,
            "classes": list(splits.classes),
            "seconds": math.fsum(seconds),
            "views": {name: stage.folder_name for name, stage in self.views.items()},
            "export": self.exported.folder_name,
            "unreadable": list(splits.unreadable),
            "costs": {
                "student": self.costs[""].folder_name,
                "teachers": {name: self.costs[name].folder_name for name in self.teachers},
            },
            "teachers": {name: self._folders(teacher) for name, teacher in self.teachers.items()},
            "rows": [
                {"arm": arm, "seed": seed, **self._folders(student)} for (arm, seed), student in self.students.items()
            ],
            "relative_corruption_error": self._relative_corruption_error(context),
            "likeness": self._likeness(context),
        }

    def _folders(self, trained: NetworkStage) -> dict[str, str]:
        return {"run": trained.folder_name, "evaluation": self.evaluations[trained.key].folder_name}

    def _measured(self, context: Context, trained: NetworkStage) -> RunFolder:
        return self.evaluations[trained.key].open(context)

    def _networks(self) -> Iterator[NetworkStage]:
        yield from self.teachers.values()
        yield from self.students.values()

    def _keep_images(self, context: Context, folder: Path) -> None:
        """The hardest test images and those that only a teacher of a stored view gets right, as all views show them."""
        measured = {name: self._measured(context, teacher).path for name, teacher in self.teachers.items()}
        pairs = {
            (image, other): (measured[image], measured[other])
            for image in measured
            for other in measured
            if not self.teachers[image].view.stored and self.teachers[other].view.stored
        }
        students = [self._measured(context, student).path for student in self.students.values()]
        opened = open_views(context, [teacher.view for teacher in self.teachers.values()])

        def look(rows: Tensor) -> dict[str, Tensor]:
            seen = {name: opened[name].fetch("test", rows) for name in sorted(opened)}
            return {IMAGE: context.data.splits.test.fetch(rows), **seen}

        evaluation.keep_images(folder, students, pairs, look)

    def _map_embeddings(self, context: Context, folder: Path) -> None:
        """Of every teacher, and of the first seed of every arm."""
        first: dict[str, StudentStage] = {}
        for (arm, _), student in self.students.items():
            first.setdefault(arm, student)
        shown = {
            network.folder_name: self._measured(context, network).path
            for network in (*self.teachers.values(), *first.values())
        }
        evaluation.store_embedding_maps(shown, folder / evaluation.EMBEDDING_MAPS, context.progress)

    def _likeness(self, context: Context) -> dict[str, dict[str, dict[str, float]]]:
        """Run folder of a student -> teacher name -> how alike the two are."""
        context.progress.start("likeness to the teachers", len(self.students))
        found = {}
        for student in self.students.values():
            answers = self._measured(context, student).path
            found[student.folder_name] = {
                name: evaluation.measure_similarity(self._measured(context, teacher).path, answers)
                for name, teacher in self.teachers.items()
            }
            context.progress.advance(1, student.folder_name)
        context.progress.finish()
        return found

    def _relative_corruption_error(self, context: Context) -> dict[str, Any]:
        """Of every network that was shown corrupted images, by its run folder; the first arm's mean is the base."""

        def accuracies(network: NetworkStage) -> Any:
            return self._measured(context, network).result()["metrics"]["corruptions"].get("accuracy")

        baseline, _ = next(iter(self.students))
        base = [accuracies(student) for (arm, _), student in self.students.items() if arm == baseline]
        if None in base:
            return {}
        mean = perturbations.mean_accuracies(base)
        measured = {network.folder_name: accuracies(network) for network in self._networks()}
        return {
            "baseline": baseline,
            "of": {
                name: perturbations.relative_corruption_error(own, mean)
                for name, own in measured.items()
                if own is not None
            },
        }
