"""How well a detector finds single classes, from what evaluations stored of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from persistill.report.comparison import Run


def by_class(run: Run) -> Mapping[str, Sequence[Any]]:
    """The "ap", "ap50" and number of "objects" of each class; empty where they were not measured.

    A precision is None where a class has no objects.
    """
    found = run.metrics.get("by_class")
    return found if isinstance(found, Mapping) else {}


def never_found(run: Run) -> list[tuple[int, int]]:
    """Classes of which no object is found, by a detector that overlaps it by a half: number and objects."""
    found = by_class(run)
    pairs = zip(found.get("ap50", ()), found.get("objects", ()), strict=True)
    return [(number, count) for number, (precision, count) in enumerate(pairs) if count and not precision]
