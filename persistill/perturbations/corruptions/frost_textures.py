"""Five images of frost, drawn by the computer: a substitute for the five photographs of ImageNet-C.

Each is a torus of 512 x 512 pixels: crystals that branch like ferns and others that are plain needles, over clouds of
1/f noise, brought to the mean color and the contrast of the photograph in whose place it stands. They are drawn from
numbers of their own, the same for every seed, as photographs would be.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from persistill.perturbations.corruptions.counter_rng import Draws
from persistill.perturbations.corruptions.filters import gaussian

_SIDE = 512


class _Look(NamedTuple):
    """How a texture looks.

    Attributes:
        mean: red, green and blue of the photograph, measured.
        std: contrast of the three.
        ferns: crystals that branch.
        length: of a fern's stem in pixels.
        needles: crystals that do not.
        reach: of a needle in pixels.
        clouds: contrast of the clouds, in that of the crystals.
        skew: above 1, most of the texture is dark and crystals shine; below, the reverse.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    ferns: int
    length: float
    needles: int
    reach: float
    clouds: float
    skew: float


_LOOKS = (
    _Look((0.305, 0.585, 0.650), (0.106, 0.065, 0.060), 40, 110.0, 600, 80.0, 1.6, 1.0),
    _Look((0.787, 0.805, 0.841), (0.084, 0.087, 0.089), 20, 80.0, 2200, 90.0, 0.4, 0.8),
    _Look((0.787, 0.805, 0.841), (0.084, 0.087, 0.089), 20, 60.0, 1500, 120.0, 0.4, 0.8),
    _Look((0.540, 0.599, 0.648), (0.112, 0.112, 0.117), 120, 30.0, 6000, 16.0, 0.5, 1.0),
    _Look((0.441, 0.484, 0.528), (0.174, 0.170, 0.163), 450, 75.0, 200, 40.0, 0.5, 1.4),
)


@lru_cache(maxsize=8)
def frost_textures(size: float) -> Tensor:
    """The five images, resampled without smoothing, as the photographs are.

    Args:
        size: 1 for 512 x 512 pixels, 0.2 for 102 x 102.

    Returns:
        (5, 3, side, side) float64 in [0, 1].
    """
    side = max(1, round(_SIDE * size))
    return F.interpolate(_all_textures(), size=(side, side), mode="bilinear", align_corners=False)


@lru_cache(maxsize=1)
def _all_textures() -> Tensor:
    return torch.stack([_texture(number, look) for number, look in enumerate(_LOOKS)])


def _texture(number: int, look: _Look) -> Tensor:
    draws = Draws(0, "pane", 1, torch.tensor([number]))
    light = torch.zeros(_SIDE * _SIDE, dtype=torch.float64)
    _grow_ferns(light, draws, look.ferns, look.length)
    _grow_needles(light, draws, look.needles, look.reach)
    crystals = _standardized(torch.tanh(0.7 * gaussian(light.view(_SIDE, _SIDE), 0.5)))
    height = _standardized(crystals + look.clouds * _clouds(draws))
    height = _standardized(torch.sigmoid(height) ** look.skew)
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (look.mean, look.std))
    return (mean + std * height).clamp(0, 1)


def _grow_ferns(light: Tensor, draws: Draws, count: int, length: float) -> None:
    """Stems with side branches at 60 degrees on both sides, shorter towards the tip, fainter towards their ends."""
    branches, points = 20, math.ceil(length)
    root, turn, size = _places(draws, "fern", count)
    along = torch.arange(points, dtype=torch.float64) / points
    reach = length * (0.4 + 0.6 * size)
    stem = root[:, None] + _direction(turn)[:, None] * (reach[:, None] * along)[..., None]
    _splat(light, stem, 1.5 * reach[:, None] * (1 - 0.6 * along) / points)
    starts = (torch.arange(branches, dtype=torch.float64) + 1) / (branches + 1)
    lengths = 0.4 * reach[:, None] * (1 - starts) * (0.4 + 0.6 * draws.uniform("branch", count, branches)[0])
    foot = root[:, None] + _direction(turn)[:, None] * (reach[:, None] * starts)[..., None]
    for side in (-1, 1):
        aside = _direction(turn + side * math.pi / 3)[:, None, None]
        branch = foot[:, :, None] + aside * (lengths[..., None] * along)[..., None]
        _splat(light, branch, lengths[..., None] * (1 - along) / points)


def _grow_needles(light: Tensor, draws: Draws, count: int, reach: float) -> None:
    """Straight crystals, light or dark: a sharp edge, and a face beside it that fades away."""
    points, strips = math.ceil(1.25 * reach), 6
    root, turn, size = _places(draws, "needle", count)
    along = torch.arange(points, dtype=torch.float64) / points
    length = reach * (0.2 + 0.8 * size)
    width = 0.12 * length[:, None] * (1 - along) * along.sqrt()
    glow = draws.uniform("glow", count)[0] * 2 - 0.8
    spine = root[:, None] + _direction(turn)[:, None] * (length[:, None] * along)[..., None]
    across = _direction(turn + math.pi / 2)[:, None]
    for strip in range(strips):
        share = strip / strips
        edge = 1.0 if strip == 0 else width.clamp_min(0.2) / strips
        _splat(
            light,
            spine + across * (width * share)[..., None],
            glow[:, None] * edge * length[:, None] / points * (1 - share) * along.new_ones(count, points),
        )


def _direction(turn: Tensor) -> Tensor:
    return torch.stack((turn.sin(), turn.cos()), 1)


def _places(draws: Draws, stream: str, count: int) -> tuple[Tensor, Tensor, Tensor]:
    drawn = draws.uniform(stream, count, 4)[0]
    return drawn[:, :2] * _SIDE, drawn[:, 2] * 2 * math.pi, drawn[:, 3]


def _splat(light: Tensor, places: Tensor, weights: Tensor) -> None:
    """Add light at places (..., 2), each shared between the four pixels around it."""
    places, weights = places.reshape(-1, 2), weights.reshape(-1)
    corner = places.floor()
    rest = places - corner
    for down in (0, 1):
        for right in (0, 1):
            row, column = ((corner[:, axis].long() + step) % _SIDE for axis, step in ((0, down), (1, right)))
            share = (rest[:, 0] if down else 1 - rest[:, 0]) * (rest[:, 1] if right else 1 - rest[:, 1])
            light.index_add_(0, row * _SIDE + column, weights * share)


def _clouds(draws: Draws) -> Tensor:
    """Noise whose amplitude falls with its frequency, on a torus."""
    noise = torch.fft.rfft2(draws.normal("clouds", _SIDE, _SIDE)[0])
    rows, columns = torch.fft.fftfreq(_SIDE, dtype=torch.float64), torch.fft.rfftfreq(_SIDE, dtype=torch.float64)
    frequency = torch.hypot(rows[:, None], columns).clamp_min(2 / _SIDE)
    return _standardized(torch.fft.irfft2(noise / frequency, s=(_SIDE, _SIDE)))


def _standardized(values: Tensor) -> Tensor:
    return (values - values.mean()) / values.std()
