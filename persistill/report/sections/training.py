"""How training went: the task's figure on validation images, the loss, and each of its terms."""

import math
from collections.abc import Callable, Iterable, Mapping

from persistill.report.comparison import ArmSummary, Comparison, Epoch
from persistill.report.figure import Figure, Mark, Section, layout, marks, plain
from persistill.report.table import NOTHING, Table

_ROWS = 25


def training(comparison: Comparison) -> Section | str:
    """Curves over epochs, from the logs of the runs."""
    arms = comparison.everyone
    shown, figure = marks(comparison), comparison.task.figure
    if not any(run.curve for arm in arms for run in arm.runs):
        return "Training curves: no run of this comparison holds a log of its epochs."
    terms = list(dict.fromkeys(name for arm in arms for epoch in _epochs(arm) for name in epoch.terms))
    figures = [
        _figure(
            "validation-plot",
            f"{figure.title} on validation images",
            "Share of right answers in %, by epoch."
            if figure.name == "accuracy"
            else f"{figure.title} in %, by epoch.",
            arms,
            shown,
            lambda epoch: 100 * epoch.validation.get(figure.name, math.nan),
            half=False,
        ),
        _figure("loss-plot", "Loss", "Weighted sum of the terms, by epoch.", arms, shown, lambda epoch: epoch.loss),
    ]
    figures += [
        _figure(
            f"term-{number}-plot",
            f"Term “{name}”",
            "Without its weight, by epoch.",
            arms,
            shown,
            _term(name),
            weight=name,
        )
        for number, name in enumerate(terms)
    ]
    weights = Table(
        "Weights of the terms. An arrow leads from the first epoch to the last where a weight changes.",
        ("Term", *(arm.label for arm in arms)),
        tuple((name, *(_weight(arm, name) for arm in arms)) for name in terms),
    )
    return Section(
        name="training",
        title="Training",
        text=(
            "Thick lines are means over seeds, thin lines single seeds. Networks were taken as they were after "
            "their last epoch: validation images show how training went, test images play no part in it.\n\n"
            "The loss is the sum of its terms, each multiplied by its weight. Terms are drawn without weights, so "
            "that arms can be compared; losses of different arms cannot, for they are sums of different things."
        ),
        figures=tuple(figures),
        marks=shown,
        tables=(weights,),
    )


def _figure(
    name: str,
    title: str,
    caption: str,
    arms: Iterable[ArmSummary],
    shown: Iterable[Mark],
    value: Callable[[Epoch], float],
    *,
    weight: str | None = None,
    half: bool = True,
) -> Figure:
    traces = []
    columns: dict[str, dict[int, float]] = {}
    for position, (arm, mark) in enumerate(zip(arms, shown, strict=True)):
        curves = [{epoch.number: value(epoch) for epoch in run.curve} for run in arm.runs]
        curves = [known for curve in curves if (known := _known(curve))]
        if not curves:
            continue
        means = _means(curves)
        columns[arm.label] = means
        if len(curves) > 1:
            traces += [
                {
                    "type": "scatter",
                    "mode": "lines",
                    "legendgroup": str(position),
                    "x": list(curve),
                    "y": list(curve.values()),
                    "line": {**mark.line, "width": 1},
                    "opacity": 0.5,
                    "hoverinfo": "skip",
                }
                for curve in curves
            ]
        seeds = f"mean of {len(curves)} seeds" if len(curves) > 1 else "one seed"
        weights = {epoch.number: epoch.weights.get(weight) for epoch in _epochs(arm)} if weight else {}
        details = [seeds if weights.get(number) is None else f"weight {weights[number]:g}, {seeds}" for number in means]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "legendgroup": str(position),
                "x": list(means),
                "y": list(means.values()),
                "customdata": [[plain(arm.label), detail] for detail in details],
                "line": mark.line,
                "marker": {**mark.marker, "size": 7, "maxdisplayed": 12},
                "hovertemplate": "%{customdata[0]}: <b>%{y:.4g}</b> (%{customdata[1]})<extra></extra>",
            }
        )
    every = [number for means in columns.values() for number in means.values()]
    # One term may fall by orders of magnitude; on a linear axis only its first epochs could be read.
    longest = max((number for means in columns.values() for number in means), default=0)
    steep = bool(every) and min(every) > 0 and max(every) > 30 * min(every)
    return Figure(
        name=name,
        title=title,
        caption=caption + (" The upright axis is logarithmic." if steep else ""),
        traces=traces,
        layout=layout(
            "epoch",
            "",
            280 if half else 360,
            hovermode="x unified",
            yaxis={"type": "log", "dtick": 1, "exponentformat": "none"} if steep else {},
            xaxis={"tickformat": "d", **({"dtick": 1} if longest <= 12 else {})},
        ),
        tables=(_table(title, columns),),
        half=half,
    )


def _table(title: str, columns: Mapping[str, Mapping[int, float]]) -> Table:
    numbers = sorted({number for means in columns.values() for number in means})
    step = math.ceil(len(numbers) / _ROWS) or 1
    kept = [number for i, number in enumerate(numbers) if i % step == 0 or i == len(numbers) - 1]
    rows = tuple(
        (str(number), *(f"{means[number]:.4g}" if number in means else NOTHING for means in columns.values()))
        for number in kept
    )
    thinned = f", every {step} epochs and the last" if step > 1 else ""
    return Table(f"{title}, mean over seeds{thinned}.", ("Epoch", *columns), rows)


def _means(curves: list[dict[int, float]]) -> dict[int, float]:
    numbers = sorted({number for curve in curves for number in curve})
    found = {number: [curve[number] for curve in curves if number in curve] for number in numbers}
    return {number: math.fsum(values) / len(values) for number, values in found.items()}


def _known(curve: Mapping[int, float]) -> dict[int, float]:
    return {number: value for number, value in curve.items() if math.isfinite(value)}


def _epochs(arm: ArmSummary) -> list[Epoch]:
    return [epoch for run in arm.runs for epoch in run.curve]


def _term(name: str) -> Callable[[Epoch], float]:
    return lambda epoch: epoch.terms.get(name, math.nan)


def _weight(arm: ArmSummary, term: str) -> str:
    found = [epoch.weights[term] for run in arm.runs[:1] for epoch in run.curve if term in epoch.weights]
    if not found:
        return NOTHING
    return f"{found[0]:g}" if len(set(found)) == 1 else f"{found[0]:g} → {found[-1]:g}"
