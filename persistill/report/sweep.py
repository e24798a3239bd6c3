"""The page of a sweep: what was tried, what came of it, and what chance alone would have chosen."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from persistill.report.figure import Figure, Section, layout, plain
from persistill.report.sweep_chance import best_of_draws, expected_best, image_noise, seed_noise
from persistill.report.table import NOTHING, Table
from persistill.report.web_page import rendered
from persistill.utils.atomic_io import atomic, read_json
from persistill.utils.units import counted

RECORD = "sweep.json"
_ACCURACY = "accuracy"


def write_sweep(folder: Path) -> Path:
    """Write the page of a sweep, ``sweep.html``, from what is kept of it.

    Args:
        folder: of the sweep.

    Raises:
        UserError: if there is no sweep, or what is kept cannot be one.
    """
    text = render_sweep(read_json(folder / RECORD), folder)
    with atomic(folder / "sweep.html") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder / "sweep.html"


def render_sweep(record: Mapping[str, Any], folder: Path) -> str:
    """The page as text.

    Args:
        record: what is kept of the sweep.
        folder: where it is.
    """
    from persistill import schemas  # noqa: PLC0415 - pydantic is slow to import

    schemas.check(schemas.StoredSweep, record, str(folder / RECORD), "Run the sweep again.")
    shown = _Shown(record)
    comparison = record["comparison"]
    link = None if comparison is None else f"../{comparison}/report.html"
    return rendered(
        "sweep.html",
        title=record["recipe"],
        lead=shown.lead(),
        sections=[shown.progress(), shown.chance(), shown.fields(), shown.trials()],
        link=link,
    )


class _Shown:
    """A sweep, in words and plots.

    Args:
        record: what is kept of it.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._record, self._figure, self._over = record, record["figure"], record["over"]
        self._title, self._percent = self._figure["title"].lower(), self._figure["unit"] == "%"
        self._complete = [trial for trial in record["trials"] if trial["state"] == "complete"]
        self._values = [trial["figure"] for trial in self._complete]
        better = max if self._figure["better"] else min
        self._best = better(self._complete, key=lambda trial: trial["figure"]) if self._complete else None

    def lead(self) -> str:
        """What came of it, a sentence or two."""
        states = [trial["state"] for trial in self._record["trials"]]
        others = [f"{states.count(state)} {said}" for state, said in _ENDED.items() if state in states]
        tried = f"{counted(len(states), 'trial')} of the arm {self._record['arm']}" + (
            f", {', '.join(others)}" if others else ""
        )
        if self._best is None:
            return f"{tried}; none came to its end."
        return (
            f"{tried}. The best is trial {self._best['number']}, with {self._title} "
            f"{self._said(self._best['figure'])} on "
            f"{counted(self._record['validation_images'], 'validation image')}: {_in_words(self._best['values'])}."
        )

    def progress(self) -> Section:
        """The best so far."""
        sign = 1 if self._figure["better"] else -1
        best = [sign * max(sign * value for value in self._values[: end + 1]) for end in range(len(self._values))]
        drawn = [
            best_of_draws(self._values, end + 1, larger_is_better=self._figure["better"])
            for end in range(len(self._values))
        ]
        numbers, count = [trial["number"] for trial in self._complete], range(1, len(self._values) + 1)
        traces = [
            self._trace("lines", count, drawn, "in another order", line={"color": "var(--hue-2)", "dash": "dash"}),
            self._trace("lines", count, best, "best so far", line={"color": "var(--hue-1)", "shape": "hv"}),
            {
                **self._trace("markers", count, self._values, "trial", marker={"color": "var(--hue-0)", "size": 6}),
                "customdata": numbers,
                "hovertemplate": "trial %{customdata}: <b>%{y:.4g}</b><extra></extra>",
            },
        ]
        figure = Figure(
            "best-so-far",
            "Best so far",
            "Points: complete trials, in the order in which they began. Line: the best so far. Dashed: what the best "
            "would be expected to be after as many of these trials in a random order; at the end both meet. A search "
            "that learns gets better late, so its line is below the dashed one for long.",
            traces,
            layout("complete trials", f"{self._figure['title']}{', %' if self._percent else ''}"),
            (
                Table(
                    "Best so far, and expected of as many of these trials in a random order.",
                    ("Complete trials", "Trial", "Its figure", "Best so far", "Random order"),
                    tuple(
                        (str(end + 1), str(numbers[end]), *map(self._said, (self._values[end], best[end], drawn[end])))
                        for end in range(len(numbers))
                    ),
                ),
            ),
        )
        return Section("progress", "Best so far", "No trial read a test image.", (figure,))

    def chance(self) -> Section:
        """What chance alone would have chosen."""
        return Section("chance", "What chance alone would choose", self._chance_text())

    def _chance_text(self) -> str:
        if len(self._complete) < 2 or self._best is None:
            return "Fewer than two trials are complete: there was nothing to choose."
        seeds = len(self._complete[0]["seeds"])
        middle, count = statistics.median(self._values), len(self._values)
        noise = seed_noise([trial["seeds"] for trial in self._complete])
        source = f"between the seeds of a trial (standard deviation of one seed: {self._points(noise or 0.0)})"
        if noise is None:
            if self._figure["name"] != _ACCURACY:
                return (
                    "Each trial has one seed, so nothing tells how far two trainings with the same values differ. "
                    "Sweep with --seeds 0,1 to know."
                )
            noise = image_noise(middle, self._record["validation_images"])
            source = (
                f"that {counted(self._record['validation_images'], 'validation image')} leave (standard deviation "
                f"{self._points(noise)}; how far seeds differ is not known, for each trial has one)"
            )
        sign = 1 if self._figure["better"] else -1
        by_chance = middle + sign * expected_best(count) * noise / seeds**0.5
        beyond = sign * (self._best["figure"] - by_chance) > 0
        return (
            f"If the values made no difference, and trials differed by the noise alone {source}, the best of {count} "
            f"would be expected at {self._title} {self._said(by_chance)}: the median {self._said(middle)}, and what "
            f"the best of {count} equal draws stands out by. The best found is {self._said(self._best['figure'])}, "
            "which is "
            + (
                "beyond that."
                if beyond
                else "not beyond that: on this evidence the choice among these trials is one of chance."
            )
            + "\n\nThe best of many is flattered by its choice, so its figure on validation images is too good; what "
            "it is worth stands in the report of the comparison, measured on test images that no trial has read."
        )

    def fields(self) -> Section:
        """Which fields matter, and parallel coordinates."""
        figures = []
        importance = dict(sorted(self._record["importance"].items(), key=lambda entry: entry[1]))
        if importance:
            bars = {
                "type": "bar",
                "orientation": "h",
                "x": list(importance.values()),
                "y": [plain(name) for name in importance],
                "marker": {"color": "var(--hue-1)"},
                "hovertemplate": "%{y}: <b>%{x:.2f}</b><extra></extra>",
            }
            table = Table(
                "Importance of each field.",
                ("Field", "Importance"),
                tuple((name, f"{value:.2f}") for name, value in reversed(importance.items())),
            )
            caption = (
                "Share of what tells the good trials from all others that goes with each field (PED-ANOVA, Watanabe et "
                "al. 2023). Few trials tell little: the order may change with more."
            )
            figures.append(
                Figure(
                    "importance",
                    "Importance",
                    caption,
                    [bars],
                    layout("importance", "", 90 + 40 * len(importance)),
                    (table,),
                )
            )
        if self._complete:
            figures.append(self._parallel())
        text = "" if figures else "Too few trials are complete."
        return Section("fields", "Fields", text or "What was varied, and what goes with the figure.", tuple(figures))

    def _parallel(self) -> Figure:
        """A line for each complete trial, through its values and its figure."""
        names, low, high = list(self._over), min(self._values), max(self._values)
        ranked = sorted(self._complete, key=lambda trial: trial["figure"], reverse=self._figure["better"])
        first = max(1, len(ranked) // 5)
        traces: list[dict[str, Any]] = []
        for position, trial in reversed(list(enumerate(ranked))):
            shares = [self._record["shares"][name].get(str(trial["values"][name])) for name in names]
            on_top = position < first
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "x": list(range(len(names) + 1)),
                    "y": [*shares, (trial["figure"] - low) / (high - low) if high > low else 0.5],
                    "line": {"color": "var(--hue-1)" if on_top else "var(--rule)", "width": 2.5 if on_top else 1},
                    "marker": {"size": 6 if on_top else 4},
                    "opacity": 1.0 if on_top else 0.5,
                    "text": f"trial {trial['number']}: {plain(_in_words(trial['values']), 200)}<br>"
                    f"{plain(self._title)} {self._said(trial['figure'])}",
                    "hovertemplate": "%{text}<extra></extra>",
                }
            )
        titles = [*names, self._figure["title"]]
        table = Table("The ends of each axis.", ("Field", "Values"), tuple(self._over.items()), words=True)
        axis = {
            "tickvals": list(range(len(titles))),
            "ticktext": [plain(title.rpartition(".")[2], 16) for title in titles],
            "range": [-0.3, len(titles) - 0.7],
        }
        ends = {"tickvals": [0, 1], "ticktext": ["least", "most"], "range": [-0.06, 1.06]}
        caption = (
            "A line is a complete trial; it goes through the values of the fields, from the least (or the first "
            "choice) to the largest (or the last), and through its figure. The best fifth stands out."
        )
        return Figure(
            "parallel", "Parallel coordinates", caption, traces, layout("", "", 360, xaxis=axis, yaxis=ends), (table,)
        )

    def trials(self) -> Section:
        """All trials."""
        rows = []
        for trial in self._record["trials"]:
            figure = NOTHING if trial["figure"] is None else self._said(trial["figure"])
            values = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in trial["values"].values()]
            rows.append((str(trial["number"]), figure, *values, trial["said"] or _STATES[trial["state"]]))
        table = Table(
            f"All trials; {self._title} is the mean over seeds, on validation images.",
            ("Trial", self._figure["title"], *self._over, "State"),
            tuple(rows),
        )
        return Section("trials", "Trials", "What was tried.", tables=(table,))

    def _said(self, value: float) -> str:
        return f"{100 * value:.2f} %" if self._percent else f"{value:.4g}"

    def _points(self, value: float) -> str:
        return f"{100 * value:.2f} points" if self._percent else f"{value:.4g}"

    def _trace(self, mode: str, x: Sequence[int], y: Sequence[float], name: str, **more: Any) -> dict[str, Any]:
        factor = 100 if self._percent else 1
        hover = f"{name} after %{{x}}: <b>%{{y:.4g}}</b><extra></extra>"
        shown = [round(factor * value, 6) for value in y]
        return {"type": "scatter", "mode": mode, "x": list(x), "y": shown, "hovertemplate": hover, **more}


_STATES = {"complete": "complete", "pruned": "given up", "failed": "failed", "running": "not finished"}
_ENDED = {state: said for state, said in _STATES.items() if state != "complete"}


def _in_words(values: Mapping[str, Any]) -> str:
    shown = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in values.items()}
    return ", ".join(f"{name} = {value}" for name, value in shown.items())
