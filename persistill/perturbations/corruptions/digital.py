"""Digital: contrast, elastic deformation, coarse pixels, JPEG, saturation.

Functions are called as those of ``noise``.
"""

from functools import lru_cache
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from persistill.perturbations.corruptions.counter_rng import Draws
from persistill.perturbations.corruptions.filters import gaussian, separable


def contrast(images: Tensor, _: Draws, __: float, factor: float) -> Tensor:
    """``(x - m) factor + m``, with m the mean of each channel of each image."""
    mean = images.mean((2, 3), keepdim=True)
    return (images - mean) * factor + mean


def saturate(images: Tensor, _: Draws, __: float, factor: float, shift: float) -> Tensor:
    """HSV saturation times ``factor`` plus ``shift``, hue and value kept; one of three channels is red at hue 0.

    A channel is ``value (1 - saturation t)``, where t in [0, 1] is its distance from the largest over that of the
    smallest. Gray pixels have no hue: in images of three channels they count as red, as in every HSV conversion; in
    images without colors they stay gray.
    """
    value, smallest = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    spread = value - smallest
    gray = spread == 0
    no_hue = torch.zeros(images.shape[1], 1, 1, dtype=images.dtype, device=images.device)
    if images.shape[1] == 3:
        no_hue[1:] = 1
    distance = torch.where(gray, no_hue, (value - images) / spread.where(~gray, 1))
    saturation = torch.where(value > 0, spread / value, 0)
    return value * (1 - (saturation * factor + shift).clamp(0, 1) * distance)


def pixelate(images: Tensor, _: Draws, scale: float, share: float) -> Tensor:
    """Reduced to ``share`` of the sides by Pillow's box filter in 8 bits, and enlarged again to blocks."""
    height, width = images.shape[-2:]
    high, wide = (max(1, int(side / scale * share)) for side in (height, width))
    levels = (images * 255 @ _boxes(width, wide).to(images.device).T + 0.5).floor()
    levels = (_boxes(height, high).to(images.device) @ levels + 0.5).floor()
    return separable(levels, _boxes(high, height), _boxes(wide, width)) / 255


@lru_cache(maxsize=64)
def _boxes(size: int, new: int) -> Tensor:
    """Pillow's box filter as a matrix (new, size): the mean of the pixels whose centers lie in the new pixel."""
    ratio = size / new
    support = max(ratio, 1.0) / 2
    matrix = torch.zeros(new, size, dtype=torch.float64)
    for row in range(new):
        center = (row + 0.5) * ratio
        places = range(max(0, int(center - support + 0.5)), min(size, int(center + support + 0.5)))
        inside = [place for place in places if -0.5 < (place - center + 0.5) / max(ratio, 1.0) <= 0.5]
        matrix[row, inside] = 1 / len(inside)
    return matrix


def jpeg_compression(images: Tensor, _: Draws, __: float, quality: int) -> Tensor:
    """Saved as JPEG and read again, by Pillow: chroma at half the resolution; images without colors by channel."""
    levels = (images * 255).round().byte().cpu()
    if images.shape[1] == 3:
        arrays = levels.permute(0, 2, 3, 1).contiguous().numpy()
        read = torch.from_numpy(_through_jpeg(arrays, quality)).permute(0, 3, 1, 2)
    else:
        arrays = levels.flatten(0, 1).numpy()
        read = torch.from_numpy(_through_jpeg(arrays, quality)).view_as(levels)
    return read.to(images) / 255


def _through_jpeg(images: np.ndarray, quality: int) -> np.ndarray:
    read = np.empty_like(images)
    for place, image in enumerate(images):
        file = BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        with Image.open(file) as opened:
            read[place] = np.asarray(opened)
    return read


def elastic_transform(
    images: Tensor, draws: Draws, scale: float, strength: float, sigma: float, jitter: float
) -> Tensor:
    """A random affine map, then displacements by smooth noise.

    Three points around the middle are moved by uniform numbers of at most ``jitter`` sides, and the image with them.
    Then each pixel is fetched from a place that differs from its own by uniform noise on (-1, 1), blurred with
    ``sigma`` sides and multiplied by ``strength`` sides, in rows and in columns. Both times the interpolation is
    linear; the image is mirrored outwards, the first time without repeating its outermost pixels.
    """
    height, width = images.shape[-2:]
    side = min(height, width)
    bent = _sample(images, *_affine(draws, height, width, jitter * side), edge="mirror")
    if strength == 0:
        return bent
    # Drawn for an image of the size that the parameters were chosen for, and enlarged with it.
    reference = [max(1, round(length / scale)) for length in (height, width)]
    noise = draws.uniform("displacement", 2, *reference) * 2 - 1
    smooth = gaussian(noise, sigma * min(reference), edge="reflect", truncate=3) * strength * side
    moved = F.interpolate(smooth, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    rows, columns = (torch.arange(length, device=images.device) for length in (height, width))
    return _sample(bent, rows[:, None] + moved[:, 0], columns + moved[:, 1], edge="reflect")


def _affine(draws: Draws, height: int, width: int, reach: float) -> tuple[Tensor, Tensor]:
    """Where each pixel of the result comes from, rows and columns (B, H, W)."""
    half = max(1, min(height, width) // 3)
    right, left, low, high = width // 2 + half, width // 2 - half, height // 2 + half, height // 2 - half
    moves = draws.uniform("corners", 3, 2) * 2 - 1
    before = torch.tensor([[low, right], [high, right], [high, left]], dtype=torch.float64, device=moves.device)
    after = before + moves * reach
    # The map that takes the moved points back: [row, column, 1] @ back = [row, column].
    back = torch.linalg.solve(F.pad(after, (0, 1), value=1.0), before.expand_as(after))
    rows, columns = (torch.arange(n, device=moves.device, dtype=torch.float64) for n in (height, width))
    places = rows[None, :, None, None] * back[:, 0, None, None] + columns[None, None, :, None] * back[:, 1, None, None]
    return tuple((places + back[:, 2, None, None]).unbind(3))


def _sample(images: Tensor, rows: Tensor, columns: Tensor, *, edge: str) -> Tensor:
    """Values at places between pixels, by linear interpolation.

    Args:
        images: (B, C, H, W).
        rows: (B, H', W').
        columns: (B, H', W').
        edge: what lies beyond, "mirror" or "reflect" as in ``filters.beyond``.
    """
    height, width = images.shape[-2:]
    mirror = edge == "mirror"
    # grid_sample counts from -1 to 1, from center to center of the outermost pixels or from edge to edge, and reflects
    # there.
    unit = [
        places * 2 / (size - 1) - 1 if mirror and size > 1 else (places * 2 + 1) / size - 1
        for places, size in ((columns, width), (rows, height))
    ]
    return F.grid_sample(images, torch.stack(unit, 3), mode="bilinear", padding_mode="reflection", align_corners=mirror)
