"""Persistence images by evaluation at the points of a grid, as GUDHI draws them."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from persistill.topology._batches import as_tensor, checked_count, checked_number, finite, points, rectangles, shaped
from persistill.topology.diagrams import Array, Diagrams

WeightName = Literal["constant", "linear", "topkd"]
# Functions of the library (NumPy or torch), births and persistences.
_WEIGHTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "constant": lambda library, _births, persistences: library.ones_like(persistences),
    "linear": lambda _library, _births, persistences: persistences,
    "topkd": lambda library, births, persistences: 10 * library.tanh(persistences) + 10 * library.log(100 * births + 1),
}


def point_persistence_images(
    diagrams: Diagrams[Array],
    *,
    pixels: tuple[int, int] = (20, 20),
    bandwidth: float,
    births: tuple[float, float],
    persistences: tuple[float, float],
    weight: WeightName | Callable[[Array, Array], Array] = "linear",
) -> Array:
    """Sums of Gaussian densities, evaluated at the points of a grid instead of integrated over pixels.

    At the grid's point (x, y) the image is ``sum_i w_i / (2 pi s^2) exp(-((b_i - x)^2 + (p_i - y)^2) / (2 s^2))`` for
    points with birth b and persistence p, weight w and bandwidth s. This is what GUDHI's
    ``representations.PersistenceImage`` computes, and what TopKD (Kim et al., ICML 2024) teaches; here row 0 holds
    the largest persistences and column 0 the lowest births, whereas GUDHI's rows rise:
    ``images.flip(-2).reshape(n, -1)`` is its vector. A Gaussian ends where it falls to 1e-19 (float32) or 1e-154 of its
    height. Settings that integrate are ``PersistenceImages``.

    Args:
        diagrams: of shape (...), finite; 8-bit values stand for value / 255. In superlevel diagrams births are
            births and persistences are never negative.
        pixels: (rows, columns): persistences, births.
        bandwidth: standard deviation of the Gaussian, in the units of the values.
        births: (first, last) coordinate of the grid along births, both included; may be equal, as in TopKD.
        persistences: (first, last) coordinate of the grid along persistences.
        weight: "constant" (1), "linear" (p), "topkd" (``10 tanh(p) + 10 ln(100 b + 1)``), or a function of the births
            (P,) and persistences (P,) of all points, in arrays of the diagrams' kind, to weights (P,).

    Returns:
        (..., rows, columns), in the dtype of the diagrams (8-bit: float32), differentiable.

    Raises:
        TypeError: if an argument has a wrong type.
        ValueError: if a point is not finite (its number is named), an argument is not allowed, or a weight is not
            finite ("topkd" needs births above -0.01).
    """
    if not isinstance(pixels, Sequence) or len(pixels) != 2:
        raise TypeError(f"pixels must be (rows, columns); got {pixels!r}.")
    rows, columns = (checked_count("pixels", side) for side in pixels)
    bandwidth = checked_number("bandwidth", bandwidth, 0, strict=True)
    windows = {"births": _window("births", births), "persistences": _window("persistences", persistences)}
    values = points(diagrams)
    born, lengths = values[:, 0], (values[:, 1] - values[:, 0]).abs()
    weights = _weights(weight, born, lengths, tensors=isinstance(diagrams.values, Tensor))
    across = _coordinates(windows["births"], columns, values)
    up = _coordinates(windows["persistences"], rows, values).flip(0)
    # If all births are equal, as in Rips H0, an image is a column times a row: one profile along births is enough.
    # (Not where gradients are wanted: every birth has its own.)
    level = len(born) > 0 and not values.requires_grad and float(born.min()) == float(born.max())
    scaled = weights / (2 * math.pi * bandwidth**2)
    parts = []
    with torch.autocast(values.device.type, enabled=False):
        features = torch.stack([born, lengths, scaled], 1)
        for block in rectangles(features, as_tensor(diagrams.offsets), rows if level else rows + columns):
            heights = _gaussians(block[..., 1:2], up, bandwidth)
            if level:
                profile = block[..., 2].contiguous()[:, None] @ heights  # strided, it takes seven times as long
                parts.append(profile.mT * _gaussians(born[0], across, bandwidth))
            else:
                parts.append((heights * block[..., 2:]).mT @ _gaussians(block[..., :1], across, bandwidth))
    images: Array = shaped(parts[0] if len(parts) == 1 else torch.cat(parts), diagrams)
    return images


def _gaussians(centres: Tensor, coordinates: Tensor, bandwidth: float) -> Tensor:
    gaps = centres - coordinates
    # Below this exponent a product of two could not be held as a normal number, and arithmetic with others is slow.
    lowest = 0.5 * math.log(torch.finfo(gaps.dtype).tiny)
    if gaps.requires_grad or gaps.device.type != "cpu":
        return torch.exp((-0.5 * (gaps / bandwidth) ** 2).clamp(min=lowest))
    # The same in place, and with NumPy's exponential, which is twice as fast.
    exponents = gaps.mul_(1 / bandwidth).square_().mul_(-0.5).clamp_(min=lowest).numpy()
    return torch.from_numpy(np.exp(exponents, out=exponents))


def _coordinates(window: tuple[float, float], count: int, values: Tensor) -> Tensor:
    return torch.linspace(*window, count, dtype=torch.float64).to(values)


def _window(name: str, window: tuple[float, float]) -> tuple[float, float]:
    if not isinstance(window, Sequence) or len(window) != 2:
        raise TypeError(f"{name} must be (first, last); got {window!r}.")
    first, last = (checked_number(name, bound, -math.inf) for bound in window)
    if first > last:
        raise ValueError(f"{name} must be (first, last), first <= last; got {tuple(window)}.")
    return first, last


def _weights(weight: Any, births: Tensor, persistences: Tensor, *, tensors: bool) -> Tensor:
    if callable(weight):
        weights = as_tensor(weight(births, persistences) if tensors else weight(births.numpy(), persistences.numpy()))
    elif weight not in _WEIGHTS:
        raise ValueError(f"weight must be a function or one of {', '.join(map(repr, _WEIGHTS))}; got {weight!r}.")
    elif births.requires_grad or births.device.type != "cpu":
        weights = _WEIGHTS[weight](torch, births, persistences)
    else:
        with np.errstate(invalid="ignore", divide="ignore"):  # said below
            weights = as_tensor(_WEIGHTS[weight](np, births.numpy(), persistences.numpy()))
    weights = weights.to(persistences)
    if weights.shape != persistences.shape:
        raise ValueError(f"weight must return shape {tuple(persistences.shape)}; got {tuple(weights.shape)}.")
    if not finite(weights):
        point = int((~weights.isfinite()).nonzero()[0])
        raise ValueError(
            f"the weight of point {point} (birth {float(births[point]):g}, persistence "
            f"{float(persistences[point]):g}) is {float(weights[point])}; weights must be finite."
        )
    return weights
