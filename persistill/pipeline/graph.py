"""The stages of a recipe, each with those that it depends on.

recipe -> views -> teachers (-> features, preparations) -> students (arms x seeds) -> choice, evaluation (-> quantized)
    -> comparison -> export
"""

from functools import cached_property

from persistill.config import Arm
from persistill.data import IMAGE
from persistill.pipeline.context import Context
from persistill.pipeline.input_view import InputView
from persistill.pipeline.network_stage import NetworkStage
from persistill.pipeline.stage import Stage, in_order
from persistill.pipeline.stages.choice import ChoiceStage
from persistill.pipeline.stages.comparison import ComparisonStage
from persistill.pipeline.stages.cost import CostStage
from persistill.pipeline.stages.evaluation import EvaluationStage
from persistill.pipeline.stages.export import ExportStage
from persistill.pipeline.stages.features import FeaturesStage
from persistill.pipeline.stages.preparation import PreparationStage
from persistill.pipeline.stages.quantized import QuantizedStage
from persistill.pipeline.stages.student import StudentStage
from persistill.pipeline.stages.teacher import TeacherStage
from persistill.pipeline.stages.view import ViewStage
from persistill.pipeline.teacher_ref import TeacherRef
from persistill.structures import OutputField


class StageGraph:
    """All stages of a recipe. They are made when they are first asked for, which may read the images.

    Args:
        context: of the recipe.
    """

    def __init__(self, context: Context) -> None:
        self._context, self._recipe = context, context.recipe

    def stages(self) -> list[Stage]:
        """All stages, each after those that it depends on."""
        return in_order([self.comparison, self.exported])

    @cached_property
    def views(self) -> dict[str, ViewStage]:
        """View name -> stage, of those that are stored."""
        return {name: ViewStage(self._context, name) for name in self._recipe.views}

    @cached_property
    def teachers(self) -> dict[str, TeacherStage]:
        """Teacher name -> stage."""
        return {
            name: TeacherStage(self._context, name, self._input_view(teacher.view))
            for name, teacher in self._recipe.teachers.items()
        }

    @cached_property
    def features(self) -> dict[str, FeaturesStage]:
        """Teacher name -> stage that stores what it says of the training images, where the recipe asks for that."""
        if self._recipe.teacher_cache == "off":
            return {}
        arms = self._recipe.arms.values()
        fields = {
            name: frozenset[OutputField]().union(
                *(loss.required_outputs for arm in arms if name in arm.teachers for loss in arm.methods)
            )
            for name in self._recipe.teachers
        }
        return {
            name: FeaturesStage(self._context, self.teachers[name], needed) for name, needed in fields.items() if needed
        }

    @cached_property
    def preparations(self) -> dict[tuple[str, int], PreparationStage]:
        """Arm name and position of a method in it -> stage, for methods that need one before any student."""
        return {
            (name, position): PreparationStage(
                self._context, arm, method.preparation, method.required_outputs, self._teachers_of(arm)
            )
            for name, arm in self._recipe.arms.items()
            for position, method in enumerate(arm.methods)
            if method.preparation is not None
        }

    @cached_property
    def students(self) -> dict[tuple[str, int], StudentStage]:
        """Arm name and seed -> stage."""
        found: dict[tuple[str, int], StudentStage] = {}
        for name, arm in self._recipe.arms.items():
            for seed in self._recipe.seeds:
                found[name, seed] = StudentStage(
                    self._context,
                    name,
                    seed,
                    view=self._input_view(IMAGE),
                    teachers=self._teachers_of(arm),
                    preparations=[self.preparations.get((name, position)) for position in range(len(arm.methods))],
                    start=found.get((arm.start or "", seed)),
                )
        return found

    @cached_property
    def evaluations(self) -> dict[str, EvaluationStage]:
        """Key of a teacher or student -> stage."""
        networks: list[NetworkStage] = [*self.teachers.values(), *self.students.values()]
        return {network.key: EvaluationStage(self._context, network) for network in networks}

    @cached_property
    def choice(self) -> ChoiceStage:
        """Which student is exported."""
        among = self._recipe.export_candidates
        return ChoiceStage(self._context, {place: stage for place, stage in self.students.items() if place[0] in among})

    @cached_property
    def quantized(self) -> QuantizedStage | None:
        """The stage that trains a copy of the exported student for its int8 file, where the recipe asks for that."""
        return None if self._recipe.quantize is None else QuantizedStage(self._context, self.choice)

    @cached_property
    def exported(self) -> ExportStage:
        """The student that leaves."""
        measured = {student.key: self.evaluations[student.key] for student in self.choice.students.values()}
        return ExportStage(self.choice, measured, self.quantized, self._recipe.formats)

    @cached_property
    def costs(self) -> dict[str, CostStage]:
        """Teacher name, or "" for the student -> stage that measures what such a network costs to run here."""
        student = CostStage(self._context, self._recipe.student.name, IMAGE)
        return {"": student} | {
            name: CostStage(self._context, teacher.settings.model.name, teacher.view.name, teacher.own_shape)
            for name, teacher in self.teachers.items()
            if not teacher.sharded  # it may not fit on the device where it would be measured
        }

    @cached_property
    def comparison(self) -> ComparisonStage:
        """All arms beside each other."""
        before = [
            *self.views.values(),
            *self.teachers.values(),
            *self.features.values(),
            *self.preparations.values(),
            *self.students.values(),
            self.choice,
            *self.evaluations.values(),
            *([self.quantized] if self.quantized else []),
            *self.costs.values(),
        ]
        return ComparisonStage(
            self._context,
            views=self.views,
            teachers=self.teachers,
            students=self.students,
            evaluations=self.evaluations,
            choice=self.choice,
            exported=self.exported,
            costs=self.costs,
            depends_on=in_order(before),
        )

    def _input_view(self, name: str) -> InputView:
        """What a network sees; a view that is not stored has no stage."""
        return InputView(name, self.views.get(name))

    def _teachers_of(self, arm: Arm) -> list[TeacherRef]:
        return [TeacherRef(self.teachers[name], self.features.get(name)) for name in arm.teachers]
