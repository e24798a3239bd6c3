"""Whether the scores of detections can be taken at their word."""

import numpy as np

from persistill.errors import UserError
from persistill.report.comparison import ArmSummary, Comparison
from persistill.report.detections import LEAST_SCORE, score_reliability, stored_detections
from persistill.report.figure import Section, marks
from persistill.report.predictions import Reliability
from persistill.report.reliability_diagram import reliability_diagram
from persistill.report.table import Table, spread


def detection_calibration(comparison: Comparison) -> Section | str:
    """Reliability diagram of the detections, all seeds of an arm together, and D-ECE."""
    bins = int(comparison.settings.get("evaluate", {}).get("ece_bins", 15))

    def of(arm: ArmSummary) -> Reliability:
        each = [score_reliability(stored_detections(run.evaluation), bins) for run in arm.runs]
        size = np.sum([one.size for one in each], 0)
        filled = np.where(size > 0, size, np.nan)
        sure, right = (
            np.nansum([one.size * np.nan_to_num(getattr(one, name)) for one in each], 0) / filled
            for name in ("confidence", "accuracy")
        )
        return Reliability(size, sure, right)

    try:
        figure = reliability_diagram(comparison, of, "detection", "score")
    except (UserError, ValueError) as error:
        return f"Calibration: {error}"
    if figure is None:
        return "Calibration: no run of this comparison is complete."
    return Section(
        name="calibration",
        title="Calibration of scores",
        text=(
            "Of all detections with a score of 0.8, 80 % should be right, that is overlap an object of their class by "
            "half of their union or more. D-ECE is the mean distance from the diagonal, each bin weighted by its "
            f"detections, computed for every network by itself; here all seeds are taken together. Detections with a "
            f"score below {LEAST_SCORE:g} do not count: there are hundreds in an image, and all others would weigh "
            "nothing beside them."
        ),
        figures=(figure,),
        marks=marks(comparison),
        tables=(
            Table(
                "Calibration error of detections; less is better.",
                ("Network", "D-ECE %"),
                tuple((arm.label, spread(arm.figures("d_ece"), 100)) for arm in comparison.everyone),
            ),
        ),
    )
