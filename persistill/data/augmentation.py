"""Random crops and flips of a whole batch at once, on its device."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from persistill.structures import IGNORE_INDEX


def augment(
    images: Tensor,
    target: Tensor,
    names: Sequence[Literal["crop", "flip"]],
    padding: int,
    generator: torch.Generator,
    crop_size: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Crop and flip every image of a batch at random, each differently, and its mask with it.

    * "crop": pad by ``padding`` zeros (black) on all four sides, and cut a window at a place drawn uniformly, as
      torchvision's ``RandomCrop(size, padding)`` does with one image.
    * "flip": mirror left and right with probability one half.

    Args:
        images: (B, C, H, W) pixels of any dtype, before normalization, so that zero is black.
        target: (B,) classes of the images, which stay as they are, or (B, H, W) classes of their pixels.
        names: which of the two; their order makes no difference.
        padding: of the crop, in pixels. Padded pixels have no class.
        generator: draws places and flips, on the CPU, so that every device sees the same ones.
        crop_size: (h, w) of the crop; None for (H, W).

    Returns:
        (B, C, h, w) in the dtype and on the device of ``images``, and the target: (B,) or (B, h, w).

    Raises:
        ValueError: for an unknown name, a negative padding, or a crop that is larger than the padded image.
    """
    strange = sorted(set(names) - {"crop", "flip"})
    if strange:
        raise ValueError(f"names must be of 'crop' and 'flip'; {strange[0]!r} was given.")
    if padding < 0:
        raise ValueError(f"padding must be 0 or more; {padding} was given.")
    count, dense = len(images), target.ndim == 3
    height, width = size = images.shape[2:]
    if "crop" in names:
        height, width = crop_size or size
        if height > size[0] + 2 * padding or width > size[1] + 2 * padding:
            raise ValueError(
                f"crop_size must fit into the padded image, {size[0] + 2 * padding}x{size[1] + 2 * padding}; "
                f"{height}x{width} was given."
            )
    rows = torch.arange(height).expand(count, height)
    columns = torch.arange(width).expand(count, width)
    if "flip" in names:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    if "crop" in names:
        frame = (padding, padding, padding, padding)
        images = F.pad(images, frame)
        if dense:
            target = F.pad(target, frame, value=IGNORE_INDEX)
        rows = rows + torch.randint(images.shape[2] - height + 1, (count, 1), generator=generator)
        columns = columns + torch.randint(images.shape[3] - width + 1, (count, 1), generator=generator)
    rows, columns = rows.to(images.device)[:, :, None], columns.to(images.device)[:, None, :]
    samples = torch.arange(count, device=images.device)[:, None, None]
    # Indexing around the channel axis puts it last: (B, H, W, C).
    picked = images[samples, :, rows, columns].permute(0, 3, 1, 2).contiguous()
    return picked, target[samples, rows, columns] if dense else target
