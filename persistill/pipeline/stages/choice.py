"""Which student is exported: the one that is best on validation images."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from persistill.config import Arm
from persistill.pipeline.context import Context
from persistill.pipeline.stage import Stage
from persistill.pipeline.stages.student import StudentStage
from persistill.run_folder import Kind, RunFolder


class Candidate(NamedTuple):
    """A student that may be exported.

    Attributes:
        arm: its arm.
        seed: from which it was trained.
        value: the task's figure on validation images; NaN where training failed.
        nll: the negative log-likelihood there; NaN where the task does not tell it.
    """

    arm: str
    seed: int
    value: float
    nll: float = math.nan


class ChoiceStage(Stage):
    """Chooses the student that is exported, by the task's figure on validation images.

    Args:
        context: of the recipe.
        students: arm and seed -> those among which to choose.
    """

    kind: ClassVar[Kind] = "choice"

    def __init__(self, context: Context, students: Mapping[tuple[str, int], StudentStage]) -> None:
        self.students = dict(students)
        figure = context.task.figure
        inputs = {
            "students": [student.key for student in self.students.values()],
            "figure": figure.name,
            "larger_is_better": figure.larger_is_better,
            "ties": ["effort", "nll", "seed"],
        }
        super().__init__(context.recipe.export, inputs, tuple(self.students.values()))

    def work(self, context: Context, folder: RunFolder) -> dict[str, Any]:  # noqa: ARG002 - its result is all it leaves
        """Choose."""
        figure = context.task.figure
        found = []
        for (arm, seed), student in self.students.items():
            validation = student.open(context).result().get("validation") or {}
            value, nll = (validation.get(name) for name in (figure.name, "nll"))
            found.append(Candidate(arm, seed, math.nan if value is None else value, math.nan if nll is None else nll))
        chosen = choose(found, context.recipe.arms, larger_is_better=figure.larger_is_better)
        return {
            **chosen._asdict(),
            "run": self.students[chosen.arm, chosen.seed].folder_name,
            "figure": figure.name,
            "images": len(context.data.splits.validation),
            "candidates": [
                {**candidate._asdict(), "run": self.students[candidate.arm, candidate.seed].folder_name}
                for candidate in found
            ],
        }

    def chosen(self, context: Context) -> StudentStage:
        """The student that was chosen."""
        result = self.open(context).result()
        return self.students[result["arm"], result["seed"]]


def choose(candidates: list[Candidate], arms: Mapping[str, Arm], *, larger_is_better: bool = True) -> Candidate:
    """The best candidate. Ties go to the simplest arm, within it to the lowest NLL, and then to the first seed.

    Simple is an arm with few teachers; then one that does not start from another arm's student; then one that needs no
    more of its teachers than their logits; then the first of the recipe.

    Args:
        candidates: at least one, in the order of the recipe.
        arms: name -> arm.
        larger_is_better: which way the figure is read.
    """
    names = list(arms)

    def effort(name: str) -> tuple[int, ...]:
        arm = arms[name]
        needed = frozenset[str]().union(*(method.required_outputs for method in arm.methods))
        return len(arm.teachers), arm.start is not None, len(needed - {"logits"}), len(arm.methods), names.index(name)

    def rank(candidate: Candidate) -> tuple[float, tuple[int, ...], float]:
        lost = -candidate.value if larger_is_better else candidate.value
        return _finite(lost), effort(candidate.arm), _finite(candidate.nll)

    return min(candidates, key=rank)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.inf
