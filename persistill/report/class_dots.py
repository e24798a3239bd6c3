"""A figure of each class, a dot a network, and the same as a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from persistill.report.comparison import ArmSummary, Comparison, Sample
from persistill.report.figure import Figure, Mark, layout, marks, plain
from persistill.report.table import Table, spread


@dataclass(frozen=True)
class ClassDots:
    """What a section on single classes holds.

    Attributes:
        figure: of a row for each class.
        marks: of the networks that were measured.
        table: the same numbers.
        arms: the networks that were measured.
    """

    figure: Figure
    marks: tuple[Mark, ...]
    table: Table
    arms: tuple[ArmSummary, ...]


def class_dots(
    comparison: Comparison,
    of: Callable[[ArmSummary], Sequence[Sample]],
    *,
    name: str,
    title: str,
    caption: str,
    supports: Sequence[int] = (),
) -> ClassDots | None:
    """Draw a fraction of every class.

    Args:
        comparison: of the networks.
        of: fractions of each class, one value a seed; nothing for a network that was not measured.
        name: of the figure on the page, without "-plot".
        title: of the figure, "IoU".
        caption: what is to be seen.
        supports: number of each class's objects, for a column of the table; empty for none.

    Returns:
        None if no network was measured.
    """
    samples = {arm.label: of(arm) for arm in comparison.everyone}
    everyone = zip(comparison.everyone, marks(comparison), strict=True)
    shown = [(arm, mark) for arm, mark in everyone if samples[arm.label]]
    if not shown:
        return None
    names = [comparison.class_name(number) for number in range(len(samples[shown[0][0].label]))]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers",
            "legendgroup": str(position),
            "x": [100 * sample.mean if sample.values else None for sample in samples[arm.label]],
            "y": list(range(len(names))),
            "customdata": [[plain(arm.label), plain(name)] for name in names],
            "marker": {**mark.marker, "size": 10, "opacity": 0.85},
            "hovertemplate": "%{customdata[0]}, %{customdata[1]}: <b>%{x:.2f} %</b><extra></extra>",
        }
        for position, (arm, mark) in enumerate(shown)
    ]
    rows = tuple(
        (
            of_class,
            *([f"{supports[number]:,}"] if supports else []),
            *(spread(samples[arm.label][number], 100) for arm, _ in shown),
        )
        for number, of_class in enumerate(names)
    )
    figure = Figure(
        name=f"{name}-plot",
        title=f"{title} by class",
        caption=caption,
        traces=traces,
        layout=layout(
            f"test {title}, %",
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
    header = ("Class", *(["Objects"] if supports else []), *(arm.label for arm, _ in shown))
    table = Table(f"{title} % of each class, mean over seeds.", header, rows)
    return ClassDots(figure, tuple(mark for _, mark in shown), table, tuple(arm for arm, _ in shown))
