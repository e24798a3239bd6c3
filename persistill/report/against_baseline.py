"""Every arm of a comparison against its baseline, image by image, from the evaluations' files."""

from persistill.report.comparison import Comparison
from persistill.report.paired_runs import paired_runs
from persistill.report.significance import Difference, sentence
from persistill.report.task_report import Measure


def against_baseline(comparison: Comparison, measure: Measure | None = None) -> dict[str, Difference]:
    """How the arms differ from the baseline, the comparison's first arm.

    Seeds that both arms have are paired; an arm without any, and one whose figures are not finite, is left out.

    Args:
        comparison: as read from its folder.
        measure: one of the task's ``differences``; None for its one figure.

    Returns:
        Arm name -> difference, in the order of the recipe, without the baseline.

    Raises:
        UserError: if the evaluations hold no predictions, or networks were measured on different images.
    """
    if not comparison.arms:
        return {}
    measure = measure or comparison.task.figure
    baseline, *others = comparison.arms
    of_baseline = {run.seed: run for run in baseline.runs}
    found = {}
    for arm in others:
        pairs = [(run, of_baseline[run.seed]) for run in arm.runs if run.seed in of_baseline]
        difference = paired_runs(pairs, measure) if pairs else None
        if difference is not None:
            found[arm.name] = difference
    return found


def verdicts(comparison: Comparison) -> tuple[str, ...]:
    """Whether each arm's figure differs from the baseline's by more than chance, a sentence each, with its interval.

    Arms that only lend others their start are no results, and are left out.

    Args:
        comparison: as read from its folder.

    Raises:
        UserError: as ``against_baseline``.
    """
    figure = comparison.task.figure
    starts = {arm.get("start") for arm in comparison.settings.get("arms", {}).values()}
    return tuple(
        sentence(name, comparison.arms[0].name, found, figure.in_text, figure.difference)
        for name, found in against_baseline(comparison).items()
        if name not in starts
    )
