"""Random crops and flips of a whole batch at once, on its device."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def augment(
    images: Tensor, names: Sequence[Literal["crop", "flip"]], padding: int, generator: torch.Generator
) -> Tensor:
    """Crop and flip every image of a batch at random, each differently.

    * "crop": pad by ``padding`` zeros (black) on all four sides, and cut a window of the old size at a place drawn
      uniformly, as torchvision's ``RandomCrop(size, padding)`` does with one image.
    * "flip": mirror left and right with probability one half.

    Args:
        images: (B, C, H, W) pixels of any dtype, before normalization, so that zero is black.
        names: which of the two; their order makes no difference.
        padding: of the crop, in pixels.
        generator: draws places and flips, on the CPU, so that every device sees the same ones.

    Returns:
        (B, C, H, W) in the dtype and on the device of ``images``.

    Raises:
        ValueError: for an unknown name, or a negative padding.
    """
    strange = sorted(set(names) - {"crop", "flip"})
    if strange:
        raise ValueError(f"names must be of 'crop' and 'flip'; {strange[0]!r} was given.")
    if padding < 0:
        raise ValueError(f"padding must be 0 or more; {padding} was given.")
    count, _, height, width = images.shape
    rows = torch.arange(height).expand(count, height)
    columns = torch.arange(width).expand(count, width)
    if "flip" in names:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    if "crop" in names:
        places = torch.randint(2 * padding + 1, (2, count, 1), generator=generator)
        rows, columns = rows + places[0], columns + places[1]
        images = F.pad(images, (padding, padding, padding, padding))
    rows, columns = rows.to(images.device), columns.to(images.device)
    samples = torch.arange(count, device=images.device)[:, None, None]
    # Indexing around the channel axis puts it last: (B, H, W, C).
    picked = images[samples, :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2).contiguous()
