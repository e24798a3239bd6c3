"""Every seed's figure, and their mean."""

from typing import Any

from persistill.report.comparison import Comparison
from persistill.report.figure import Figure, Section, layout, marks, plain
from persistill.report.table import Table


def accuracy(comparison: Comparison) -> Section | str:
    """A dot a seed, a stroke for the mean."""
    figure = comparison.task.figure
    arms = [arm for arm in comparison.arms if arm.runs]
    if not arms:
        return f"{figure.title} by seed: no student of this comparison is complete."
    traces: list[dict[str, Any]] = []
    for position, (arm, mark) in enumerate(zip(arms, marks(comparison), strict=False)):
        count = len(arm.runs)
        # Seeds that hit the same number of images would hide each other on one line.
        heights = [position + 0.32 * (i / (count - 1) - 0.5) if count > 1 else position for i in range(count)]
        who = [[plain(arm.label), "—" if run.seed is None else run.seed] for run in arm.runs]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [100 * run.score for run in arm.runs],
                "y": heights,
                "customdata": who,
                "marker": {**mark.marker, "size": 10, "opacity": 0.85},
                "hovertemplate": "%{customdata[0]}, seed %{customdata[1]}: <b>%{x:.2f} %</b><extra></extra>",
            }
        )
        if count == 1:
            continue
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [100 * arm.score.mean],
                "y": [position],
                "customdata": [[plain(arm.label), count]],
                "marker": {"color": mark.color, "symbol": "line-ns-open", "size": 26, "line": {"width": 2}},
                "hovertemplate": "%{customdata[0]}, mean of %{customdata[1]}: <b>%{x:.2f} %</b><extra></extra>",
            }
        )
    names = {
        "tickvals": list(range(len(arms))),
        "ticktext": [plain(arm.label, 24) for arm in arms],
        "range": [len(arms) - 0.5, -0.5],
        "ticks": "",
        "tickfont": {"color": "var(--ink)"},
    }
    rows = tuple(
        (
            arm.label,
            "—" if run.seed is None else str(run.seed),
            *(measure.show(run.figure(*measure.path)) for measure in comparison.task.columns),
        )
        for arm in comparison.everyone
        for run in arm.runs
    )
    plot = Figure(
        name="accuracy-plot",
        title=f"{figure.title} by seed",
        caption="Each mark is one trained student, each upright stroke the mean of its row.",
        traces=traces,
        layout=layout(f"test {figure.in_text}, %", "", 70 + 46 * len(arms), yaxis=names),
        tables=(
            Table(
                "Test figures of every network.",
                ("Network", "Seed", *(measure.header for measure in comparison.task.columns)),
                rows,
            ),
        ),
    )
    return Section(
        name="accuracy",
        title=f"{figure.title} by seed",
        text=(
            "The same training from different seeds gives different networks. A difference between two rows that "
            "is small beside the scatter within them may be chance."
        ),
        figures=(plot,),
    )
