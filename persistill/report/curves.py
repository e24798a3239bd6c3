"""Lines with whiskers over seeds, and cells of a heat map: traces that several sections draw."""

import math
from collections.abc import Mapping
from typing import Any

from persistill.report.comparison import ArmSummary, Sample
from persistill.report.figure import Mark, plain
from persistill.report.table import spread


def curve(position: int, arm: ArmSummary, mark: Mark, samples: Mapping[float, Sample]) -> dict[str, Any]:
    """A line through the means of fractions, in percent, with one sample standard deviation up and down.

    Args:
        position: of the network in the section's marks.
        arm: the network.
        mark: how it looks.
        samples: place on the horizontal axis -> one fraction a seed.
    """
    deviations = [sample.deviation or 0.0 for sample in samples.values()]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "legendgroup": str(position),
        "x": list(samples),
        "y": [_short(100 * sample.mean) for sample in samples.values()],
        "error_y": {
            "type": "data",
            "array": [_short(100 * value) if math.isfinite(value) else 0 for value in deviations],
            "visible": any(deviations),
            "thickness": 1.2,
            "width": 3,
            "color": mark.color,
        },
        "customdata": [f"{spread(sample, 100)} %" for sample in samples.values()],
        "line": mark.line,
        "marker": mark.marker,
        "hovertemplate": f"{plain(arm.label)}: <b>%{{customdata}}</b><extra></extra>",
    }


def _short(value: float) -> float:
    """Of percent, so many digits as no eye and no pointer reaches; a page may hold hundreds of curves."""
    return round(value, 6)
