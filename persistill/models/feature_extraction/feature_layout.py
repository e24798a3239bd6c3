"""The layout of a tensor inside a network: a feature map with channels first or last, or tokens that form a grid."""

from collections.abc import Sequence
from math import sqrt
from typing import Literal, NamedTuple

from torch import Tensor

MOST_EXTRA_TOKENS = 8
"""Tokens before the grid that are assumed without being stated: class, distillation, and a handful of registers."""

Size = tuple[int, int]


class Layout(NamedTuple):
    """How to read a tapped tensor.

    Attributes:
        kind: "channels_first": (B, C, H, W). "channels_last": (B, H, W, C). "tokens": (B, N, C), tokens row by row.
        extra: number of tokens before the grid (class, distillation, registers); 0 for maps.
    """

    kind: Literal["channels_first", "channels_last", "tokens"]
    extra: int = 0


def infer_layout(
    shape: Sequence[int], image: Size, channels: int | None = None, extra: int | None = None
) -> Layout | None:
    """Infer the layout of a tensor from its shape.

    A grid has the aspect ratio of the image, to within one pixel. Channels first is tried before channels last. As
    few tokens as possible, at most eight, are taken for extra ones, so that the rest form a grid.

    Args:
        shape: of the tensor, batch included.
        image: height and width of the image that went in.
        channels: how many it must have, where that is known.
        extra: number of tokens before the grid, where that is known.

    Returns:
        The layout, or None if it is neither a feature map nor a grid of tokens.
    """
    if len(shape) == 4:
        _, one, two, three = shape
        if channels in (None, one) and _similar((two, three), image):
            return Layout("channels_first")
        if channels in (None, three) and _similar((one, two), image):
            return Layout("channels_last")
    if len(shape) == 3 and channels in (None, shape[2]):
        for count in range(MOST_EXTRA_TOKENS + 1) if extra is None else (extra,):
            if grid(shape[1] - count, image) is not None:
                return Layout("tokens", count)
    return None


def to_feature_map(tensor: Tensor, layout: Layout, image: Size) -> Tensor | None:
    """Read a tensor as a feature map.

    Args:
        tensor: as the layout says.
        layout: from ``infer_layout``, for images of this or another size.
        image: height and width of the image that went in.

    Returns:
        (B, C, H, W), a view of the tensor wherever that is possible; None if the tokens form no grid.
    """
    if layout.kind == "channels_first":
        return tensor
    if layout.kind == "channels_last":
        return tensor.permute(0, 3, 1, 2)
    size = grid(tensor.shape[1] - layout.extra, image)
    if size is None:
        return None
    tokens = tensor[:, layout.extra :].transpose(1, 2)
    return tokens.reshape(*tokens.shape[:2], *size)


def channels_and_size(shape: Sequence[int], layout: Layout, image: Size) -> tuple[int, Size]:
    """Channels, and height and width, of a feature map.

    Args:
        shape: of a tensor that ``infer_layout`` found to have this layout.
        layout: likewise.
        image: likewise.
    """
    if layout.kind == "channels_first":
        return shape[1], (shape[2], shape[3])
    if layout.kind == "channels_last":
        return shape[3], (shape[1], shape[2])
    size = grid(shape[1] - layout.extra, image)
    assert size is not None
    return shape[2], size


def stride(size: Size, image: Size) -> int:
    """How many pixels of the image there are for one position of the feature map, along a side.

    The least power of two that leads from the image's sides to the feature map's, rounded up; if none does, as in
    networks that do not pad, the quotient of the sides, rounded, 1 or more.
    """
    power = 1
    while power < 2 * max(image):
        if all(-(-side // power) == shrunk for side, shrunk in zip(image, size, strict=True)):
            return power
        power *= 2
    return max(1, round(sqrt(image[0] * image[1] / (size[0] * size[1]))))


def grid(tokens: int, image: Size) -> Size | None:
    """Height and width of the grid of ``tokens`` that has the image's aspect ratio, or None if there is none."""
    if tokens < 1:
        return None
    near = round(sqrt(tokens * image[0] / image[1]))
    for height in sorted(range(max(near - 1, 1), near + 2), key=lambda height: abs(height - near)):
        if tokens % height == 0 and _similar((height, tokens // height), image):
            return height, tokens // height
    return None


def _similar(size: Size, image: Size) -> bool:
    """Whether one stride, up to rounding, leads from the image to this size."""
    (height, width), (tall, wide) = size, image
    return 0 < height <= tall and 0 < width <= wide and abs(height * wide - width * tall) < max(tall, wide)
