"""Which student was exported, as the comparison's run folder says it: chosen on validation images alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self


class Candidate(NamedTuple):
    """A student that could have been exported.

    Attributes:
        arm: its arm.
        seed: from which it was trained.
        run: its run folder.
        value: the task's figure on validation images; nan where it was not finite.
        nll: the negative log-likelihood there; nan where the task does not tell it.
    """

    arm: str
    seed: int
    run: str
    value: float
    nll: float = math.nan


@dataclass(frozen=True)
class Choice:
    """The exported student and its rivals.

    Attributes:
        student: that was exported.
        images: validation images on which it was chosen.
        candidates: all among which it was chosen, in the order of the recipe.
    """

    student: Candidate
    images: int
    candidates: tuple[Candidate, ...]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """From what the stage of the choice left."""
        return cls(
            _candidate(content), int(content.get("images", 0)), tuple(map(_candidate, content.get("candidates", ())))
        )

    @property
    def name(self) -> str:
        """The student in words: "kd, seed 2"."""
        return f"{self.student.arm}, seed {self.student.seed}"

    def next_best(self, *, larger_is_better: bool = True) -> Candidate | None:
        """The best student of another arm; None if there is only one arm to choose from."""
        others = [one for one in self.candidates if one.arm != self.student.arm and math.isfinite(one.value)]
        sign = 1 if larger_is_better else -1
        return max(others, key=lambda one: sign * one.value) if others else None


def _candidate(content: Mapping[str, Any]) -> Candidate:
    value, nll = (math.nan if content.get(name) is None else float(content[name]) for name in ("value", "nll"))
    return Candidate(content["arm"], content["seed"], content["run"], value, nll)
