"""Whether the exported student has learned anything."""

import numpy as np

from persistill.errors import UserError
from persistill.report.comparison import Comparison, Run
from persistill.report.predictions import predictions
from persistill.utils.chance import better_than_chance


def no_better_than_chance(comparison: Comparison, run: Run) -> str:
    """That a student is right no more often than chance, and what to do; empty if it is, or if that is not known.

    Chance is right as often as answers would be that are as often of each class as the student's, and have nothing to
    do with the images: of unequal classes that is more than one over their number.
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
    shares = [np.bincount(classes, minlength=logits.shape[1]) / count for classes in (answers, target)]
    chance = float(shares[0] @ shares[1])
    if better_than_chance(right, count, chance):
        return ""
    return (
        f"It is no better than chance: right on {right:,} of {count:,} test images, and answers without a look at them "
        f"would be on {chance * count:,.0f}. It was trained too little, or the images do not show their classes: train "
        "longer (train.epochs), on more images, and look at the labels."
    )
