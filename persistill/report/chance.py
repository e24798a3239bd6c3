"""Whether the exported student has learned anything."""

from persistill.errors import UserError
from persistill.report.comparison import Comparison, Run
from persistill.report.predictions import predictions
from persistill.utils.chance import better_than_chance, share_by_chance


def no_better_than_chance(comparison: Comparison, run: Run) -> str:
    """That a student is right no more often than chance, and what to do; empty if it is, or if that is not known.

    Chance is that of ``share_by_chance``.
    """
    if comparison.task.figure.name != "accuracy":
        return ""
    try:
        target, logits = predictions(run.evaluation)
    except (UserError, ValueError, OSError):
        return ""
    if not len(target):
        return ""
    answers = logits.argmax(1)
    right, count = int((answers == target).sum()), len(target)
    chance = share_by_chance(answers, target, logits.shape[1])
    if better_than_chance(right, count, chance):
        return ""
    return (
        f"It is no better than chance: right on {right:,} of {count:,} test images, and answers without a look at them "
        f"would be on {chance * count:,.0f}. It was trained too little, or the images do not show their classes: train "
        "longer (train.epochs), on more images, and look at the labels."
    )
