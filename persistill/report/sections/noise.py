"""The task's figure on images with Gaussian noise."""

from persistill.report.comparison import Comparison, Sample
from persistill.report.curves import curve
from persistill.report.figure import Figure, Section, layout, marks
from persistill.report.table import Table, noise_levels, spread


def noise(comparison: Comparison) -> Section | str:
    """The task's figure against the strength of the noise."""
    levels, title = noise_levels(comparison), comparison.task.figure.title
    if not levels:
        return f"{title} under noise: the recipe asked for no noise (evaluate.noise)."
    shown = [(arm, mark) for arm, mark in zip(comparison.everyone, marks(comparison), strict=True) if arm.noise]
    others = [arm.label for arm in comparison.everyone if not arm.noise]
    traces = []
    columns: list[dict[float, Sample]] = []
    for position, (arm, mark) in enumerate(shown):
        samples = {0.0: arm.score, **arm.noise}
        columns.append(samples)
        traces.append(curve(position, arm, mark, samples))
    rows = tuple(
        (f"{level:g}", *(spread(samples.get(level, Sample(())), 100) for samples in columns))
        for level in (0.0, *levels)
    )
    figure = Figure(
        name="noise-plot",
        title=f"{title} under Gaussian noise",
        caption=f"Test {comparison.task.figure.in_text} in %, mean over seeds; whiskers reach one sample "
        "standard deviation up and down.",
        traces=traces,
        layout=layout(
            "standard deviation of the noise",
            "",
            hovermode="x unified",
            xaxis={"tickvals": [0.0, *levels], "ticktext": ["none", *(f"{level:g}" for level in levels)]},
        ),
        tables=(Table(f"{title} % under noise.", ("Noise", *(arm.label for arm, _ in shown)), rows),),
    )
    return Section(
        name="noise",
        title=f"{title} under noise",
        text=(
            "Gaussian noise is added to the test images, whose values lie between 0 and 1: the same noise for "
            "every network." + (f" Not measured: {', '.join(others)}." if others else "")
        ),
        figures=(figure,),
        marks=tuple(mark for _, mark in shown),
    )
