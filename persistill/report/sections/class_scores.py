"""How well each class is recognized."""

import math

from persistill.report.class_scores import per_class
from persistill.report.comparison import Comparison, Run
from persistill.report.decision import exported_run
from persistill.report.figure import Section
from persistill.report.table import NOTHING, Table, percent

_MOST = 100
"""Classes that are listed; of more, those with the lowest recall."""


def class_scores(comparison: Comparison) -> Section | str:
    """Precision, recall, F1 and support of each class, of the exported student and of the baseline's first."""
    first = next((run for arm in comparison.arms[:1] for run in arm.runs), None)
    exported = exported_run(comparison)
    runs = {}
    if exported is not None and comparison.choice is not None:
        runs[f"{comparison.choice.name}, exported"] = exported
    if first is not None and first is not exported:
        runs[f"{comparison.arms[0].name}, seed {first.seed}"] = first
    tables = tuple(_table(comparison, name, run) for name, run in runs.items() if per_class(run))
    if not tables:
        return "Single classes: their scores were not measured in this comparison."
    return Section(
        name="classes",
        title="Single classes",
        text=(
            "Precision is the share of right answers among the images that were given a class, recall the share of a "
            "class's images that were found, F1 the harmonic mean of both, and support the number of test images. The "
            "class with the lowest recall stands first."
        ),
        tables=tables,
    )


def _table(comparison: Comparison, name: str, run: Run) -> Table:
    found = per_class(run)
    order = sorted(range(len(found["support"])), key=lambda number: _value(found["recall"][number], math.inf))
    rows = tuple(
        (
            comparison.class_name(number),
            *(_cell(found[what][number]) for what in ("precision", "recall", "f1")),
            f"{found['support'][number]:,}",
        )
        for number in order[:_MOST]
    )
    more = f" The {_MOST} of {len(order)} classes with the lowest recall." if len(order) > _MOST else ""
    return Table(f"{name}.{more}", ("Class", "Precision %", "Recall %", "F1 %", "Support"), rows)


def _cell(value: float | None) -> str:
    return NOTHING if value is None else percent(value)


def _value(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
