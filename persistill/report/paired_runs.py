"""The difference between pairs of networks on the same images, from what their evaluations stored of these images."""

from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.report.comparison import Run
from persistill.report.predictions import Predictions, arrays, predictions
from persistill.report.significance import (
    Difference,
    paired_difference,
    paired_drawn_difference,
    paired_ratio_difference,
)
from persistill.report.task_report import Measure

PER_IMAGE = "per_image.npz"
"""Of an evaluation, where figures are ratios of sums: figure -> (N, K, 2), of each image a numerator and a denominator
for each of K classes. The figure of some images is the mean over classes of the sum of numerators through that of
denominators, where it is not 0."""
DRAWN = "draws.npz"
"""Of an evaluation, where figures can be told of whole sets of images alone: figure -> (1 + D,), of all images, and of
D draws of them with replacement, which are the same for all networks of the same images. What is of validation images
has "validation_" before its name, in both files."""


def paired_runs(
    pairs: Sequence[tuple[Run, Run]], measure: Measure, *, validation: int | None = None
) -> Difference | None:
    """How the first network of each pair differs from the second.

    Args:
        pairs: at least one, of equal seeds.
        measure: one of the task's ``differences``.
        validation: number of the validation images, for a difference on these; None for one on the test images.

    Returns:
        The mean difference with its interval; None where answers are not finite.

    Raises:
        UserError: if the evaluations do not hold what it takes, or networks were measured on different images.
    """
    better, split = measure.larger_is_better, "" if validation is None else "validation_"
    folders = [one.evaluation for pair in pairs for one in pair]
    if any((folder / DRAWN).exists() for folder in folders):
        found = [_stored(folder / DRAWN, f"{split}{measure.name}") for folder in folders]
        images = pairs[0][0].images if validation is None else validation
        return paired_drawn_difference(*_sides(folders, found), images, larger_is_better=better)
    if any((folder / PER_IMAGE).exists() for folder in folders):
        found = [_stored(folder / PER_IMAGE, f"{split}{measure.name}") for folder in folders]
        return paired_ratio_difference(*_sides(folders, found), larger_is_better=better)
    answers = [_answers(folder, validation=validation is not None) for folder in folders]
    _same(folders, [one.target.tobytes() for one in answers])
    found = [per_image_figures(one, measure) for one in answers]
    return paired_difference(*_sides(folders, found), larger_is_better=better) if np.isfinite(found).all() else None


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


def _sides(
    folders: Sequence[Path], found: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(S, ...) of the first networks of the pairs, and of the second."""
    _same(folders, [one.shape for one in found])
    return np.stack(found[::2]), np.stack(found[1::2])


def _same(folders: Sequence[Path], images: Sequence[Hashable]) -> None:
    """Refuse evaluations of other images than those of the first."""
    for folder, of in zip(folders, images, strict=True):
        if of != images[0]:
            raise UserError(
                f"{folder} holds answers to other images than {folders[0]}, so the two cannot be compared. Run the "
                "recipe again."
            )


def _stored(path: Path, name: str) -> NDArray[np.float64]:
    found = arrays(path).get(name)
    if found is None:
        raise UserError(f"{path} does not hold {name!r}. Move its folder away and run the recipe again.")
    return found.astype(np.float64)


def _answers(evaluation: Path, *, validation: bool) -> Predictions:
    if not validation:
        return predictions(evaluation)
    target, logits = (_stored(evaluation / "predictions.npz", f"validation_{name}") for name in ("target", "logits"))
    return Predictions(target.astype(np.int64), logits.astype(np.float32))
