"""Weather: snow, frost and fog in front of the image, and brightness.

Functions are called as those of ``noise``.
"""

import torch
from torch import Tensor

from persistill.perturbations.corruptions.color import luminance
from persistill.perturbations.corruptions.counter_rng import Draws
from persistill.perturbations.corruptions.filters import streaked, zoomed
from persistill.perturbations.corruptions.frost_textures import frost_textures


def snow(
    images: Tensor,
    draws: Draws,
    scale: float,
    mean: float,
    std: float,
    zoom: float,
    threshold: float,
    radius: float,
    sigma: float,
    keep: float,
) -> Tensor:
    """Flakes that fall in streaks, twice, over an image that is whitened.

    Normal noise is enlarged ``zoom`` times, what lies below the threshold is dropped, and the rest blurred by motion
    along an angle uniform on -135 to -45 degrees. It is added as it is and turned by half a circle to
    ``keep x + (1 - keep) max(x, 1.5 luminance + 0.5)``.
    """
    height, width = images.shape[-2:]
    noise = mean + std * draws.normal("flakes", 1, height, width)
    flakes = zoomed(noise, max(1.0, zoom * scale))
    flakes = flakes.where(flakes >= threshold, 0).clamp(0, 1)
    angle = draws.uniform("angle") * 90 - 135
    flakes = streaked((flakes * 255 + 1e-6).floor() / 255, radius * scale, sigma * scale, angle)
    flakes = (flakes * 255).round() / 255
    whitened = torch.maximum(images, luminance(images) * 1.5 + 0.5)
    return keep * images + (1 - keep) * whitened + flakes + flakes.flip(-2, -1)


def frost(images: Tensor, draws: Draws, scale: float, keep: float, weight: float, reduction: float) -> Tensor:
    """``keep x + weight f``, where f is cut at random from one of five images of frost, made smaller.

    Args:
        images: (B, C, H, W).
        draws: of these images.
        scale: of lengths.
        keep: weight of the image.
        weight: of the frost.
        reduction: size of an image's frost where lengths have scale 1.
    """
    channels, height, width = images.shape[1:]
    frosted = frost_textures(reduction * scale).to(images.device)
    if channels != 3:
        frosted = luminance(frosted).expand(-1, channels, -1, -1)
    side = frosted.shape[-1]
    pane = draws.integers("pane", 0, len(frosted))
    top, left = draws.integers("corner", 0, side, 2).unbind(1)
    rows = (top[:, None] + torch.arange(height, device=top.device)) % side
    columns = (left[:, None] + torch.arange(width, device=top.device)) % side
    # Indexing around the channel axis puts it last: (B, H, W, C).
    cut = frosted[pane[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return keep * images + weight * cut


def fog(images: Tensor, draws: Draws, _: float, amount: float, decay: float) -> Tensor:
    """``(x + amount p) m / (m + amount)``, where m is the image's largest value and p a plasma fractal in [0, 1]."""
    height, width = images.shape[-2:]
    plasma = _plasma(draws, 1 << (max(height, width, 2) - 1).bit_length(), decay)[:, None, :height, :width]
    largest = images.amax((1, 2, 3), keepdim=True)
    return (images + amount * plasma) * largest / (largest + amount)


def _plasma(draws: Draws, size: int, decay: float) -> Tensor:
    """Height maps by the diamond-square algorithm on a torus, brought to [0, 1].

    From coarse to fine, a new point is the mean of the four around it plus a random number, whose range falls by
    ``decay`` squared from one step to the next.

    Args:
        draws: of B images.
        size: side of the map, a power of two.
        decay: at least 1; the larger, the smoother.

    Returns:
        (B, size, size) float64.
    """
    wibble = 100.0
    step = size
    plasma = draws.uniform("plasma", 1, 1) * 0
    plasma = plasma.expand(-1, size, size).clone()

    def around(total: Tensor, kind: str) -> Tensor:
        return total / 4 + wibble * wibble * (draws.uniform(f"{kind} {step}", *total.shape[1:]) * 2 - 1)

    while step >= 2:
        half = step // 2
        corners = plasma[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        plasma[:, half::step, half::step] = around(pairs + pairs.roll(-1, 2), "square")
        middles = plasma[:, half::step, half::step]
        plasma[:, ::step, half::step] = around(
            middles + middles.roll(1, 1) + corners + corners.roll(-1, 2), "diamond across"
        )
        plasma[:, half::step, ::step] = around(
            middles + middles.roll(1, 2) + corners + corners.roll(-1, 1), "diamond along"
        )
        step, wibble = half, wibble / decay
    plasma -= plasma.amin((1, 2), keepdim=True)
    return plasma / plasma.amax((1, 2), keepdim=True)


def brightness(images: Tensor, _: Draws, __: float, more: float) -> Tensor:
    """HSV value raised by ``more``: colors keep hue and saturation, black becomes gray.

    The value is the largest channel, so that all channels grow by one factor.
    """
    value = images.amax(1, keepdim=True)
    raised = (value + more).clamp(0, 1)
    return torch.where(value > 0, images * raised / value, raised)
