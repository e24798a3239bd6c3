"""Many calls of one function in a pool of threads, in order."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from persistill.utils.progress import Progress

_BLOCK, _SHARES = 256, 16
"""Calls that a thread takes at once, at most; and parts of all calls for each, so that all end at nearly one time."""

Result = TypeVar("Result")


def in_threads(
    function: Callable[[int], Result], count: int, progress: Progress | None = None, threads: int | None = None
) -> list[Result]:
    """Call ``function`` with 0, 1, ..., count - 1 in a pool of threads (decoders release the interpreter lock).

    An error, or ctrl-C, drops what has not begun.

    Args:
        function: is called with each number.
        count: of numbers.
        progress: told how many are done.
        threads: how many; None for as many as there are cores, and 16 at most.
    """
    threads = threads or min(os.cpu_count() or 1, 16)
    block = max(1, min(_BLOCK, count // (_SHARES * threads)))
    starts = range(0, count, block)
    results: list[Result] = []
    pool = ThreadPoolExecutor(threads, thread_name_prefix="persistill")
    try:
        for part in pool.map(lambda i: [function(j) for j in range(i, min(i + block, count))], starts):
            results.extend(part)
            if progress is not None:
                progress.advance(len(part))
    finally:
        pool.shutdown(cancel_futures=True)
    return results
