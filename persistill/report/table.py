"""The comparison as a table of text: one wording for the command line, for Markdown and for the page."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from persistill.report.class_scores import BALANCED, unequal_classes
from persistill.report.comparison import ArmSummary, Comparison, Sample
from persistill.report.task_report import Measure

NOTHING = "—"
_MOST = 6  # arms that a sentence can hold


@dataclass(frozen=True, repr=False)
class Table:
    """Cells of text under a header; the first column names the row. It shows itself in a console and in a notebook.

    Attributes:
        caption: what the table shows, one sentence.
        header: one text a column.
        rows: one text a column, row by row.
        words: whether the cells are words, to be set to the left, rather than numbers.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: bool = False

    def __str__(self) -> str:
        """Columns of text, numbers to the right."""
        lines = (self.header, *self.rows)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        left = [self.words or position == 0 for position in range(len(widths))]
        shown = (
            "  ".join(
                cell.ljust(width) if to_left else cell.rjust(width)
                for cell, width, to_left in zip(line, widths, left, strict=True)
            ).rstrip()
            for line in lines
        )
        return "\n".join(shown)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def line(cells: Sequence[str], tag: str) -> str:
            first, *others = (html.escape(cell) for cell in cells)
            side = "left" if self.words else "right"
            shown = "".join(f'<{tag} style="text-align:{side}">{cell}</{tag}>' for cell in others)
            return f'<tr><{tag} style="text-align:left">{first}</{tag}>{shown}</tr>'

        return (
            f"<table><thead>{line(self.header, 'th')}</thead>"
            f"<tbody>{''.join(line(row, 'td') for row in self.rows)}</tbody></table>"
        )


def overview(comparison: Comparison) -> Table:
    """The headline table: students in the order of the recipe, then teachers.

    The columns are the task's. Fractions are in percent. No row is set off from the others: whether a difference
    is more than chance is not for bold type to say.
    """
    levels, task = noise_levels(comparison), comparison.task
    columns = columns_of(comparison)
    header = (
        "Network",
        "Seeds",
        *(measure.header for measure in columns),
        *(f"{task.figure.header} at noise {level:g}" for level in levels),
        "Parameters",
        "Training",
    )
    rows = tuple(_row(arm, columns, levels) for arm in (*comparison.arms, *comparison.teachers))
    return Table(caption=note(comparison), header=header, rows=rows)


def columns_of(comparison: Comparison) -> tuple[Measure, ...]:
    """The task's columns; beside accuracy, where classes are unequal, what does not let the largest class decide."""
    first, *others = comparison.task.columns
    return (first, *(BALANCED if unequal_classes(comparison) else ()), *others)


def header(comparison: Comparison) -> list[str]:
    """Column titles of ``rows``."""
    return list(overview(comparison).header)


def rows(comparison: Comparison) -> list[list[str]]:
    """The headline table as text cells, for a terminal."""
    return [list(row) for row in overview(comparison).rows]


def note(comparison: Comparison) -> str:
    """How to read the headline table: which epoch, which seeds, how many test images."""
    images = sorted({run.images for arm in comparison.everyone for run in arm.runs})
    seeds = sorted({seed for arm in comparison.arms for seed in arm.seeds})
    parts = []
    if images:
        parts.append(f"Measured on {' or '.join(f'{n:,}' for n in images)} test images, {_epochs(comparison)}.")
    if len(seeds) > 1:
        parts.append(f"Mean ± sample standard deviation over the seeds {', '.join(map(str, seeds))}.")
    elif seeds:
        parts.append(f"One seed ({seeds[0]}), so no deviation can be given.")
    if any(arm.runs for arm in comparison.teachers):
        parts.append("Each teacher is one network, so it has no deviation.")
    return " ".join(parts)


def headline(comparison: Comparison) -> str:
    """Means of the task's one figure in a sentence: the baseline, then the other arms with their distance from it."""
    arms = [arm for arm in comparison.arms if arm.runs]
    if not arms:
        return "No run of this comparison is complete."
    baseline = arms[0].score.mean
    images = arms[0].runs[0].images
    if comparison.task.name == "classification":
        first = f"Of {images:,} test images, {arms[0].name} classifies {percent(baseline)} % correctly"
    else:
        first = (
            f"On {images:,} test images, {arms[0].name} reaches {percent(baseline)} % {comparison.task.figure.title}"
        )
    others = [
        f"{arm.name} {percent(arm.score.mean)} % ({100 * (arm.score.mean - baseline):+.2f} points)" for arm in arms[1:]
    ]
    if len(others) > _MOST:
        means = [arm.score.mean for arm in arms[1:]]
        others = [f"the other {len(means)} arms between {percent(min(means))} % and {percent(max(means))} %"]
    return f"{', '.join([first, *others])}.".replace("(-", "(\N{MINUS SIGN}")


