"""How well a detector finds each class."""

import math
from collections.abc import Sequence

from persistill.report.class_dots import class_dots
from persistill.report.class_precisions import by_class
from persistill.report.comparison import ArmSummary, Comparison, Sample
from persistill.report.figure import Section
from persistill.report.table import Table, spread
from persistill.utils.units import first_few

_NAMED = 5


def class_ap(comparison: Comparison) -> Section | str:
    """AP of each class, a dot a network; AP and AP50 as tables, and classes that are never found."""
    supports = next((by_class(run)["objects"] for arm in comparison.everyone for run in arm.runs if by_class(run)), ())
    found = class_dots(
        comparison,
        lambda arm: _of(arm, "ap"),
        name="class-ap",
        title="AP",
        caption="Average precision in %, mean over thresholds of the overlap from 0.5 to 0.95 and over seeds.",
        supports=supports,
    )
    if found is None:
        return "AP by class: it was not measured in this comparison."
    halves = {arm.label: _of(arm, "ap50") for arm in found.arms}
    rows = tuple(
        (comparison.class_name(number), f"{count:,}", *(spread(of[number], 100) for of in halves.values()))
        for number, count in enumerate(supports)
    )
    absent = [comparison.class_name(number) for number, count in enumerate(supports) if not count]
    return Section(
        name="class-ap",
        title="AP by class",
        text=(
            "The mean of a column is its AP."
            + (
                f" Classes without an object in the test images have none (—): {first_few(absent, _NAMED)}."
                if absent
                else ""
            )
            + _never(comparison, found.arms, supports)
        ),
        figures=(found.figure,),
        marks=found.marks,
        tables=(found.table, Table("AP50 % of each class, mean over seeds.", found.table.header, rows)),
    )


def _never(comparison: Comparison, arms: Sequence[ArmSummary], supports: Sequence[int]) -> str:
    """Which classes networks never find, a sentence for each network that misses some; a space before each."""
    told = []
    for arm in arms:
        missed = [
            f"{comparison.class_name(number)} (0 of {count:,})"
            for number, (count, sample) in enumerate(zip(supports, _of(arm, "ap50"), strict=True))
            if count and sample.values and not any(sample.values)
        ]
        if missed:
            seeds = "" if len(arm.runs) == 1 else ", whatever the seed"
            told.append(f" {arm.label} never finds {first_few(missed, _NAMED)}{seeds}.")
    return "".join(told)


def _of(arm: ArmSummary, name: str) -> list[Sample]:
    """Class by class, one value a seed; empty where a class has no objects, and altogether if it was not measured."""
    if not arm.runs or not all(by_class(run) for run in arm.runs):
        return []
    found = []
    for values in zip(*(by_class(run)[name] for run in arm.runs), strict=True):
        known = all(value is not None and math.isfinite(value) for value in values)
        found.append(Sample(tuple(values) if known else ()))
    return found
