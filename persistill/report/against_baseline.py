"""Every arm of a comparison against its baseline, image by image, from the evaluations' files."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.report.comparison import Comparison
from persistill.report.predictions import Predictions, predictions
from persistill.report.significance import Difference, paired_difference, sentence
from persistill.report.table import points

Measure = Literal["accuracy", "nll"]


def against_baseline(comparison: Comparison, measure: Measure = "accuracy") -> dict[str, Difference]:
    """How the arms differ from the baseline, the comparison's first arm.

    Seeds that both arms have are paired; an arm without any, and one whose figures are not finite, is left out.

    Args:
        comparison: as read from its folder.
        measure: "accuracy", as fractions; or "nll", in nats, of which less is better.

    Returns:
        Arm name -> difference, in the order of the recipe, without the baseline.

    Raises:
        UserError: if the evaluations hold no predictions, or networks were measured on different images.
    """
    if not comparison.arms:
        return {}
    baseline, *others = comparison.arms
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
                pairs.append((_figures(ours, measure), _figures(theirs, measure)))
        if pairs and np.isfinite(pairs).all():
            arm_figures, baseline_figures = (np.stack(side) for side in zip(*pairs, strict=True))
            better = measure == "accuracy"
            found[arm.name] = paired_difference(arm_figures, baseline_figures, larger_is_better=better)
    return found


def verdicts(comparison: Comparison) -> tuple[str, ...]:
    """Whether each arm's accuracy differs from the baseline's by more than chance, a sentence each, with its interval.

    Arms that only lend others their start are no results, and are left out.

    Args:
        comparison: as read from its folder.

    Raises:
        UserError: as ``against_baseline``.
    """
    starts = {arm.get("start") for arm in comparison.settings.get("arms", {}).values()}
    return tuple(
        sentence(name, comparison.arms[0].name, found, "accuracy", points)
        for name, found in against_baseline(comparison).items()
        if name not in starts
    )


def _figures(answers: Predictions, measure: Measure) -> NDArray[np.float64]:
    """(N,), one figure an image."""
    target, logits = answers
    if measure == "accuracy":
        right: NDArray[np.bool_] = logits.argmax(1) == target
        return right.astype(np.float64)
    wide = logits.astype(np.float64)
    largest = wide.max(1)
    of_right: NDArray[np.float64] = wide[np.arange(len(target)), target]
    total: NDArray[np.float64] = np.log(np.exp(wide - largest[:, None]).sum(1)) + largest
    return total - of_right
