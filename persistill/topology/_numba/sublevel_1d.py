"""Compiled kernels for H0 of the sublevel sets of 1-D signals.

Samples are vertices of a path and are ordered by (value, index), a strict order: a plateau falls to its left end and
rises at its right end. On a path, components are intervals, and only two neighbors can ever merge. Walking from left
to right it is therefore enough to keep a stack of components whose right-hand barriers fall from bottom to top: a new
barrier merges, at their own barriers, all those components at the top of the stack whose barrier is lower. Every local
minimum is pushed and popped once, so the time is linear and nothing is sorted.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill.topology._numba.jit import kernel


@kernel
def merge(
    signals: NDArray[Any],
    threshold: float,
    essential: bool,
    pairs: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> int:
    """Write the (birth, death) indices of all bars longer than ``threshold``.

    Args:
        signals: (n, N) uint8, float32 or float64, C-contiguous, finite.
        threshold: bars of this length or shorter are left out.
        essential: whether to write (index of the minimum, -1) as the last pair of each signal.
        pairs: (n * (N // 2 + 1), 2) int64, for the output.
        counts: (n,) int64, for the number of pairs of each signal.

    Returns:
        The number of pairs written.
    """
    n, samples = signals.shape
    lows = np.empty(samples // 2 + 1, np.int64)
    barriers = np.empty(samples // 2 + 1, np.int64)
    total = 0
    for s in range(n):
        x = signals[s]
        first = total
        top = 0
        i = 0
        while i + 1 < samples and x[i] > x[i + 1]:
            i += 1
        low = i
        while True:
            while i + 1 < samples and x[i] <= x[i + 1]:
                i += 1
            ended = i + 1 == samples
            barrier = i
            while top > 0 and (ended or x[barriers[top - 1]] <= x[barrier]):
                top -= 1
                # Elder rule: of equal minima the left one, which is the one on the stack, survives.
                if x[lows[top]] <= x[low]:
                    young = low
                    low = lows[top]
                else:
                    young = lows[top]
                death = barriers[top]
                if np.float64(x[death]) - np.float64(x[young]) > threshold:
                    pairs[total, 0] = young
                    pairs[total, 1] = death
                    total += 1
            if ended:
                break
            lows[top] = low
            barriers[top] = barrier
            top += 1
            while i + 1 < samples and x[i] > x[i + 1]:
                i += 1
            low = i
        if essential:
            pairs[total, 0] = low
            pairs[total, 1] = -1
            total += 1
        counts[s] = total - first
    return total
