"""What a comparison comes to: which student to take, why, and what to try next. The first thing that anybody reads."""

import math
from dataclasses import dataclass

from persistill.errors import UserError
from persistill.report.advice import advice
from persistill.report.against_baseline import against_baseline
from persistill.report.chance import no_better_than_chance
from persistill.report.class_precisions import never_found
from persistill.report.class_scores import BALANCED, never_recognized, unequal_classes
from persistill.report.comparison import ArmSummary, Comparison, Run
from persistill.report.export_text import smaller_sentence
from persistill.report.significance import Difference
from persistill.report.table import NOTHING, Table, headline, note, spread
from persistill.report.task_report import interval
from persistill.report.validation_margin import validation_margin
from persistill.utils.units import first_few


@dataclass(frozen=True)
class Decision:
    """What to do, for people.

    Attributes:
        sentence: which student to take, and whether distillation helped.
        reasons: why that one, what to expect of it, what it cannot do, and its smaller file; a sentence or two each.
        advice: what to try next, where distillation did not help; a sentence or two each.
        table: all networks in six columns.
    """

    sentence: str
    reasons: tuple[str, ...]
    advice: tuple[str, ...]
    table: Table


def decide(comparison: Comparison) -> Decision:
    """The decision of a comparison, from its run folders."""
    try:
        found = against_baseline(comparison)
    except (UserError, ValueError):
        found = {}
    helped = any(difference.verdict == "better" for difference in found.values())
    return Decision(
        sentence=_sentence(comparison, found),
        reasons=tuple(text for text in _reasons(comparison) if text),
        advice=() if helped or len(comparison.arms) < 2 else advice(comparison, found),
        table=_table(comparison, found),
    )


def exported_run(comparison: Comparison) -> Run | None:
    """The exported student; None if none was exported, or its folder is gone."""
    choice = comparison.choice
    runs = (run for arm in comparison.arms for run in arm.runs)
    return None if choice is None else next((run for run in runs if run.folder == choice.student.run), None)


def _sentence(comparison: Comparison, found: dict[str, Difference]) -> str:
    choice, measure = comparison.choice, comparison.task.figure
    if choice is None:
        return headline(comparison)
    arm, baseline = choice.student.arm, comparison.arms[0].name
    if len(comparison.arms) < 2:
        count = len(choice.candidates)
        why = (
            f"of {count} students it is the best on validation images" if count > 1 else "no other student was trained"
        )
        return f"Take {choice.name}: {why}."
    own, sign = found.get(arm), 1 if measure.larger_is_better else -1

    def by(name: str, difference: Difference) -> str:
        return (
            f"{name} against {baseline}: {measure.difference(difference.mean)} of test {measure.in_text} "
            f"(95 % interval {interval(measure, difference.low, difference.high)})"
        )

    if own is not None and own.verdict == "better":
        return f"Take {choice.name}: {_helped(comparison)}, {by(arm, own)}."
    better = [name for name, difference in found.items() if difference.verdict == "better"]
    best = max(better, key=lambda name: abs(found[name].mean)) if better else ""
    if asked_for(comparison):
        told = f"{choice.name} is exported because you asked for it{_instead(comparison)}"
        if best:
            return f"{told}. {best} did better on test images, {by(best, found[best])}."
        shown = arm if own is not None else max(found, key=lambda name: sign * found[name].mean, default="")
        return f"{told}. {_failed(comparison)}{f': {by(shown, found[shown])}' if shown else ''}."
    if better:
        return (
            f"{choice.name} is exported, but {best} did better on test images, {by(best, found[best])}: validation and "
            f"test images disagree, so take either, or run more seeds."
        )
    failed = f"{_failed(comparison)}: take {choice.name}"
    if arm == baseline:
        best = max(found, key=lambda name: sign * found[name].mean) if found else ""
        return f"{failed}. {by(best, found[best])}." if best else f"{failed}."
    if own is None:
        return f"{failed}, the best on validation images."
    if own.verdict == "worse":
        return f"{_failed(comparison)}: {by(arm, own)}. {choice.name} is exported; prefer {baseline}."
    return f"{failed}, but expect no more of it than of {baseline}. {by(arm, own)}."


def asked_for(comparison: Comparison) -> bool:
    """Whether the recipe names the arm that is exported, instead of leaving it to the validation images."""
    choice = comparison.choice
    return choice is not None and (comparison.settings.get("export") or "best") == choice.student.arm


def _instead(comparison: Comparison) -> str:
    """Which student would have been exported if none had been asked for; empty if it is the same."""
    if (better := _better_elsewhere(comparison)) is None:
        return ""
    name, run = better
    choice, measure = comparison.choice, comparison.task.figure
    assert choice is not None
    return (
        f"; {name}, seed {run.seed} would have been chosen, for {measure.in_text} {measure.show(run.validation)} "
        f"against {measure.show(choice.student.value)}{measure.percent} on validation images"
    )


def _teaches(comparison: Comparison, name: str) -> bool:
    """Whether an arm learns from a teacher."""
    arm = (comparison.settings.get("arms") or {}).get(name) or {}
    return bool(arm.get("methods"))


def _alone(comparison: Comparison) -> bool:
    """Whether the comparison sets distillation beside training without it."""
    first, *others = comparison.arms
    return not _teaches(comparison, first.name) and any(_teaches(comparison, arm.name) for arm in others)


def _helped(comparison: Comparison) -> str:
    return "distillation helped" if _alone(comparison) else "it beats the baseline"


