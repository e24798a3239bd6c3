"""Whether a network knows more than chance."""

import numpy as np
from numpy.typing import NDArray

_LEVEL = 0.01


def share_by_chance(answers: NDArray[np.integer], target: NDArray[np.integer], num_classes: int) -> float:
    """Share that answers would be right on if they, as often of each class as they are, had nothing to do with images.

    Of unequal classes that is more than one over their number.

    Args:
        answers: (N,) class numbers from 0, at least one.
        target: (N,) likewise.
        num_classes: that there are.
    """
    shares = [np.bincount(classes, minlength=num_classes) / len(classes) for classes in (answers, target)]
    return float(shares[0] @ shares[1])


def better_than_chance(right: int, asked: int, chance: float) -> bool:
    """Whether chance would hardly do as well: a one-sided binomial test at 1 %.

    Args:
        right: images that a network is right on, of those asked.
        asked: images, at least one.
        chance: share that it would be right on if its answers had nothing to do with the images.
    """
    from scipy.stats import binomtest  # noqa: PLC0415 - slow to import

    return bool(binomtest(right, asked, min(1.0, chance), alternative="greater").pvalue < _LEVEL)
