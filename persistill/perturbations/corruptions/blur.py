"""Blur: out of focus, behind structured glass, in motion, in approach; and plain Gaussian. Lengths are in pixels.

Functions are called as those of ``noise``.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from persistill.perturbations.corruptions.counter_rng import Draws
from persistill.perturbations.corruptions.filters import correlate, gaussian, streaked, zoomed


def gaussian_blur(images: Tensor, _: Draws, scale: float, sigma: float) -> Tensor:
    """Gaussian blur, edge pixels continuing outwards."""
    return gaussian(images, sigma * scale)


def defocus_blur(images: Tensor, _: Draws, scale: float, radius: float, alias_blur: float) -> Tensor:
    """Correlation with a disk that was blurred a little against steps in its outline, the image mirrored outwards."""
    return correlate(images, _disk(radius * scale, alias_blur))


@lru_cache(maxsize=32)
def _disk(radius: float, alias_blur: float) -> Tensor:
    reach = max(8, math.ceil(radius))
    line = torch.arange(-reach, reach + 1, dtype=torch.float64)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).double()
    disk /= disk.sum()
    near = torch.arange(-1 if radius <= 8 else -2, 2 if radius <= 8 else 3, dtype=torch.float64)
    weights = torch.exp(-0.5 * (near / alias_blur) ** 2)
    weights /= weights.sum()
    return correlate(disk, weights[:, None] * weights)


def glass_blur(images: Tensor, draws: Draws, scale: float, sigma: float, shift: int, rounds: int) -> Tensor:
    """Gaussian blur, then pixels take the color of others nearby, then Gaussian blur.

    From the lower right to the upper left, the pixel at (h, w) takes what now stands at (h + dy, w + dx), with dy and
    dx uniform on -shift, ..., shift - 1. The published code means to swap the two, but assigns views of one array: the
    second assignment reads what the first has written, and the data set is made of copies. So is this.
    """
    shift = max(1, round(shift * scale))
    height, width = images.shape[-2:]
    blurred = (gaussian(images, sigma * scale) * 255 + 1e-6).floor() / 255
    flat = blurred.flatten(2)
    for number in range(rounds):
        offsets = draws.integers(f"round {number}", -shift, shift, 2, height, width)
        source = _copied(offsets, shift)
        flat = flat.gather(2, source[:, None].expand_as(flat))
    return gaussian(flat.view_as(images), sigma * scale)


def _copied(offsets: Tensor, shift: int) -> Tensor:
    """Whose color each pixel has after one round of copies.

    A pixel whose source is visited later has the source's old color. One whose source was visited before has what the
    source has by then: the chain of sources is followed, in steps that double, to where it leaves what was visited.

    Args:
        offsets: (B, 2, H, W), dy and dx.
        shift: the largest of them.

    Returns:
        (B, H W) positions in the image before.
    """
    height, width = offsets.shape[-2:]
    rows = torch.arange(height, device=offsets.device)[:, None]
    columns = torch.arange(width, device=offsets.device)
    visited = (rows > shift) & (rows <= height - shift) & (columns > shift) & (columns <= width - shift)
    here = (rows * width + columns).flatten()
    source = ((rows + offsets[:, 0]) * width + columns + offsets[:, 1]).where(visited, rows * width + columns)
    source = source.flatten(1)
    copied_before = (source > here) & visited.flatten()[source]
    follow = source.where(copied_before, here)
    while True:
        further = follow.gather(1, follow)
        if torch.equal(further, follow):
            return source.gather(1, follow)
        follow = further


def motion_blur(images: Tensor, draws: Draws, scale: float, radius: float, sigma: float) -> Tensor:
    """ImageMagick's motion blur along an angle uniform on -45 to 45 degrees, rounded to 8 bits as ImageMagick does."""
    angle = draws.uniform("angle") * 90 - 45
    return (streaked(images, radius * scale, sigma * scale, angle) * 255).round() / 255


def zoom_blur(images: Tensor, _: Draws, __: float, stop: float, step: float) -> Tensor:
    """The mean of the image and of its zooms by 1, 1 + step, ..., below ``stop``."""
    factors = np.arange(1, stop, step).tolist()
    total = images.clone()
    for factor in factors:
        total += zoomed(images, factor)
    return total / (len(factors) + 1)
