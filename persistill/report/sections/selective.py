"""How right networks are on the images that they are most sure of."""

from persistill.report.comparison import ArmSummary, Comparison, Sample
from persistill.report.curves import curve
from persistill.report.figure import Figure, Section, layout, marks
from persistill.report.table import Table, spread


def selective(comparison: Comparison) -> Section | str:
    """Risk-coverage curves, and the area under each."""
    found = [
        (arm, mark, column)
        for arm, mark in zip(comparison.everyone, marks(comparison), strict=True)
        if (column := _risks(arm))
    ]
    if not found:
        return "Selective prediction: the evaluations of this comparison did not measure it."
    columns = [column for _, _, column in found]
    labels = [arm.label for arm, _, _ in found]
    rows = tuple(
        (f"{coverage:.0f}", *(spread(column.get(coverage, Sample(())), 100) for column in columns))
        for coverage in columns[0]
    )
    areas = tuple((arm.label, spread(arm.figures("aurc"), 100, 3)) for arm, _, _ in found)
    figure = Figure(
        name="selective-plot",
        title="Risk by coverage",
        caption="Wrong answers in % among those that a network gives, if it answers only the images that it is most "
        "sure of; mean over seeds, whiskers reach one sample standard deviation up and down.",
        traces=[curve(position, arm, mark, column) for position, (arm, mark, column) in enumerate(found)],
        layout=layout(
            "images answered, %",
            "error, %",
            hovermode="x unified",
            xaxis={"range": [0, 102]},
            yaxis={"rangemode": "tozero"},
        ),
        tables=(Table("Error % among answered images, by the share of them.", ("Answered %", *labels), rows),),
    )
    return Section(
        name="selective",
        title="Selective prediction",
        text=(
            "A network may decline to answer where it is unsure. The area under its curve (AURC) is small for a "
            "network that is seldom wrong, and wrong only where it is unsure."
        ),
        figures=(figure,),
        marks=tuple(mark for _, mark, _ in found),
        tables=(Table("Area under the risk-coverage curve, %; less is better.", ("Network", "AURC %"), areas),),
    )


def _risks(arm: ArmSummary) -> dict[float, Sample]:
    """Coverage in percent -> share of wrong answers, one value a seed; empty where a run lacks it."""
    stored = [run.metrics.get("selective") or {} for run in arm.runs]
    curves = [(entry.get("coverage") or [], entry.get("accuracy") or []) for entry in stored]
    coverages = curves[0][0] if curves else []
    if not coverages or any(len(own) != len(coverages) or len(right) != len(own) for own, right in curves):
        return {}
    return {
        100 * coverage: Sample(tuple(1 - right[place] for _, right in curves))
        for place, coverage in enumerate(coverages)
    }
