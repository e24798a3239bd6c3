"""Spatter: drops of water or splashes of mud on the lens. Called as the functions of ``noise``.

The published code lets OpenCV find the drops' outlines and shade them. What it calls is written out here for batches,
on 8-bit maps (B, 1, H, W) whose levels are kept as float64; distances are exact, where OpenCV's differ by up to 2 %.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from persistill.perturbations.corruptions.color import paint
from persistill.perturbations.corruptions.counter_rng import Draws
from persistill.perturbations.corruptions.filters import correlate, gaussian

_WATER = (175 / 255, 238 / 255, 238 / 255)
_MUD = (63 / 255, 42 / 255, 20 / 255)
_WEAK, _STRONG = 50, 150
_FAR = 20
_RELIEF = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))
_MEAN = torch.full((3, 3), 1 / 9, dtype=torch.float64)


def spatter(
    images: Tensor,
    draws: Draws,
    scale: float,
    mean: float,
    std: float,
    sigma: float,
    threshold: float,
    weight: float,
    mud: bool,
) -> Tensor:
    """Where blurred normal noise exceeds a threshold, water is added or mud replaces the image.

    Water is shaded: dark towards the outlines of the drops and embossed, pale turquoise, ``weight`` at its brightest.
    Mud is brown, and ``weight`` is the width, in pixels, of the blur of its edges.

    Args:
        images: (B, C, H, W).
        draws: of these images.
        scale: of lengths.
        mean: of the noise.
        std: of the noise.
        sigma: of its blur, in pixels.
        threshold: above it, there is liquid.
        weight: see above.
        mud: whether it is mud.
    """
    height, width = images.shape[-2:]
    # Drawn for an image of the size that the parameters were chosen for, and enlarged with it: a wider blur alone
    # would take the peaks away.
    reference = [max(1, round(length / scale)) for length in (height, width)]
    noise = gaussian(mean + std * draws.normal("liquid", 1, *reference), sigma)
    liquid = F.interpolate(noise, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    if mud:
        cover = gaussian((liquid > threshold).to(images), weight * scale)
        cover = cover.where(cover >= 0.8, 0)
        return images * (1 - cover) + cover * paint(_MUD, images)
    levels = (liquid.where(liquid >= threshold, 0).clamp(0, 1) * 255 + 1e-6).floor()
    shaded = levels * _relief(levels)
    brightest = shaded.amax((2, 3), keepdim=True)
    return images + weight * paint(_WATER, images) * shaded / brightest.where(brightest > 0, 1)


def _relief(levels: Tensor) -> Tensor:
    """How bright the drops are: distance from their outlines, equalized, embossed and smoothed; 0 to 255."""
    far = correlate(_distance(_outlines(levels)).clamp_max(_FAR), _MEAN).add_(1e-6).floor()
    embossed = correlate(_equalized(far), torch.tensor(_RELIEF, dtype=torch.float64)).clamp(0, 255)
    return correlate(embossed, _MEAN).round()


def _outlines(levels: Tensor) -> Tensor:
    """Edges by Canny's method as in OpenCV: Sobel gradients, their L1 norm, edge pixels continued outwards.

    A pixel is a candidate if its gradient exceeds 50 and is the largest along its direction, of which there are four;
    candidates above 150 are edges, and so are those that touch an edge.

    Returns:
        (B, 1, H, W) bool.
    """
    sobel = torch.tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=torch.float64)
    along, down = correlate(levels, sobel, "nearest"), correlate(levels, sobel.T, "nearest")
    size = along.abs() + down.abs()
    padded = F.pad(size, (1, 1, 1, 1))

    def neighbor(rows: int, columns: int) -> Tensor:
        high, wide = size.shape[-2:]
        return padded[..., 1 + rows : 1 + rows + high, 1 + columns : 1 + columns + wide]

    # Of two neighbors that are equally large, the one before counts as smaller, the one after does not.
    flat = down.abs() < math.tan(math.pi / 8) * along.abs()
    steep = down.abs() > math.tan(3 * math.pi / 8) * along.abs()
    rising = along * down < 0
    across = (size > neighbor(0, -1)) & (size >= neighbor(0, 1))
    upright = (size > neighbor(-1, 0)) & (size >= neighbor(1, 0))
    up_left = (size > neighbor(-1, -1)) & (size > neighbor(1, 1))
    up_right = (size > neighbor(-1, 1)) & (size > neighbor(1, -1))
    slanted = torch.where(rising, up_right, up_left)
    candidate = (size > _WEAK) & torch.where(flat, across, torch.where(steep, upright, slanted))
    edge = candidate & (size > _STRONG)
    while True:
        grown = candidate & (F.max_pool2d(edge.to(levels), 3, stride=1, padding=1) > 0)
        if torch.equal(grown, edge):
            return edge
        edge = grown


def _distance(edge: Tensor) -> Tensor:
    """Euclidean distance of each pixel to the nearest edge, wherever it is at most 20; larger or infinite elsewhere."""
    square = torch.zeros_like(edge, dtype=torch.float64).masked_fill_(~edge, math.inf)
    for axis in (2, 3):
        size = edge.shape[axis]
        nearest = square.clone()
        for shift in range(1, min(_FAR + 1, size)):
            before, after = (nearest.narrow(axis, start, size - shift) for start in (shift, 0))
            torch.minimum(before, square.narrow(axis, 0, size - shift) + shift**2, out=before)
            torch.minimum(after, square.narrow(axis, shift, size - shift) + shift**2, out=after)
        square = nearest
    return square.sqrt()


def _equalized(levels: Tensor) -> Tensor:
    """Levels spread so that their cumulative histogram rises evenly, the darkest at 0; one level alone stays."""
    flat = levels.flatten(1).long()
    counts = torch.zeros(len(flat), 256, dtype=torch.float64, device=levels.device)
    counts.scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float64))
    darkest = counts.gather(1, flat.amin(1, keepdim=True))
    others = flat.shape[1] - darkest
    spread = ((counts.cumsum(1) - darkest).clamp_min(0) * 255 / others.where(others > 0, 1)).round()
    return torch.where(others > 0, spread.gather(1, flat), flat).view_as(levels)
