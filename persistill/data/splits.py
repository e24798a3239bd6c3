"""Which images go into training, validation and test: functions of class numbers, counts and a seed alone."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from persistill.config import Data
from persistill.data.detection.balanced_draw import draw_by_objects
from persistill.data.sources.base import IntArray
from persistill.errors import UserError

DEFAULT_TEST_SHARE = 0.2


class Drawn(NamedTuple):
    """The images of one split.

    Attributes:
        part: the part of the source that they come from: "train", "validation" or "test".
        rows: (n,) int64, their positions in that part, ascending.
    """

    part: str
    rows: IntArray


def stratified(targets: IntArray, count: int, generator: np.random.Generator) -> IntArray:
    """Draw images so that every class keeps its share, exact to one image.

    Of n images, of which a class holds m, the class gives ``count * m / n``, rounded up or down so that the counts
    add up (largest remainders first, ties by lot). Classes of equal size thus give counts that differ by one at most.

    Args:
        targets: (n,) class numbers.
        count: how many to draw, 0 to n.
        generator: draws them.

    Returns:
        (count,) positions in ``targets``, ascending.

    Raises:
        ValueError: if ``count`` is out of range.
    """
    total = len(targets)
    if not 0 <= count <= total:
        raise ValueError(f"count must be from 0 to {total}, the number of targets; {count} was given.")
    classes, inverse, sizes = np.unique(targets, return_inverse=True, return_counts=True)
    counts, remainders = np.divmod(count * sizes.astype(np.int64), max(total, 1))
    by_remainder = np.lexsort((generator.random(len(classes)), -remainders))
    counts[by_remainder[: count - int(counts.sum())]] += 1
    shuffled = generator.permutation(total)
    grouped = shuffled[np.argsort(inverse[shuffled], kind="stable")]
    rank = np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(grouped[rank < np.repeat(counts, sizes)]).astype(np.int64)


def draw_splits(parts: Mapping[str, IntArray], settings: Data, classes: Sequence[str]) -> dict[str, Drawn]:
    """Draw the three splits from the parts that a source has.

    * Test: the source's own test part, or ``settings.test`` images of it. A source whose only held-out part is
      called validation (ImageNet and its like) is tested on that. Without any, ``settings.test`` images (by default
      a fifth) are taken from the training part before anything else.
    * Training: what is left of the training part, or ``settings.train`` images of it.
    * Validation: from the source's own validation part (all of it where ``settings.validation`` is a share, otherwise
      that many), else taken from the training images.

    Classes keep their shares, or, where images have boxes, the objects of every class are shared out evenly.

    The three draws are independent: another ``train`` leaves the test images as they were.

    Args:
        parts: "train" and, where the source has them, "validation" and "test" -> (n,) class numbers, or (n, K) objects
            of each class in each image.
        settings: the counts and the seed.
        classes: class names, for messages.

    Returns:
        "train", "validation", "test" -> the images.

    Raises:
        UserError: if there are too few images, in all or of one class.
    """
    if "train" not in parts:
        raise UserError(f"{settings.where} has no training images; its parts are: {', '.join(sorted(parts))}.")
    draws = [np.random.default_rng([settings.split_seed % 2**64, stage]) for stage in range(3)]
    held_out = "test" if "test" in parts else "validation"
    rest = np.arange(len(parts["train"]))
    if held_out in parts:
        count = len(parts[held_out]) if settings.test is None else settings.test
        _enough(settings, "test", count, len(parts[held_out]))
        test = Drawn(held_out, _draw(parts[held_out], count, draws[0]))
    else:
        count = round(DEFAULT_TEST_SHARE * len(rest)) if settings.test is None else settings.test
        _enough(settings, "test", count, len(rest) - 2)
        test = Drawn("train", _draw(parts["train"], count, draws[0]))
        rest = np.setdiff1d(rest, test.rows)
    if settings.train is not None:
        _enough(settings, "train", settings.train, len(rest))
        rest = rest[_draw(parts["train"][rest], settings.train, draws[1])]

    share = isinstance(settings.validation, float)
    if "validation" in parts and held_out == "test":
        own = parts["validation"]
        count = len(own) if share else int(settings.validation)
        _enough(settings, "validation", count, len(own))
        validation = Drawn("validation", _draw(own, count, draws[2]))
    else:
        count = round(settings.validation * len(rest)) if share else int(settings.validation)
        _enough(settings, "validation", count, len(rest) - 1)
        validation = Drawn("train", rest[_draw(parts["train"][rest], count, draws[2])])
        rest = np.setdiff1d(rest, validation.rows)

    drawn = {"train": Drawn("train", rest), "validation": validation, "test": test}
    for name, split in drawn.items():
        if parts["train"].ndim == 1 and (name == "train" or split.part == "train"):
            _every_class(name, split, parts["train"], settings, classes)
    return drawn


def _draw(targets: IntArray, count: int, generator: np.random.Generator) -> IntArray:
    draw = draw_by_objects if targets.ndim == 2 else stratified
    return draw(targets, count, generator)


def _enough(settings: Data, field: str, count: int, available: int) -> None:
    if count > available:
        raise UserError(
            f"data.{field} asks for {count} images, and {settings.where} has {max(available, 0)} to give for it "
            f"(data.train={settings.train}, data.validation={settings.validation}, data.test={settings.test})."
        )


def _every_class(name: str, split: Drawn, targets: IntArray, settings: Data, classes: Sequence[str]) -> None:
    missing = np.setdiff1d(np.arange(len(classes)), targets[split.rows])
    if len(missing):
        first = int(missing[0])
        raise UserError(
            f"{len(missing)} of {len(classes)} classes have no image in the {name} split: {classes[first]!r} has "
            f"{int((targets == first).sum())} training images in {settings.where}, too few for "
            f"data.train={settings.train}, data.validation={settings.validation}, data.test={settings.test}. "
            "Change these, or add images."
        )
