"""What to try next where distillation did not help, from what the run itself shows. One function a rule."""

import math
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from persistill.report.comparison import ArmSummary, Comparison, Run
from persistill.report.significance import Difference
from persistill.utils.units import counted

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

    Returns:
        Sentences; one alone where nothing is left to gain.
    """
    if full := nothing_to_gain(comparison):
        return (full,)
    rules: tuple[Callable[[Comparison, Mapping[str, Difference]], str], ...] = (
        weak_teacher,
        learns_by_heart,
        still_learning,
        wide_interval,
        another_method,
    )
    return tuple(text for rule in rules if (text := rule(comparison, differences)))


def nothing_to_gain(comparison: Comparison) -> str:
    """The student alone makes hardly an error."""
    measure, own = comparison.task.figure, _validated(comparison.arms[0])
    if measure.unit != "%" or not measure.larger_is_better or not own >= 1 - _EDGE:
        return ""
    return (
        f"Nothing is left to gain here: {comparison.arms[0].name} reaches {measure.stated(own)} on "
        "validation images without the others' help. Take it; to compare methods, take a smaller student, fewer "
        "training images or a harder task."
    )


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
    return (
        f"The best teacher ({name}) is hardly better than the student alone: {measure.stated(known[name])} against "
        f"{measure.show(own)}{measure.percent} on validation images. Take a larger "
        "teacher, start it from pretrained weights, or train it longer."
    )


def learns_by_heart(comparison: Comparison, differences: Mapping[str, Difference]) -> str:  # noqa: ARG001
    """Students know the training images better than others: there are too few images, or too many epochs."""
    runs = [run for arm in comparison.arms for run in arm.runs if run.curve]
    gaps = [run.curve[-1].train_accuracy - run.curve[-1].validation.get("accuracy", math.nan) for run in runs]
    gap, rise = _mean(gaps), _rise(comparison)
    if not (gap > _GAP or rise > _RISEN):
        return ""
    shown = (
        f"are right on {100 * gap:.0f} points more of the training images than of the validation images"
        if gap > _GAP
        else f"end with a validation loss {rise:.1f} times the least that they reached"
    )
    train, student = (comparison.settings.get(name) or {} for name in ("train", "student"))
    untried = {
        "random crops and flips (train.augment)": not train.get("augment"),
        "pretrained weights": not student.get("initial"),
        # Where the loss still falls, more epochs help, however far training accuracy is ahead.
        "fewer epochs": rise > _RISEN or not _fall(comparison) > _FALLING,
    }
    then = " or ".join(text for text, open_ in untried.items() if open_)
    return f"Students {shown}: they learn the images by heart. More images help most{then and f'; then {then}'}."


def still_learning(comparison: Comparison, differences: Mapping[str, Difference]) -> str:  # noqa: ARG001
    """The validation loss still falls at the end."""
    fall = _fall(comparison)
    if not fall > _FALLING or _rise(comparison) > _RISEN:
        return ""
    epochs = max((run.curve[-1].number for arm in comparison.arms for run in arm.runs if run.curve), default=0)
    width = _width(epochs)
    last = "the last epoch" if width == 1 else f"the last {width} epochs"
    return (
        f"The validation loss still falls by {100 * fall:.0f} % over {last} of {epochs}: train longer "
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
        f"The intervals reach {100 * half:.1f} points to either side: {counted(tightest.images, 'test image')} and "
        f"{counted(tightest.seeds, 'seed')} cannot show a gain of a point or two. Test on more images, or run "
        "more seeds."
    )


def another_method(comparison: Comparison, differences: Mapping[str, Difference]) -> str:  # noqa: ARG001
    """A method that was not tried."""
    arms = comparison.settings.get("arms") or {}
    tried = {_method_name(method) for arm in arms.values() for method in arm.get("methods") or ()}
    if not tried:
        return ""
    untried = [name for name in comparison.task.suggestions if not set(name.split("+")) <= tried]
    if not untried:
        return ""
    return f"Try another method beside {', '.join(sorted(tried))}: --method {' --method '.join(untried[:2])}."


def _method_name(method: Mapping[str, Any]) -> str:
    """By which ``--method`` knows it: of a loss on levels that loss, and of one of dense heads that of classes."""
    inner = method.get("loss")
    name = (inner if isinstance(inner, Mapping) else method).get("is", "")
    return str(name).lower().removeprefix("dense")


def _validated(arm: ArmSummary) -> float:
    return _mean([run.validation for run in arm.runs])


def _width(epochs: int) -> int:
    """Epochs at the end of a curve that are compared with as many before them."""
    return max(1, epochs // _TENTH)


def _fall(comparison: Comparison) -> float:
    """Share by which the students' validation loss fell at the end, mean over them; nan where it was not logged."""
    falls = []
    for run in (run for arm in comparison.arms for run in arm.runs):
        curve = _loss(run)
        width = _width(len(curve))
        if len(curve) >= 2 * width and (before := fmean(curve[-2 * width : -width])) > 0:
            falls.append(1 - fmean(curve[-width:]) / before)
    return _mean(falls)


def _rise(comparison: Comparison) -> float:
    """Last validation loss over the least, mean over the students; nan where it was not logged."""
    curves = [_loss(run) for arm in comparison.arms for run in arm.runs]
    return _mean([curve[-1] / min(curve) for curve in curves if curve and min(curve) > 0])


def _loss(run: Run) -> list[float]:
    """Validation loss by epoch; empty where it was not logged."""
    values = [epoch.validation.get("nll", math.nan) for epoch in run.curve]
    return values if all(map(math.isfinite, values)) else []


def _mean(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return fmean(finite) if finite else math.nan
