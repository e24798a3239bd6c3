"""Compiled kernel for persistence landscapes: which points have the highest tents over each value of a grid.

A tent is above zero only between the ends of its bar, so each point visits only the grid's values inside, and most
bars are short. Over every value the best points so far stay sorted; a new tent climbs from the last place upwards.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill.topology._numba.jit import kernel


@kernel
def highest_tents(
    points: NDArray[Any],
    offsets: NDArray[np.int64],
    grid: NDArray[Any],
    heights: NDArray[Any],
    winners: NDArray[np.int64],
) -> None:
    """Write the highest tents over each value of the grid, and whose they are.

    Args:
        points: (P, 2) births and deaths, float32 or float64, C-contiguous, finite.
        offsets: (n + 1,) bounds of the diagrams in ``points``.
        grid: (G,) strictly rising, in the dtype of ``points``.
        heights: (n, levels, G) in the same dtype, for the output; 0 where there are fewer tents.
        winners: (n, levels, G), for the output: positions in ``points``, -1 where there are fewer tents.
    """
    levels = heights.shape[1]
    heights[:] = 0
    winners[:] = -1
    for n in range(len(offsets) - 1):
        above = heights[n]
        owner = winners[n]
        for i in range(offsets[n], offsets[n + 1]):
            low = min(points[i, 0], points[i, 1])
            high = max(points[i, 0], points[i, 1])
            g = np.searchsorted(grid, low)
            while g < len(grid) and grid[g] < high:
                height = min(grid[g] - low, high - grid[g])
                level = levels
                while level > 0 and height > above[level - 1, g]:
                    if level < levels:
                        above[level, g] = above[level - 1, g]
                        owner[level, g] = owner[level - 1, g]
                    level -= 1
                if level < levels:
                    above[level, g] = height
                    owner[level, g] = i
                g += 1
