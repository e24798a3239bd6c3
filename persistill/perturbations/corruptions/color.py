"""What colours and brightness are in pictures of any number of channels: three are red, green and blue, others none."""

from collections.abc import Sequence

import torch
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)


def luminance(pictures: Tensor) -> Tensor:
    """(..., 1, H, W): ITU-R BT.601 luma of three channels (..., 3, H, W), the mean of any other number."""
    if pictures.shape[-3] != 3:
        return pictures.mean(-3, keepdim=True)
    weights = torch.tensor(_LUMA, dtype=pictures.dtype, device=pictures.device)
    return (pictures * weights[:, None, None]).sum(-3, keepdim=True)


def paint(colour: Sequence[float], like: Tensor) -> Tensor:
    """A colour as a picture of one pixel, (C, 1, 1), for pictures (..., C, H, W): grey where they have no colours."""
    pixel = torch.tensor(colour, dtype=like.dtype, device=like.device)[:, None, None]
    return pixel if like.shape[-3] == 3 else luminance(pixel).expand(like.shape[-3], 1, 1)
