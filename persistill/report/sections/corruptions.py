"""Errors on corrupted images: by corruption, by severity, and relative to the baseline."""

import statistics
from collections.abc import Iterable, Mapping

from persistill.report.comparison import ArmSummary, Comparison, Sample
from persistill.report.curves import curve
from persistill.report.figure import Figure, Mark, Section, layout, marks, plain
from persistill.report.table import Table, spread
from persistill.report.task_report import Measure

COUNTED = frozenset(
    [
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "defocus_blur",
        "glass_blur",
        "motion_blur",
        "zoom_blur",
        "snow",
        "frost",
        "fog",
        "brightness",
        "contrast",
        "elastic_transform",
        "pixelate",
        "jpeg_compression",
    ]
)
"""What the means are of. Others, which the authors keep for validation or the recipe brings along, are shown alone."""
_LEGIBLE = 10  # columns in which numbers can be read


def corruptions(comparison: Comparison) -> Section | str:
    """The task's figure against severity under each corruption, a heat map of all, and the mean corruption errors."""
    shown = [(arm, mark) for arm, mark in zip(comparison.everyone, marks(comparison), strict=True) if _measured(arm)]
    if not shown:
        return "Corrupted images: no network of this comparison was measured on them (evaluate.corruptions)."
    arms = [arm for arm, _ in shown]
    names = [
        name for name in arms[0].runs[0].corrupted if all(name in run.corrupted for arm in arms for run in arm.runs)
    ]
    counted = [name for name in names if name in COUNTED]
    curves = {_title(name): [name] for name in names}
    if len(counted) > 1:
        curves = {f"mean of {len(counted)} corruptions": counted, **curves}
    images = arms[0].runs[0].figure("corruptions", "images")
    others = [arm.label for arm in comparison.everyone if not _measured(arm)]
    return Section(
        name="corruptions",
        title="Corrupted images",
        text=(
            f"Noise, blur, weather and poor storage, at five severities each, on {images:,.0f} test images, the "
            "same for every network. The corruptions are in the style of CIFAR-10-C and ImageNet-C, but drawn here: "
            "figures are comparable within this page and not with published ones."
            + (f" Not measured: {', '.join(others)}." if others else "")
        ),
        figures=(
            *([_severities(comparison.task.figure, shown, curves)] if curves else []),
            _heat(comparison.task.figure, arms, names),
        ),
        marks=tuple(mark for _, mark in shown),
        choices=tuple(curves),
        chooser="Curves under",
        tables=(_errors(comparison, arms),),
    )


def corruption_error(comparison: Comparison, arm: ArmSummary) -> tuple[Sample, Sample]:
    """Mean corruption error as a fraction, and relative to the baseline; each empty where it was not measured."""
    relative = tuple(
        comparison.relative_error[run.folder] for run in arm.runs if run.folder in comparison.relative_error
    )
    return arm.figures("corruptions", "error"), Sample(relative if len(relative) == len(arm.runs) else ())


def _measured(arm: ArmSummary) -> bool:
    return bool(arm.runs) and all(run.corrupted for run in arm.runs)


def _error(arm: ArmSummary, name: str) -> Sample:
    """Error under one corruption, its mean over severities, one value a seed."""
    return Sample(tuple(1 - statistics.fmean(run.corrupted[name].values()) for run in arm.runs))


