"""Intervals of average precision: images are drawn with replacement, and the whole figure computed of each draw."""

from typing import NamedTuple

import numpy as np

from persistill.errors import UserError
from persistill.metrics.detection.coco_ap import mean_ap
from persistill.metrics.detection.matching import DetectionMatches, FloatArray, IntArray

DRAWS = 1000


class Interval(NamedTuple):
    """A figure and the interval that holds it.

    Attributes:
        value: of the images as they are.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


def ap_draws(matches: DetectionMatches, draws: int = DRAWS, seed: int = 0) -> dict[str, FloatArray]:
    """Figures "ap" and "ap50" of all images, and of draws of them, from which intervals of differences are told, too.

    Args:
        matches: of all images.
        draws: of as many images as there are, with replacement. They depend on the number of images alone: two networks
            see the same images in every draw.
        seed: of the draws.

    Returns:
        (1 + draws,) of each figure, all images first; NaN where a draw holds no object that counts.
    """
    each = [mean_ap(matches), *(mean_ap(matches, weights) for weights in _weights(matches.images, draws, seed))]
    return dict(zip(("ap", "ap50"), np.array(each).T, strict=True))


def ap_intervals(
    matches: DetectionMatches, draws: int = DRAWS, seed: int = 0, level: float = 0.95
) -> dict[str, Interval]:
    """Intervals of "ap" and "ap50", which are no means over images: each draw is ranked and averaged anew.

    Args:
        matches: of all images.
        draws: of the bootstrap.
        seed: of the draws.
        level: share of the draws inside.
    """
    return _intervals(ap_draws(matches, draws, seed), level)


def ap_difference(
    matches: DetectionMatches, baseline: DetectionMatches, draws: int = DRAWS, seed: int = 0, level: float = 0.95
) -> dict[str, Interval]:
    """Intervals of how much "ap" and "ap50" are above those of a baseline: in every draw both see the same images.

    Args:
        matches: of all images.
        baseline: of the same images.
        draws: of the bootstrap.
        seed: of the draws.
        level: share of the draws inside.

    Raises:
        UserError: if the numbers of images differ.
    """
    if matches.images != baseline.images:
        raise UserError(
            f"a difference is one of the same images; {matches.images} and {baseline.images} images were given."
        )
    ours, theirs = (ap_draws(of, draws, seed) for of in (matches, baseline))
    return _intervals({name: ours[name] - theirs[name] for name in ours}, level)


def _weights(images: int, draws: int, seed: int) -> list[IntArray]:
    """(N,) how often each image was drawn, of each draw."""
    generator = np.random.default_rng(seed)
    return [np.bincount(generator.integers(images, size=images), minlength=images) for _ in range(draws)]


def _intervals(found: dict[str, FloatArray], level: float) -> dict[str, Interval]:
    tail = (1 - level) / 2
    return {
        name: Interval(float(values[0]), *map(float, np.nanquantile(values[1:], [tail, 1 - tail])))
        for name, values in found.items()
    }
