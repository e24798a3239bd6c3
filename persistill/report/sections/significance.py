"""Whether arms differ from the baseline by more than chance."""

from collections.abc import Callable, Mapping

from persistill.errors import UserError
from persistill.report.against_baseline import against_baseline, verdicts
from persistill.report.comparison import Comparison
from persistill.report.figure import Figure, Mark, Section, layout, marks, plain
from persistill.report.significance import Difference
from persistill.report.table import Table, points, signed


def significance(comparison: Comparison) -> Section | str:
    """The paired difference of each arm to the first, with its interval and what it means in words."""
    if len([arm for arm in comparison.arms if arm.runs]) < 2:
        return "Differences to the baseline: fewer than two arms of this comparison are complete."
    try:
        accuracy, nll = against_baseline(comparison), against_baseline(comparison, "nll")
    except (UserError, ValueError) as error:
        return f"Differences to the baseline: {error}"
    baseline = comparison.arms[0].name
    if not accuracy:
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
                title="Difference in accuracy",
                caption="Points of test accuracy above or below the baseline; whiskers are the 95 % interval.",
                traces=[_trace(place, name, accuracy[name], shown[name]) for place, name in enumerate(accuracy)],
                layout={
                    **layout("difference in accuracy, points", "", 110 + 46 * len(accuracy), yaxis=_names(accuracy)),
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
                tables=(
                    _table("Accuracy: difference to the baseline, points.", accuracy, points),
                    _table("NLL: difference to the baseline, nats; less is better.", nll, nats),
                ),
            ),
        ),
        template="significance.html",
        content={"sentences": verdicts(comparison)},
    )


def nats(value: float) -> str:
    """A difference in nats with its sign and unit."""
    return f"{signed(value, 3)} nats"


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


def _table(caption: str, found: Mapping[str, Difference], show: Callable[[float], str]) -> Table:
    def short(value: float) -> str:
        return show(value).split(" ")[0]

    rows = tuple(
        (name, str(of.seeds), short(of.mean), f"{short(of.low)} to {short(of.high)}", of.verdict)
        for name, of in found.items()
    )
    return Table(caption, ("Arm", "Seeds", "Difference", "95 % interval", "Verdict"), rows)
