"""Whether confidence can be taken at its word."""

import math

import numpy as np

from persistill.errors import UserError
from persistill.report.comparison import ArmSummary, Comparison
from persistill.report.figure import Section, marks
from persistill.report.predictions import Predictions, Reliability, predictions, reliability
from persistill.report.reliability_diagram import reliability_diagram
from persistill.report.table import Table, spread


def calibration(comparison: Comparison) -> Section | str:
    """Reliability diagram, answers of all seeds of an arm together."""
    bins = int(comparison.settings.get("evaluate", {}).get("ece_bins", 15))

    def of(arm: ArmSummary) -> Reliability:
        answers = [predictions(run.evaluation) for run in arm.runs]
        together = Predictions(*(np.concatenate(parts) for parts in zip(*answers, strict=True)))
        return reliability(together.target, together.logits, bins)

    try:
        figure = reliability_diagram(comparison, of, "answer")
    except (UserError, ValueError) as error:
        return f"Calibration: {error}"
    if figure is None:
        return "Calibration: no run of this comparison is complete."
    return Section(
        name="calibration",
        title="Calibration",
        text=(
            "Of all answers that a network gives with 80 % confidence, 80 % should be right. The expected "
            "calibration error (ECE) of the first table is the mean distance from the diagonal, each bin "
            "weighted by its answers, computed for every network by itself; here all seeds are taken together."
        ),
        figures=(figure,),
        marks=marks(comparison),
        tables=sureness(comparison),
    )


def sureness(comparison: Comparison) -> tuple[Table, ...]:
    """Stored figures of confidence, raw and after temperature scaling; none where evaluations hold none."""
    arms = [arm for arm in comparison.everyone if arm.figures("calibrated", "temperature").values]
    if not arms:
        return ()
    # Of no more classes than answers, every answer is right.
    k = arms[0].runs[0].figure("top_k", "k")
    told = math.isfinite(k) and (not comparison.classes or k < len(comparison.classes))
    scores = tuple(
        (
            arm.label,
            *([spread(arm.figures("top_k", "accuracy"), 100)] if told else []),
            *(spread(arm.figures(*path), digits=3) for path in (("brier",), ("calibrated", "brier"))),
            *(spread(arm.figures(*path), digits=3) for path in (("nll",), ("calibrated", "nll"))),
            spread(arm.figures("calibrated", "temperature")),
        )
        for arm in arms
    )
    kinds = ("ece", "ece_equal_mass", "classwise_ece")
    errors = tuple(
        (
            arm.label,
            *(spread(arm.figures(*path), 100) for kind in kinds for path in ((kind,), ("calibrated", kind))),
        )
        for arm in arms
    )
    return (
        Table(
            "Calibrated figures are those after temperature scaling, the temperature fitted on validation images. "
            "Less is better for all but accuracy and temperature.",
            (
                "Network",
                *([f"Accuracy % of the best {k:g}"] if told else []),
                "Brier",
                "Brier, calibrated",
                "NLL",
                "NLL, calibrated",
                "Temperature",
            ),
            scores,
        ),
        Table(
            "Expected calibration errors, raw and calibrated: bins of equal width, bins of equal mass, and the mean "
            "over classes.",
            (
                "Network",
                "ECE %",
                "ECE %, calibrated",
                "Equal mass %",
                "Equal mass %, calibrated",
                "Classwise %",
                "Classwise %, calibrated",
            ),
            errors,
        ),
    )
