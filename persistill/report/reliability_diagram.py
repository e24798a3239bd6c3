"""Confidence against the share of right answers, drawn."""

from collections.abc import Callable

import numpy as np

from persistill.report.comparison import ArmSummary, Comparison
from persistill.report.figure import Figure, layout, marks, plain
from persistill.report.predictions import Reliability
from persistill.report.table import NOTHING, Table, percent

_FEWEST = 10  # answers in a bin, below which its accuracy says little


def reliability_diagram(
    comparison: Comparison, of: Callable[[ArmSummary], Reliability], answer: str, confidence: str = "confidence"
) -> Figure | None:
    """The reliability diagram of all networks, answers of all seeds of an arm together.

    Args:
        comparison: of the networks.
        of: bins of a network's answers, the same bins for all networks.
        answer: what it gives, "answer" or "detection".
        confidence: how sure it is of it, "confidence" or "score".

    Returns:
        None if no run is complete.
    """
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
    for position, (arm, mark) in enumerate(zip(comparison.everyone, marks(comparison), strict=True)):
        found = of(arm)
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
                f"<br>%{{customdata[1]}} of its {answer}s<extra></extra>",
            }
        )
    if not columns:
        return None
    bins = len(columns[0].size)
    rows = tuple(
        (
            f"{i / bins:.3f} to {(i + 1) / bins:.3f}",
            *(f"{percent(found.accuracy[i])} of {found.size[i]:,}" if found.size[i] else NOTHING for found in columns),
        )
        for i in range(bins)
    )
    square = {"range": [0, 102], "dtick": 20}
    return Figure(
        name="calibration-plot",
        title="Reliability diagram",
        caption=f"{bins} equal-width bins of {confidence}; larger marks hold more {answer}s, and bins with "
        f"fewer than {_FEWEST} are not drawn. Below the diagonal a network is surer than it should be, above it "
        "less sure.",
        traces=traces,
        layout=layout(f"{confidence}, %", "right, %", 520, xaxis=square, yaxis=square),
        tables=(
            Table(
                f"Share of right {answer}s, % of the number of {answer}s, by {confidence}.",
                (f"{confidence[0].upper()}{confidence[1:]}", *(arm.label for arm in comparison.everyone)),
                rows,
            ),
        ),
        ratio=1.0,
    )
