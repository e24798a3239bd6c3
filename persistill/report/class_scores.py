"""How well single classes are recognized, from what evaluations stored of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from persistill.report.comparison import Comparison, Run
from persistill.report.task_report import Measure

BALANCED = (
    Measure("balanced_accuracy", "Balanced accuracy", ("balanced_accuracy",)),
    Measure("macro_f1", "Macro F1", ("macro_f1",)),
)
"""Figures in which every class counts alike, whatever its number of images."""
_UNEQUAL = 1.5
"""Classes are unequal where the largest has at least so many times the test images of the smallest."""


def per_class(run: Run) -> Mapping[str, Sequence[Any]]:
    """The "precision", "recall", "f1" and "support" of each class; empty where they were not measured.

    A precision is None where no image was given the class, a recall where no image has it.
    """
    found = run.metrics.get("classes")
    return found if isinstance(found, Mapping) else {}


def unequal_classes(comparison: Comparison) -> bool:
    """Whether the classes have so different numbers of test images that accuracy hides the small ones."""
    supports = [per_class(run).get("support") or () for arm in comparison.everyone for run in arm.runs[:1]]
    return any(len(support) > 1 and max(support) >= _UNEQUAL * max(1, min(support)) for support in supports)


def never_recognized(run: Run) -> list[tuple[int, int]]:
    """Classes that a network never answers rightly, though there are test images of them: number and images."""
    found = per_class(run)
    pairs = zip(found.get("recall", ()), found.get("support", ()), strict=True)
    return [(number, count) for number, (recall, count) in enumerate(pairs) if count and not recall]
