"""What the best of many trials would reach by chance alone."""

import math
import statistics
from collections.abc import Sequence


def seed_noise(trials: Sequence[Sequence[float]]) -> float | None:
    """The standard deviation of a figure between seeds, within trials; None if no trial has two.

    Args:
        trials: of each, one figure a seed.
    """
    several = [seeds for seeds in trials if len(seeds) > 1]
    freedom = sum(len(seeds) - 1 for seeds in several)
    if not freedom:
        return None
    return math.sqrt(sum((len(seeds) - 1) * statistics.variance(seeds) for seeds in several) / freedom)


def image_noise(share: float, images: int) -> float:
    """The standard deviation of a share of right answers that so many images leave."""
    return math.sqrt(max(0.0, share * (1 - share)) / images)


def expected_best(count: int) -> float:
    """How many standard deviations above the mean the best of so many equal, normal draws is expected.

    Blom's approximation (1958), within 0.02 of the expectation.
    """
    return statistics.NormalDist().inv_cdf((count - 0.375) / (count + 0.25)) if count > 1 else 0.0


def best_of_draws(values: Sequence[float], draws: int, *, larger_is_better: bool) -> float:
    """The best value that is expected of so many draws among values, none of which is drawn twice.

    Args:
        values: what is drawn from.
        draws: at most as many.
        larger_is_better: which way values are read.
    """
    ordered = sorted(values, reverse=not larger_is_better)
    every = math.comb(len(ordered), draws)
    return sum(value * math.comb(position, draws - 1) / every for position, value in enumerate(ordered))
