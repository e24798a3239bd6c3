"""Whether arms differ from the baseline by more than chance."""

from collections.abc import Mapping

from persistill.errors import UserError
from persistill.report.against_baseline import against_baseline, verdicts
from persistill.report.comparison import Comparison
from persistill.report.figure import Figure, Mark, Section, layout, marks, plain
from persistill.report.significance import Difference
from persistill.report.table import Table, points
from persistill.report.task_report import Measure


def significance(comparison: Comparison) -> Section | str:
    """The paired difference of each arm to the first, with its interval and what it means in words."""
    if len([arm for arm in comparison.arms if arm.runs]) < 2:
        return "Differences to the baseline: fewer than two arms of this comparison are complete."
    try:
        differences = {measure: against_baseline(comparison, measure) for measure in comparison.task.differences}
    except (UserError, ValueError) as error:
        return f"Differences to the baseline: {error}"
    baseline, figure = comparison.arms[0].name, comparison.task.figure
    found = differences[figure]
    if not found:
        return f"Differences to the baseline: no arm shares a seed with {baseline}."
    shown = {mark.label: mark for mark in marks(comparison)}
    return Section(
        name="significance",
        title="Differences to the baseline",
        text=(
            f"The same seeds and the same test images, paired, against {baseline}. The 95 % interval is a "
            "bootstrap over both, seeds and images. Where it holds zero the two are called not "
            "distinguishable. Intervals are not corrected for the number of arms: of twenty equal arms about one is "
            "expected to be called different."
        ),
        figures=(
            Figure(
                name="significance-plot",
                title=f"Difference in {figure.in_text}",
                caption=f"Points of test {figure.in_text} above or below the baseline; whiskers are the 95 % interval.",
                traces=[_trace(place, name, found[name], shown[name]) for place, name in enumerate(found)],
                layout={
                    **layout(f"difference in {figure.in_text}, points", "", 110 + 46 * len(found), yaxis=_names(found)),
                    "shapes": [
                        {
                            "type": "line",
                            "xref": "x",
                            "yref": "paper",
                            "x0": 0,
                            "x1": 0,
                            "y0": 0,
                            "y1": 1,
                            "line": {"color": "var(--rule)", "width": 1},
                        }
                    ],
                },
                tables=tuple(_table(measure, of) for measure, of in differences.items()),
            ),
        ),
        template="significance.html",
        content={"sentences": verdicts(comparison)},
    )


def _trace(place: int, name: str, found: Difference, mark: Mark) -> dict[str, object]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [100 * found.mean],
        "y": [place],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [100 * (found.high - found.mean)],
            "arrayminus": [100 * (found.mean - found.low)],
            "color": mark.color,
            "thickness": 1.5,
            "width": 5,
        },
        "customdata": [[plain(name), points(found.mean), points(found.low), points(found.high), found.verdict]],
        "marker": {**mark.marker, "size": 10},
        "hovertemplate": "%{customdata[0]}: <b>%{customdata[1]}</b><br>95 % interval %{customdata[2]} to "
        "%{customdata[3]}<br>%{customdata[4]}<extra></extra>",
    }


def _names(found: Mapping[str, Difference]) -> dict[str, object]:
    return {
        "tickvals": list(range(len(found))),
        "ticktext": [plain(name, 24) for name in found],
        "range": [len(found) - 0.5, -0.5],
        "ticks": "",
        "tickfont": {"color": "var(--ink)"},
    }


def _table(measure: Measure, found: Mapping[str, Difference]) -> Table:
    def short(value: float) -> str:
        return measure.difference(value).split(" ")[0]

    rows = tuple(
        (name, str(of.seeds), short(of.mean), f"{short(of.low)} to {short(of.high)}", of.verdict)
        for name, of in found.items()
    )
    unit = "points" if measure.unit == "%" else measure.unit
    less = "" if measure.larger_is_better else "; less is better"
    caption = f"{measure.title}: difference to the baseline{', ' if unit else ''}{unit}{less}."
    return Table(caption, ("Arm", "Seeds", "Difference", "95 % interval", "Verdict"), rows)
