"""How well a segmentation finds each class."""

import math

from persistill.report.class_dots import class_dots
from persistill.report.comparison import ArmSummary, Comparison, Sample
from persistill.report.figure import Section


def class_iou(comparison: Comparison) -> Section | str:
    """The IoU of each class, a dot a network, and the same as a table."""
    found = class_dots(
        comparison,
        _of,
        name="class-iou",
        title="IoU",
        caption="Of the pixels that have a class or were given it, the share with both, in %; mean over seeds.",
    )
    if found is None:
        return "IoU by class: no run of this comparison is complete."
    return Section(
        name="class-iou",
        title="IoU by class",
        text=(
            "Pixels of all test images are counted together. The mean of a column is its mIoU, but for classes that no "
            "pixel has and none was given (—)."
        ),
        figures=(found.figure,),
        marks=found.marks,
        tables=(found.table,),
    )


def _of(arm: ArmSummary) -> list[Sample]:
    """Class by class, one value a seed; empty where a seed has none, and altogether if it was not measured."""
    if not arm.runs or not all(isinstance(run.metrics.get("iou"), list) for run in arm.runs):
        return []
    found = []
    for values in zip(*(run.metrics["iou"] for run in arm.runs), strict=True):
        known = all(value is not None and math.isfinite(value) for value in values)
        found.append(Sample(tuple(values) if known else ()))
    return found
