"""Average precision by the size of objects, and recall."""

import numpy as np

from persistill.errors import UserError
from persistill.report.comparison import ArmSummary, Comparison
from persistill.report.figure import Section
from persistill.report.paired_runs import DRAWN
from persistill.report.predictions import arrays
from persistill.report.table import NOTHING, Table, spread

_PRECISIONS = {
    "ap": "AP %",
    "ap50": "AP50 %",
    "ap75": "AP75 %",
    "ap_small": "Small objects %",
    "ap_medium": "Medium %",
    "ap_large": "Large %",
}
_RECALLS = {
    "ar1": "1 an image %",
    "ar10": "10 an image %",
    "ar100": "100 an image %",
    "ar_small": "Small objects %",
    "ar_medium": "Medium %",
    "ar_large": "Large %",
}
_VOC = {"voc_ap50": "AP50 %, area", "voc_ap50_11_point": "AP50 %, 11 points"}


def size_ap(comparison: Comparison) -> Section | str:
    """COCO's twelve figures and Pascal VOC's, as tables."""
    arms = [arm for arm in comparison.everyone if arm.figures("ap").values]
    if not arms:
        return "AP by size: it was not measured in this comparison."
    precisions = tuple(
        (arm.label, spread(arm.figures("ap"), 100), _interval(arm), *_cells(arm, list(_PRECISIONS)[1:])) for arm in arms
    )
    first, *others = _PRECISIONS.values()
    tables = [
        Table("Average precision.", ("Network", first, "95 % interval", *others), precisions),
        Table(
            "Average recall, by so many detections of a class in an image at most.",
            ("Network", *_RECALLS.values()),
            tuple((arm.label, *_cells(arm, _RECALLS)) for arm in arms),
        ),
    ]
    if any(arm.figures("voc_ap50").values for arm in arms):
        rows = tuple((arm.label, *_cells(arm, _VOC)) for arm in arms)
        tables.append(Table("Average precision as Pascal VOC defines it.", ("Network", *_VOC.values()), rows))
    return Section(
        name="size-ap",
        title="Precision and recall by size",
        text=(
            "AP is the mean over classes, and over thresholds of the overlap (intersection over union) from 0.5 to "
            "0.95; AP50 and AP75 are those of one threshold. Small objects have less than 32 x 32 pixels, large ones "
            "96 x 96 or more, in the image as networks see it. Intervals are those of the images, drawn with "
            "replacement, the same draws for every network: they say how much other images would change, and nothing "
            "of the difference between two networks, which stands above."
        ),
        tables=tuple(tables),
    )


def _cells(arm: ArmSummary, names: object) -> list[str]:
    return [spread(arm.figures(name), 100) for name in names]  # type: ignore[attr-defined]


def _interval(arm: ArmSummary) -> str:
    """The middle 95 % of the draws of images, of the mean over seeds."""
    try:
        drawn = np.mean([arrays(run.evaluation / DRAWN)["ap"][1:] for run in arm.runs], 0)
    except (UserError, KeyError, ValueError):
        return NOTHING
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return NOTHING
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{100 * low:.2f} to {100 * high:.2f}"