def _failed(comparison: Comparison) -> str:
    if _alone(comparison):
        return "Distillation did not beat training alone"
    return f"No arm beat the baseline {comparison.arms[0].name}"


def _reasons(comparison: Comparison) -> list[str]:
    choice = comparison.choice
    if choice is None:
        return []
    reasons = [_why(comparison), _expected(comparison)]
    run = exported_run(comparison)
    if run is not None:
        reasons.append(no_better_than_chance(comparison, run))
    if run is not None and (never := never_recognized(run)):
        named = [f"{comparison.class_name(number)} (0 of {count})" for number, count in never]
        reasons.append(f"It never recognizes {first_few(named, 5)} on the test images: recall 0.")
    if run is not None and (never := never_found(run)):
        named = [f"{comparison.class_name(number)} (0 of {count})" for number, count in never]
        reasons.append(f"It never finds {first_few(named, 5)} on the test images: AP50 0.")
    if comparison.export is not None:
        reasons.append(smaller_sentence(comparison.export))
    return reasons


def _why(comparison: Comparison) -> str:
    choice, measure = comparison.choice, comparison.task.figure
    assert choice is not None
    value = measure.stated(choice.student.value)
    rival = choice.next_best(larger_is_better=measure.larger_is_better)
    tied = [
        one
        for one in choice.candidates
        if (one.arm, one.value) == (choice.student.arm, choice.student.value) and one.seed != choice.student.seed
    ]
    if tied:
        seeds = ", ".join(str(one.seed) for one in tied)
        lower = any(choice.student.nll < one.nll for one in tied)
        taken = "the one of the lowest NLL" if lower else "the first"
        value += f" (as much as seed{'s' if len(tied) > 1 else ''} {seeds} of this arm; {taken} is taken)"
    if asked_for(comparison):
        text = f"Exported because it was asked for, with the best of its seeds on {choice.images:,} validation images"
        better = _better_elsewhere(comparison)
        rest = (
            ""
            if better is None
            else f" The best of all there is {better[0]}, seed {better[1].seed}: {measure.show(better[1].validation)}."
        )
        return f"{text}: {value}.{rest}"
    if len(choice.candidates) < 2:
        return f"On {choice.images:,} validation images it has {value}."
    text = f"Chosen on {choice.images:,} validation images, the best of {len(choice.candidates)}: {value}"
    if rival is None:
        return f"{text}."
    name = f"{rival.arm}, seed {rival.seed}"
    if rival.value == choice.student.value:
        return f"{text}, as much as {name}; of equal ones the simplest is taken."
    apart = measure.difference(choice.student.value - rival.value)
    margin = validation_margin(comparison)
    reach = "" if margin is None else f"; 95 % interval {interval(measure, margin.low, margin.high)}"
    return f"{text}, {apart} against the best of another arm ({name}{reach})."


def _better_elsewhere(comparison: Comparison) -> tuple[str, Run] | None:
    """The arm and the run that is best on validation images; None if the one that was asked for is as good."""
    choice, measure = comparison.choice, comparison.task.figure
    assert choice is not None
    sign = 1 if measure.larger_is_better else -1
    all_runs = [(arm.name, run) for arm in comparison.arms for run in arm.runs if math.isfinite(run.validation)]
    if not all_runs:
        return None
    name, best = max(all_runs, key=lambda one: sign * one[1].validation)
    if not sign * best.validation > sign * choice.student.value:
        return None
    return name, best


def _expected(comparison: Comparison) -> str:
    run, measure = exported_run(comparison), comparison.task.figure
    if run is None or not math.isfinite(run.score):
        return ""
    figures = [measure.stated(run.score)]
    if unequal_classes(comparison):
        figures += [one.stated(run.figure(*one.path)) for one in BALANCED]
    return f"On the {run.images:,} test images, by which nothing was chosen: {', '.join(figures)}."


def _table(comparison: Comparison, found: dict[str, Difference]) -> Table:
    measure, exported = comparison.task.figure, comparison.exported
    unit = "points" if measure.unit == "%" else measure.unit

    def row(arm: ArmSummary) -> tuple[str, ...]:
        difference = found.get(arm.name) if arm.role == "student" else None
        cells: tuple[str, ...] = (NOTHING,) * 3
        if difference is not None:
            short = [measure.difference(value).split(" ")[0] for value in (difference.low, difference.high)]
            mean = measure.difference(difference.mean).split(" ")[0]
            cells = mean, " to ".join(short), difference.verdict
        elif arm.role == "student" and arm.name == comparison.arms[0].name:
            cells = (NOTHING, NOTHING, "baseline")
        mark = " (exported)" if arm.role == "student" and arm.name == exported else ""
        validated = spread(arm.validation, measure.scale, measure.digits)
        return f"{arm.label}{mark}", validated, spread(arm.score, measure.scale, measure.digits), *cells

    seeds = {len(arm.runs) for arm in comparison.arms if arm.runs}
    several = bool(seeds) and max(seeds) > 1
    baseline = comparison.arms[0].name if comparison.arms else "the baseline"
    return Table(
        caption=(
            f"{note(comparison)} Difference to {baseline} on test images"
            + (", with the interval over seeds and images." if several else "; the interval is that of the images.")
        ),
        header=(
            "Network",
            f"Validation {measure.in_text}{measure.percent}",
            f"Test {measure.in_text}{measure.percent}",
            f"Difference{f', {unit}' if unit else ''}",
            "95 % interval",
            "Verdict",
        ),
        rows=tuple(row(arm) for arm in comparison.everyone),
    )
