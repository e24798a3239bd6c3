"""What colors and brightness are in images of any number of channels: three are red, green and blue, others none."""

from collections.abc import Sequence

import torch
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)


def luminance(images: Tensor) -> Tensor:
    """(..., 1, H, W): ITU-R BT.601 luma of three channels (..., 3, H, W), the mean of any other number."""
    if images.shape[-3] != 3:
        return images.mean(-3, keepdim=True)
    weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device)
    return (images * weights[:, None, None]).sum(-3, keepdim=True)


def paint(color: Sequence[float], like: Tensor) -> Tensor:
    """A color as an image of one pixel, (C, 1, 1), for images (..., C, H, W): gray where they have no colors."""
    pixel = torch.tensor(color, dtype=like.dtype, device=like.device)[:, None, None]
    return pixel if like.shape[-3] == 3 else luminance(pixel).expand(like.shape[-3], 1, 1)
