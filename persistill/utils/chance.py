"""Whether a network knows more than chance."""

_LEVEL = 0.01


def better_than_chance(right: int, asked: int, chance: float) -> bool:
    """Whether chance would hardly do as well: a one-sided binomial test at 1 %.

    Args:
        right: images that a network is right on, of those asked.
        asked: images, at least one.
        chance: share that it would be right on if its answers had nothing to do with the images.
    """
    from scipy.stats import binomtest  # noqa: PLC0415 - slow to import

    return bool(binomtest(right, asked, min(1.0, chance), alternative="greater").pvalue < _LEVEL)
