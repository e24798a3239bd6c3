"""Similarity maps beside each other: what each teacher, the two merged, and the student before and after hold alike.

An evaluation stores inner products of its network's maps on a few test images, sorted by class. Rows are scaled to
unit length here, as in the losses (Tung and Mori 2019); teachers are merged as TGD merges them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill.report.comparison import ArmSummary, Comparison, Run
from persistill.report.predictions import arrays

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class SimilarityStage:
    """One stage of the student, and the stages of its teachers that stand opposite.

    Attributes:
        name: of the student's stage.
        panels: title -> (B, B), rows of unit length: each teacher, "merged" where the method merges, the student
            "before" and "after" the distillation.
    """

    name: str
    panels: Mapping[str, Matrix]


@dataclass(frozen=True)
class Similarity:
    """The similarity maps of one student.

    Attributes:
        target: (B,) classes of the images, ascending.
        stages: from the first to the last; paired with the teachers' from the last.
    """

    target: NDArray[np.int64]
    stages: tuple[SimilarityStage, ...]


def similarity_maps(comparison: Comparison, arm: ArmSummary, run: Run) -> Similarity:
    """The similarity maps around one student.

    "Before" is the student that it started from, or, where it started from random weights, the baseline's of the same
    seed; the baseline itself has none.

    Args:
        comparison: as read from its folder.
        arm: the student's.
        run: the student.

    Raises:
        UserError: if an evaluation's files are missing or damaged.
    """
    settings = comparison.settings["arms"][arm.name]
    teachers = {f"teacher {name}": _teacher(comparison, name) for name in settings["teachers"]}
    networks = {title: found.evaluation for title, found in teachers.items() if found is not None}
    before = _before(comparison, arm, settings.get("start"), run.seed)
    if before is not None:
        networks["student before"] = before.evaluation
    networks["student after"] = run.evaluation
    stored = {title: _grams(folder) for title, folder in networks.items()}
    depth = min(len(grams) for grams in stored.values())
    stages = []
    for place in range(-depth, 0):
        opposite = {title: list(grams.values())[place] for title, grams in stored.items()}
        panels = {title: normalized(gram) for title, gram in opposite.items() if title in teachers}
        merge = _merge(settings["methods"], len(panels))
        if merge is not None and panels:
            panels["merged"] = merged([opposite[title] for title in panels], *merge)
        panels |= {title: normalized(gram) for title, gram in opposite.items() if title not in teachers}
        stages.append(SimilarityStage(list(stored["student after"])[place], panels))
    return Similarity(_classes(run.evaluation), tuple(stages))


def normalized(gram: Matrix) -> Matrix:
    """Rows (B, B) scaled to unit length; rows of zeros stay."""
    lengths = np.linalg.norm(gram, axis=1, keepdims=True)
    scaled: Matrix = np.divide(gram, lengths, out=np.zeros_like(gram), where=lengths > 0)
    return scaled


def merged(grams: Sequence[Matrix], alphas: Sequence[float], merge: str) -> Matrix:
    """Several teachers' inner products as one map, as TGD merges them.

    Args:
        grams: (B, B) each.
        alphas: their weights.
        merge: "published": mixed, then scaled; "normalized": scaled, mixed, and scaled again.
    """
    sides = [normalized(gram) for gram in grams] if merge == "normalized" else grams
    mixed: Matrix = np.tensordot(np.asarray(alphas, dtype=np.float64), np.stack(sides), axes=1)
    return normalized(mixed)


def _merge(methods: Sequence[Mapping[str, Any]], teachers: int) -> tuple[Sequence[float], str] | None:
    """Weights and way of TGD, for as many teachers as there are."""
    for method in methods:
        if method["is"] == "TGD" and len(method["alphas"]) == teachers:
            return method["alphas"], method["merge"]
    return None


def _teacher(comparison: Comparison, name: str) -> Run | None:
    return next((arm.runs[0] for arm in comparison.teachers if arm.name == name and arm.runs), None)


def _before(comparison: Comparison, arm: ArmSummary, start: str | None, seed: int | None) -> Run | None:
    name = start or comparison.arms[0].name
    if name == arm.name:
        return None
    runs = (run for other in comparison.arms if other.name == name for run in other.runs)
    return next((run for run in runs if run.seed == seed), None)


def _grams(evaluation: Path) -> dict[str, Matrix]:
    """Stage -> (B, B), in the order of computation."""
    found = arrays(evaluation / "features.npz")
    return {
        name.removeprefix("gram_"): array.astype(np.float64)
        for name, array in found.items()
        if name.startswith("gram_")
    }


def _classes(evaluation: Path) -> NDArray[np.int64]:
    target: NDArray[np.int64] = arrays(evaluation / "predictions.npz")["target"]
    chosen: NDArray[np.int64] = target[arrays(evaluation / "features.npz")["similarity_rows"]]
    return chosen
