"""Accuracy on pictures with Gaussian noise."""

import math

from persistill.report.comparison import Comparison, Sample
from persistill.report.figure import Figure, Section, layout, marks, plain
from persistill.report.table import Table, noise_levels, spread


def noise(comparison: Comparison) -> Section | str:
    """Accuracy against the strength of the noise."""
    levels = noise_levels(comparison)
    if not levels:
        return "Accuracy under noise: the recipe asked for no noise (evaluate.noise)."
    shown = [(arm, mark) for arm, mark in zip(comparison.everyone, marks(comparison), strict=True) if arm.noise]
    others = [arm.label for arm in comparison.everyone if not arm.noise]
    traces = []
    columns: list[dict[float, Sample]] = []
    for position, (arm, mark) in enumerate(shown):
        samples = {0.0: arm.accuracy, **arm.noise}
        columns.append(samples)
        deviations = [sample.deviation or 0.0 for sample in samples.values()]
        texts = [f"{spread(sample, 100)} %" for sample in samples.values()]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "legendgroup": str(position),
                "x": list(samples),
                "y": [100 * sample.mean for sample in samples.values()],
                "error_y": {
                    "type": "data",
                    "array": [100 * value if math.isfinite(value) else 0.0 for value in deviations],
                    "visible": any(deviations),
                    "thickness": 1.2,
                    "width": 3,
                    "color": mark.color,
                },
                "customdata": [[plain(arm.label), text] for text in texts],
                "line": mark.line,
                "marker": mark.marker,
                "hovertemplate": "%{customdata[0]}: <b>%{customdata[1]}</b><extra></extra>",
            }
        )
    rows = tuple(
        (f"{level:g}", *(spread(samples.get(level, Sample(())), 100) for samples in columns))
        for level in (0.0, *levels)
    )
    figure = Figure(
        name="noise-plot",
        title="Accuracy under Gaussian noise",
        caption="Test accuracy in %, mean over seeds; whiskers reach one sample standard deviation up and down.",
        traces=traces,
        layout=layout(
            "standard deviation of the noise",
            "",
            hovermode="x unified",
            xaxis={"tickvals": [0.0, *levels], "ticktext": ["none", *(f"{level:g}" for level in levels)]},
        ),
        tables=(Table("Accuracy % under noise.", ("Noise", *(arm.label for arm, _ in shown)), rows),),
    )
    return Section(
        name="noise",
        title="Accuracy under noise",
        text=(
            "Gaussian noise is added to the test pictures, whose values lie between 0 and 1: the same noise for "
            "every network." + (f" Not measured: {', '.join(others)}." if others else "")
        ),
        figures=(figure,),
        marks=tuple(mark for _, mark in shown),
    )
