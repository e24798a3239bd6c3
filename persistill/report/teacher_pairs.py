"""An image teacher beside a topology teacher: who is right where, and what that means for the students."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.report.comparison import ArmSummary, Comparison, Run, Sample
from persistill.report.predictions import predictions
from persistill.report.significance import Difference, paired_difference

_MIXING = {"alphas", "merge"}
"""Settings of methods that say how teachers are mixed, and so have no meaning with one."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TeacherPair:
    """A teacher that sees images, and one that sees something else of them.

    Attributes:
        comparison: theirs.
        image: the first.
        topology: the second.
    """

    comparison: Comparison
    image: ArmSummary
    topology: ArmSummary

    @cached_property
    def groups(self) -> dict[str, Mask]:
        """Who is right ("both", "image", "topology" or "neither" of the two) -> (N,), on which test images."""
        image, topology = self.right(self.image.runs[0]), self.right(self.topology.runs[0])
        return {
            "both": image & topology,
            "image": image & ~topology,
            "topology": topology & ~image,
            "neither": ~image & ~topology,
        }

    @property
    def everything(self) -> Mask:
        """(N,), all test images."""
        return np.ones(len(self.target), np.bool_)

    @property
    def baseline(self) -> ArmSummary | None:
        """The first arm with complete runs."""
        return next((arm for arm in self.comparison.arms if arm.runs), None)

    @cached_property
    def _right(self) -> dict[str, Mask]:
        """Run folder -> what was found of it, for it is asked for again with every group."""
        return {}

    @cached_property
    def target(self) -> NDArray[np.int64]:
        """(N,) right classes of the test images."""
        return predictions(self.image.runs[0].evaluation).target

    def right(self, run: Run) -> Mask:
        """(N,), which test images a network gets right.

        Raises:
            UserError: if its predictions are missing or damaged, or of other images.
        """
        if run.folder not in self._right:
            target, logits = predictions(run.evaluation)
            if not np.array_equal(target, self.target):
                raise UserError(f"{run.evaluation} holds answers to other test images than those of the teachers.")
            self._right[run.folder] = logits.argmax(axis=1) == target
        return self._right[run.folder]

    def accuracy(self, arm: ArmSummary, group: Mask) -> Sample:
        """Share of a group's images that each of an arm's networks gets right; empty for an empty group."""
        if not group.any():
            return Sample(())
        return Sample(tuple(float(self.right(run)[group].mean()) for run in arm.runs))

    def difference(self, arm: ArmSummary, other: ArmSummary, group: Mask) -> Difference | None:
        """How much more of a group an arm gets right than another; None without a shared seed or an image.

        Small groups have wide intervals, which are cut where no difference can lie.
        """
        of_other = {run.seed: run for run in other.runs}
        pairs = [(run, of_other[run.seed]) for run in arm.runs if run.seed in of_other]
        if not pairs or not group.any():
            return None
        ours, theirs = (
            np.stack([self.right(run)[group] for run in runs]).astype(np.float64) for runs in zip(*pairs, strict=True)
        )
        found = paired_difference(ours, theirs)
        return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))

    def taught(self) -> tuple[ArmSummary, ...]:
        """The arms that both teach, with complete runs."""
        both = {self.image.name, self.topology.name}
        return tuple(arm for arm in self.comparison.arms if arm.runs and both <= set(_teachers(self.comparison, arm)))

    def control(self, arm: ArmSummary) -> ArmSummary | None:
        """An arm that the image teacher teaches in the same way without the topology teacher, if there is one.

        In the same way: from the same start, with the same training, cross-entropy and methods, but for how the
        methods mix their teachers.
        """
        settings: Mapping[str, Any] = self.comparison.settings.get("arms") or {}
        rest = [name for name in _teachers(self.comparison, arm) if name != self.topology.name]
        for other in self.comparison.arms:
            taught = other.runs and _teachers(self.comparison, other) == rest
            if taught and _alike(settings[arm.name], settings[other.name]):
                return other
        return None


def teacher_pairs(comparison: Comparison) -> tuple[TeacherPair, ...]:
    """All pairs of a complete teacher that sees images and a complete one that does not, in the recipe's order."""
    settings: Mapping[str, Any] = comparison.settings.get("teachers") or {}
    views = {name: (of or {}).get("view", "image") for name, of in settings.items()}
    teachers = [teacher for teacher in comparison.teachers if teacher.runs]
    return tuple(
        TeacherPair(comparison, image, topology)
        for image in teachers
        for topology in teachers
        if views.get(image.name) == "image" != views.get(topology.name, "image")
    )


def _teachers(comparison: Comparison, arm: ArmSummary) -> list[str]:
    settings = (comparison.settings.get("arms") or {}).get(arm.name) or {}
    return list(settings.get("teachers") or ())


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if any(one.get(name) != other.get(name) for name in ("cross_entropy", "start", "train")):
        return False
    ours, theirs = one.get("methods") or [], other.get("methods") or []
    return len(ours) == len(theirs) and all(map(_same_method, ours, theirs))


def _same_method(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two methods differ at most in how they mix teachers; a rule of its own for that is another class."""
    mixes = "alphas" in one and "alphas" in other
    shared = (one.keys() & other.keys()) - (_MIXING | {"is"} if mixes else set())
    return all(one[name] == other[name] for name in shared)
