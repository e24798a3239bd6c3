"""Whether confidence can be taken at its word."""

import math

import numpy as np

from persistill.errors import UserError
from persistill.report.comparison import Comparison
from persistill.report.figure import Figure, Section, layout, marks, plain
from persistill.report.predictions import Predictions, predictions, reliability
from persistill.report.table import NOTHING, Table, percent, spread

_FEWEST = 10  # answers in a bin, below which its accuracy says little


def calibration(comparison: Comparison) -> Section | str:
    """Reliability diagram, answers of all seeds of an arm together."""
    arms = comparison.everyone
    bins = int(comparison.settings.get("evaluate", {}).get("ece_bins", 15))
    traces: list[dict[str, object]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [0, 100],
            "y": [0, 100],
            "line": {"color": "var(--rule)", "width": 1},
            "hoverinfo": "skip",
        }
    ]
    columns = []
    try:
        for position, (arm, mark) in enumerate(zip(arms, marks(comparison), strict=True)):
            answers = [predictions(run.evaluation) for run in arm.runs]
            together = Predictions(*(np.concatenate(parts) for parts in zip(*answers, strict=True)))
            found = reliability(together.target, together.logits, bins)
            columns.append(found)
            some = found.size >= _FEWEST
            shares = found.size[some] / max(1, found.size.sum())
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "legendgroup": str(position),
                    "x": (100 * found.confidence[some]).tolist(),
                    "y": (100 * found.accuracy[some]).tolist(),
                    "customdata": [[plain(arm.label), f"{share:.1%}"] for share in shares],
                    "line": {**mark.line, "width": 1.5},
                    "marker": {**mark.marker, "opacity": 1, "size": (5 + 15 * np.sqrt(shares)).tolist()},
                    "hovertemplate": "%{customdata[0]}: sure to %{x:.1f} %, right in <b>%{y:.1f} %</b>"
                    "<br>%{customdata[1]} of its answers<extra></extra>",
                }
            )
    except (UserError, ValueError) as error:
        return f"Calibration: {error}"
    if not columns:
        return "Calibration: no run of this comparison is complete."
    rows = tuple(
        (
            f"{i / bins:.3f} to {(i + 1) / bins:.3f}",
            *(f"{percent(found.accuracy[i])} of {found.size[i]:,}" if found.size[i] else NOTHING for found in columns),
        )
        for i in range(bins)
    )
    square = {"range": [0, 102], "dtick": 20}
    figure = Figure(
        name="calibration-plot",
        title="Reliability diagram",
        caption=f"{bins} equal-width bins of confidence; larger marks hold more answers, and bins with "
        f"fewer than {_FEWEST} are not drawn. Below the diagonal a network is surer than it should be, above it "
        "less sure.",
        traces=traces,
        layout=layout("confidence, %", "right, %", 520, xaxis=square, yaxis=square),
        tables=(
            Table(
                "Share of right answers, % of the number of answers, by confidence.",
                ("Confidence", *(arm.label for arm in arms)),
                rows,
            ),
        ),
        ratio=1.0,
    )
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
