"""Noise of single pixels: Gaussian, shot, impulse and speckle. None of it depends on the size of the image.

Each function takes the images ((B, C, H, W) float64 in [0, 1]), their random numbers and the scale of their lengths,
then the parameters of a severity, and returns images that may leave [0, 1]: ``corrupt`` cuts them off.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from persistill.perturbations.corruptions.counter_rng import Draws

_LEVELS = 256


def gaussian_noise(images: Tensor, draws: Draws, _: float, std: float) -> Tensor:
    """Values x become x + n, n ~ N(0, std^2), independent in every value."""
    return images + std * draws.normal("noise", *images.shape[1:])


def speckle_noise(images: Tensor, draws: Draws, _: float, std: float) -> Tensor:
    """Values x become x + x n, n ~ N(0, std^2), independent in every value."""
    return images + images * std * draws.normal("noise", *images.shape[1:])


def impulse_noise(images: Tensor, draws: Draws, _: float, share: float) -> Tensor:
    """Salt and pepper: each value becomes 0 with probability share / 2, and 1 with the same probability."""
    chance = draws.uniform("impulse", *images.shape[1:])
    return torch.where(chance < share, (chance > share / 2).to(images), images)


def shot_noise(images: Tensor, draws: Draws, _: float, rate: float) -> Tensor:
    """Values x become P / rate, P ~ Poisson(rate x), independent in every value: white is counted by ``rate`` photons.

    Drawn by inversion: P is the least number whose cumulative probability reaches a uniform number. As images are of
    256 levels, the probabilities are tables, and numbers are looked up by halving.
    """
    first, cumulative = (table.to(images.device) for table in _poisson(rate))
    width = cumulative.shape[1]
    chance = draws.uniform("photons", *images.shape[1:])
    level = (images * (_LEVELS - 1)).round().long()
    start, flat = level * width - 1, cumulative.flatten()
    below = torch.zeros_like(level)  # how many entries of the table's row are less than the chance
    step = width // 2
    while step:
        below += step * (flat[start + below + step] < chance)
        step //= 2
    return (first[level] + below).double() / rate


@lru_cache(maxsize=16)
def _poisson(rate: float) -> tuple[Tensor, Tensor]:
    """For each level: the least count that is ever drawn, and the cumulative probabilities from there on.

    Counts are left out whose probability is below the grid of the uniform numbers. Rows are of one length, a power of
    two.
    """
    mean = torch.arange(_LEVELS, dtype=torch.float64)[:, None] * rate / (_LEVELS - 1)
    reach = 6 * mean.sqrt() + 8
    first = (mean - reach).floor().clamp_min(0)
    width = 1 << math.ceil(2 * float(reach.max())).bit_length()
    # The probability of at most k is the regularized incomplete gamma function Q(k + 1, mean).
    cumulative = torch.special.gammaincc(first + 1 + torch.arange(width), mean)
    return first[:, 0].long(), cumulative
