"""What to try next where distillation did not help, from what the run itself shows. One function a rule."""

import math
from collections.abc import Callable, Mapping
from statistics import fmean

from persistill.report.comparison import ArmSummary, Comparison, Run
from persistill.report.significance import Difference

_TENTH = 10
_FALLING = 0.01
"""Share by which the validation loss fell over the last tenth of the epochs, from which on it counts as falling."""
_RISEN = 1.1
"""Last validation loss over the least, from which on it counts as risen."""
_GAP = 0.1
"""Training accuracy less validation accuracy, from which on a network knows its images by heart."""
_WIDE = 0.02
"""Half of an interval, from which on a comparison cannot show what distillation usually gives."""
_EDGE = 0.01
"""By how much a teacher has to be better than the student alone, for it to have anything to teach."""


def advice(comparison: Comparison, differences: Mapping[str, Difference]) -> tuple[str, ...]:
    """What to try next, most telling first; a sentence or two each.

    Args:
        comparison: whose arms did not beat its first.
        differences: arm -> its difference to the first.
    """
    rules: tuple[Callable[[Comparison, Mapping[str, Difference]], str], ...] = (
        weak_teacher,
        learns_by_heart,
        still_learning,
        wide_interval,
        another_method,
    )
    return tuple(text for rule in rules if (text := rule(comparison, differences)))


def weak_teacher(comparison: Comparison, differences: Mapping[str, Difference]) -> str:  # noqa: ARG001 - as all rules
    """The teacher is hardly better than the student that had none."""
    measure = comparison.task.figure
    sign = 1 if measure.larger_is_better else -1
    own = _validated(comparison.arms[0])
    teachers = {arm.name: _validated(arm) for arm in comparison.teachers}
    known = {name: value for name, value in teachers.items() if math.isfinite(value)}
    if not known or not math.isfinite(own):
        return ""
    name = max(known, key=lambda one: sign * known[one])
    if sign * (known[name] - own) > _EDGE:
        return ""
    unit = " %" if measure.unit == "%" else ""
    return (
        f"The best teacher ({name}) is hardly better than the student alone: {measure.in_text} "
        f"{measure.show(known[name])}{unit} against {measure.show(own)}{unit} on validation images. Take a larger "
        "teacher, start it from pretrained weights, or train it longer."
    )


def learns_by_heart(comparison: Comparison, differences: Mapping[str, Difference]) -> str:  # noqa: ARG001
    """Students know the training images better than others: there are too few images, or too many epochs."""
    runs = [run for arm in comparison.arms for run in arm.runs if run.curve]
    gaps = [run.curve[-1].train_accuracy - run.curve[-1].validation.get("accuracy", math.nan) for run in runs]
    risen = [curve[-1] / min(curve) for run in runs if (curve := _loss(run)) and min(curve) > 0]
    gap, rise = _mean(gaps), _mean(risen)
    if not (gap > _GAP or rise > _RISEN):
        return ""
    shown = (
        f"are right on {100 * gap:.0f} points more of the training images than of the validation images"
        if gap > _GAP
        else f"end with a validation loss {rise:.1f} times the least that they reached"
    )
    return (
        f"Students {shown}: they learn the images by heart. More images help most; then random crops and flips "
        "(train.augment), pretrained weights, or fewer epochs."
    )


def still_learning(comparison: Comparison, differences: Mapping[str, Difference]) -> str:  # noqa: ARG001
    """The validation loss still falls at the end."""
    falls, width = [], 1
    for run in (run for arm in comparison.arms for run in arm.runs):
        curve = _loss(run)
        width = max(1, len(curve) // _TENTH)
        if len(curve) >= 2 * width and (before := fmean(curve[-2 * width : -width])) > 0:
            falls.append(1 - fmean(curve[-width:]) / before)
    fall = _mean(falls)
    if not fall > _FALLING:
        return ""
    epochs = max((run.curve[-1].number for arm in comparison.arms for run in arm.runs if run.curve), default=0)
    return (
        f"The validation loss still falls by {100 * fall:.0f} % over the last {width} of {epochs} epochs: train longer "
        f"(--epochs {2 * epochs}, or train.epochs in a recipe)."
    )


def wide_interval(comparison: Comparison, differences: Mapping[str, Difference]) -> str:
    """The comparison is too small to show a usual gain."""
    if comparison.task.figure.unit != "%" or not differences:
        return ""
    tightest = min(differences.values(), key=lambda found: found.high - found.low)
    half = (tightest.high - tightest.low) / 2
    if half < _WIDE:
        return ""
    return (
        f"The intervals reach {100 * half:.1f} points to either side: {tightest.images:,} test images and "
        f"{tightest.seeds} seed(s) cannot show a gain of a point or two. Test on more images, or run more seeds."
    )


def another_method(comparison: Comparison, differences: Mapping[str, Difference]) -> str:  # noqa: ARG001
    """A method that was not tried."""
    arms = comparison.settings.get("arms") or {}
    tried = {str(method.get("is", "")).lower() for arm in arms.values() for method in arm.get("methods") or ()}
    if not tried:
        return ""
    untried = [name for name in ("kd", "kd+sp", "dkd", "dist") if not set(name.split("+")) <= tried]
    if not untried:
        return ""
    return f"Try another method beside {', '.join(sorted(tried))}: --method {' --method '.join(untried[:2])}."


def _validated(arm: ArmSummary) -> float:
    return _mean([run.validation for run in arm.runs])


def _loss(run: Run) -> list[float]:
    """Validation loss by epoch; empty where it was not logged."""
    values = [epoch.validation.get("nll", math.nan) for epoch in run.curve]
    return values if all(map(math.isfinite, values)) else []


def _mean(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return fmean(finite) if finite else math.nan
