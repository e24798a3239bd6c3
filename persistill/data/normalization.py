"""Channel means and standard deviations."""

from collections.abc import Sequence

import torch

from persistill.data.dataset import ImageDataset

_CHUNK = 1024  # images


def measure_normalization(images: ImageDataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel over all pixels of all images, pixels in [0, 1].

    Sums of 8-bit values are exact in integers, so the answer is the same on every device and for every batch size.
    The deviation is that of the population (divided by the number of pixels).

    Args:
        images: the training images.

    Returns:
        Means and deviations, one of each per channel. A constant channel has deviation 1, so that it can be divided by.
    """
    channels = images.shape[0]
    sums = torch.zeros(channels, dtype=torch.int64)
    squares = torch.zeros(channels, dtype=torch.int64)
    for start in range(0, len(images), _CHUNK):
        index = torch.arange(start, min(start + _CHUNK, len(images)))
        values = images.fetch(index).transpose(0, 1).flatten(1).to(torch.int64)
        sums += values.sum(1).cpu()
        squares += (values * values).sum(1).cpu()
    return from_sums(sums.tolist(), squares.tolist(), len(images) * images.shape[1] * images.shape[2], 255)


def from_sums(
    sums: Sequence[float], squares: Sequence[float], count: int, scale: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means and deviations from the sums of values and of their squares, per channel.

    Args:
        sums: of ``count`` values.
        squares: sums of their squares.
        count: number of values per channel, at least 1.
        scale: value that counts as 1.
    """
    mean = tuple(total / count / scale for total in sums)
    # Variance times count squared: in whole numbers, nothing is lost to cancellation.
    variances = [count * square - total * total for total, square in zip(sums, squares, strict=True)]
    std = tuple(variance**0.5 / count / scale if variance > 0 else 1.0 for variance in variances)
    return mean, std
