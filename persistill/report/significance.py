"""Whether a difference between two arms is more than chance: of the seeds, and of the test images.

Two arms are compared seed by seed and image by image, and the difference gets a 95 % interval from the bootstrap.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError

LEVEL = 0.95
DRAWS = 2000
_BLOCK = 250  # draws whose counts are in float at a time
_STUDENT = {1: 12.706205, 2: 4.302653, 3: 3.182446, 4: 2.776445}

Verdict = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True)
class Difference:
    """How one arm differs from the baseline.

    Attributes:
        mean: arm less baseline, over all seeds and images.
        low: lower end of the 95 % interval.
        high: its upper end.
        seeds: pairs of networks.
        images: on which each was measured.
        larger_is_better: whether a positive difference is a gain.
    """

    mean: float
    low: float
    high: float
    seeds: int
    images: int
    larger_is_better: bool = True

    @property
    def verdict(self) -> Verdict:
        """Better or worse if the interval excludes 0."""
        if self.low <= 0 <= self.high:
            return "not distinguishable"
        return "better" if (self.low > 0) == self.larger_is_better else "worse"


def paired_difference(
    arm: NDArray[np.floating], baseline: NDArray[np.floating], *, larger_is_better: bool = True, seed: int = 0
) -> Difference:
    """Mean difference of two arms, with a bootstrap interval over seeds and images.

    Each of 2,000 draws takes as many seeds as there are, with replacement, and as many images, with replacement; all
    seeds of a draw see the same images, because all networks answered the same ones (the two-way bootstrap of Owen,
    "The pigeonhole bootstrap", Annals of Applied Statistics 2007). The interval holds the middle 95 % of the draws.

    Few seeds resampled look more alike than new seeds would: their spread is short by sqrt((n - 1) / n), and of two or
    three values no sample has tails. So each seed's deviation from the mean is first stretched by sqrt(n / (n - 1)),
    and by the ratio of Student's quantile with n - 1 degrees of freedom to the normal one. One seed cannot be
    resampled: the interval is of the images alone. Where seeds hardly differ the interval is too wide rather than
    too narrow, since what chance does image by image moves the seeds' means as well.

    Args:
        arm: (S, N), the figure of seed s on image i whose mean is compared: 1 or 0 for a right or wrong answer, or an
            image's negative log-likelihood.
        baseline: (S, N), the same seeds and images.
        larger_is_better: False for a loss.
        seed: of the bootstrap.

    Raises:
        UserError: if the shapes differ, are empty, or hold what is not finite.
    """
    if arm.shape != baseline.shape or arm.ndim != 2 or arm.size == 0:
        raise UserError(
            "a paired difference needs one figure for each seed and image, of the same ones in both arms; shapes "
            f"{arm.shape} and {baseline.shape} were given."
        )
    differences = arm.astype(np.float64) - baseline.astype(np.float64)
    if not np.isfinite(differences).all():
        raise UserError("a paired difference needs finite figures; some are NaN or infinite.")
    seeds, images = differences.shape
    mean = float(differences.mean())
    if seeds > 1:
        deviations = differences.mean(1, keepdims=True) - mean
        differences += deviations * (_stretch(seeds) - 1)
    of_seeds, of_images = _counts(seeds, seed, "seeds"), _counts(images, seed, "images")
    draws = np.empty(DRAWS)
    for start in range(0, DRAWS, _BLOCK):
        block = slice(start, start + _BLOCK)
        resampled = differences @ of_images[block].T.astype(np.float64)  # (S, draws)
        draws[block] = (resampled * of_seeds[block].T).sum(0) / differences.size
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Difference(mean, float(low), float(high), seeds, images, larger_is_better)


def paired_ratio_difference(
    arm: NDArray[np.floating], baseline: NDArray[np.floating], *, larger_is_better: bool = True, seed: int = 0
) -> Difference:
    """As ``paired_difference``, for figures that are ratios of sums over images and no mean over them, such as mIoU.

    With n[i, k] and d[i, k] of image i, the figure of a set I of images is the mean over k of
    ``sum_I n[i, k] / sum_I d[i, k]``, over those k whose denominator is not 0. Each draw computes the figure of its own
    images.

    Args:
        arm: (S, N, K, 2), of seed s and image i the numerator and denominator of class k.
        baseline: (S, N, K, 2), the same seeds and images.
        larger_is_better: False for a loss.
        seed: of the bootstrap.

    Raises:
        UserError: if the shapes differ, are empty, or hold what is not finite.
    """
    if arm.shape != baseline.shape or arm.ndim != 4 or arm.shape[-1] != 2 or arm.size == 0:
        raise UserError(
            "a paired difference of ratios needs a numerator and a denominator for each seed, image and class, of the "
            f"same ones in both arms; shapes {arm.shape} and {baseline.shape} were given."
        )
    if not (np.isfinite(arm).all() and np.isfinite(baseline).all()):
        raise UserError("a paired difference needs finite figures; some are NaN or infinite.")
    images = arm.shape[1]
    of_images = _counts(images, seed, "images").astype(np.float64)
    once = np.ones((1, images))
    whole = _ratio(arm, once)[:, 0] - _ratio(baseline, once)[:, 0]
    differences = _ratio(arm, of_images) - _ratio(baseline, of_images)  # (S, draws)
    return _over_seeds(whole, differences, images, larger_is_better=larger_is_better, seed=seed)


def paired_drawn_difference(
    arm: NDArray[np.floating],
    baseline: NDArray[np.floating],
    images: int,
    *,
    larger_is_better: bool = True,
    seed: int = 0,
) -> Difference:
    """As ``paired_difference``, for figures that can be told of whole sets of images alone, such as average precision.

    Args:
        arm: (S, 1 + D), of seed s the figure of all images, and of D draws of the images with replacement. They are the
            same draws for all networks. A draw of which the figure is NaN (no object is in it) does not count.
        baseline: (S, 1 + D), the same seeds and draws.
        images: of which they are drawn.
        larger_is_better: False for a loss.
        seed: of the draws of seeds.

    Raises:
        UserError: if the shapes differ, there is no draw, or the figure of all images is not finite.
    """
    if arm.shape != baseline.shape or arm.ndim != 2 or arm.shape[0] < 1 or arm.shape[1] < 2:
        raise UserError(
            "a paired difference of draws needs, for each seed, the figure of all images and of draws of them, the "
            f"same ones in both arms; shapes {arm.shape} and {baseline.shape} were given."
        )
    differences = arm.astype(np.float64) - baseline.astype(np.float64)
    whole, drawn = differences[:, 0], differences[:, 1:]
    drawn = drawn[:, np.isfinite(drawn).all(0)]
    if not np.isfinite(whole).all() or not drawn.size:
        raise UserError("a paired difference needs finite figures; some are NaN or infinite.")
    return _over_seeds(whole, drawn, images, larger_is_better=larger_is_better, seed=seed)


def _over_seeds(
    whole: NDArray[np.float64], drawn: NDArray[np.float64], images: int, *, larger_is_better: bool, seed: int
) -> Difference:
    """From each seed's difference on all images (S,) and on draws of them (S, D): the mean, and its interval."""
    seeds, mean = len(whole), float(whole.mean())
    of_seeds = _counts(seeds, seed, "seeds", drawn.shape[1])
    if seeds > 1:
        drawn = drawn + (whole - mean)[:, None] * (_stretch(seeds) - 1)
    draws = (drawn * of_seeds.T).sum(0) / seeds
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Difference(mean, float(low), float(high), seeds, images, larger_is_better)


