"""By how much the exported student was better than the best one of another arm, on the images that it was chosen on."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.report.against_baseline import PER_IMAGE, per_image_figures
from persistill.report.comparison import Comparison, Run
from persistill.report.predictions import Predictions, arrays
from persistill.report.significance import Difference, paired_difference, paired_ratio_difference


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
    pair = runs[choice.student.run], runs[rival.run]
    better = measure.larger_is_better
    try:
        if all((run.evaluation / PER_IMAGE).exists() for run in pair):
            ours, theirs = (arrays(run.evaluation / PER_IMAGE)[f"validation_{measure.name}"][None] for run in pair)
            return paired_ratio_difference(ours, theirs, larger_is_better=better)
        ours, theirs = (per_image_figures(_held_out(run), measure)[None] for run in pair)
        return paired_difference(ours, theirs, larger_is_better=better)
    except (KeyError, UserError):
        return None


def _held_out(run: Run) -> Predictions:
    """Answers to the validation images."""
    found: dict[str, NDArray[np.generic]] = arrays(Path(run.evaluation) / "predictions.npz")
    return Predictions(
        found["validation_target"].astype(np.int64), found["validation_logits"].astype(np.float32, copy=False)
    )
