"""Which classes are taken for which."""

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.report.comparison import Comparison
from persistill.report.figure import Figure, Section, layout, plain
from persistill.report.predictions import confusion_matrix, predictions
from persistill.report.table import Table

_LEGIBLE = 12
_WORST = 10


def confusion(comparison: Comparison) -> Section | str:
    """One matrix a network, summed over seeds, of which one is shown at a time."""
    try:
        matrices = {
            arm.label: _sum([confusion_matrix(*predictions(run.evaluation)) for run in arm.runs])
            for arm in comparison.everyone
        }
    except (UserError, ValueError) as error:
        return f"Confusion matrix: {error}"
    if not matrices:
        return "Confusion matrix: no run of this comparison is complete."
    names = [comparison.class_name(number) for number in range(max(map(len, matrices.values())))]
    small = len(names) <= _LEGIBLE
    axis = {"type": "category", "showgrid": False, "ticks": "", "constrain": "domain"}
    figure = Figure(
        name="confusion-plot",
        title="Confusion matrix",
        caption="A row holds the images of one true class, a column the answers. "
        + (
            "Numbers are percent of the row; empty cells are below one half."
            if small
            else "Darker cells hold a larger share of the row."
        ),
        traces=[_trace(position, names, matrix) for position, matrix in enumerate(matrices.values())],
        layout=layout(
            "answer",
            "true class",
            600,
            xaxis={**axis, "tickangle": -45 if max(map(len, names)) > 3 else 0},
            yaxis={**axis, "autorange": "reversed"},
        ),
        tables=(
            Table(
                f"The most frequent mistakes of each network, at most {_WORST}.",
                ("Network", "True class", "Answer", "ImageDataset", "% of the class"),
                tuple((label, *row) for label, matrix in matrices.items() for row in _worst(names, matrix)),
                words=True,
            ),
        ),
        chosen=tuple(
            Table(
                f"{label}: images by true class (rows) and answer (columns).",
                ("True class", *names),
                tuple((name, *(f"{n:,}" for n in row)) for name, row in zip(names, matrix, strict=True)),
            )
            for label, matrix in matrices.items()
            if small
        ),
        ratio=1.0,
    )
    return Section(
        name="confusion",
        title="Confusion matrix",
        text="Answers to the test images, summed over seeds.",
        figures=(figure,),
        choices=tuple(
            f"{arm.label} ({len(arm.runs)} seeds)" if len(arm.runs) > 1 else arm.label for arm in comparison.everyone
        ),
    )


def _sum(matrices: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    total = matrices[0].copy()
    for matrix in matrices[1:]:
        total += matrix
    return total


def _trace(position: int, names: list[str], matrix: NDArray[np.int64]) -> dict[str, object]:
    shares = 100 * matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    short = [plain(name, 14) for name in names]
    if len(set(short)) < len(short):  # the axes tell classes apart by their names
        short = [f"{name} ({number})" for number, name in enumerate(short)]
    trace: dict[str, object] = {
        "type": "heatmap",
        "choice": str(position),
        "x": short,
        "y": short,
        "z": np.round(shares, 3).tolist(),
        "customdata": matrix.tolist(),
        "zmin": 0,
        "zmax": 100,
        "colorscale": [[0, "var(--heat-0)"], [0.25, "var(--heat-1)"], [1, "var(--heat-2)"]],
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "hovertemplate": "true %{y}, answered %{x}:<br>"
        "<b>%{customdata:,} images</b>, %{z:.1f} % of the class<extra></extra>",
    }
    if len(names) <= _LEGIBLE:
        trace["text"] = [[f"{share:.0f}" if share >= 0.5 else "" for share in row] for row in shares]
        trace["texttemplate"] = "%{text}"
        trace["textfont"] = {"color": "var(--ink)"}
    return trace


def _worst(names: list[str], matrix: NDArray[np.int64]) -> list[tuple[str, ...]]:
    mistakes = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:_WORST]
    totals = np.maximum(1, matrix.sum(axis=1))
    return [
        (
            names[true],
            names[answer],
            f"{mistakes[true, answer]:,}",
            f"{100 * mistakes[true, answer] / totals[true]:.1f}",
        )
        for true, answer in zip(*np.unravel_index(order, mistakes.shape), strict=True)
        if mistakes[true, answer]
    ]
