"""What is wrong with detections, and how often."""

import statistics
from collections.abc import Mapping
from typing import Any

from persistill.report.comparison import ArmSummary, Comparison
from persistill.report.detections import LEAST_SCORE
from persistill.report.figure import Figure, Section, class_marks, layout, plain
from persistill.report.table import Table

_KINDS = ("right", "misplaced", "confused", "repeated", "background", "missed")


def detection_errors(comparison: Comparison) -> Section | str:
    """A bar a network, parted by what its detections are, and the objects that none is about."""
    shown = [(arm, found) for arm in comparison.everyone if (found := _counts(arm))]
    if not shown:
        return "Errors of detections: they were not counted in this comparison."
    names = [plain(arm.label, 24) for arm, _ in shown]
    kinds = class_marks(_KINDS)
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "legendgroup": str(position),
            "x": [found[kind] for _, found in shown],
            "y": list(range(len(shown))),
            "customdata": [[name, kind] for name in names],
            "marker": {"color": kinds[position].color, "line": {"color": "var(--paper)", "width": 1}},
            "hovertemplate": "%{customdata[0]}, %{customdata[1]}: <b>%{x:,.1f}</b><extra></extra>",
        }
        for position, kind in enumerate(_KINDS)
    ]
    objects = next((run.metrics.get("objects") for arm, _ in shown for run in arm.runs), None)
    rows = tuple((arm.label, *(f"{found[kind]:,.1f}" for kind in _KINDS)) for arm, found in shown)
    counted = "" if objects is None else f" There are {objects:,} objects."
    return Section(
        name="detection-errors",
        title="Errors",
        text=(
            f"Every detection with a score of {LEAST_SCORE:g} or more is one of these: right, where it overlaps an "
            "object of its class that no better one took by 0.5 or more; misplaced, where it overlaps one by 0.1 or "
            "more; confused, where it overlaps an object of another class by 0.5 or more; repeated, where its object "
            "was found before; or background. An object is missed if no detection is right, misplaced or confused "
            f"about it.{counted}"
        ),
        figures=(
            Figure(
                name="detection-errors-plot",
                title="Detections by kind",
                caption="Numbers of detections on the test images and of missed objects, mean over seeds, in the order "
                "of the key above.",
                traces=traces,
                layout=layout(
                    "detections, and missed objects",
                    "",
                    110 + 40 * len(shown),
                    barmode="stack",
                    bargap=0.35,
                    yaxis={
                        "tickvals": list(range(len(shown))),
                        "ticktext": names,
                        "range": [len(shown) - 0.5, -0.5],
                        "ticks": "",
                        "tickfont": {"color": "var(--ink)"},
                    },
                ),
                tables=(
                    Table(
                        "Detections by kind and missed objects, mean over seeds.",
                        ("Network", *(f"{kind[0].upper()}{kind[1:]}" for kind in _KINDS)),
                        rows,
                    ),
                ),
            ),
        ),
        marks=kinds,
    )


def _counts(arm: ArmSummary) -> Mapping[str, float]:
    """Mean over seeds of each kind; empty if a run has none."""
    found: list[Any] = [run.metrics.get("errors") for run in arm.runs]
    if not found or not all(isinstance(one, Mapping) for one in found):
        return {}
    return {kind: statistics.fmean(one[kind] for one in found) for kind in _KINDS}