def _heat(figure: Measure, arms: list[ArmSummary], names: list[str]) -> Figure:
    errors = [[100 * _error(arm, name).mean for name in names] for arm in arms]
    most = max((value for column in errors for value in column), default=0.0)
    titles = [_title(name) for name in names]
    traces = []
    for position, (arm, column) in enumerate(zip(arms, errors, strict=True)):
        # A trace for each network, so that the key can hide its column.
        trace: dict[str, object] = {
            "type": "heatmap",
            "legendgroup": str(position),
            "x": [position],
            "y": titles,
            "z": [[round(value, 3)] for value in column],
            "customdata": [[plain(arm.label)] for _ in names],
            "zmin": 0,
            "zmax": most or 1,
            "colorscale": [[0, "var(--heat-0)"], [0.5, "var(--heat-1)"], [1, "var(--heat-2)"]],
            "showscale": False,
            "xgap": 2,
            "ygap": 2,
            "hovertemplate": "%{customdata}, %{y}:<br><b>%{z:.2f} %</b> wrong<extra></extra>",
        }
        if len(arms) <= _LEGIBLE:
            trace["text"] = [[f"{value:.0f}"] for value in column]
            trace["texttemplate"] = "%{text}"
            trace["textfont"] = {"color": "var(--ink)"}
        traces.append(trace)
    rows = tuple(
        (title, *(spread(_error(arm, name), 100) for arm in arms)) for name, title in zip(names, titles, strict=True)
    )
    return Figure(
        name="corruptions-plot",
        title="Error by corruption",
        caption=f"{_error_of(figure)} in %, mean over five severities and all seeds; darker cells hold more."
        + (" A star marks corruptions that are no part of the means below." if set(names) - COUNTED else ""),
        traces=traces,
        layout=layout(
            "",
            "",
            120 + 26 * len(names),
            xaxis={
                "tickvals": list(range(len(arms))),
                "ticktext": [plain(arm.label, 18) for arm in arms],
                "showgrid": False,
                "ticks": "",
            },
            yaxis={"type": "category", "autorange": "reversed", "showgrid": False, "ticks": ""},
        ),
        tables=(Table("Error % by corruption, mean over severities.", ("Corruption", *_labels(arms)), rows),),
    )


def _severities(figure: Measure, shown: list[tuple[ArmSummary, Mark]], curves: Mapping[str, list[str]]) -> Figure:
    """One choice for each entry of ``curves``: its title and the corruptions of which it is the mean."""
    traces, tables = [], []
    levels: list[float] = []
    for choice, (title, names) in enumerate(curves.items()):
        columns = [_by_severity(arm, names) for arm, _ in shown]
        levels = sorted({*levels, *columns[0]})
        traces += [
            {**curve(position, arm, mark, column), "choice": str(choice)}
            for position, ((arm, mark), column) in enumerate(zip(shown, columns, strict=True))
        ]
        rows = tuple(
            (_level(level), *(spread(column.get(level, Sample(())), 100) for column in columns)) for level in columns[0]
        )
        header = ("Severity", *_labels(arm for arm, _ in shown))
        tables.append(Table(f"{figure.title} % by severity, {title}.", header, rows))
    return Figure(
        name="severity-plot",
        title=f"{figure.title} by severity",
        caption=f"Test {figure.in_text} in % under the corruption chosen above, mean over all seeds; whiskers reach "
        "one sample standard deviation over seeds up and down.",
        traces=traces,
        layout=layout(
            "severity",
            f"{figure.in_text}, %",
            hovermode="x unified",
            xaxis={"tickvals": levels, "ticktext": [_level(level) for level in levels]},
        ),
        chosen=tuple(tables),
    )


def _error_of(figure: Measure) -> str:
    return "Wrong answers" if figure.name == "accuracy" else f"What is missing to a full {figure.title}"


def _level(severity: float) -> str:
    return f"{severity:g}" if severity else "none"


def _by_severity(arm: ArmSummary, names: list[str]) -> dict[float, Sample]:
    """0 for images as they are, then each severity -> mean figure over corruptions, one value a seed."""
    levels = sorted({float(level) for run in arm.runs for name in names for level in run.corrupted[name]})
    found = {0.0: Sample(tuple(run.figure("corruptions", "clean") for run in arm.runs))}
    for level in levels:
        means = (statistics.fmean(run.corrupted[name][f"{level:g}"] for name in names) for run in arm.runs)
        found[level] = Sample(tuple(means))
    return found


def _errors(comparison: Comparison, arms: list[ArmSummary]) -> Table:
    rows = []
    for arm in arms:
        absolute, relative = corruption_error(comparison, arm)
        clean = arm.figures("corruptions", "clean")
        wrong = Sample(tuple(1 - value for value in clean.values))
        rows.append((arm.label, spread(wrong, 100), spread(absolute, 100), spread(relative, digits=3)))
    baseline = f" The baseline is {comparison.arms[0].name}, averaged over seeds." if comparison.arms else ""
    return Table(
        "Error on the same images as they are, mean corruption error, and the same relative to the baseline's (1 is "
        f"the baseline, less is better).{baseline}",
        ("Network", "Error %, uncorrupted", "Mean corruption error %", "Relative"),
        tuple(rows),
    )


def _labels(arms: Iterable[ArmSummary]) -> list[str]:
    return [arm.label for arm in arms]


def _title(name: str) -> str:
    return plain(name.replace("_", " ") + ("*" if name not in COUNTED else ""))
