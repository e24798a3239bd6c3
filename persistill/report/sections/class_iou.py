"""How well a segmentation finds each class."""

import math
from typing import Any

from persistill.report.comparison import ArmSummary, Comparison, Sample
from persistill.report.figure import Figure, Section, layout, marks, plain
from persistill.report.table import Table, spread


def class_iou(comparison: Comparison) -> Section | str:
    """The IoU of each class, a dot a network, and the same as a table."""
    shown = [(arm, mark) for arm, mark in zip(comparison.everyone, marks(comparison), strict=True) if _measured(arm)]
    if not shown:
        return "IoU by class: no run of this comparison is complete."
    arms = [arm for arm, _ in shown]
    names = [comparison.class_name(number) for number in range(len(_of(arms[0])))]
    traces: list[dict[str, Any]] = []
    for position, (arm, mark) in enumerate(shown):
        samples = _of(arm)
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "legendgroup": str(position),
                "x": [100 * sample.mean if sample.values else None for sample in samples],
                "y": list(range(len(names))),
                "customdata": [[plain(arm.label), plain(name)] for name in names],
                "marker": {**mark.marker, "size": 10, "opacity": 0.85},
                "hovertemplate": "%{customdata[0]}, %{customdata[1]}: <b>%{x:.2f} %</b><extra></extra>",
            }
        )
    rows = tuple((name, *(spread(_of(arm)[number], 100) for arm in arms)) for number, name in enumerate(names))
    figure = Figure(
        name="class-iou-plot",
        title="IoU by class",
        caption="Of the pixels that have a class or were given it, the share with both, in %; mean over seeds.",
        traces=traces,
        layout=layout(
            "test IoU, %",
            "",
            90 + 34 * len(names),
            yaxis={
                "tickvals": list(range(len(names))),
                "ticktext": [plain(name, 24) for name in names],
                "range": [len(names) - 0.5, -0.5],
                "ticks": "",
                "tickfont": {"color": "var(--ink)"},
            },
        ),
    )
    return Section(
        name="class-iou",
        title="IoU by class",
        text=(
            "Pixels of all test images are counted together. The mean of a column is its mIoU, but for classes that no "
            "pixel has and none was given (—)."
        ),
        figures=(figure,),
        marks=tuple(mark for _, mark in shown),
        tables=(Table("IoU % of each class, mean over seeds.", ("Class", *(arm.label for arm in arms)), rows),),
    )


def _measured(arm: ArmSummary) -> bool:
    return bool(arm.runs) and all(isinstance(run.metrics.get("iou"), list) for run in arm.runs)


def _of(arm: ArmSummary) -> list[Sample]:
    """Class by class, one value a seed; empty where a seed has none."""
    found = []
    for values in zip(*(run.metrics["iou"] for run in arm.runs), strict=True):
        known = all(value is not None and math.isfinite(value) for value in values)
        found.append(Sample(tuple(values) if known else ()))
    return found
