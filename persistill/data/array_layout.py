"""How images lie in an array: gray or with channels, which stand before height and width or after them."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from persistill.errors import UserError

LAYOUTS = "(N, H, W), (N, C, H, W) or (N, H, W, C)"
"""The shapes that arrays of images may have, in words."""

_LAST = (1, 3, 4)  # numbers of channels that may stand last: gray, RGB, RGBA
_FEW = max(_LAST)


class ArrayLayout(NamedTuple):
    """Which axes of an array of images are what.

    Attributes:
        channels: of each image; 1 where the array has no such axis.
        height: of each image.
        width: of each image.
        channels_last: whether channels stand after height and width.
    """

    channels: int
    height: int
    width: int
    channels_last: bool

    def channels_first(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(..., H, W), (..., C, H, W) or (..., H, W, C), as the layout says, to (..., C, H, W); a view."""
        if self.channels_last:
            return np.moveaxis(images, -1, -3)
        if images.shape[-3:] == (self.channels, self.height, self.width):
            return images
        return images[..., None, :, :]


def array_layout(shape: tuple[int, ...], where: str) -> ArrayLayout:
    """The layout of an array of images.

    Arrays with four axes have channels first, unless only the last axis can be the channels: it has 1, 3 or 4 entries
    and the first axis of an image more than 4.

    Args:
        shape: of the array.
        where: what the array is called in messages.

    Raises:
        UserError: if it is no shape of images, or if channels could stand first as well as last.
    """
    if len(shape) not in (3, 4):
        volumes = " Of volumes, give slices: (N, D, H, W) one by one, as (N * D, H, W)." if len(shape) > 4 else ""
        raise UserError(f"{where} has shape {shape}; images are {LAYOUTS}.{volumes}")
    if 0 in shape:
        raise UserError(f"{where} has shape {shape} and so holds no images.")
    if len(shape) == 3:
        return ArrayLayout(1, *shape[1:], channels_last=False)
    _, first, middle, last = shape
    if last not in _LAST:
        return ArrayLayout(first, middle, last, channels_last=False)
    if first > _FEW:
        return ArrayLayout(last, first, middle, channels_last=True)
    raise UserError(
        f"{where} has shape {shape}, whose channels could stand before height and width ({first}) or after them "
        f"({last}). Save the images as files, as PNG, or gray ones as (N, H, W)."
    )
