"""Every arm of a comparison against its baseline, image by image, from the evaluations' files."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.report.comparison import ArmSummary, Comparison, Run
from persistill.report.predictions import Predictions, arrays, predictions
from persistill.report.significance import Difference, paired_difference, paired_ratio_difference, sentence
from persistill.report.task_report import Measure

PER_IMAGE = "per_image.npz"
"""Of an evaluation: figure -> (N, K, 2), of each image a numerator and a denominator for each of K classes. The figure
of some images is the mean over classes of the sum of numerators through that of denominators, where it is not 0."""


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
    if any((run.evaluation / PER_IMAGE).exists() for run in baseline.runs):
        return _ratios(baseline, others, measure)
    of_baseline = {run.seed: predictions(run.evaluation) for run in baseline.runs}
    found = {}
    for arm in others:
        pairs = []
        for run in arm.runs:
            if run.seed in of_baseline:
                ours, theirs = predictions(run.evaluation), of_baseline[run.seed]
                if not np.array_equal(ours.target, theirs.target):
                    raise UserError(
                        f"{run.evaluation} holds answers to other test images than the baseline's, so the two cannot "
                        "be compared. Run the recipe again."
                    )
                pairs.append((per_image_figures(ours, measure), per_image_figures(theirs, measure)))
        if pairs and np.isfinite(pairs).all():
            arm_figures, baseline_figures = (np.stack(side) for side in zip(*pairs, strict=True))
            better = measure.larger_is_better
            found[arm.name] = paired_difference(arm_figures, baseline_figures, larger_is_better=better)
    return found


def _ratios(baseline: ArmSummary, others: Sequence[ArmSummary], measure: Measure) -> dict[str, Difference]:
    """As ``against_baseline``, of figures that are no mean over images."""
    of_baseline = {run.seed: _stored(run, measure) for run in baseline.runs}
    found = {}
    for arm in others:
        pairs = [(_stored(run, measure), of_baseline[run.seed]) for run in arm.runs if run.seed in of_baseline]
        if pairs:
            ours, theirs = (np.stack(side) for side in zip(*pairs, strict=True))
            found[arm.name] = paired_ratio_difference(ours, theirs, larger_is_better=measure.larger_is_better)
    return found


def _stored(run: Run, measure: Measure) -> NDArray[np.float64]:
    path = run.evaluation / PER_IMAGE
    found = arrays(path).get(measure.name)
    if found is None:
        raise UserError(f"{path} does not hold {measure.name!r}. Move its folder away and run the recipe again.")
    return found.astype(np.float64)


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


def per_image_figures(answers: Predictions, measure: Measure) -> NDArray[np.float64]:
    """(N,), one figure an image: 1 or 0 for a right or wrong class, or the negative log-likelihood."""
    target, logits = answers
    if measure.name == "accuracy":
        right: NDArray[np.bool_] = logits.argmax(1) == target
        return right.astype(np.float64)
    wide = logits.astype(np.float64)
    largest = wide.max(1)
    of_right: NDArray[np.float64] = wide[np.arange(len(target)), target]
    total: NDArray[np.float64] = np.log(np.exp(wide - largest[:, None]).sum(1)) + largest
    return total - of_right
