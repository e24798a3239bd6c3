"""Draws images so that the objects of every class are shared out evenly, and not images alone."""

import numpy as np

from persistill.data.sources.base import IntArray


def draw_by_objects(counts: IntArray, count: int, generator: np.random.Generator) -> IntArray:
    """Draw images that hold their share of the objects of every class, as near as whole images allow.

    Classes are shared out one after the other, the one with the fewest objects left first, as in iterative
    stratification (Sechidis, Tsoumakas and Vlahavas 2011): each of its images goes where more of its objects are
    still missing.
    Images without objects fill what remains.

    Args:
        counts: (N, K) objects of each class in each image.
        count: how many images to draw, 0 to N.
        generator: decides the order in which images are looked at.

    Returns:
        (count,) positions, ascending.

    Raises:
        ValueError: if ``count`` is out of range.
    """
    total = len(counts)
    if not 0 <= count <= total:
        raise ValueError(f"count must be from 0 to {total}, the number of images; {count} was given.")
    share = count / max(total, 1)
    objects = counts.sum(0)
    missing = np.stack([objects * (1 - share), objects * share])  # of those that stay, and of those that are drawn
    places = np.array([total - count, count])
    left, drawn = np.ones(total, dtype=np.bool_), np.zeros(total, dtype=np.bool_)
    order = generator.permutation(total)

    def place(row: int, into: int) -> None:
        into = into if places[into] else 1 - into
        missing[into] -= counts[row]
        places[into] -= 1
        left[row], drawn[row] = False, into == 1

    remaining = objects.copy()
    while (remaining > 0).any():
        rarest = int(np.where(remaining > 0, remaining, np.iinfo(np.int64).max).argmin())
        for row in order[left[order] & (counts[order, rarest] > 0)].tolist():
            stay, draw = missing[:, rarest]
            place(row, int(draw > stay if draw != stay else places[1] > places[0]))
            remaining -= counts[row]
    for row in order[left[order]].tolist():
        place(row, int(places[1] > 0))
    return np.flatnonzero(drawn)
