"""Published figures beside those of a comparison, and what keeps the two apart."""

from typing import Any

from persistill.report.comparison import ArmSummary, Comparison
from persistill.report.table import NOTHING, Table, percent, spread


def published(comparison: Comparison) -> list[Table]:
    """One table for each publication that the recipe names: its figures, ours, and the difference in points.

    The caption says how the published epoch was chosen; ours is always the last. ``differences`` has the rest.
    """
    return [_beside(comparison, entry) for entry in comparison.settings.get("published", [])]


def differences(comparison: Comparison) -> list[str]:
    """What keeps our figures and the published ones apart, a sentence each."""
    found = [sentence for entry in comparison.settings.get("published", []) for sentence in entry["differences"]]
    return list(dict.fromkeys(found))


def _beside(comparison: Comparison, entry: dict[str, Any]) -> Table:
    ours = {arm.name: arm for arm in (*comparison.teachers, *comparison.arms)}
    figure = comparison.task.figure.in_text
    rows = tuple(_row(name, value, ours.get(name)) for name, value in entry["figures"].items())
    return Table(
        caption=f"{entry['source']} Published: {entry['chosen']}. Ours: last epoch, {figure} % on the test images.",
        header=("Network", "Seeds", "Ours", "Published", "Difference, points"),
        rows=rows,
    )


def _row(name: str, value: float, arm: ArmSummary | None) -> tuple[str, ...]:
    if arm is None or not arm.runs:
        return name, "0", NOTHING, percent(value), NOTHING
    difference = f"{100 * (arm.score.mean - value):+.2f}".replace("-", "\N{MINUS SIGN}")
    return arm.label, str(len(arm.runs)), spread(arm.score, 100), percent(value), difference
