"""Filters that several corruptions are made of: linear, in float64, the same for every image of a batch.

A separable filter of an image is two products with matrices, whose rows hold the kernel and know what lies beyond the
edges.
"""

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Edge = Literal["nearest", "mirror", "reflect"]
"""What lies beyond a row a b c d, in SciPy's words: "nearest" d d d, "mirror" c b a, "reflect" d c b."""


def beyond(places: Tensor, size: int, edge: Edge) -> Tensor:
    """Which of ``size`` pixels in a row stands for each place, which may lie outside of the row.

    Args:
        places: any shape, int64.
        size: pixels in the row.
        edge: what lies beyond.

    Returns:
        The shape of ``places``, int64, in 0, ..., size - 1.
    """
    if edge == "nearest" or size == 1:
        return places.clamp(0, size - 1)
    period = 2 * size - (2 if edge == "mirror" else 0)
    folded = places.remainder(period)
    return torch.minimum(folded, period - folded - (0 if edge == "mirror" else 1))


def separable(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply a matrix to every column, and another to every row: ``rows @ image @ columns.T``.

    Args:
        images: (..., H, W) float64.
        rows: (H', H).
        columns: (W', W).

    Returns:
        (..., H', W').
    """
    device = images.device
    return rows.to(device) @ (images @ columns.to(device).T)


def gaussian(images: Tensor, sigma: float, edge: Edge = "nearest", truncate: float = 4.0) -> Tensor:
    """Gaussian blur as ``scipy.ndimage.gaussian_filter`` computes it, over height and width.

    Args:
        images: (..., H, W) float64.
        sigma: standard deviation in pixels; 0 leaves the images as they are.
        edge: what lies beyond the edges.
        truncate: standard deviations at which the kernel ends.
    """
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return images
    height, width = images.shape[-2:]
    return separable(
        images, _gaussian_matrix(height, sigma, radius, edge), _gaussian_matrix(width, sigma, radius, edge)
    )


@lru_cache(maxsize=64)
def _gaussian_matrix(size: int, sigma: float, radius: int, edge: Edge) -> Tensor:
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    weights /= weights.sum()
    places = beyond(torch.arange(size)[:, None] + offsets, size, edge)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, places, weights.expand(size, -1))


def correlate(images: Tensor, kernel: Tensor, edge: Edge = "mirror") -> Tensor:
    """Correlation with a small square kernel, as a sum of shifted images, one for each weight that matters.

    Args:
        images: (..., H, W) float64.
        kernel: (2 r + 1, 2 r + 1) float64.
        edge: what lies beyond the edges.
    """
    height, width = images.shape[-2:]
    reach = len(kernel) // 2
    rows, columns = (
        beyond(torch.arange(-reach, size + reach, device=images.device), size, edge) for size in (height, width)
    )
    padded = images[..., rows[:, None], columns]
    total = torch.zeros_like(images)
    for down, right in (kernel.abs() > 1e-12).nonzero().tolist():
        window = padded[..., down : down + height, right : right + width]
        total.add_(window, alpha=float(kernel[down, right]))
    return total


def zoomed(images: Tensor, factor: float) -> Tensor:
    """The middle of an image, enlarged to the image's size: ``clipped_zoom`` of ImageNet-C, for any sides.

    Linear interpolation between the outermost pixels' centers, as ``scipy.ndimage.zoom`` of order 1.

    Args:
        images: (B, C, H, W) float64.
        factor: at least 1.
    """
    height, width = images.shape[-2:]
    high, wide = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - high) // 2, (width - wide) // 2
    middle = images[..., top : top + high, left : left + wide]
    size = round(high * factor), round(wide * factor)
    large = F.interpolate(middle, size=size, mode="bilinear", align_corners=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return large[..., top : top + height, left : left + width]


def streaked(images: Tensor, radius: float, sigma: float, angle: Tensor) -> Tensor:
    """Motion blur as ImageMagick's ``MotionBlurImage`` computes it: half a Gaussian along a line of whole pixels.

        y(p) = sum_i w_i x(p + d_i),   w_i ~ exp(-i^2 / (2 sigma^2)),   i = 0, ..., 2 ceil(radius)

    with d_i = i (cos angle, sin angle) in (columns, rows), each rounded half down; edge pixels continue outwards.

    Args:
        images: (B, C, H, W) float64.
        radius: in pixels.
        sigma: in pixels.
        angle: (B,) float64, in degrees, clockwise from the right.
    """
    height, width = images.shape[-2:]
    steps = torch.arange(2 * math.ceil(radius) + 1, device=images.device, dtype=torch.float64)
    weights = torch.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()
    turn = torch.deg2rad(angle)[:, None]
    right, down = ((steps * part - 0.5).ceil().long() for part in (turn.cos(), turn.sin()))
    rows, columns = (torch.arange(side, device=images.device) for side in (height, width))
    flat = images.flatten(2)
    total = torch.zeros_like(flat)
    for step, weight in enumerate(weights.tolist()):
        row = beyond(rows + down[:, step, None], height, "nearest")
        column = beyond(columns + right[:, step, None], width, "nearest")
        place = (row[:, :, None] * width + column[:, None, :]).flatten(1)
        total.add_(flat.gather(2, place[:, None].expand_as(flat)), alpha=weight)
    return total.view_as(images)
