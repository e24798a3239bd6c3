"""Gaussian noise on images, the same for every network that is compared."""

import hashlib
import math
from collections.abc import Callable

import torch
from torch import Tensor

from persistill.errors import UserError

Transform = Callable[[Tensor, int], Tensor]
"""(images (B, C, H, W) in [0, 1], number of the batch) -> images of the same shape and range."""


def gaussian_noise(sigma: float, seed: int) -> Transform:
    """A transform that adds independent normal noise to every value, and clamps to [0, 1] again.

        x' = min(1, max(0, x + sigma * n)),   n ~ N(0, 1)

    Clamping keeps the values in the range of images, and makes the noise weaker than sigma where an image
    is nearly black or white. The noise is drawn on the CPU, in float32, from (seed, sigma, number of the
    batch) and nothing else: every network on every device sees the same noisy images. The size and the
    order of the batches are therefore part of the definition; another batch size means another draw.

    Args:
        sigma: standard deviation before clamping, on the scale on which white is 1.
        seed: draws the noise.

    Returns:
        A function of images and the number of their batch; the images that it is given stay as they are.

    Raises:
        UserError: if sigma is negative or not finite.
    """
    if not (math.isfinite(sigma) and sigma >= 0):
        raise UserError(f"sigma of the noise must be a finite number >= 0; {sigma!r} was given.")

    def transform(pixels: Tensor, batch_number: int) -> Tensor:
        text = f"gaussian {seed} {float(sigma)!r} {batch_number}"
        state = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(state), dtype=torch.float32)
        return (pixels + sigma * noise.to(pixels)).clamp(0, 1)

    return transform
