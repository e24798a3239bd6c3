"""Latency of exported files."""

import statistics
import time
from collections.abc import Sequence

import torch

from persistill.exporters.formats import OutputsFunction
from persistill.utils.thread_count import computing_with

BATCHES = (1, 64)
LEAST, MOST, SECONDS = 3, 100, 0.1
"""Calls that are timed, for each size of batch: as many as fit into the seconds."""
LONGEST = 10.0
"""Seconds: more than one image at a time are not timed where a call would take longer by the time of one image."""


def milliseconds(
    model: OutputsFunction,
    shape: tuple[int, int, int],
    *,
    one_by_one: bool = False,
    batches: Sequence[int] = BATCHES,
) -> dict[str, float]:
    """Median wall-clock time of a call on one thread, after a warm-up call.

    ExecuTorch alone has threads that cannot be counted down: it takes a thread for each core of the process.

    Args:
        model: of an opened file.
        shape: (C, H, W) of the images.
        one_by_one: the file takes no batches, so only single images are timed.
        batches: numbers of images that are timed at once.

    Returns:
        Number of images in the batch, as text -> milliseconds a batch; without batches that would take longer than
        ``LONGEST`` seconds.
    """
    with computing_with(1):
        return _timed(model, shape, (1,) if one_by_one else batches)


def _timed(model: OutputsFunction, shape: tuple[int, int, int], batches: Sequence[int]) -> dict[str, float]:
    found: dict[str, float] = {}
    for size in batches:
        if found and size * found[str(batches[0])] / batches[0] > 1000 * LONGEST:
            break
        images = torch.rand(size, *shape, generator=torch.Generator().manual_seed(size))
        model(images)
        times: list[float] = []
        while len(times) < LEAST or (len(times) < MOST and sum(times) < SECONDS):
            begun = time.perf_counter()
            model(images)
            times.append(time.perf_counter() - begun)
        found[str(size)] = round(1000 * statistics.median(times), 4)
    return found
