"""By how much the exported student was better than the best one of another arm, on the images that it was chosen on."""

from persistill.errors import UserError
from persistill.report.comparison import Comparison
from persistill.report.paired_runs import paired_runs
from persistill.report.significance import Difference


def validation_margin(comparison: Comparison) -> Difference | None:
    """The exported student against the best one of another arm, paired by validation image.

    The interval is that of the images, two networks being given. Both are the best of several, so the margin says why
    one was chosen, and not by how much it is better on other images.

    Returns:
        The difference; None if there is no other arm, or the evaluations do not hold what it takes.
    """
    choice, measure = comparison.choice, comparison.task.figure
    rival = None if choice is None else choice.next_best(larger_is_better=measure.larger_is_better)
    runs = {run.folder: run for arm in comparison.arms for run in arm.runs}
    if choice is None or rival is None or not {choice.student.run, rival.run} <= set(runs):
        return None
    try:
        pair = runs[choice.student.run], runs[rival.run]
        return paired_runs([pair], measure, validation=choice.images)
    except (UserError, ValueError):
        return None