def _ratio(parts: NDArray[np.floating], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S, draws): the figure of the images that each draw (draws, N) holds so many times."""
    seeds, images, classes, _ = parts.shape
    sums = weights @ parts.astype(np.float64).reshape(seeds, images, 2 * classes)
    sums = sums.reshape(seeds, len(weights), classes, 2)
    there = sums[..., 1] > 0
    ratios = np.divide(sums[..., 0], sums[..., 1], out=np.zeros(there.shape), where=there)
    found: NDArray[np.float64] = ratios.sum(-1) / np.maximum(1, there.sum(-1))
    return found


def sentence(
    name: str, baseline: str, difference: Difference, what: str, show: Callable[[float], str] = "{:.3f}".format
) -> str:
    """A difference in words, never without its interval.

    Args:
        name: of the arm.
        baseline: of the arm that it is compared with.
        difference: between the two.
        what: that was measured ("accuracy").
        show: a number with its unit ("1.20 points").
    """
    if difference.verdict == "not distinguishable":
        verdict = f"{name} is not distinguishable from {baseline} in {what}"
    else:
        verdict = f"{name} is {difference.verdict} than {baseline} in {what}"
    by = f"by {show(difference.mean)}, 95 % interval {show(difference.low)} to {show(difference.high)},"
    if difference.seeds == 1:
        return (
            f"{verdict}: it differs {by} over {difference.images:,} test images. Only one seed was trained, so how "
            "much another seed would change is not in the interval."
        )
    return f"{verdict}: it differs {by} over {difference.seeds} seeds and {difference.images:,} test images."


def student_quantile(freedom: int) -> float:
    """The value that a Student's t exceeds with probability 2.5 %.

    Args:
        freedom: degrees of freedom, at least 1. From 5 on it is expanded around the normal quantile (Abramowitz and
            Stegun, 26.7.5), to three digits after the point.
    """
    if freedom in _STUDENT:
        return _STUDENT[freedom]
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom ** (power + 1) for power, term in enumerate(terms))


def _stretch(seeds: int) -> float:
    normal = NormalDist().inv_cdf((1 + LEVEL) / 2)
    return math.sqrt(seeds / (seeds - 1)) * student_quantile(seeds - 1) / normal


@lru_cache(maxsize=12)  # seeds, all images, and the parts of them that two pairs of teachers tell apart
def _counts(size: int, seed: int, of: str, draws: int = DRAWS) -> NDArray[np.uint8]:
    """(draws, size): how often each of ``size`` things is in each draw of ``size`` with replacement."""
    random = np.random.default_rng([seed, len(of), size])
    counts = np.empty((draws, size), np.uint8)
    for row in counts:
        row[:] = np.bincount(random.integers(size, size=size), minlength=size)
    return counts
