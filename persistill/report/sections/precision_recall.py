"""Precision against recall at an overlap of one half."""

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.report.comparison import ArmSummary, Comparison
from persistill.report.detections import precision_by_recall, stored_detections
from persistill.report.figure import Figure, Section, layout, marks, plain
from persistill.report.table import NOTHING, Table

_MOST = 20
"""Classes with a curve of their own."""
_READ = tuple(range(0, 101, 10))
"""Recalls, in %, that the tables show."""


def precision_recall(comparison: Comparison) -> Section | str:
    """A curve a network, the mean over classes or one class, mean over seeds."""
    arms = comparison.everyone
    if not arms:
        return "Precision and recall: no run of this comparison is complete."
    count = len(comparison.classes)
    try:
        curves = [_curves(arm, count) for arm in arms]
    except (UserError, ValueError) as error:
        return f"Precision and recall: {error}"
    with_objects = [number for number in range(count) if not np.isnan(curves[0][number]).any()]
    if not with_objects:
        return "Precision and recall: there is no object in the test images."
    choices = {"all classes": with_objects}
    if len(with_objects) > 1:
        choices |= {comparison.class_name(number): [number] for number in with_objects[:_MOST]}
    traces, tables = [], []
    for choice, (title, numbers) in enumerate(choices.items()):
        shown = [of[numbers].mean(0) for of in curves]
        for position, (arm, mark, of) in enumerate(zip(arms, marks(comparison), shown, strict=True)):
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "legendgroup": str(position),
                    "choice": str(choice),
                    "x": list(range(101)),
                    "y": (100 * of).round(2).tolist(),
                    "line": mark.line,
                    "hovertemplate": f"{plain(arm.label)}: <b>%{{y:.1f}} %</b><extra></extra>",
                }
            )
        rows = tuple(
            (str(recall), *(f"{100 * of[recall]:.1f}" if of[recall] else NOTHING for of in shown)) for recall in _READ
        )
        caption = f"Precision % by recall, {title}."
        tables.append(Table(caption, ("Recall %", *(arm.label for arm in arms)), rows))
    return Section(
        name="precision-recall",
        title="Precision and recall",
        text=(
            "Detections are taken in the order of their scores, those of all images together. Precision is the share "
            "of them that is right so far, with an overlap of 0.5 or more, recall the share of the objects that is "
            "found so far. The mean height of a curve is its AP50."
        ),
        figures=(
            Figure(
                name="precision-recall-plot",
                title="Precision by recall",
                caption="At each recall the best precision at this or a higher one, mean over seeds. Where a curve "
                "meets the axis, no lower score finds more.",
                traces=traces,
                layout=layout(
                    "recall, %",
                    "precision, %",
                    420,
                    hovermode="x unified",
                    xaxis={"range": [0, 100], "dtick": 20},
                    yaxis={"range": [0, 102], "dtick": 20},
                ),
                chosen=tuple(tables),
            ),
        ),
        marks=marks(comparison),
        choices=tuple(choices),
        chooser="Class",
    )


def _curves(arm: ArmSummary, classes: int) -> NDArray[np.float64]:
    """(K, 101), mean over seeds; NaN for classes without objects."""
    every = [stored_detections(run.evaluation) for run in arm.runs]
    means: NDArray[np.float64] = np.mean(
        [[precision_by_recall(found, number) for number in range(classes)] for found in every], 0
    )
    return means