def markdown(comparison: Comparison) -> str:
    """The headline table in Markdown, with its note below. Names are escaped."""
    return f"{as_markdown(overview(comparison))}\n\n{escaped(note(comparison))}\n"


def as_markdown(table: Table) -> str:
    """Any table in Markdown, numbers to the right, without its caption."""
    lines = [
        [escaped(cell) for cell in table.header],
        [":--", *("--:" for _ in table.header[1:])],
        *([escaped(cell) for cell in row] for row in table.rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def units(comparison: Comparison) -> str:
    """In what the task's columns are, a sentence."""
    of_percent = [measure for measure in comparison.task.columns if measure.unit == "%"]
    shares = [measure.in_text if place else measure.title for place, measure in enumerate(of_percent)]
    listed = " and ".join([*([", ".join(shares[:-1])] if shares[1:] else []), *shares[-1:]])
    others = [f"{measure.title} is in {measure.unit}" for measure in comparison.task.columns if measure.unit == "nats"]
    return ", ".join([f"{listed} {'are' if len(shares) > 1 else 'is'} in percent", *others]) + "."


def noise_levels(comparison: Comparison) -> list[float]:
    """Every strength of noise that some network was measured at, ascending."""
    return sorted({level for arm in comparison.everyone for level in arm.noise})


def percent(value: float) -> str:
    """A fraction in percent with two digits, without the sign: 0.6612 -> "66.12"."""
    return f"{100 * value:.2f}" if math.isfinite(value) else "not finite"


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign, the minus as wide as the plus: -1.2 -> "−1.20"."""
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else "not finite"


def points(value: float) -> str:
    """A difference of fractions in points with its sign and unit: 0.012 -> "+1.20 points"."""
    return f"{signed(100 * value)} points"


def spread(sample: Sample, scale: float = 1.0, digits: int = 2) -> str:
    """Mean ± sample standard deviation; only the mean where there is one value.

    Args:
        sample: one value a seed.
        scale: by which the values are multiplied, 100 for percent.
        digits: after the point.
    """
    if not sample.values:
        return NOTHING
    if not math.isfinite(sample.mean):
        return "not finite"
    text = f"{scale * sample.mean:.{digits}f}"
    return text if sample.deviation is None else f"{text} ± {scale * sample.deviation:.{digits}f}"


def duration(sample: Sample) -> str:
    """A sample of seconds in the unit that reads best: seconds below two minutes, hours from two hours on."""
    unit, size = "s", 1
    if sample.mean >= 120:
        unit, size = ("h", 3600) if sample.mean >= 7200 else ("min", 60)
    text = spread(sample, 1 / size, digits=1)
    return text if text in {NOTHING, "not finite"} else f"{text} {unit}"


def _row(arm: ArmSummary, columns: Sequence[Measure], levels: Sequence[float]) -> tuple[str, ...]:
    noise = arm.noise
    return (
        arm.label,
        str(len(arm.runs)) if arm.role == "student" else NOTHING,
        *(spread(arm.of(measure), measure.scale, measure.digits) for measure in columns),
        *(spread(noise.get(level, Sample(())), 100) for level in levels),
        NOTHING if arm.parameters is None else f"{arm.parameters:,}",
        duration(arm.train_seconds),
    )


def _epochs(comparison: Comparison) -> str:
    epochs = {arm.name: arm.runs[0].epochs for arm in comparison.arms if arm.runs and arm.runs[0].epochs}
    if len(set(epochs.values())) == 1:
        return f"after the last of {next(iter(epochs.values()))} epochs"
    return f"after the last epoch ({', '.join(f'{name} {number}' for name, number in epochs.items())})"


def escaped(text: str) -> str:
    """Text in Markdown that means itself, on one line."""
    for sign in "\\|`*_[]<>":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", " ")
