"""Spreads blocks of work over threads, for kernels that release the interpreter's lock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch

Result = TypeVar("Result")


def checked_threads(threads: Any) -> int:
    """The number of threads to use: torch's own by default, which is 1 in the workers of a ``DataLoader``.

    Raises:
        TypeError: if ``threads`` is no integer.
        ValueError: if it is below 1.
    """
    if threads is None:
        return torch.get_num_threads()
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer):
        raise TypeError(f"threads must be an integer, or None for torch's number; got {threads!r}.")
    if threads < 1:
        raise ValueError(f"threads must be at least 1, or None for torch's number; got {threads}.")
    return int(threads)


def map_blocks(work: Callable[[int, int], Result], count: int, block: int, threads: int) -> list[Result]:
    """Call ``work(start, stop)`` for consecutive blocks of ``range(count)``; results in their order.

    Every call makes its own threads and ends them (0.1 ms), so nothing is shared between callers, survives into a
    forked process or outlives an error. Compiled parallel loops (numba's ``parallel=True``) give no such safety.
    """
    starts = range(0, count, block)
    if threads == 1 or len(starts) < 2:
        return [work(start, min(start + block, count)) for start in starts]
    with ThreadPoolExecutor(min(threads, len(starts))) as pool:
        return list(pool.map(lambda start: work(start, min(start + block, count)), starts))
